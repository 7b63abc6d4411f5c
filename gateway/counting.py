"""Counting of requests, by route and answer."""

from __future__ import annotations

from prometheus_client import Counter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Counting:
    """Counts every answer, also those of a failure and of an oversized body. Labels stay bounded whatever
    clients send: the route's pattern, never the path, and no method that HTTP does not know.

    Plain ASGI, because Starlette's base class wraps what is raised while a body is read in a group.
    """

    def __init__(self, app: ASGIApp, requests: Counter) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = Answer(send)
        try:
            await self._app(scope, receive, answer)
        finally:
            self._requests.labels(method_of(scope), route_of(scope), str(answer.status)).inc()


class Answer:
    """Passes on what is sent, and knows its status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 500  # what Starlette answers when nothing was sent

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)


def method_of(scope: Scope) -> str:
    return scope["method"] if scope["method"] in _METHODS else "other"


def route_of(scope: Scope) -> str:
    """The pattern, `none` where no route fits."""
    return getattr(scope.get("route"), "path", "none")
