"""The command line, and what other people's programs import: `rescind.client` and `rescind.partner`."""
