"""Connections to partners: whatever one of them sends costs a bounded part of our time and memory."""

from __future__ import annotations

import asyncio
import functools
import re
import socket
import ssl
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from yarl import URL

from agents.response_heads import HEAD_CAP, LINES_CAP, Head, fault, fault_of_body

#: Seconds for which a connection is used again after it is made, so that a changed DNS record is followed.
KEPT_FOR = 300.0
#: Bytes of the body of the answer, unpacked, to the request of this task.
_reply_cap: ContextVar[int] = ContextVar("reply_cap")

#: Whom the attempt of this task goes to.
peer: ContextVar[str | None] = ContextVar("peer", default=None)
#: Whether that was by a connection that was made for it, and not by one that was there.
dialled: ContextVar[bool] = ContextVar("dialled", default=False)


def allow_reply(cap: int) -> None:
    """Let the answers to this task's requests have a body of `cap` bytes, unpacked."""
    _reply_cap.set(cap)


def wire_cap(cap: int) -> int:
    """Bytes that a body of `cap` bytes may take on the wire, with the sizes of its chunks and its trailers."""
    return HEAD_CAP + 2 * cap


_URL = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#\x00-\x20\x7f]*)(?P<target>[\x21\x22\x24-\x7e]*)", re.IGNORECASE
)


@functools.lru_cache(1024)
def verbatim(url: str) -> URL:
    """A URL whose path and query go out byte by byte as they are written. Raises `ValueError`.

    yarl is given the whole request target as a path. If it took the URL apart, an empty query would be lost; if it
    quoted it, `%7E`, `%2F` and `/../` would be.

    >>> verbatim("https://p.example/a/../%7e?x=%2F&").raw_path_qs
    '/a/../%7e?x=%2F&'
    """
    parts = _URL.fullmatch(url)
    if parts is None:
        raise ValueError("it is not an https:// URL in printable ASCII without a fragment")
    base = URL(f"{parts['scheme'].lower()}://{parts['authority']}/")
    target = parts["target"] if parts["target"].startswith("/") else f"/{parts['target']}"
    return URL.build(scheme=base.scheme, authority=base.raw_authority, path=target, encoded=True)


class Flooded(aiohttp.ClientError):
    """A partner sends more than an answer may hold."""


class NotHttp(aiohttp.ClientError):
    """What a partner sends breaks the rules of HTTP."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Connector(aiohttp.TCPConnector):
    """Bounded connections, as many as there are lanes. Notes whom an attempt goes to: a response no longer knows,
    once it is complete. `tls` says whom to trust; None means whom the system trusts. `clock` gives seconds and never
    goes back."""

    def __init__(
        self, resolver: AbstractResolver, tls: ssl.SSLContext | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(
            resolver=resolver, ssl=True if tls is None else tls, limit=0, limit_per_host=0, socket_factory=_new_socket
        )
        handler: Callable[[], ResponseHandler] = functools.partial(_Bounded, asyncio.get_running_loop(), clock)
        self._factory = handler  # type: ignore[assignment]

    async def connect(self, *args: Any, **kwargs: Any) -> Connection:
        connection = await super().connect(*args, **kwargs)
        name = None if connection.transport is None else connection.transport.get_extra_info("peername")
        peer.set(f"{name[0]}:{name[1]}" if name else None)
        if isinstance(connection.protocol, _Bounded):
            dialled.set(not connection.protocol.used)
            connection.protocol.used = True
        return connection


def session(
    resolver: AbstractResolver,
    timeout: aiohttp.ClientTimeout,
    tls: ssl.SSLContext | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> aiohttp.ClientSession:
    """Requests by such connections: without a proxy from the environment, without cookies, and what is compressed stays
    so."""
    return aiohttp.ClientSession(
        connector=Connector(resolver, tls, clock),
        timeout=timeout,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        # `Head` limits heads; these limit the trailers of a body.
        max_line_size=HEAD_CAP,
        max_field_size=HEAD_CAP,
        max_headers=2 * LINES_CAP,
    )


class Socket(socket.socket):
    """Nothing but `close` closes it. Where a connection is reset as it is made, uvloop closes the descriptor and does
    not tell the socket; to close it once more, when the garbage is collected, would close whatever has its number by
    then: another partner's connection, or the log. (https://github.com/MagicStack/uvloop/issues/738 is akin.)"""

    def __del__(self) -> None:
        self.detach()


def _new_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    return Socket(family, kind, protocol)


class _Bounded(ResponseHandler):
    """Parses what belongs to an answer and no more. The client by itself reads, as fast as it comes and before
    anybody else's turn, 1xx answers without end and chunks that are all extension."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        super().__init__(loop)
        self._clock = clock
        self._expires_at = clock() + KEPT_FOR
        #: Has it carried a request?
        self.used = False
        self._head = Head()
        #: Bytes that may still come: of interim heads (1xx), and then of the body, as it is on the wire.
        self._left, self._then = HEAD_CAP, 0
        self._reply: StreamReader | None = None
        #: Does the answer say where its body ends? If not, the body ends with the connection.
        self._has_end = False

    def set_response_params(self, **params: Any) -> None:
        """A request begins."""
        self._head = Head()
        self._left, self._then = HEAD_CAP, wire_cap(_reply_cap.get())
        self._reply = None
        super().set_response_params(**params)

    def is_connected(self) -> bool:
        """Can it carry another request? One that is under way is not disturbed."""
        return super().is_connected() and self._clock() < self._expires_at

    @property
    def should_close(self) -> bool:
        """Is it closed as its request ends?"""
        return super().should_close or self._clock() >= self._expires_at

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        message, body = data
        if self._reply is None and not 100 <= message.code < 200:
            self._reply, self._left = body, self._then
            self._has_end = bool(message.chunked) or "content-length" in message.headers
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        start = 0
        while self.transport is not None and self._exception is None:
            if start < len(data) and self._reply is not None and self._reply.is_eof():
                # Nobody asked: it must not pass for the answer to the next request.
                self.abort()
                return
            start = self._take_head(data, start) if self._reply is None else self._take_body(data, start)
            if start == len(data):
                return

    def _take_head(self, data: bytes, start: int) -> int:
        """Heads go in one by one: where a body should not be (of a 204, say, or beyond its length), the parser would
        forget about the answer over what comes after it."""
        end = self._head.take(data, start)
        why = self._head.fault()
        if why is not None:
            self._give_up(NotHttp(why))
            return end
        super().data_received(data[start:end])
        if self._head.complete and self._reply is None and self._exception is None:
            self._left -= len(self._head.data)
            self._head = Head()
            if self._left <= 0:
                self._give_up(Flooded("the partner sends without end"))
        return end

    def _take_body(self, data: bytes, start: int) -> int:
        end = min(len(data), start + self._left)
        self._left -= end - start
        super().data_received(data[start:end])
        if end < len(data) and not self._left:
            self._give_up(Flooded("the partner sends without end"))
        return end

    def connection_lost(self, exc: BaseException | None) -> None:
        reading = self._reply is not None and self._has_end and not self._reply.is_eof()
        if reading and isinstance(exc, OSError):
            # The client would say that the body is too short, and not why.
            lost = aiohttp.ClientOSError(*exc.args)
            lost.__cause__ = exc
            self.set_exception(lost)
            self._payload = None
        super().connection_lost(exc)

    def set_exception(self, exc: BaseException, *args: Any, **kwargs: Any) -> None:
        """Who reads the body must know too, and not wait for the rest of it."""
        if isinstance(exc.__cause__, aiohttp.ClientConnectionResetError):
            # A write found the connection closing. Why it closes, `connection_lost` has told or is about to tell.
            return
        if isinstance(exc, HttpProcessingError):
            exc = NotHttp(fault(bytes(self._head.data)) if self._reply is None else fault_of_body(exc.message))
        if exc.__cause__ is None and args and isinstance(args[0], OSError):
            exc.__cause__ = args[0]
        super().set_exception(exc, *args, **kwargs)
        if self._reply is not None and not self._reply.is_eof() and self._reply.exception() is None:
            self._reply.set_exception(exc)

    def _give_up(self, error: aiohttp.ClientError) -> None:
        self.abort()
        self.set_exception(error)
