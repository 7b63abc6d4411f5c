"""The command line, and what other people's programs import: `rescind.client`, `rescind.emitter` and
`rescind.partner`."""
