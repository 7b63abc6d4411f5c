"""The command line and what other people's programs import."""
