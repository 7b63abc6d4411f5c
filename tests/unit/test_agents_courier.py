"""The courier: one batch to its partner, whatever the partner and the log do meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from agents import consuming
from agents.delivery import Batch, Courier
from agents.directory import Directory
from agents.retrying import Attempt, Backoff
from agents.webhooks import Answer, ReplyItem, parse_reply
from streams import ids, signing
from streams.cloudevents import Envelope, encode
from streams.events import (
    Acknowledged,
    AckStatus,
    Action,
    BatchDelivered,
    BatchFailed,
    Outcome,
    PartnerStatus,
    RefusalReason,
)
from streams.sealing import Sealer
from streams.topics import ACKNOWLEDGEMENTS, DELIVERIES
from tests.unit.fakes import DOWN, OK, FakeClock, FakeSender, MemoryLog, announce, notice, partner, settle

BATCH = Batch(lane=3, offset=7, partner="p", notices=(notice(0), notice(1)))
AT_ONCE = Backoff(base=0.0, cap=0.0)
IN_AN_HOUR = Backoff(base=36_000.0, cap=36_000.0)


class Scene:
    def __init__(self, *answers: Answer, backoff: Backoff = AT_ONCE) -> None:
        self.log = MemoryLog()
        self.directory = Directory(self.log)
        self.sender = FakeSender(list(answers))
        self.clock = FakeClock()
        self.sealer = Sealer(Fernet.generate_key().decode())
        self.secret = signing.new_secret()
        self.courier = Courier(self.log, self.directory, self.sender, self.sealer, self.clock, backoff)

    async def announce(self, **changes: Any) -> None:
        sealed = {"sealed_secret": self.sealer.seal(self.secret)}
        await announce(self.log, self.directory, partner("p", **(sealed | changes)))

    @asynccontextmanager
    async def delivering(self, batch: Batch = BATCH) -> AsyncIterator[asyncio.Task[None]]:
        """A delivery under way, as far as it comes without time passing."""
        task = asyncio.ensure_future(self.courier.deliver(batch))
        await settle()
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def deliver(self, batch: Batch = BATCH) -> None:
        await asyncio.wait_for(self.courier.deliver(batch), 5)

    def deliveries(self) -> list[Any]:
        return [event.data for event in self.log.events(DELIVERIES.name)]

    def acknowledged(self) -> list[Acknowledged]:
        return [event.data for event in self.log.events(ACKNOWLEDGEMENTS.name) if isinstance(event.data, Acknowledged)]


async def test_what_the_partner_takes_is_recorded_once() -> None:
    scene = Scene(OK)
    await scene.announce()
    await scene.deliver()
    (request,) = scene.sender.requests
    assert (request.url, request.secret, request.notices) == ("https://p.example/hook", scene.secret, BATCH.notices)
    (delivered,) = scene.deliveries()
    assert isinstance(delivered, BatchDelivered)
    assert (delivered.lane, delivered.first_offset, delivered.last_offset, delivered.attempt) == (3, 7, 7, 1)
    assert delivered.webhook_id == request.webhook_id == ids.webhook_id(3, 7)
    assert scene.acknowledged() == []


async def test_a_retry_repeats_the_webhooks_id_and_counts() -> None:
    scene = Scene(DOWN, Answer(Attempt(500, "HTTP 500"), 1.0), Answer(Attempt(302, "HTTP 302"), 1.0), OK)
    await scene.announce()
    await scene.deliver()
    assert len({request.webhook_id for request in scene.sender.requests}) == 1
    *failed, delivered = scene.deliveries()
    assert [(event.attempt, event.status_code) for event in failed] == [(1, None), (2, 500), (3, 302)]
    assert all(isinstance(event, BatchFailed) and event.next_attempt_at is not None for event in failed)
    assert delivered.attempt == 4
    assert len({event.id for event in scene.log.events(DELIVERIES.name)}) == 4


async def test_a_replay_after_a_crash_repeats_the_webhooks_id() -> None:
    scene = Scene(OK)
    await scene.announce()
    await scene.deliver()
    await scene.deliver()
    assert len({request.webhook_id for request in scene.sender.requests}) == 1
    assert len({event.id for event in scene.log.events(DELIVERIES.name)}) == 1


async def test_a_log_that_is_full_does_not_make_the_partner_hear_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consuming, "_FIRST_DELAY", 0.0)
    scene = Scene(OK)
    await scene.announce()
    scene.log.failures = 5
    await scene.deliver()
    assert len(scene.sender.requests) == 1
    assert len(scene.deliveries()) == 1


@pytest.mark.parametrize("status", [PartnerStatus.PAUSED, PartnerStatus.SUSPENDED])
async def test_a_partner_that_is_paused_hears_nothing_until_it_is_resumed(status: PartnerStatus) -> None:
    scene = Scene(OK)
    await scene.announce(status=status)
    async with scene.delivering() as task:
        assert scene.sender.requests == []
        await scene.announce(status=status, revision=2)
        await settle()
        assert scene.sender.requests == []
        await scene.announce(revision=3)
        await asyncio.wait_for(task, 1)
    assert len(scene.sender.requests) == 1


async def test_a_pause_holds_a_delivery_that_is_waiting_to_be_tried_again() -> None:
    scene = Scene(DOWN, OK, backoff=IN_AN_HOUR)
    await scene.announce()
    async with scene.delivering() as task:
        await scene.announce(status=PartnerStatus.PAUSED, revision=2)
        await settle()
        assert len(scene.sender.requests) == 1
        await scene.announce(revision=3)
        await asyncio.wait_for(task, 1)


@pytest.mark.parametrize("before", [PartnerStatus.PAUSED, PartnerStatus.ACTIVE])
async def test_a_removal_ends_it(before: PartnerStatus) -> None:
    scene = Scene(DOWN, backoff=IN_AN_HOUR)
    await scene.announce(status=before)
    async with scene.delivering() as task:
        assert not task.done()
        await scene.announce(status=PartnerStatus.REMOVED, revision=2)
        await asyncio.wait_for(task, 1)
    assert not any(isinstance(event, BatchDelivered) for event in scene.deliveries())


async def test_what_waits_for_a_removed_or_unknown_partner_holds_up_nobody() -> None:
    scene = Scene(OK)
    await scene.announce(status=PartnerStatus.REMOVED)
    await scene.deliver()
    await scene.deliver(Batch(3, 8, "nobody", (notice(0),)))
    assert scene.sender.requests == []
    assert scene.deliveries() == []


async def test_a_new_address_ends_the_wait() -> None:
    scene = Scene(DOWN, OK, backoff=IN_AN_HOUR)
    await scene.announce()
    async with scene.delivering() as task:
        await announce(scene.log, scene.directory, partner("other"))
        await settle()
        assert len(scene.sender.requests) == 1
        await scene.announce(url="https://new.example", revision=2)
        await asyncio.wait_for(task, 1)
    assert [request.url for request in scene.sender.requests] == ["https://p.example/hook", "https://new.example"]


async def test_a_new_address_that_comes_during_an_attempt_is_tried_at_once() -> None:
    scene = Scene(DOWN, OK, backoff=IN_AN_HOUR)
    await scene.announce()
    changes = [partner("p", sealed_secret=scene.sealer.seal(scene.secret), url="https://new.example", revision=2)]

    def change() -> None:
        if changes:
            scene.directory.take(1, b"p", encode(Envelope("e", scene.clock(), changes.pop())), None)

    scene.sender.before_answer = change
    await scene.deliver()
    assert scene.sender.requests[-1].url == "https://new.example"


async def test_a_delivery_waits_for_registrations_that_are_durable() -> None:
    scene = Scene(OK)
    await scene.announce(status=PartnerStatus.REMOVED)
    scene.log.ends[next(iter(scene.log.ends))] += 1
    async with scene.delivering() as task:
        assert not task.done()


async def test_a_secret_that_cannot_be_opened_is_that_partners_trouble_alone() -> None:
    scene = Scene(OK, backoff=IN_AN_HOUR)
    await scene.announce(sealed_secret=Sealer(Fernet.generate_key().decode()).seal(scene.secret))
    async with scene.delivering() as task:
        (failed,) = scene.deliveries()
        assert "sealed with another key" in failed.error
        assert scene.sender.requests == []
        await scene.announce(revision=2)
        await asyncio.wait_for(task, 1)


@pytest.mark.parametrize("retry_after", ["Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "\x00", "9" * 5000])
async def test_no_header_of_a_partners_stops_the_courier(retry_after: str) -> None:
    scene = Scene(Answer(Attempt(503, "busy", retry_after), 1.0), OK)
    await scene.announce()
    await scene.deliver()


@pytest.mark.parametrize(("size", "notices", "single"), [(1, 1, True), (1, 2, False), (2, 1, False)])
async def test_one_notice_goes_bare_to_a_partner_that_takes_one(size: int, notices: int, single: bool) -> None:
    scene = Scene(OK)
    await scene.announce(batch_size=size)
    await scene.deliver(Batch(3, 7, "p", tuple(notice(number) for number in range(notices))))
    assert scene.sender.requests[0].single is single


def item(**fields: Any) -> ReplyItem:
    return ReplyItem.model_validate({"id": "n0", "status": "received"} | fields)


async def replied(*items: ReplyItem, action: Action = Action.ERASE) -> list[Acknowledged]:
    scene = Scene(Answer(Attempt(200), 1.0, items))
    await scene.announce()
    await scene.deliver(Batch(3, 7, "p", (notice(0, action), notice(1, action))))
    return scene.acknowledged()


async def test_a_reply_speaks_for_the_notices_of_its_own_batch_only() -> None:
    said = await replied(item(), item(id="n9"), item(id=""), item(id="n1", status="in_progress", detail="soon"))
    assert [(event.notice_id, event.subject, event.status, event.detail, event.via) for event in said] == [
        ("n0", "user:0", AckStatus.RECEIVED, None, "reply"),
        ("n1", "user:1", AckStatus.IN_PROGRESS, "soon", "reply"),
    ]


async def test_what_a_reply_says_twice_it_says_once() -> None:
    assert len(await replied(item(), item(), item(status="completed"), item(status="completed"))) == 2


@pytest.mark.parametrize(
    ("action", "fields", "outcome", "reason"),
    [
        (Action.ERASE, {"status": "completed"}, Outcome.DELETED, None),
        (Action.STOP, {"status": "completed"}, Outcome.SUPPRESSED, None),
        (Action.RESUME, {"status": "completed"}, Outcome.RESUMED, None),
        (Action.ERASE, {"status": "completed", "outcome": "not_found"}, Outcome.NOT_FOUND, None),
        (Action.ERASE, {"status": "refused"}, None, RefusalReason.OTHER),
        (Action.ERASE, {"status": "refused", "reason": "legal_hold"}, None, RefusalReason.LEGAL_HOLD),
        (Action.ERASE, {"status": "received", "outcome": "deleted", "reason": "other"}, None, None),
        (Action.ERASE, {"status": "refused", "outcome": "deleted", "reason": "exempt"}, None, RefusalReason.EXEMPT),
        (Action.ERASE, {"status": "completed", "reason": "exempt"}, Outcome.DELETED, None),
    ],
)
async def test_short_answers_mean_what_they_say(
    action: Action, fields: dict[str, Any], outcome: Outcome | None, reason: RefusalReason | None
) -> None:
    (said,) = await replied(item(**fields), action=action)
    assert (said.outcome, said.reason) == (outcome, reason)


async def test_the_same_answer_in_short_and_at_length_is_one_acknowledgement() -> None:
    assert len(await replied(item(status="completed"), item(status="completed", outcome="deleted"))) == 1


async def test_a_detail_that_is_too_long_is_cut_and_the_answer_kept() -> None:
    (said,) = await replied(
        *parse_reply(b'{"results": [{"id": "n0", "status": "received", "detail": "%s"}]}' % (b"x" * 5000))
    )
    assert said.detail == "x" * 1000


GOOD = b'{"id": "n0", "status": "received", "more": [1]}'


@pytest.mark.parametrize(
    ("body", "items"),
    [
        (b"", 0),
        (b"ok", 0),
        (b"\xff\xfe", 0),
        (b"null", 0),
        (b"[]", 0),
        (b'{"results": {}}', 0),
        (b'{"results": "received"}', 0),
        (b'{"results": []}', 0),
        (b'{"results": [' + GOOD + b"]}", 1),
        (b'{"results": [null, 1, "x", [], {}, ' + GOOD + b', {"id": 1, "status": "received"}]}', 1),
        (b'{"results": [{"id": "n0", "status": "eaten"}, {"id": "n0", "status": "completed", "outcome": "?"}]}', 0),
        (b'{"results": [{"id": "n0", "status": "received", "detail": {"a": []}}]}', 0),
        (b'{"results": ' + b"[" * 900 + b"]" * 900 + b"}", 0),
        (b"[" * 100_000, 0),
        (b'{"results": [' + GOOD, 0),
    ],
)
def test_a_strange_reply_is_no_error(body: bytes, items: int) -> None:
    assert len(parse_reply(body)) == items


values = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text()
    | st.sampled_from(["n0", "received", "completed"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["id", "status", "detail", "results"]), inner),
)


@given(st.binary() | values.map(lambda value: json.dumps({"results": value}).encode()))
def test_no_reply_raises(body: bytes) -> None:
    parse_reply(body)
