"""Connections to partners: whatever one of them sends costs a bounded part of our time and memory."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import ssl
from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader

from agents.addresses import UnsafeAddress

#: No reply is read further than this; see `allow_reply`.
REPLY_CAP = 1024 * 1024
#: Bytes that may come before the headers of the answer are complete, and beside its body.
_HEAD_CAP = 64 * 1024
#: Bytes that may come from then on, as they are on the wire, to the request of this task.
_reply_cap: ContextVar[int] = ContextVar("reply_cap")

#: Whom the attempt of this task goes to.
peer: ContextVar[str | None] = ContextVar("peer", default=None)
#: Whether that was by a connection that was made for it, and not by one that was there.
dialled: ContextVar[bool] = ContextVar("dialled", default=False)


def allow_reply(request: int) -> int:
    """How many bytes of a reply to a request of so many bytes are read, and no more come in: some for every notice, so
    that a partner whose every reply is a flood costs not much more than one whose every reply is long."""
    cap = min(REPLY_CAP, _HEAD_CAP + 2 * request)
    _reply_cap.set(cap)
    return cap


class Flooded(aiohttp.ClientError):
    """A partner sends more than an answer may hold."""


class NotHttp(aiohttp.ClientError):
    """What a partner sends breaks the rules of HTTP."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Connector(aiohttp.TCPConnector):
    """Bounded connections, as many as there are lanes. Notes whom an attempt goes to: a response no longer knows,
    once it is complete. `tls` says whom to trust; None means whom the system trusts."""

    def __init__(self, resolver: AbstractResolver, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(
            resolver=resolver, ssl=True if tls is None else tls, limit=0, limit_per_host=0, socket_factory=_new_socket
        )
        handler: type[ResponseHandler] = _Bounded
        self._factory = functools.partial(handler, asyncio.get_running_loop())
        #: Connections that have carried a request.
        self._used: WeakSet[ResponseHandler] = WeakSet()

    async def connect(self, *args: Any, **kwargs: Any) -> Connection:
        connection = await super().connect(*args, **kwargs)
        name = None if connection.transport is None else connection.transport.get_extra_info("peername")
        peer.set(f"{name[0]}:{name[1]}" if name else None)
        if connection.protocol is not None:
            dialled.set(connection.protocol not in self._used)
            self._used.add(connection.protocol)
        return connection


def session(
    resolver: AbstractResolver, timeout: aiohttp.ClientTimeout, tls: ssl.SSLContext | None = None
) -> aiohttp.ClientSession:
    """Requests by such connections: without a proxy from the environment, without cookies, and what is compressed stays
    so."""
    return aiohttp.ClientSession(
        connector=Connector(resolver, tls),
        timeout=timeout,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
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

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._left, self._then = _HEAD_CAP, 0
        self._reply: StreamReader | None = None

    def set_response_params(self, **params: Any) -> None:
        """A request begins."""
        self._left, self._then = _HEAD_CAP, _HEAD_CAP + _reply_cap.get()
        self._reply = None
        super().set_response_params(**params)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        message, body = data
        if self._reply is None and message.code >= 200:
            self._reply, self._left = body, self._then
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        start = 0
        while self.transport is not None:
            if start < len(data) and self._reply is not None and self._reply.is_eof():
                # Nobody asked: it must not pass for the answer to the next request.
                self.abort()
                return
            end = min(self._end_of_head(data, start), start + self._left)
            self._left -= end - start
            super().data_received(data[start:end])
            start = end
            if start == len(data):
                return
            if not self._left:
                self._give_up()

    def _end_of_head(self, data: bytes, start: int) -> int:
        """Heads go in one by one: where a body should not be (of a 204, say, or beyond its length), the parser would
        forget about the answer over what comes after it."""
        found = -1 if self._reply is not None else data.find(b"\r\n\r\n", start)
        return len(data) if found < 0 else found + 4

    def set_exception(self, exc: BaseException, *args: Any, **kwargs: Any) -> None:
        """Whoever reads the body must know too, and not wait for the rest of it."""
        super().set_exception(exc, *args, **kwargs)
        if self._reply is not None and not self._reply.is_eof() and self._reply.exception() is None:
            text = exc.message if isinstance(exc, HttpProcessingError) else str(exc)
            self._reply.set_exception(exc if isinstance(exc, aiohttp.ClientError) else NotHttp(text))

    def _give_up(self) -> None:
        self.abort()
        self.set_exception(Flooded("the partner sends without end"))


def explained(error: Exception) -> str:
    """Why there was no answer, in words for an operator, not for whoever knows the HTTP library."""
    # Subclasses before what they derive from.
    match error:
        case TimeoutError():
            text = "no complete answer in time" if peer.get() else "no connection in time"
        case aiohttp.ClientConnectorDNSError():
            text = f"the host name cannot be resolved: {_reason(error.os_error)}"
        case aiohttp.ClientConnectorCertificateError():
            text = f"TLS: the certificate is not valid: {_reason(error.certificate_error)}"
        case aiohttp.ClientConnectorSSLError():
            text = f"TLS: {_reason(error.os_error)}"
        case aiohttp.ClientConnectorError():
            text = f"cannot connect: {_reason(error.os_error)}"
        case aiohttp.ServerDisconnectedError():
            text = "the connection was closed before there was an answer"
        case aiohttp.ClientResponseError(message=why) | NotHttp(message=why):
            first, *_ = why.strip().splitlines() or ["no status line"]
            text = f"the answer is not HTTP: {first.rstrip(':')}"
        case aiohttp.ClientPayloadError():
            text = "the answer ended before it was complete"
        case OSError():
            text = f"the connection broke: {_reason(error)}"
        case MemoryError():
            text = "no memory is left"
        case UnsafeAddress() | Flooded():
            text = str(error)
        case _:
            text = f"{type(error).__name__}: {error}"
    return printable(text[:1000])


def printable(text: str) -> str:
    """What a partner said, on one line, and without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


def _reason(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return error.verify_message
        case ssl.SSLError(reason=str(reason)):
            return reason.replace("_", " ").lower()
        case OSError(errno=int(number)) if number > 0:
            # Others' texts for it hold their own thoughts; the resolver has numbers of its own, below zero.
            return os.strerror(number)
        case OSError(strerror=str(text)):
            return text
        case _:
            return str(error)
