"""What is told of an attempt without an answer: in our words, and in nobody else's."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
import uvloop

from agents.addresses import NoAddress, ResolverSilent, UnsafeAddress
from agents.connecting import Flooded, NotHttp, peer
from agents.fault_words import explained
from agents.faults import Fault
from agents.webhooks import Answer, HttpSender
from streams import signing
from tests.misbehaving import authority, certificate, getaddrinfo, trusting
from tests.unit.fakes import written_notice

SECRET = signing.new_secret()
_KEY = cast("Any", SimpleNamespace(host="p.example", port=443, ssl=True, is_ssl=True))
#: What libraries say, and people need not read.
FOREIGN = re.compile(r"Errno|SSL|ssl\.c|aiohttp|Error|Exception|Client(?!')|\[|_|tls(v1|v13)? |None", re.ASCII)


# -- TLS


def demanding(highest: ssl.TLSVersion) -> ssl.SSLContext:
    """A server that asks for a client certificate."""
    context = certificate("good")
    context.verify_mode = ssl.CERT_REQUIRED
    authority().configure_trust(context)
    context.maximum_version = highest
    return context


def old() -> ssl.SSLContext:
    context = certificate("good")
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def without_our_ciphers() -> ssl.SSLContext:
    context = certificate("good")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA256")
    return context


def alerting(name: str) -> ssl.SSLContext:
    context = certificate("good")
    alert = getattr(ssl.AlertDescription, f"ALERT_DESCRIPTION_{name}")
    context.sni_callback = lambda *_: alert
    return context


@contextlib.contextmanager
def handshaking(context: ssl.SSLContext) -> Iterator[int]:
    """A server as most are: it sends the alert before it closes, as asyncio's does not."""

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as wrapped:
            wrapped.recv(65536)
            wrapped.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            wrapped.recv(1)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                serving.append(threading.Thread(target=serve, args=(listener.accept()[0],)))
                serving[-1].start()

    serving: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
    for each in serving:
        each.join()


async def sent(url: str) -> Answer:
    sender = HttpSender(5, allow_private=True, tls=trusting(), getaddrinfo=getaddrinfo)
    try:
        payload = sender.payload([written_notice()], single=False, gzip=False)
        return await sender.send(url, (SECRET,), "msg_1", payload, datetime.now(UTC))
    finally:
        await sender.close()


CLIENT_CERTIFICATE = "TLS: the partner requires a client certificate, and Rescind has none"
BROKEN_OFF = (
    "TLS: the partner broke off the handshake: it may require a client certificate, or share no cipher with us"
    " (handshake failure)"
)
INVALID = "TLS: the certificate is not valid: it"
TLS: dict[str, tuple[Callable[[], ssl.SSLContext], str]] = {
    # By TLS 1.3 the handshake is over for us before the partner has read that we have none.
    "client certificate, 1.3": (lambda: demanding(ssl.TLSVersion.TLSv1_3), CLIENT_CERTIFICATE),
    "client certificate, 1.2": (lambda: demanding(ssl.TLSVersion.TLSv1_2), BROKEN_OFF),
    "old TLS": (old, "TLS: the partner speaks no version of TLS that is taken here (1.2 or newer)"),
    "no common cipher": (without_our_ciphers, BROKEN_OFF),
    "no certificate": (lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), BROKEN_OFF),
    "other name": (lambda: alerting("UNRECOGNIZED_NAME"), "TLS: the partner does not serve the host name in its URL"),
    "unknown authority": (
        lambda: alerting("UNKNOWN_CA"),
        "TLS: the partner does not trust the client certificate, and Rescind has none (unknown CA)",
    ),
    "bad certificate": (
        lambda: alerting("BAD_CERTIFICATE"),
        "TLS: the partner refused the client certificate, and Rescind has none (bad certificate)",
    ),
    "denied": (
        lambda: alerting("ACCESS_DENIED"), "TLS: the partner denies access, maybe for want of a client certificate"
    ),
    "internal error": (lambda: alerting("INTERNAL_ERROR"), "TLS: the partner's TLS failed by an error of its own"),
    "an alert that is not in our table": (
        lambda: alerting("USER_CANCELLED"), "TLS: the partner broke it off (user cancelled)"
    ),
    "expired": (lambda: certificate("expired"), f"{INVALID} has expired"),
    "other host": (lambda: certificate("other"), f"{INVALID} is for another host"),
    "self-signed": (lambda: certificate("its own"), f"{INVALID} is self-signed"),
    "unknown issuer": (
        lambda: certificate("unknown"),
        f"{INVALID}s issuer is unknown, or not in the chain that the partner sends",
    ),
}  # fmt: skip


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize(("server", "words"), TLS.values(), ids=TLS)
def test_what_goes_wrong_with_tls(
    server: Callable[[], ssl.SSLContext], words: str, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    with handshaking(server()) as port, asyncio.Runner(loop_factory=loop) as runner:
        attempt = runner.run(sent(f"https://partner.example:{port}/")).attempt
    assert (attempt.status, attempt.error) == (None, words)
    assert attempt.fault is Fault.TLS
    assert attempt.ours is None


# -- everything else


def connecting(error: OSError) -> aiohttp.ClientConnectorError:
    return aiohttp.ClientConnectorError(_KEY, error)


def resolving(error: OSError) -> aiohttp.ClientConnectorDNSError:
    return aiohttp.ClientConnectorDNSError(_KEY, error)


def numbered(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def several(*numbers: int) -> OSError:
    """As the client joins what it got of several addresses."""
    return OSError("Multiple exceptions: " + ", ".join(str(numbered(number)) for number in numbers))


def tls(reason: str | None) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] some words (_ssl.c:1006)")
    error.reason = reason  # type: ignore[assignment]
    return error


NAME = "the host name cannot be resolved: "
WORDS: list[tuple[Exception, str]] = [
    (connecting(numbered(errno.ECONNREFUSED)), "cannot connect: the connection was refused"),
    (connecting(numbered(errno.ECONNRESET)), "cannot connect: the connection was reset"),
    (connecting(numbered(errno.EHOSTUNREACH)), "cannot connect: the host cannot be reached"),
    (connecting(numbered(errno.ENETUNREACH)), "cannot connect: the host's network cannot be reached"),
    (connecting(numbered(errno.ETIMEDOUT)), "cannot connect: the host does not answer"),
    (connecting(several(errno.ENETUNREACH, errno.ECONNREFUSED)),
     "cannot connect: the host's network cannot be reached; the connection was refused"),
    (connecting(several(errno.ECONNREFUSED, errno.ECONNREFUSED)), "cannot connect: the connection was refused"),
    (connecting(OSError("anything")), "cannot connect: the connection failed"),
    (connecting(ConnectionAbortedError("SSL handshake is taking longer than 60.0 seconds")),
     "cannot connect: the connection was given up"),
    (connecting(ConnectionResetError()), "cannot connect: the connection was reset"),
    (connecting(numbered(errno.EMFILE)), "cannot connect: this host has no file descriptors left"),
    (connecting(numbered(errno.ENOPROTOOPT)), "cannot connect: the system reports an error (ENOPROTOOPT)"),
    (resolving(socket.gaierror(socket.EAI_NONAME, "Name or service not known")), NAME + "nobody knows it"),
    (resolving(socket.gaierror(socket.EAI_NODATA, "No address")), NAME + "it has no address"),
    (resolving(socket.gaierror(socket.EAI_AGAIN, "Temporary failure")), NAME + "no name server has answered"),
    (resolving(ResolverSilent(socket.EAI_AGAIN, "Temporary failure")), NAME + "no name server has answered"),
    (resolving(socket.gaierror(socket.EAI_FAIL, "Failure")), NAME + "the name servers have failed"),
    (resolving(socket.gaierror(-99, "Odd")), NAME + "the resolver has failed"),
    (resolving(NoAddress()), NAME + "it has no address"),
    (resolving(numbered(errno.EMFILE)), NAME + "this host has no file descriptors left"),
    (aiohttp.ClientOSError(errno.ECONNRESET, "Connection reset by peer"), "the connection was reset"),
    (aiohttp.ClientOSError(errno.EPIPE, "Broken pipe"), "the connection was closed while the request was sent"),
    (aiohttp.ClientOSError(None, "Can not write request body for https://p.example/"), "the connection failed"),
    (aiohttp.ClientConnectionResetError("Cannot write to closing transport"),
     "the connection was closed while the request was sent"),
    (aiohttp.ServerDisconnectedError(), "the connection was closed before there was an answer"),
    (aiohttp.ClientPayloadError("Response payload is not completed"), "the answer ended before it was complete"),
    (aiohttp.ClientConnectionError("Connection closed"), "the connection was closed while the request was sent"),
    (aiohttp.InvalidURL("x"), "the URL is not one that can be called"),
    (ValueError("Port out of range"), "the URL is not one that can be called"),
    (aiohttp.ClientError("anything"), "the HTTP client failed and does not explain how"),
    (connecting(tls("TLSV13_ALERT_CERTIFICATE_REQUIRED")), CLIENT_CERTIFICATE),
    (connecting(tls("SSLV3_ALERT_HANDSHAKE_FAILURE")), BROKEN_OFF),
    (connecting(tls("WRONG_VERSION_NUMBER")), "TLS: what answers does not speak TLS"),
    (connecting(tls("UNEXPECTED_EOF_WHILE_READING")), "TLS: the partner closed the connection without ending TLS"),
    (connecting(ssl.SSLEOFError(8, "EOF occurred in violation of protocol")),
     "TLS: the partner closed the connection without ending TLS"),
    (connecting(tls("BAD_ECPOINT")), "TLS: it failed (bad ecpoint)"),
    (connecting(tls(None)), "TLS: it failed (no reason given)"),
    (connecting(tls("TLSV1_ALERT_EXPORT_RESTRICTION")), "TLS: the partner broke it off (export restriction)"),
    (NotHttp("a space stands before the colon of header 'X-Foo'"),
     "the answer is not HTTP: a space stands before the colon of header 'X-Foo'"),
    (Flooded("the partner sends without end"), "the partner sends without end"),
    (UnsafeAddress("10.0.0.1 is not a public address"), "10.0.0.1 is not a public address"),
    (MemoryError(), "no memory is left"),
    (KeyError("x"), "an error of our own, which the service's log shows"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "words"), WORDS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_error_is_told_in_our_words(error: Exception, words: str) -> None:
    assert explained(error) == words
    assert not FOREIGN.search(words.replace("TLS", "").replace("ENOPROTOOPT", ""))


@pytest.mark.parametrize(
    ("whom", "words"), [(None, "no connection in time"), ("127.0.0.1:1", "no complete answer in time")]
)
def test_what_was_not_in_time(whom: str | None, words: str) -> None:
    token = peer.set(whom)
    try:
        assert explained(aiohttp.SocketTimeoutError("Timeout on reading data from socket")) == words
    finally:
        peer.reset(token)


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_no_error_of_the_system_is_told_in_the_systems_words(number: int) -> None:
    for error in (connecting(numbered(number)), aiohttp.ClientOSError(number, os.strerror(number))):
        assert os.strerror(number) not in explained(error)
