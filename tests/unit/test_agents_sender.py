"""The HTTP sender against a real server, and against everything that a partner's server may do to it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from standardwebhooks.webhooks import Webhook

from agents import webhooks
from agents.webhooks import Answer, HttpSender, body_of
from streams import signing
from tests.unit.fakes import notice

SECRET = signing.new_secret()
NOTICES = [notice(0), notice(1)]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def sending(timeout: float = 5.0, *, allow_private: bool = True) -> AsyncIterator[HttpSender]:
    sender = HttpSender(timeout, allow_private=allow_private)
    try:
        yield sender
    finally:
        await sender.close()


async def post(sender: HttpSender, url: str, *, single: bool = False, secret: str = SECRET) -> Answer:
    return await sender.send(url, secret, "msg_1", NOTICES, single=single, now=datetime.now(UTC))


@contextlib.asynccontextmanager
async def partner(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """A server that speaks HTTP as it should."""
    app = web.Application(client_max_size=10 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http{'s' if tls else ''}://{host}:{port}/hook"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def raw_partner(handle: Handler) -> AsyncIterator[str]:
    """A server that does with the connection as it likes."""

    tasks: set[asyncio.Task[None] | None] = set()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await handle(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield f"http://{host}:{port}/hook"
    finally:
        server.close()
        left = [task for task in tasks if task is not None]
        for task in left:
            task.cancel()
        await asyncio.gather(*left)


async def test_what_arrives_is_signed_as_the_public_library_checks_it() -> None:
    seen: list[tuple[bytes, dict[str, str]]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((await request.read(), dict(request.headers)))
        return web.json_response({"results": [{"id": "n0", "status": "received"}, {"id": 1}]})

    async with partner(answer) as url, sending() as sender:
        answered = await post(sender, url)
    ((body, headers),) = seen
    events = Webhook(SECRET).verify(body, headers)
    assert [event["id"] for event in events] == ["n0", "n1"]
    lowered = {name.lower(): value for name, value in headers.items()}
    assert signing.verify(SECRET, lowered, body, datetime.now(UTC)) == lowered["webhook-id"] == "msg_1"
    assert lowered["content-type"] == "application/cloudevents-batch+json"
    assert answered.attempt.accepted
    assert answered.attempt.error is None
    assert answered.duration_ms > 0
    assert [item.id for item in answered.items] == ["n0"]


def test_one_notice_alone_is_one_event() -> None:
    body, media_type = body_of(NOTICES[:1], single=True)
    assert media_type == "application/cloudevents+json"
    event = orjson.loads(body)
    assert event["specversion"] == "1.0"
    assert event["data"]["action"] == "erase"
    assert orjson.loads(body_of(NOTICES[:1], single=False)[0]) == [event]


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    paths: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        paths.append(request.path)
        raise web.HTTPTemporaryRedirect("/elsewhere")

    async with partner(answer) as url, sending() as sender:
        answered = await post(sender, url)
    assert (answered.attempt.status, answered.attempt.accepted) == (307, False)
    assert paths == ["/hook"]


@pytest.mark.parametrize("status", [400, 404, 410, 422, 429, 500, 503, 599])
async def test_what_is_no_2xx_fails_with_what_the_partner_said(status: int) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text="so\n sorry " + "x" * 9000, headers={"retry-after": "7"})

    async with partner(answer) as url, sending() as sender:
        attempt = (await post(sender, url)).attempt
    assert (attempt.status, attempt.retry_after, attempt.accepted) == (status, "7", False)
    assert attempt.error is not None
    assert attempt.error.startswith(f"HTTP {status}: so sorry xx")
    assert len(attempt.error) < 600


async def test_items_count_only_with_a_2xx() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"results": [{"id": "n0", "status": "received"}]}, status=500)

    async with partner(answer) as url, sending() as sender:
        assert (await post(sender, url)).items == ()


async def test_cookies_are_not_kept() -> None:
    cookies: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        cookies.append(dict(request.cookies))
        response = web.Response()
        response.set_cookie("session", "1")
        return response

    async with partner(answer) as url, sending() as sender:
        # By name, since cookies of an address would not be kept anyhow.
        url = url.replace("127.0.0.1", "localhost")
        assert (await post(sender, url)).attempt.accepted
        assert (await post(sender, url)).attempt.accepted
    assert cookies == [{}, {}]


async def _hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _hang_within_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-")
    await reader.read()


async def _hang_within_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
    await reader.read()


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"1\r\n \r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("handle", [_hang, _hang_within_headers, _hang_within_body, _drip])
async def test_a_partner_that_hangs_has_its_time_and_no_more(handle: Handler) -> None:
    async with raw_partner(handle) as url, sending(0.3) as sender:
        started = time.monotonic()
        attempt = (await post(sender, url)).attempt
        assert time.monotonic() - started < 2
    assert (attempt.status, attempt.error) == (None, "no complete answer in time")


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_a_partner_that_answers_and_does_not_read_has_its_time_and_no_more() -> None:
    async def answer_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    many = [notice(number) for number in range(1000)] * 20
    async with raw_partner(answer_only) as url, sending(0.5) as sender:
        started = time.monotonic()
        await sender.send(url, SECRET, "msg_1", many, single=False, now=datetime.now(UTC))
        assert time.monotonic() - started < 3


async def _reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    writer.transport.abort()


async def _nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 smtp.example ESMTP\r\n")


async def _empty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)


async def _endless_header(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nx: " + b"x" * 100_000)
    await reader.read()


async def _cut_short(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")


@pytest.mark.parametrize(
    ("handle", "words"),
    [
        (_reset, "connection"),
        (_nonsense, "^the answer is not HTTP: Bad status line"),
        (_empty, "^the connection was closed before there was an answer$"),
        (_endless_header, "^the answer is not HTTP: "),
        (_cut_short, "^the answer ended before it was complete$"),
    ],
)
async def test_a_broken_connection_is_a_failed_attempt(handle: Handler, words: str) -> None:
    async with raw_partner(handle) as url, sending() as sender:
        attempt = (await post(sender, url)).attempt
    assert attempt.status is None
    assert attempt.error
    assert re.search(words, attempt.error), attempt.error
    assert len(attempt.error) <= 1000


async def test_nobody_listening_is_a_failed_attempt() -> None:
    async with raw_partner(_empty) as url:
        pass
    async with sending() as sender:
        attempt = (await post(sender, url)).attempt
    assert (attempt.status, attempt.error) == (None, "cannot connect: Connection refused")


async def test_a_name_that_nobody_knows_is_told_as_such() -> None:
    async with sending(allow_private=False) as sender:
        attempt = (await post(sender, "https://nobody.invalid/")).attempt  # RFC 6761 section 6.4
    assert attempt.status is None
    assert (attempt.error or "").startswith("the host name cannot be resolved: ")


async def test_tls_to_a_partner_that_speaks_none_is_told_as_such() -> None:
    async with raw_partner(_nonsense) as url, sending() as sender:
        attempt = (await post(sender, url.replace("http:", "https:"))).attempt
    assert attempt.status is None
    assert (attempt.error or "").startswith("TLS: ")


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path))
    asked: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request)
        return web.Response()

    async with partner(answer, context) as url, sending() as sender:
        attempt = (await post(sender, url)).attempt
    assert attempt.status is None
    assert (attempt.error or "").startswith("TLS: the certificate is not valid: ")
    assert asked == []


def self_signed(directory: Path) -> Path:
    """A certificate for localhost and its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = directory / "self-signed.pem"
    path.write_bytes(plain + certificate.public_bytes(pem))
    return path


async def test_an_endless_reply_is_read_to_the_cap() -> None:
    sent = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while sent < 50 * webhooks.REPLY_CAP:
                await response.write(b" " * 65_536)
                sent += 65_536
        return response

    async with partner(answer) as url, sending() as sender:
        answered = await post(sender, url)
    assert answered.attempt.accepted
    assert answered.items == ()
    # What lies in the buffers of both sides comes on top.
    assert sent < 20 * webhooks.REPLY_CAP


async def test_a_compressed_reply_is_not_inflated() -> None:
    async def answer(_: web.Request) -> web.Response:
        response = web.Response(body=b" " * (8 * webhooks.REPLY_CAP))
        response.enable_compression(web.ContentCoding.gzip)
        return response

    async with partner(answer) as url, sending() as sender:
        answered = await post(sender, url)
    assert answered.attempt.accepted
    assert answered.items == ()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "2130706433", "0x7f.1", "0x7f000001", "127.1", "0177.0.0.1", "127.0.0.1.", "0",
        "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "①②⑦.0.0.1", "127。0。0。1",
    ],
)  # fmt: skip
async def test_no_spelling_of_loopback_is_dialled(host: str) -> None:
    dialled: list[bool] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dialled.append(True)

    async with raw_partner(note) as url, sending(allow_private=False) as sender:
        attempt = (await post(sender, url.replace("127.0.0.1", host))).attempt
    assert attempt.status is None
    assert attempt.error
    assert dialled == []


@pytest.mark.parametrize(
    "url", ["", "nonsense", "http://", "http:///x", "ftp://p.example/", "http://[::1", "http://p:99999/", "//p"]
)
@pytest.mark.parametrize("allow_private", [True, False])
async def test_a_url_that_is_none_is_a_failed_attempt(url: str, allow_private: bool) -> None:
    async with sending(allow_private=allow_private) as sender:
        attempt = (await post(sender, url)).attempt
    assert attempt.status is None
    assert attempt.error


@pytest.mark.parametrize("secret", ["whsec_!", "whsec_é", "whsec_abc"])
async def test_a_secret_that_is_none_is_a_failed_attempt(secret: str) -> None:
    async with sending() as sender:
        attempt = (await post(sender, "http://127.0.0.1:9/", secret=secret)).attempt
    assert (attempt.status, attempt.error) == (None, "the secret is not base64")


async def test_a_sender_that_never_sent_may_be_closed() -> None:
    async with sending():
        pass
