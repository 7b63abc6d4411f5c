"""The courier: one batch to its partner, whatever the partner and the log do meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from agents import consuming
from agents.attempts import Attempts
from agents.delivery import Alone, Courier
from agents.directory import Directory
from agents.parcels import Batch
from agents.retrying import Attempt, Backoff
from agents.webhooks import Answer, ReplyItem, parse_reply
from streams import ids, signing
from streams.cloudevents import Envelope
from streams.events import (
    Acknowledged,
    AckStatus,
    BatchDelivered,
    BatchFailed,
    Outcome,
    PartnerStatus,
    RefusalReason,
    ReplyAcknowledged,
    SealedSecret,
)
from streams.kinds import Action
from streams.records import TopicPartition, record
from streams.sealing import Sealer
from streams.signing import Scheme
from streams.topics import ACKNOWLEDGEMENTS, DELIVERIES, PARTNERS
from tests.conformance.harness import until
from tests.unit.fakes import (
    DOWN,
    OK,
    FakeClock,
    FakeSender,
    MemoryLog,
    announce,
    message,
    partner,
    settle,
    written_notice,
)

BATCH = Batch(lane=3, first=7, last=7, partner="p", notices=(written_notice(0), written_notice(1)), offsets=(7, 7))
AT_ONCE = Backoff(base=0.0, cap=0.0)
IN_AN_HOUR = Backoff(base=36_000.0, cap=36_000.0)


def sealed(sealer: Sealer, secret: str, expires_at: datetime | None = None) -> SealedSecret:
    return SealedSecret(scheme=Scheme.V1, sealed=sealer.seal(secret), expires_at=expires_at)


class Scene:
    def __init__(self, *answers: Answer, backoff: Backoff = AT_ONCE) -> None:
        self.log = MemoryLog()
        self.directory = Directory(self.log)
        self.sender = FakeSender(list(answers))
        self.clock = FakeClock()
        self.sealer = Sealer(Fernet.generate_key().decode())
        self.secret = signing.new_secret()
        attempts = Attempts(self.log, self.directory, self.sender, self.sealer, self.clock, backoff)
        self.courier = Courier(attempts)

    async def announce(self, **changes: Any) -> None:
        secrets = (sealed(self.sealer, self.secret),)
        await announce(self.log, self.directory, partner("p", **({"secrets": secrets} | changes)))

    @asynccontextmanager
    async def delivering(self, batch: Batch = BATCH) -> AsyncIterator[asyncio.Task[None]]:
        """A delivery under way, as far as it comes without time passing."""
        task = asyncio.ensure_future(self.delivered(batch))
        await settle()
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def delivered(self, batch: Batch) -> None:
        """As a lane does it, which has the last of it written."""
        await consuming.append_until_durable(self.log, await self.courier.deliver(batch, Alone(self.log)))

    async def deliver(self, batch: Batch = BATCH) -> None:
        await asyncio.wait_for(self.delivered(batch), 30)

    async def read_partners(self) -> None:
        """Let the directory read what the courier has written, as it does from the log."""
        await settle()
        written = [item for item in self.log.records if item.topic == PARTNERS.name]
        self.directory.take([message(item, offset) for offset, item in enumerate(written)], len(written))
        await settle()

    def deliveries(self) -> list[Any]:
        return [event.data for event in self.log.events(DELIVERIES.name)]

    def acknowledged(self) -> list[Acknowledged]:
        told = [event.data for event in self.log.events(ACKNOWLEDGEMENTS.name)]
        return [said for data in told if isinstance(data, ReplyAcknowledged) for _, said in data.each()]


async def test_what_the_partner_takes_is_recorded_once() -> None:
    scene = Scene(OK)
    await scene.announce()
    await scene.deliver()
    (request,) = scene.sender.requests
    assert (request.url, request.secrets, request.notices) == ("https://p.example/hook", (scene.secret,), BATCH.notices)
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
        await asyncio.wait_for(task, 30)
    assert len(scene.sender.requests) == 1


async def test_a_pause_holds_a_delivery_that_is_waiting_to_be_tried_again() -> None:
    scene = Scene(DOWN, OK, backoff=IN_AN_HOUR)
    await scene.announce()
    async with scene.delivering() as task:
        await scene.announce(status=PartnerStatus.PAUSED, revision=2)
        await settle()
        assert len(scene.sender.requests) == 1
        await scene.announce(revision=3)
        await asyncio.wait_for(task, 30)


@pytest.mark.parametrize("before", [PartnerStatus.PAUSED, PartnerStatus.ACTIVE])
async def test_a_removal_ends_it(before: PartnerStatus) -> None:
    scene = Scene(DOWN, backoff=IN_AN_HOUR)
    await scene.announce(status=before)
    async with scene.delivering() as task:
        assert not task.done()
        await scene.announce(status=PartnerStatus.REMOVED, revision=2)
        await asyncio.wait_for(task, 30)
    assert not any(isinstance(event, BatchDelivered) for event in scene.deliveries())


async def test_what_waits_for_a_removed_or_unknown_partner_holds_up_nobody() -> None:
    scene = Scene(OK)
    await scene.announce(status=PartnerStatus.REMOVED)
    await scene.deliver()
    await scene.deliver(Batch(3, 8, 8, "nobody", (written_notice(0),), (8,)))
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
        await asyncio.wait_for(task, 30)
    assert [request.url for request in scene.sender.requests] == ["https://p.example/hook", "https://new.example"]


async def test_a_new_address_that_comes_during_an_attempt_is_tried_at_once() -> None:
    scene = Scene(DOWN, OK, backoff=IN_AN_HOUR)
    await scene.announce()
    secrets = (sealed(scene.sealer, scene.secret),)
    changes = [partner("p", secrets=secrets, url="https://new.example", revision=2)]

    def change() -> None:
        if changes:
            scene.directory.take([message(record(PARTNERS.name, Envelope("e", scene.clock(), changes.pop())), 1)], 2)

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
    await scene.announce(secrets=(sealed(Sealer(Fernet.generate_key().decode()), scene.secret),))
    async with scene.delivering() as task:
        (failed,) = scene.deliveries()
        assert "sealed with another key" in failed.error
        assert scene.sender.requests == []
        await scene.announce(revision=2)
        await asyncio.wait_for(task, 30)


async def test_while_a_secret_is_replaced_both_sign_also_what_waits_and_then_the_new_one_alone() -> None:
    scene = Scene(DOWN, backoff=IN_AN_HOUR)
    await scene.announce()
    new = signing.new_secret()
    both = (sealed(scene.sealer, new), sealed(scene.sealer, scene.secret, scene.clock() + timedelta(hours=24)))
    async with scene.delivering():
        # Each change of the partner ends the wait for the next attempt.
        for revision, passed in enumerate([0.0, 86_399.0, 1.0], 2):
            scene.clock.pass_by(passed)
            await scene.announce(secrets=both, revision=revision)
            await settle()
    signed_with = [request.secrets for request in scene.sender.requests]
    assert signed_with == [(scene.secret,), (new, scene.secret), (new, scene.secret), (new,)]
    assert len({request.webhook_id for request in scene.sender.requests}) == 1


async def test_a_new_secret_frees_a_lane_whose_old_one_cannot_be_opened() -> None:
    scene = Scene(OK, backoff=IN_AN_HOUR)
    lost = Sealer(Fernet.generate_key().decode())
    await scene.announce(secrets=(sealed(lost, "lost"),))
    async with scene.delivering() as task:
        assert scene.sender.requests == []
        old = sealed(lost, "lost", scene.clock() + timedelta(hours=24))
        await scene.announce(secrets=(sealed(scene.sealer, scene.secret), old), revision=2)
        await asyncio.wait_for(task, 30)
    assert [request.secrets for request in scene.sender.requests] == [(scene.secret,)]


@pytest.mark.parametrize("retry_after", ["Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "\x00", "9" * 5000])
async def test_no_header_of_a_partners_stops_the_courier(retry_after: str) -> None:
    scene = Scene(Answer(Attempt(503, "busy", retry_after), 1.0), OK)
    await scene.announce()
    await scene.deliver()


@pytest.mark.parametrize(("size", "notices", "single"), [(1, 1, True), (2, 2, False), (2, 1, False)])
async def test_one_notice_goes_bare_to_a_partner_that_takes_one(size: int, notices: int, single: bool) -> None:
    scene = Scene(OK)
    await scene.announce(batch_size=size)
    await scene.deliver(many(notices))
    assert scene.sender.requests[0].single is single


def item(**fields: Any) -> ReplyItem:
    return ReplyItem.model_validate({"id": "n0", "status": "received"} | fields)


async def replied(*items: ReplyItem, action: Action = Action.ERASE) -> list[Acknowledged]:
    scene = Scene(Answer(Attempt(200), 1.0, items))
    await scene.announce()
    await scene.deliver(Batch(3, 7, 7, "p", (written_notice(0, action), written_notice(1, action)), (7, 7)))
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
        # Several people share the identifier, and all were opted out.
        (Action.ERASE, {"status": None, "vocabulary": "drop", "code": "4"}, None, RefusalReason.IDENTITY_NOT_VERIFIED),
        (Action.STOP, {"status": None, "vocabulary": "drop", "code": "4"}, Outcome.SUPPRESSED, None),
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


@pytest.mark.parametrize(
    ("fields", "extend"),
    [
        ('"status": "in_progress", "extend": true', True),
        ('"status": "in_progress", "extend": "yes"', None),
        ('"status": "in_progress", "extend": [1]', None),
        ('"status": "received", "extend": true', None),
    ],
)
async def test_a_reply_may_ask_for_more_time(fields: str, extend: bool | None) -> None:
    (said,) = await replied(*parse_reply(b'{"results": [{"id": "n0", %s}]}' % fields.encode()))
    assert said.extend is extend


async def test_an_estimate_and_a_request_for_more_time_are_two_answers() -> None:
    assert len(await replied(item(status="in_progress"), item(status="in_progress", extend=True))) == 2


@pytest.mark.parametrize(
    ("fields", "amends"),
    [
        ('"status": "refused", "amends": true, "detail": "a backup"', True),
        ('"status": "completed", "amends": true, "detail": "gone now"', True),
        ('"vocabulary": "drop", "code": "2", "amends": true, "detail": "exempt after all"', True),
        ('"status": "refused", "amends": true', None),
        ('"status": "refused", "amends": true, "detail": " "', None),
        ('"status": "refused", "amends": "yes", "detail": "a backup"', None),
        ('"status": "in_progress", "amends": true, "detail": "a backup"', None),
    ],
)
async def test_a_reply_may_amend_a_final_answer_if_it_says_why(fields: str, amends: bool | None) -> None:
    (said,) = await replied(*parse_reply(b'{"results": [{"id": "n0", %s}]}' % fields.encode()))
    assert said.amends is amends


async def test_an_answer_and_one_that_amends_are_two_answers() -> None:
    said = {"status": "refused", "detail": "a backup"}
    assert len(await replied(item(**said), item(**said, amends=True), item(**said, amends=True))) == 2


async def test_a_reply_may_tell_when_and_show_evidence_in_other_words_than_ours() -> None:
    told = b"""{"results": [
        {"id": "n0", "status": "in_progress", "expected_by": "2026-02-01T00:00:00+01:00", "code": "Q-17"},
        {"id": "n1", "vocabulary": "drop", "code": "3", "evidence": {"rows": 3}},
        {"id": "n1", "vocabulary": "drp", "code": "fulfilled", "expected_by": "2026-02-01T00:00:00Z"},
        {"id": "n0", "status": "refused", "vocabulary": "drop", "code": "3"}
    ]}"""
    one, two, three, four = await replied(*parse_reply(told))
    assert (one.expected_by, one.vocabulary, one.code) == (datetime(2026, 1, 31, 23, tzinfo=UTC), None, "Q-17")
    assert (two.status, two.outcome, two.evidence) == (AckStatus.COMPLETED, Outcome.DELETED, {"rows": 3})
    assert (two.vocabulary, two.code) == ("drop", "3")
    assert (three.status, three.outcome, three.expected_by) == (AckStatus.COMPLETED, Outcome.DELETED, None)
    assert (four.status, four.vocabulary, four.code) == (AckStatus.REFUSED, None, "3"), "our own words count"


DEEP = b'{"a":' * 300 + b"1" + b"}" * 300


@pytest.mark.parametrize(
    "more",
    [
        b'"evidence": {"log": "%s"}' % (b"x" * 17_000),
        b'"evidence": %s' % DEEP,
        b'"evidence": [1]',
        b'"evidence": "yes"',
        b'"expected_by": "soon"',
        b'"expected_by": 5',
        b'"code": 5',
        b'"code": ""',
        b'"code": "%s"' % (b"x" * 201),
    ],
)
async def test_an_answer_is_not_lost_over_what_comes_with_it(more: bytes) -> None:
    (said,) = await replied(*parse_reply(b'{"results": [{"id": "n0", "status": "in_progress", %s}]}' % more))
    assert (said.status, said.expected_by, said.evidence, said.code) == (AckStatus.IN_PROGRESS, None, None, None)


@pytest.mark.parametrize(
    "item",
    [b'"vocabulary": "drop"', b'"vocabulary": ["user:7"], "code": "3"', b'"vocabulary": "drp", "code": "user:7"'],
)
def test_a_code_that_nobody_knows_is_no_answer_and_not_logged(item: bytes, caplog: pytest.LogCaptureFixture) -> None:
    assert parse_reply(b'{"results": [{"id": "n0", %s}]}' % item) == ()
    assert "1 items of a reply are no acknowledgements" in caplog.text
    assert "user:7" not in caplog.text


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


# -- what a partner refuses


class Picky:
    """Refuses requests that carry certain notices, and takes all others."""

    def __init__(self, scene: Scene, *bad: str, status: int = 422) -> None:
        self._scene = scene
        self._bad = set(bad)
        self._status = status
        scene.sender.before_answer = self._answer

    def _answer(self) -> None:
        carried = {notice.id for notice in self._scene.sender.requests[-1].notices}
        refused = Answer(Attempt(self._status, "HTTP 422: unknown subject"), 1.0)
        self._scene.sender.answers = [refused if carried & self._bad else OK]


def many(count: int) -> Batch:
    return Batch(3, 7, 7, "p", tuple(written_notice(number) for number in range(count)), (7,) * count)


async def test_halves_have_the_same_ids_after_a_crash() -> None:
    ids_of = []
    for _ in range(2):
        scene = Scene(OK)
        Picky(scene, "n3")
        await scene.announce()
        await scene.deliver(many(10))
        ids_of.append([request.webhook_id for request in scene.sender.requests])
    assert ids_of[0] == ids_of[1]


async def test_410_suspends_until_an_operator_has_changed_the_partner() -> None:
    scene = Scene(Answer(Attempt(410, "HTTP 410: moved out"), 1.0))
    await scene.announce()
    async with scene.delivering() as task:
        await scene.read_partners()
        assert len(scene.sender.requests) == 1
        suspended = scene.directory.get("p")
        assert suspended is not None
        assert (suspended.status, suspended.status_reason) == (PartnerStatus.SUSPENDED, "HTTP 410: moved out")
        assert [type(event) for event in scene.deliveries()] == [BatchFailed]
        scene.sender.answers = [OK]
        await scene.announce(url="https://new.example", revision=2)
        await asyncio.wait_for(task, 30)
    assert [type(event) for event in scene.deliveries()] == [BatchFailed, BatchDelivered]


async def test_a_suspension_that_comes_after_a_change_does_not_count() -> None:
    scene = Scene(Answer(Attempt(410, "HTTP 410"), 1.0), OK)
    await scene.announce()
    changes = [partner("p", secrets=(sealed(scene.sealer, scene.secret),), revision=2)]

    def change() -> None:
        if changes:
            changed = record(PARTNERS.name, Envelope("e", scene.clock(), changes.pop()))
            scene.log.records.append(changed)
            scene.log.ends[TopicPartition(PARTNERS.name, 0)] += 1
            scene.directory.take([message(changed, 1)], 2)

    scene.sender.before_answer = change
    async with scene.delivering() as task:
        await scene.read_partners()
        await asyncio.wait_for(task, 30)
    assert len(scene.sender.requests) == 2


# -- what a partner can take


async def test_a_smaller_batch_size_splits_what_waits_already() -> None:
    scene = Scene(OK)
    await scene.announce(batch_size=4)
    await scene.deliver(many(10))
    assert [len(request.notices) for request in scene.sender.requests] == [4, 4, 2]
    assert [delivered.notices for delivered in scene.deliveries()] == [4, 4, 2]


async def test_a_request_is_no_larger_than_the_partner_takes() -> None:
    scene = Scene(OK)
    await scene.announce(max_body_bytes=2048)
    await scene.deliver(many(20))
    bodies = list(scene.sender.payloads)
    sent = [body for body in bodies if len(body) <= 2048]
    assert len(scene.sender.requests) == len(sent) > 3
    assert [notice.id for request in scene.sender.requests for notice in request.notices] == [
        f"n{number}" for number in range(20)
    ]


async def test_a_rate_is_kept_by_each_lane_for_its_share() -> None:
    scene = Scene(OK)
    await scene.announce(max_requests_per_second=40.0, batch_size=1, more_lanes=(4,))
    loop = asyncio.get_running_loop()
    began = loop.time()
    # Twenty at once, then twenty a second.
    await scene.deliver(many(26))
    assert loop.time() - began >= 0.29
    assert len(scene.sender.requests) == 26


async def test_lanes_of_a_partner_that_is_down_try_it_one_at_a_time_and_go_on_together() -> None:
    scene = Scene(DOWN, backoff=Backoff(base=0.01, cap=0.01))
    await scene.announce(more_lanes=(4, 5))
    batches = [Batch(lane, 1, 1, "p", (written_notice(lane),), (1,)) for lane in (3, 4, 5)]
    tasks = [asyncio.ensure_future(scene.delivered(batch)) for batch in batches]
    await until(lambda: len(scene.sender.requests) > 15)
    scene.sender.answers = [OK]
    await asyncio.wait_for(asyncio.gather(*tasks), 30)
    assert sum(isinstance(event, BatchDelivered) for event in scene.deliveries()) == 3


async def test_one_line_an_attempt_tells_everything_but_whom_it_is_about(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "rescind.attempts")
    scene = Scene(Answer(Attempt(503, 'HTTP 503: "busy"\nlater'), 12.34, address="192.0.2.1:443"), OK)
    await scene.announce()
    await scene.deliver()
    first, second = caplog.messages
    for words in ("partner=p", "lane=3", "offsets=7-7", "notices=2", "attempt=1", "status=503", "outcome=failed"):
        assert words in first.split()
    assert "duration_ms=12.3 address=192.0.2.1:443 next_attempt=2026-01-01T12:00:0" in first
    assert first.endswith('error="HTTP 503: \\"busy\\"\\nlater"')
    assert "outcome=accepted" in second
    assert "user:" not in first + second
