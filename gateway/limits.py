"""What is handled before any route: bodies that are too large, with or without a Content-Length, and paths that end in
a line break or in one slash too many."""

from __future__ import annotations

from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.problems import Problem, respond


class WholePath:
    """Answers 404 for a path that ends in a line break. Starlette's patterns end in `$`, which overlooks one,
    so `/v1/consents/user:1%0A` would be answered as if it were `user:1`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith("\n"):
            nothing = Problem(404, "not-found", f"there is nothing at {scope['path']!r}")
            await respond(nothing)(scope, receive, send)
            return
        await self._app(scope, receive, send)


class TrailingSlash:
    """Serves a path of the API that ends in one slash like the path without it. There is no redirect: a client would
    send its key and body twice, and behind a proxy to http://.

    A path stays as it is where its slash is part of a subject. So does one that ends in `%2F`, which is part of a name
    and no separator (RFC 3986 section 2.2).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _is_slash_too_many(scope):
            # In place: what counts requests looks here for the route.
            scope["path"], scope["raw_path"] = scope["path"][:-1], scope["raw_path"][:-1]
        await self._app(scope, receive, send)


def _is_slash_too_many(scope: Scope) -> bool:
    """Does the path lead to an earlier route without its slash than with it?"""
    path, written = scope["path"], scope.get("raw_path") or b""
    return path.startswith("/v1/") and written.endswith(b"/") and _place(scope, path[:-1]) < _place(scope, path)


def _place(scope: Scope, path: str) -> int:
    """Which route serves a path, whatever the method; the number of routes if none does."""
    routes, asked = scope["app"].routes, {**scope, "path": path}
    return next((place for place, route in enumerate(routes) if route.matches(asked)[0] is not Match.NONE), len(routes))


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
            if name == b"content-length" and (refused := self._refuse(value)) is not None:
                await respond(refused)(scope, receive, send)
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

    def _refuse(self, length: bytes) -> Problem | None:
        if not length.isdigit():
            return Problem(400, "malformed", "content-length is no number", headers={"connection": "close"})
        return self._problem() if len(length) > 19 or int(length) > self._most else None

    def _problem(self) -> Problem:
        detail = f"the body is larger than {self._most} bytes"
        return Problem(413, "too-large", detail, headers={"connection": "close"})
