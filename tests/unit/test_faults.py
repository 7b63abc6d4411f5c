"""Whose fault it is that there was no answer."""

from __future__ import annotations

import errno
import os
import resource
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest

from agents import faults
from agents.addresses import ResolverSilent, UnsafeAddress
from agents.connecting import Socket
from agents.faults import own_fault
from agents.webhooks import Answer, HttpSender, Payload
from streams import signing
from tests.support.ports import deaf_port

SECRET = signing.new_secret()
PAYLOAD = Payload(b"[]", "application/cloudevents-batch+json")
_KEY = cast("Any", SimpleNamespace(host="p.example", port=443, ssl=True, is_ssl=True))


def connecting(error: OSError) -> aiohttp.ClientConnectorError:
    return aiohttp.ClientConnectorError(_KEY, error)


def resolving(error: OSError) -> aiohttp.ClientConnectorDNSError:
    return aiohttp.ClientConnectorDNSError(_KEY, error)


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def numbered(*numbers: int) -> OSError:
    """As the client joins what it got of several addresses."""
    return OSError("Multiple exceptions: " + ", ".join(str(OSError(number, os.strerror(number))) for number in numbers))


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EMFILE, faults.NO_DESCRIPTOR),
        (errno.ENFILE, faults.NO_DESCRIPTOR),
        (errno.ENOMEM, faults.NO_MEMORY),
        (errno.ENOBUFS, faults.NO_MEMORY),
        (errno.ENOSPC, faults.NO_DISK),
        (errno.EDQUOT, faults.NO_DISK),
        (errno.EADDRNOTAVAIL, faults.NO_PORT),
        (errno.ENETUNREACH, faults.NO_ROUTE),
        (errno.EHOSTUNREACH, faults.NO_ROUTE),
        (errno.ENETDOWN, faults.NO_ROUTE),
        (errno.ECONNREFUSED, None),
        (errno.ECONNRESET, None),
        (errno.ECONNABORTED, None),
        (errno.EPIPE, None),
        (errno.ETIMEDOUT, None),
    ],
)
def test_an_error_of_the_system_is_ours_however_it_is_wrapped(number: int, reason: str | None) -> None:
    bare = OSError(number, os.strerror(number))
    for error in (bare, connecting(bare), caused(aiohttp.ClientError(), bare), ExceptionGroup("", [bare, bare])):
        assert own_fault(error) == reason
    assert own_fault(connecting(numbered(number, number))) == reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), faults.NO_MEMORY),
        (RuntimeError("can't start new thread"), faults.NO_THREAD),
        (RuntimeError("else"), None),
        (TimeoutError(), None),
        (UnsafeAddress("10.0.0.1 is not public"), None),
        (aiohttp.ServerDisconnectedError(), None),
        (resolving(socket.gaierror(socket.EAI_NONAME, "Name or service not known")), None),
        (resolving(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")), None),
        (resolving(ResolverSilent(socket.EAI_AGAIN, "Temporary failure")), faults.NO_RESOLVER),
        (resolving(socket.gaierror(socket.EAI_MEMORY, "Memory allocation failure")), faults.NO_MEMORY),
        (resolving(OSError(errno.EMFILE, "Too many open files")), faults.NO_DESCRIPTOR),
        # A host without IPv6, and a partner that refuses by IPv4: it was reached.
        (connecting(numbered(errno.ENETUNREACH, errno.ECONNREFUSED)), None),
        (connecting(numbered(errno.ENETUNREACH, errno.EHOSTUNREACH)), faults.NO_ROUTE),
        (connecting(OSError("it has no address")), None),
        (ExceptionGroup("", [OSError(errno.ENETUNREACH, ""), OSError(errno.ECONNREFUSED, "")]), None),
        (ExceptionGroup("", [connecting(OSError(errno.EMFILE, "")), MemoryError()]), faults.NO_DESCRIPTOR),
    ],
)  # fmt: skip
def test_whose_fault_it_is(error: Exception, reason: str | None) -> None:
    assert own_fault(error) == reason


def test_errors_that_come_of_each_other_in_a_circle_have_an_end() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert own_fault(first) is None


async def sent(sender: HttpSender, url: str) -> Answer:
    return await sender.send(url, (SECRET,), "msg_1", PAYLOAD, datetime.now(UTC))


@contextmanager
def no_descriptors() -> Iterator[None]:
    """All that this process may have are taken."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_without_descriptors_an_attempt_is_ours(host: str) -> None:
    sender = HttpSender(5.0, allow_private=True)
    try:
        await sent(sender, f"http://{host}:9/")  # the loop and the resolver have what they need
        with no_descriptors():
            answer = await sent(sender, f"http://{host}:9/")
    finally:
        await sender.close()
    assert answer.attempt.ours == faults.NO_DESCRIPTOR
    assert not answer.dialled


#: A range of local ports for one socket, of Linux from 6.3 on, https://man7.org/linux/man-pages/man7/ip.7.html
_PORT_RANGE = 51


def _has_port_range() -> bool:
    with socket.socket() as any_socket:
        try:
            any_socket.setsockopt(socket.IPPROTO_IP, _PORT_RANGE, struct.pack("=I", 2000 << 16 | 2000))
        except OSError:
            return False
    return True


@pytest.mark.skipif(not _has_port_range(), reason="this kernel has no range of local ports for one socket")
async def test_without_a_local_port_an_attempt_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The range of local ports is one that is taken."""

    def narrow(address: Any) -> socket.socket:
        connection = Socket(address[0], address[1], address[2])
        connection.setsockopt(socket.IPPROTO_IP, _PORT_RANGE, struct.pack("=I", port << 16 | port))
        return connection

    monkeypatch.setattr("agents.connecting._new_socket", narrow)
    sender = HttpSender(5.0, allow_private=True)
    try:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            answer = await sent(sender, f"http://127.0.0.1:{server.getsockname()[1]}/")
    finally:
        await sender.close()
    assert answer.attempt.ours == faults.NO_PORT


async def test_what_refuses_is_the_partners_fault() -> None:
    sender = HttpSender(5.0, allow_private=True)
    try:
        with deaf_port() as port:
            answer = await sent(sender, f"http://127.0.0.1:{port}/")
    finally:
        await sender.close()
    assert answer.attempt.fault is faults.Fault.CONNECT
    assert answer.attempt.ours is None


async def test_where_there_is_no_route_an_attempt_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unrouted(Socket):
        def connect(self, address: Any) -> None:
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    monkeypatch.setattr("agents.connecting._new_socket", lambda address: Unrouted(*address[:3]))
    sender = HttpSender(5.0, allow_private=True)
    try:
        for url in ("http://192.0.2.1/", "http://localhost:9/"):
            assert (await sent(sender, url)).attempt.ours == faults.NO_ROUTE
    finally:
        await sender.close()


async def test_without_memory_an_attempt_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **named: Any) -> bytes:
        raise MemoryError

    sender = HttpSender(5.0, allow_private=True)
    try:
        with monkeypatch.context() as patch:
            patch.setattr("agents.webhooks.gzip.compress", fail)
            packed = Payload(b"[]", "application/json", gzip=True)
            before = await sender.send("http://127.0.0.1:9/", (SECRET,), "msg_1", packed, datetime.now(UTC))
        monkeypatch.setattr("agents.connecting._new_socket", fail)
        during = await sent(sender, "http://127.0.0.1:9/")
    finally:
        await sender.close()
    assert before.attempt.ours == during.attempt.ours == faults.NO_MEMORY


# -- a resolver that answers nobody, and one that does not know one name


class Names:
    """A resolver: what it says of a partner's name, and of any other."""

    def __init__(self, of_partner: int, of_others: int, over: threading.Event | None = None) -> None:
        self._codes = of_partner, of_others
        self._over = over
        self.asked: list[str] = []

    def __call__(self, host: str, *args: Any, **named: Any) -> Any:
        self.asked.append(host)
        code = self._codes[host != "p.example"]
        if self._over is not None and code == socket.EAI_AGAIN:
            self._over.wait(30)
        raise socket.gaierror(code, "no answer")


@pytest.mark.parametrize(
    ("of_partner", "of_others", "ours"),
    [
        (socket.EAI_AGAIN, socket.EAI_AGAIN, faults.NO_RESOLVER),
        (socket.EAI_FAIL, socket.EAI_AGAIN, faults.NO_RESOLVER),
        # The servers of its own domain do not answer.
        (socket.EAI_AGAIN, socket.EAI_NONAME, None),
        (socket.EAI_NONAME, socket.EAI_AGAIN, None),
        (socket.EAI_NONAME, socket.EAI_NONAME, None),
    ],
)
async def test_a_resolver_that_answers_nobody_is_ours(of_partner: int, of_others: int, ours: str | None) -> None:
    names = Names(of_partner, of_others)
    sender = HttpSender(5.0, allow_private=False, getaddrinfo=names)
    try:
        attempt = (await sent(sender, "https://p.example/hook")).attempt
    finally:
        await sender.close()
    assert (attempt.fault, attempt.ours) == (faults.Fault.DNS, ours)
    assert names.asked[0] == "p.example"
    assert [name.endswith(".arpa.") for name in names.asked[1:]] == [True] * (of_partner != socket.EAI_NONAME)


@pytest.mark.parametrize(("of_others", "ours"), [(socket.EAI_AGAIN, faults.NO_RESOLVER), (socket.EAI_NONAME, None)])
async def test_a_resolver_that_says_nothing_at_all_is_ours(of_others: int, ours: str | None) -> None:
    """The attempt's time is over before the resolver gives up."""
    over = threading.Event()
    sender = HttpSender(1.0, allow_private=False, getaddrinfo=Names(socket.EAI_AGAIN, of_others, over))
    try:
        attempt = (await sent(sender, "https://p.example/hook")).attempt
    finally:
        over.set()
        await sender.close()
    assert (attempt.fault, attempt.ours) == (faults.Fault.TIMEOUT, ours)
