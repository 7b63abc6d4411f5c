"""Test events: sent as notices are, taken by the partner's kit, and whatever becomes of them explained."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from cryptography.fernet import Fernet

from agents.faults import NO_DESCRIPTOR, Fault
from agents.replies import read
from agents.retrying import Attempt
from agents.webhooks import Answer, HttpSender
from gateway import Trial
from rescind.partner import receive
from rescind.trying import Trials, explained
from streams import signing
from streams.clock import utc_now
from streams.sealing import Sealer
from streams.variants import plain_id
from tests.misbehaving import Seen, Serve, banner, certificate, close, deaf, listening, refusing
from tests.unit.fakes import partner
from tests.unit.test_agents_sender import partner as serving
from tests.unit.test_agents_sender import sending

SECRET = signing.new_secret()
SEALER = Sealer(Fernet.generate_key().decode())


def sealed(sealer: Sealer) -> list[dict[str, str]]:
    return [{"scheme": "v1", "sealed": sealer.seal(SECRET)}]


async def tried(sender: HttpSender, url: str, timeout: float = 5.0, **changes: Any) -> Trial:
    fields = {"url": url, "secrets": sealed(SEALER)} | changes
    return await Trials(sender, SEALER, utc_now, timeout).test(partner(**fields), "msg_1")


def test_what_is_our_own_fault_is_not_told_as_the_partners() -> None:
    failed = Attempt(None, "cannot connect: Too many open files", fault=Fault.CONNECT, ours=NO_DESCRIPTOR)
    outcome, said = explained(Answer(failed, 1.0), 5.0)
    assert outcome == "own_fault"
    assert said == (
        "Nothing was sent: this host has no file descriptors left (cannot connect: Too many open files).",
        "That says nothing of the partner. Mend it where this gateway runs, and test again.",
    )


@pytest.mark.parametrize("batch_size", [1, 100])
@pytest.mark.parametrize("gzip", [False, True])
async def test_a_partner_with_the_kit_takes_it_and_finds_no_notice_in_it(batch_size: int, gzip: bool) -> None:
    seen: list[tuple[str, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        delivery = receive(SECRET, dict(request.headers), body, datetime.now(UTC))
        assert delivery.notices == ()
        seen.append((request.content_type, orjson.loads(body)))
        return web.Response()

    async with serving(answer) as url, sending() as sender:
        trial = await tried(sender, url, batch_size=batch_size, gzip=gzip)
    assert (trial.ok, trial.outcome, trial.status, trial.reply, trial.webhook_id) == (
        True,
        "accepted",
        200,
        "",
        "msg_1",
    )
    assert trial.address is not None
    assert trial.address.startswith("127.0.0.1:")
    ((media_type, body),) = seen
    event = body if batch_size == 1 else body[0]
    assert media_type == f"application/cloudevents{'' if batch_size == 1 else '-batch'}+json"
    assert (event["type"], event["data"]) == ("io.rescind.test", {"partner": "p"})
    assert plain_id(event["id"].upper()) == event["id"], "a UUID, as the ids of notices are"


async def test_a_reply_that_is_no_text_is_not_shown(tmp_path: Path) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=b"\xff\x00", status=500)

    async with serving(answer) as url, sending() as sender:
        trial = await tried(sender, url)
    assert (trial.ok, trial.outcome, trial.status, trial.reply) == (False, "failed", 500, None)


@asynccontextmanager
async def misbehaving(serve: Serve, kind: str | None = None) -> AsyncIterator[str]:
    tls = None if kind is None else certificate(kind)
    async with listening(serve, Seen(), tls) as port:
        yield f"http{'s' if tls else ''}://127.0.0.1:{port}/hook"


async def _certificate(tmp_path: Path, stack: AsyncExitStack) -> str:
    return await stack.enter_async_context(misbehaving(close, "unknown"))


async def _nobody(tmp_path: Path, stack: AsyncExitStack) -> str:
    return f"http://127.0.0.1:{await stack.enter_async_context(refusing(close, Seen(), None))}/hook"


async def _deaf(tmp_path: Path, stack: AsyncExitStack) -> str:
    return await stack.enter_async_context(misbehaving(deaf))


async def _mail(tmp_path: Path, stack: AsyncExitStack) -> str:
    return await stack.enter_async_context(misbehaving(banner))


async def _no_tls(tmp_path: Path, stack: AsyncExitStack) -> str:
    return (await _mail(tmp_path, stack)).replace("http:", "https:")


async def _rude(tmp_path: Path, stack: AsyncExitStack) -> str:
    return await stack.enter_async_context(misbehaving(close))


async def _unknown(tmp_path: Path, stack: AsyncExitStack) -> str:
    return "https://nobody.invalid/"


async def _inside(tmp_path: Path, stack: AsyncExitStack) -> str:
    return "https://127.0.0.1/"


@pytest.mark.parametrize(
    ("scene", "allow_private", "fault"),
    [
        (_nobody, True, Fault.CONNECT),
        (_deaf, True, Fault.TIMEOUT),
        (_mail, True, Fault.BROKEN),
        (_rude, True, Fault.BROKEN),
        (_no_tls, True, Fault.TLS),
        (_certificate, True, Fault.TLS),
        (_unknown, False, Fault.DNS),
        (_inside, False, Fault.ADDRESS),
    ],
)
async def test_what_got_no_answer_says_why(tmp_path: Path, scene: Any, allow_private: bool, fault: Fault) -> None:
    async with AsyncExitStack() as stack:
        sender = await stack.enter_async_context(sending(0.5, allow_private=allow_private))
        trial = await tried(sender, await scene(tmp_path, stack))
    assert (trial.ok, trial.outcome, trial.status) == (False, fault, None)
    said, advice, consequence = trial.explanation
    assert said.startswith("There was no answer: ")
    assert advice
    assert consequence.startswith("A notice would be tried again")


async def test_a_secret_that_nobody_can_open_is_our_fault() -> None:
    async with sending() as sender:
        trial = await tried(sender, "https://p.example/", secrets=sealed(Sealer(Fernet.generate_key().decode())))
    assert (trial.ok, trial.outcome, trial.address) == (False, "secret", None)
    assert "sealing key" in trial.explanation[0]


def answered(status: int, reply: bytes = b"", *, ms: float = 3.0, retry_after: str | None = None) -> Answer:
    error = None if 200 <= status < 300 else f"HTTP {status}"
    return Answer(Attempt(status, error, retry_after), ms, "192.0.2.1:443", reply)


@pytest.mark.parametrize(
    ("answer", "outcome", "words"),
    [
        (answered(200), "accepted", ["takes it: HTTP 200, after 3 ms", "empty"]),
        (answered(204), "accepted", ["HTTP 204"]),
        (answered(200, b'{"results": [{"id": "n", "status": "received"}]}'), "accepted", ["acknowledges the event"]),
        (
            answered(200, b'{"results": [{"id": "n", "status": "done"}]}'),
            "accepted",
            ["is not understood; a reply to notices would be read alike: `status` of"],
        ),
        (
            answered(200, b'[{"id": "n", "status": "received", "detail": []}]'),
            "accepted",
            ["not all of it is kept", "`detail`"],
        ),
        (answered(200, b'{"results": []}'), "accepted", ["acknowledges nothing"]),
        (answered(200, b'{"ok": true}'), "accepted", ["acknowledges nothing"]),
        (answered(200, b"<html>"), "accepted", ["acknowledges nothing"]),
        (answered(200, ms=4000), "accepted", ["is slow: an answer that takes longer than 10 s"]),
        (
            answered(302),
            "redirect",
            ["does not take it: HTTP 302, after 3 ms", "must be the final address", "tried again, for"],
        ),
        (answered(401), "unauthorized", ["Does the signature hold?", "joined by dots", "five minutes"]),
        (answered(403), "unauthorized", ["Does the signature hold?", "joined by dots"]),
        (answered(404), "not_found", ["must take a POST"]),
        (answered(405), "not_found", ["must take a POST"]),
        (answered(410), "gone", ["would be suspended"]),
        (answered(400), "refused", ["Does the signature hold?", "joined by dots", "2xx to events", "parked"]),
        (answered(413), "refused", ["undeliverable after three refusals"]),
        (answered(422), "refused", ["undeliverable after three refusals"]),
        (answered(429, retry_after="7"), "busy", ["come again after '7'", "tried again, for"]),
        (answered(503), "busy", ["tried again, for"]),
        (answered(500), "failed", ["for as long as it takes"]),
        (answered(418, ms=9000), "failed", ["is slow"]),
        (Answer(Attempt(None, "of a kind that nobody expected"), 1.0), "broken", ["There was no answer"]),
    ],
)
def test_what_an_answer_means(answer: Answer, outcome: str, words: list[str]) -> None:
    found, said = explained(answer, 10, read(answer.reply, ["n"]))
    assert found == outcome
    for each in words:
        assert each in " ".join(said)
    assert ("slow" in " ".join(said)) == (answer.duration_ms > 3333)


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_has_its_advice(fault: Fault) -> None:
    _, (_, advice, consequence) = explained(Answer(Attempt(None, "x", fault=fault), 1.0), 10)
    assert advice.endswith(".")
    assert consequence.startswith("A notice would be tried again")


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(200, "accepted"), (400, "refused"), (401, "failed"), (410, "suspend"), (500, "failed"), (429, "retry")],
)
async def test_the_verdict_is_the_one_of_delivery(status: int, verdict: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status)

    async with serving(answer) as url, sending() as sender:
        trial = await tried(sender, url)
    assert (trial.verdict, trial.ok) == (verdict, status == 200)


async def test_what_would_be_lost_of_a_reply_is_named() -> None:
    async def answer(request: web.Request) -> web.Response:
        (event,) = await request.json()
        return web.json_response({"results": [{"id": event["id"], "status": "completed", "outcome": "anonymized"}]})

    async with serving(answer) as url, sending() as sender:
        trial = await tried(sender, url)
    assert trial.ok
    assert trial.reply_problem is not None
    assert "anonymized" in trial.reply_problem
    assert trial.reply_problem in trial.explanation[-1]
