"""How partners misbehave, on real sockets; what must come of it stands in `tests.misbehaviours`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import trustme

OK = b"HTTP/1.1 200 OK\r\n"
NOTHING = b"content-length: 0\r\n\r\n"


@dataclass(slots=True)
class Seen:
    """A partner's side of the story."""

    connections: int = 0
    requests: int = 0
    sent: int = 0


@dataclass(frozen=True, slots=True)
class Wire:
    """One connection, from the partner's end."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    seen: Seen

    async def request(self) -> bytes:
        """Read one, as one should."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
        await self.reader.readexactly(int(length))
        self.seen.requests += 1
        return head

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()
        self.seen.sent += len(data)

    async def flood(self, data: bytes) -> None:
        while True:
            await self.send(data)

    async def trickle(self, data: bytes) -> None:
        for number in range(len(data)):
            await self.send(data[number : number + 1])
            await asyncio.sleep(0.05)

    async def silence(self) -> None:
        await asyncio.Event().wait()

    def reset(self) -> None:
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


Serve = Callable[[Wire], Awaitable[None]]
Listen = Callable[[Serve, Seen, ssl.SSLContext | None], AbstractAsyncContextManager[int]]


# -- how it listens


@asynccontextmanager
async def listening(serve: Serve, seen: Seen, tls: ssl.SSLContext | None) -> AsyncIterator[int]:
    tasks: set[asyncio.Task[None]] = set()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        seen.connections += 1
        try:
            with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
                await serve(Wire(reader, writer, seen))
        finally:
            tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(served, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        left = list(tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left)


@asynccontextmanager
async def refusing(serve: Serve, seen: Seen, tls: ssl.SSLContext | None) -> AsyncIterator[int]:
    """A socket that is bound and does not listen."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@asynccontextmanager
async def full(serve: Serve, seen: Seen, tls: ssl.SSLContext | None) -> AsyncIterator[int]:
    """A host that drops what asks for a connection, since nobody takes those that wait."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listener.getsockname()[1]
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        yield port


# -- what it does with a connection


def answer(status: int, *headers: str, body: bytes = b"") -> Serve:
    """A whole answer to every request."""
    head = "\r\n".join((f"HTTP/1.1 {status} Reason", f"content-length: {len(body)}", *headers, "", ""))
    return saying(head.encode() + body)


def saying(data: bytes, then: Callable[[Wire], Awaitable[None]] | None = None) -> Serve:
    """These bytes to every request, and then the next one, or something else."""

    async def serve(wire: Wire) -> None:
        while True:
            await wire.request()
            await wire.send(data)
            if then is not None:
                await then(wire)
                return

    return serve


def flooding(first: bytes, rest: bytes) -> Serve:
    return saying(first, lambda wire: wire.flood(rest))


def trickling(first: bytes, rest: bytes) -> Serve:
    return saying(first, lambda wire: wire.trickle(rest))


async def close(wire: Wire) -> None:
    return


async def reset(wire: Wire) -> None:
    wire.reset()


async def half_close(wire: Wire) -> None:
    wire.writer.write_eof()
    await wire.reader.read()


async def deaf(wire: Wire) -> None:
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await wire.silence()


async def never_reads_but_answers(wire: Wire) -> None:
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await wire.send(OK + b"content-length: 2\r\n\r\nok")
    await wire.silence()


async def answers_the_head(wire: Wire) -> None:
    await wire.reader.readuntil(b"\r\n\r\n")
    await wire.send(b"HTTP/1.1 413 Reason\r\nconnection: close\r\ncontent-length: 8\r\n\r\ntoo much")
    await wire.silence()


async def plain(wire: Wire) -> None:
    """What a server says that was spoken to in TLS, and speaks none."""
    await wire.reader.read(1)
    await wire.send(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")


async def banner(wire: Wire) -> None:
    await wire.send(b"SSH-2.0-OpenSSH_9.6\r\n")
    await wire.silence()


async def answers_before_it_is_asked(wire: Wire) -> None:
    await wire.send(OK + NOTHING)
    await wire.request()
    await wire.send(b"HTTP/1.1 500 Reason\r\n" + NOTHING)
    await wire.silence()


async def answers_more_than_it_is_asked(wire: Wire) -> None:
    """And to the second request something else than what came unasked."""
    if wire.seen.requests:
        await answer(500)(wire)
    await wire.request()
    await wire.send(OK + NOTHING)
    await asyncio.sleep(0.05)
    await wire.send(OK + NOTHING)
    await answer(500)(wire)


async def closes_after_each(wire: Wire) -> None:
    """And does not say so."""
    await wire.request()
    await wire.send(OK + NOTHING)


async def closes_at_the_second(wire: Wire) -> None:
    """A connection that it seemed to keep."""
    await closes_after_each(wire)
    await wire.request()


async def no_cookies_please(wire: Wire) -> None:
    while True:
        head = await wire.request()
        status = b"500" if b"\ncookie:" in head.lower() else b"200"
        await wire.send(b"HTTP/1.1 " + status + b" Reason\r\nset-cookie: session=1\r\ncontent-length: 0\r\n\r\n")


# -- TLS


@functools.cache
def authority() -> trustme.CA:
    return trustme.CA()


@functools.cache
def trusting() -> ssl.SSLContext:
    """What trusts our authority, and nobody else."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


def certificate(kind: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    names = ("127.0.0.1", "partner.example", "mixed.example")
    now = datetime.now(UTC)
    match kind:
        case "good":
            authority().issue_cert(*names).configure_cert(context)
        case "expired":
            before, after = now - timedelta(days=9), now - timedelta(days=1)
            authority().issue_cert(*names, not_before=before, not_after=after).configure_cert(context)
        case "other":
            authority().issue_cert("other.example").configure_cert(context)
        case "unknown":
            trustme.CA().issue_cert(*names).configure_cert(context)
        case "its own":
            alone = trustme.CA()
            both = trustme.Blob(alone.private_key_pem.bytes() + alone.cert_pem.bytes())
            with both.tempfile() as path:
                context.load_cert_chain(path)
    return context


# -- names

NAMES: dict[str, list[str] | float] = {
    "partner.example": ["127.0.0.1"],
    "mixed.example": ["127.0.0.1", "10.0.0.1"],
    "metadata.example": ["169.254.169.254"],
    "mapped.example": ["::ffff:10.0.0.1"],
    "nothing.example": [],
    **{f"slow{number}.example": 3.0 for number in range(8)},
}


def getaddrinfo(host: str, port: int, family: int = 0, *_: Any, **__: Any) -> list[Any]:
    """What the system's resolver would say of `NAMES`; after so many seconds, where that is a number."""
    found = NAMES.get(host)
    if isinstance(found, float):
        time.sleep(found)
    if not isinstance(found, list):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return [
        (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
        for address in found
    ]
