"""A bound on request bodies, whether or not the client says how long its body is."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.problems import Problem, respond


class BodyLimit:
    """Answers 413 as soon as a body exceeds `most` bytes; the rest of it is not read."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        for name, value in scope["headers"]:
            if name == b"content-length" and (not value.isdigit() or int(value[:20]) > self._most):
                await respond(self._problem())(scope, receive, send)
                return
        read = 0

        async def bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._most:
                raise self._problem()
            return message

        await self._app(scope, bounded, send)

    def _problem(self) -> Problem:
        detail = f"the body is larger than {self._most} bytes"
        return Problem(413, "too-large", detail, headers={"connection": "close"})
