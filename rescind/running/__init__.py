"""The processes of the service, put together from parts. Each part is a context: entered when it is started, left
when it is stopped, in reverse order."""
