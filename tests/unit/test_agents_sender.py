"""The HTTP sender against a real server. What partners do to it that misbehave stands in `test_misbehaving`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime

import orjson
import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from agents.webhooks import Answer, HttpSender, body_of
from streams import signing
from tests.misbehaving import Seen, close, listening
from tests.unit.fakes import written_notice

SECRET = signing.new_secret()
NOTICES = [written_notice(0), written_notice(1)]


@contextlib.asynccontextmanager
async def sending(timeout: float = 5.0, *, allow_private: bool = True) -> AsyncIterator[HttpSender]:
    sender = HttpSender(timeout, allow_private=allow_private)
    try:
        yield sender
    finally:
        await sender.close()


async def post(sender: HttpSender, url: str, *, single: bool = False, secrets: Sequence[str] = (SECRET,)) -> Answer:
    payload = sender.payload(NOTICES[:1] if single else NOTICES, single=single, gzip=False)
    return await sender.send(url, secrets, "msg_1", payload, datetime.now(UTC))


@contextlib.asynccontextmanager
async def partner(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """A server that speaks HTTP as it should."""
    app = web.Application(client_max_size=10 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}/hook"
    finally:
        await runner.cleanup()


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
    assert orjson.loads(answered.reply) == {"results": [{"id": "n0", "status": "received"}, {"id": 1}]}


async def test_while_a_secret_is_replaced_the_public_library_accepts_the_old_one_and_the_new_one() -> None:
    seen: list[tuple[bytes, dict[str, str]]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((await request.read(), dict(request.headers)))
        return web.Response()

    new, private = signing.new_secret(), signing.new_private_key()
    async with partner(answer) as url, sending() as sender:
        await post(sender, url, secrets=(new, private, SECRET))
    ((body, headers),) = seen
    for secret in (new, SECRET):
        assert len(Webhook(secret).verify(body, headers)) == 2
    with pytest.raises(WebhookVerificationError):
        Webhook(signing.new_secret()).verify(body, headers)
    signatures = headers["webhook-signature"].split(" ")
    assert [signature.partition(",")[0] for signature in signatures] == ["v1", "v1a", "v1"]


def test_one_notice_alone_is_one_event() -> None:
    body, media_type = body_of(NOTICES[:1], single=True)
    assert media_type == "application/cloudevents+json"
    event = orjson.loads(body)
    assert event["specversion"] == "1.0"
    assert event["data"]["action"] == "erase"
    assert orjson.loads(body_of(NOTICES[:1], single=False)[0]) == [event]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "2130706433", "0x7f.1", "0x7f000001", "127.1", "0177.0.0.1", "127.0.0.1.", "0",
        "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "①②⑦.0.0.1", "127。0。0。1",
    ],
)  # fmt: skip
async def test_no_spelling_of_loopback_is_dialled(host: str) -> None:
    seen = Seen()
    async with listening(close, seen, None) as port, sending(allow_private=False) as sender:
        attempt = (await post(sender, f"https://{host}:{port}/hook")).attempt
    assert attempt.status is None
    assert re.search("is not public|is not a public address|is not an address in its usual form", attempt.error or "")
    assert seen.connections == 0


@pytest.mark.parametrize(
    "url", ["", "nonsense", "http://", "http:///x", "ftp://p.example/", "http://[::1", "http://p:99999/", "//p"]
)
@pytest.mark.parametrize("allow_private", [True, False])
async def test_a_url_that_is_none_is_a_failed_attempt(url: str, allow_private: bool) -> None:
    async with sending(allow_private=allow_private) as sender:
        attempt = (await post(sender, url)).attempt
    assert attempt.status is None
    assert attempt.error


@pytest.mark.parametrize(
    "secrets", [["whsec_!"], ["whsec_é"], ["whsec_"], ["whsec_abcd"], ["whsk_abcd"], ["whpk_abcd"], [SECRET, "x"], []]
)
async def test_a_secret_that_is_none_is_a_failed_attempt(secrets: Sequence[str]) -> None:
    async with sending() as sender:
        attempt = (await post(sender, "http://127.0.0.1:9/", secrets=secrets)).attempt
    assert attempt.status is None
    assert re.match(r"a key is not wh\w+_ and base64|a key of wh\w+_ has not|there is no key", attempt.error or "")


async def test_a_sender_that_never_sent_may_be_closed() -> None:
    async with sending():
        pass


async def test_gzip_is_signed_as_the_partners_program_sees_it() -> None:
    seen: list[str | bytes] = []

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()  # aiohttp has unpacked it
        seen.extend((request.headers["content-encoding"], body))
        signing.verify(SECRET, request.headers, body, datetime.now(UTC))
        return web.Response()

    async with partner(answer) as url, sending() as sender:
        payload = sender.payload(NOTICES, single=False, gzip=True)
        answered = await sender.send(url, SECRET, "msg_1", payload, datetime.now(UTC))
    assert answered.attempt.accepted
    assert answered.address == url.removeprefix("http://").removesuffix("/hook")
    assert seen == ["gzip", payload.body]
