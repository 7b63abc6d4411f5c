"""The courier: one batch to its partner, whatever the partner and the log do meanwhile."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet

from agents import attempts, consuming, replies, reports
from agents.attempts import Attempts
from agents.channels import Complaints
from agents.delivery import Alone, Courier
from agents.directory import Directory
from agents.parcels import Batch, Parcel
from agents.replies import SILENT, Reply
from agents.retrying import Attempt, Backoff
from agents.webhooks import Answer
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
        self.courier = Courier(Attempts(self.log, self.directory, self.sender, self.sealer, self.clock, backoff))

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


def item(**fields: Any) -> dict[str, Any]:
    return {"id": "n0", "status": "received"} | fields


async def replied(*items: dict[str, Any], action: Action = Action.ERASE) -> list[Acknowledged]:
    scene = Scene(saying(*items))
    await scene.announce()
    await scene.deliver(Batch(3, 7, 7, "p", (written_notice(0, action), written_notice(1, action)), (7, 7)))
    return scene.acknowledged()


def saying(*items: dict[str, Any]) -> Answer:
    return Answer(Attempt(200), 1.0, reply=json.dumps({"results": items}).encode())


async def test_a_reply_speaks_for_the_notices_of_its_own_batch_only() -> None:
    said = await replied(item(), item(id="n9"), item(id=""), item(id="n1", status="in_progress", detail="soon"))
    assert [(event.notice_id, event.subject, event.status, event.detail, event.via) for event in said] == [
        ("n0", "user:0", AckStatus.RECEIVED, None, "reply"),
        ("n1", "user:1", AckStatus.IN_PROGRESS, "soon", "reply"),
    ]


async def delivering(answer: Answer, *, more: Sequence[Answer] = ()) -> Scene:
    scene = Scene(answer, *more)
    await scene.announce()
    await scene.deliver()
    return scene


@pytest.mark.parametrize(
    ("answer", "acknowledged", "not_understood", "words"),
    [
        (OK, 0, 0, None),
        (saying(item()), 1, 0, None),
        (saying(item(), item(id="n1", status="done")), 1, 1, "`status` of item 2 is 'done', which is none of"),
        (saying(item(status="completed", outcome="anonymized")), 0, 1, "`outcome` of item 1 is 'anonymized', which"),
        (saying(item(status="completed", outcome="resumed")), 0, 1, "Item 1 says resumed, which is no answer to"),
        (Answer(Attempt(200), 1.0, reply=b'{"results": ['), 0, 2, "It is not JSON"),
        (Answer(Attempt(204), 1.0, reply=b'{"resu', unread="its gzip is damaged"), 0, 2, "its gzip is damaged."),
    ],
)
async def test_a_delivery_tells_what_became_of_its_reply(
    answer: Answer, acknowledged: int, not_understood: int, words: str | None
) -> None:
    (delivered,) = (await delivering(answer)).deliveries()
    assert (delivered.acknowledged, delivered.not_understood) == (acknowledged, not_understood)
    assert (words or "") in ("" if delivered.reply_problem is None else delivered.reply_problem.reason)
    assert (delivered.reply_problem is None) == (words is None)


async def test_an_outcome_that_we_have_no_word_for_is_recorded_with_the_partners_word() -> None:
    (said,) = await replied(item(status="completed", outcome="anonymized", code="A-1"))
    assert (said.status, said.outcome, said.code) == (AckStatus.COMPLETED, Outcome.UNKNOWN, "anonymized (A-1)")


async def test_the_words_of_an_error_are_no_reply() -> None:
    refused = Answer(Attempt(503, "HTTP 503"), 1.0, reply=b'{"results": [{"id": "n0", "status": "received"}]}')
    scene = await delivering(refused, more=[OK])
    assert scene.acknowledged() == []
    assert [event.acknowledged for event in scene.deliveries() if isinstance(event, BatchDelivered)] == [0]


async def test_what_is_recorded_of_a_reply_is_recorded_once_however_it_is_written() -> None:
    """So a retry after a crash changes nothing."""
    words = [item(status="completed", outcome="deleted", evidence={"b": 2**70, "a": [1, None]})]
    written = [
        json.dumps({"results": words}).encode(),
        json.dumps({"Results": [{"ID": "n0"} | {k.upper(): v for k, v in words[0].items() if k != "id"}]}).encode(
            "utf-16"
        ),
        json.dumps(words, indent=4, sort_keys=True).replace("null", "NaN").encode(),
        json.dumps(words[0] | {"status": "COMPLETED"}).encode("utf-8-sig"),
    ]
    ids_of = set()
    for body in written:
        scene = await delivering(Answer(Attempt(200), 1.0, reply=body))
        (event,) = scene.log.events(ACKNOWLEDGEMENTS.name)
        ids_of.add((event.id, event.data.items[0].id if isinstance(event.data, ReplyAcknowledged) else ""))
    assert len(ids_of) == 1


async def test_no_record_of_a_reply_is_too_large_for_a_broker() -> None:
    many = Batch(3, 7, 7, "p", tuple(written_notice(number) for number in range(150)), (7,) * 150)
    letters = [f"n{number}" for number in range(150)]
    large = [item(id=each, detail="\x01" * 1000, evidence={"log": "x" * 16_000}) for each in letters]
    scene = Scene(saying(*large))
    await scene.announce(batch_size=1000)
    await scene.deliver(many)
    records = [each for each in scene.log.records if each.topic == ACKNOWLEDGEMENTS.name]
    assert len(records) == 7
    assert all(len(each.value or b"") <= 512 * 1024 for each in records)
    assert [said.notice_id for said in scene.acknowledged()] == letters
    small = Scene(saying(*[item(id=each) for each in letters]))
    await small.announce(batch_size=1000)
    await small.deliver(many)
    assert len([each for each in small.log.records if each.topic == ACKNOWLEDGEMENTS.name]) == 2


async def test_a_long_reply_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def read(*given: Any) -> Reply:
        reading.set()
        assert go_on.wait(30)
        return replies.read(*given)

    monkeypatch.setattr(attempts, "read", read)
    scene = Scene(saying(item(more="x" * attempts.READ_AT_ONCE)))
    await scene.announce()
    task = asyncio.ensure_future(scene.deliver())
    while not reading.is_set():
        await asyncio.sleep(0.01)
    assert scene.log.events(DELIVERIES.name) == []
    go_on.set()
    await task
    assert len(scene.acknowledged()) == 1


async def test_a_lane_that_is_taken_away_while_a_reply_is_read_leaves_its_partner_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def read(*_: Any) -> Reply:
        reading.set()
        go_on.wait(30)
        return SILENT

    monkeypatch.setattr(attempts, "read", read)
    scene = Scene(saying(item(more="x" * attempts.READ_AT_ONCE)))
    await scene.announce()
    async with scene.delivering():
        while not reading.is_set():
            await asyncio.sleep(0.01)
    go_on.set()
    monkeypatch.setattr(attempts, "read", replies.read)
    await scene.deliver()
    assert len(scene.sender.requests) == 2
    assert len(scene.acknowledged()) == 1


async def test_a_reply_that_is_not_understood_is_logged_without_whom_it_is_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await delivering(saying(item(status="gone: user:0")))
    (line,) = [record for record in caplog.records if record.name == "agents.reports"]
    assert line.levelname == "WARNING"
    assert line.getMessage().startswith("partner p: a reply was not wholly understood (webhook_id=msg_")
    assert "is 'gone: [subject]', which is none of" in line.getMessage()


LONG = "email:somebody.with.a.long.name@mail.example.org"


@pytest.mark.parametrize(
    ("subject", "words", "logged"),
    [
        (LONG, f"gone: {LONG}", "gone: [subject]"),
        (LONG, f"gone: {LONG[6:]}, {LONG}", "gone: [subject], [subject]"),
        (LONG, f"gone: {LONG.upper()}!", "gone: [subject]!"),
        # Quoted to a length, or cut as a whole.
        (LONG, f"is '{LONG[:30]}', which is not", "is '[subject]', which is not"),
        (LONG, f"is '{LONG[6:14]}', which is not", "is '[subject]', which is not"),
        (LONG, f"HTTP 500: {LONG[:8]}", "HTTP 500: [subject]"),
        (LONG, "email:some, and somebody.else", "email:some, and somebody.else"),
        ("user:a  b\tc", "user:a b c", "[subject]"),
        ("user:12", "12 of user:12", "12 of [subject]"),
        ("user:123", "123123", "[subject][subject]"),
        ("user:İİİ", "is 'user:İİİ'", "is '[subject]'"),
        ("user:[subject]", "user:[subject]", "[subject]"),
    ],
)
def test_a_log_does_not_say_whom_it_is_about_however_a_partner_does(subject: str, words: str, logged: str) -> None:
    notice = written_notice(0)
    notice.subject = subject
    assert reports.discreet(words, Parcel(Batch(1, 1, 1, "p", (notice,), (1,)), (0,))) == logged


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        ([0], [1]),
        ([0, 1, 2], [1, 0, 0]),
        ([0, 59.9, 60, 61], [1, 0, 2, 0]),
        ([0, 1, 2, 200, 201, 260], [1, 0, 0, 3, 0, 2]),
        ([5, 1000], [1, 1]),
    ],
)
def test_a_partner_does_not_decide_how_much_is_logged(seconds: list[float], told: list[int]) -> None:
    complaints = Complaints()
    assert [complaints.due(now) for now in seconds] == told


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


async def test_an_estimate_and_a_request_for_more_time_are_two_answers() -> None:
    said = {"status": "in_progress", "detail": "a backup"}
    assert len(await replied(item(**said), item(**said, extend=True))) == 2


async def test_an_answer_and_one_that_amends_are_two_answers() -> None:
    said = {"status": "refused", "detail": "a backup"}
    assert len(await replied(item(**said), item(**said, amends=True), item(**said, amends=True))) == 2


async def test_a_reply_may_tell_when_and_show_evidence_in_other_words_than_ours() -> None:
    one, two, three, four = await replied(
        item(status="in_progress", expected_by="2026-02-01T00:00:00+01:00", code="Q-17"),
        {"id": "n1", "vocabulary": "drop", "code": "3", "evidence": {"rows": 3}},
        {"id": "n1", "vocabulary": "drp", "code": "fulfilled", "expected_by": "2026-02-01T00:00:00Z"},
        item(status="refused", vocabulary="drop", code="3"),
    )
    assert (one.expected_by, one.vocabulary, one.code) == (datetime(2026, 1, 31, 23, tzinfo=UTC), None, "Q-17")
    assert (two.status, two.outcome, two.evidence) == (AckStatus.COMPLETED, Outcome.DELETED, {"rows": 3})
    assert (two.vocabulary, two.code) == ("drop", "3")
    assert (three.status, three.outcome, three.expected_by) == (AckStatus.COMPLETED, Outcome.DELETED, None)
    assert (four.status, four.vocabulary, four.code) == (AckStatus.REFUSED, None, "3"), "our own words count"


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
    said = saying(item(), item(id="n1", status="done"))
    scene = Scene(Answer(Attempt(503, 'HTTP 503: "busy"\nlater'), 12.34, address="192.0.2.1:443"), said)
    await scene.announce()
    await scene.deliver()
    first, second = (record.getMessage() for record in caplog.records if record.name == "rescind.attempts")
    for words in ("partner=p", "lane=3", "offsets=7-7", "notices=2", "attempt=1", "status=503", "outcome=failed"):
        assert words in first.split()
    assert (
        "duration_ms=12.3 acknowledged=0 not_understood=0 address=192.0.2.1:443 next_attempt=2026-01-01T12:00:0"
        in first
    )
    assert first.endswith('error="HTTP 503: \\"busy\\"\\nlater"')
    assert "outcome=accepted" in second
    assert " acknowledged=1 not_understood=1 address=" in second
    assert "user:" not in first + second
