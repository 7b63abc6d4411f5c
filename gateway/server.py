"""The HTTP server under the application: what it answers where no route is asked."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import h11
import uvicorn
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.problems import Problem, respond

#: Seconds that a request may still take when the service stops.
_LAST_REQUESTS = 1


@contextlib.asynccontextmanager
async def listening(app: ASGIApp, listener: socket.socket) -> AsyncIterator[str]:
    """Serve for as long as the context lasts. The server's own URL."""
    stopping = asyncio.Event()
    config = uvicorn.Config(
        _Ending(app, stopping),
        http=_Protocol,
        ws="none",
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=_LAST_REQUESTS,
    )
    server = _Server(config)
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    host, port = listener.getsockname()[:2]
    try:
        while not server.started:
            if serving.done():
                serving.result()
            await asyncio.sleep(0.01)
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}"
    finally:
        stopping.set()
        server.should_exit = True
        await serving


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """The service has one handler for signals, and stops its parts in order."""
        yield


class _Protocol(H11Protocol):
    """Answers with a problem also what is no HTTP."""

    def send_400_response(self, msg: str) -> None:
        detail = "the request is not HTTP, or its headers are too large"
        answer = respond(Problem(400, "malformed", detail, headers={"connection": "close"}))
        events = (
            h11.Response(status_code=400, headers=answer.raw_headers, reason=b"Bad Request"),
            h11.Data(data=bytes(answer.body)),
            h11.EndOfMessage(),
        )
        self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.transport.close()


class _Ending:
    """Answers 503 to what is not done when the service stops: a body that trickles in, say. Only the server
    cancels a request, and it would answer with a traceback in the log and no problem. What goes on for as long as
    somebody listens finds `stopping` in its scope."""

    def __init__(self, app: ASGIApp, stopping: asyncio.Event) -> None:
        self._app = app
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        scope["rescind.stopping"] = self._stopping
        try:
            await self._app(scope, receive, watched)
        except asyncio.CancelledError:
            if not started:
                await _stopping()(scope, receive, send)


def _stopping() -> JSONResponse:
    headers = {"retry-after": "1", "connection": "close"}
    return respond(Problem(503, "unavailable", "the service is stopping", headers=headers))
