"""The ledger: exact after replays and any interleaving, rebuilt equal, and its answers."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import Entry, Ledger, LedgerGap, NoticeStatus
from ledger.lag import UPPER_MICROS, bucket_of, percentiles, upper_seconds
from ledger.partner_state import LagState
from ledger.transitions import Progress, Verdict, judge
from ledger.veiling import PLAIN, SECRET_BYTES, Sealed, Veil
from streams import ids
from streams.cloudevents import Envelope
from streams.errors import LedgerBehind, StorageUnusable
from streams.events import (
    Acknowledged,
    AcknowledgedItem,
    AckStatus,
    Act,
    Actor,
    Again,
    BatchDelivered,
    BatchFailed,
    ConsentChanged,
    ConsentToggled,
    Data,
    DeletionRequested,
    Failing,
    MessagePoisoned,
    Notice,
    NoticeParked,
    NoticesIssued,
    NoticeUndeliverable,
    OperatorActed,
    Outcome,
    PartnerRegistered,
    PartnerRemoved,
    PartnerStatus,
    PartnerTried,
    RefusalReason,
    ReplyAcknowledged,
    ReplyProblem,
    SealedSecret,
)
from streams.kinds import Action, Choice
from streams.ranks import rank_of
from streams.records import TopicPartition
from streams.signing import Scheme

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
#: Of which notices there is a rank; of withdrawals there may be none.
RANKED = range(11, 20)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def entry(topic: str, offset: int, event_id: str, data: Data, *, partition: int = 0, time: datetime = NOON) -> Entry:
    return Entry(f"rescind.{topic}", partition, offset, NOON, Envelope(event_id, time, data))


def partner(name: str = "p", lane: int = 0) -> PartnerRegistered:
    return PartnerRegistered(
        id=name,
        name=name.upper(),
        url="https://p.example/",
        purposes=("ai",),
        lane=lane,
        secrets=(SealedSecret(scheme=Scheme.V1, sealed="x"),),
        created_at=NOON,
        updated_at=NOON,
    )


def notice(number: int, name: str = "p") -> Notice:
    return Notice(
        id=f"n-{name}-{number}",
        cause_id=ids.deletion_id(f"t{number}"),
        toggle_id=f"t{number}",
        action=Action.ERASE,
        subject=f"user:{number}",
        purpose="ai",
        occurred_at=NOON,
        issued_at=NOON,
        receive_by=at(10),
        complete_by=at(60),
        rank=ranked(1) if number in RANKED else None,
    )


def issued(offset: int, *numbers: int, name: str = "p", lane: int = 0) -> Entry:
    data = NoticesIssued(partner=name, lane=lane, notices=tuple(notice(number, name) for number in numbers))
    return entry("notices", offset, f"pack-{name}-{offset}", data)


BY = Actor(key="k1", role="operator", label="on call")


def reissued(
    offset: int,
    *numbers: int,
    lane: int = 0,
    minutes: float = 20,
    how: Literal["replay", "redrive", "retry"] = "replay",
) -> Entry:
    """The same notices once more, in a partition of their own unless they go by the old lane."""
    notices = tuple(notice(number) for number in numbers)
    data = NoticesIssued(partner="p", lane=lane, notices=notices, again=Again(how=how, by=BY))
    return entry("notices", offset, f"again-{lane}-{offset}", data, partition=lane, time=at(minutes))


def refused(offset: int, number: int, place: int, *, lane: int = 0, minutes: float = 1) -> Entry:
    data = NoticeUndeliverable(
        partner="p",
        lane=lane,
        offset=place,
        notice_id=f"n-p-{number}",
        subject=f"user:{number}",
        status_code=422,
        detail=f"HTTP 422: {lane}@{place}",
        refused_at=at(minutes),
    )
    return entry("undeliverable", offset, f"refused-{number}-{lane}-{place}", data)


def parked(
    offset: int,
    number: int,
    place: int,
    *,
    lane: int = 0,
    minutes: float = 1,
    retry: float = 5,
    failures: int = 1,
    name: str = "p",
) -> Entry:
    data = NoticeParked(
        partner=name,
        lane=lane,
        offset=place,
        notice_id=f"n-{name}-{number}",
        subject=f"user:{number}",
        status_code=500,
        detail=f"HTTP 500: {lane}@{place}",
        failing=Failing(lane=lane, offset=place, failures=failures, refusals=0, others_taken=True),
        parked_at=at(minutes),
        retry_at=at(minutes + retry),
    )
    return entry("undeliverable", offset, f"parked-{name}-{number}-{lane}-{place}", data)


def discarded(offset: int, *numbers: int, minutes: float = 30) -> Entry:
    data = OperatorActed(
        act=Act.DISCARD,
        by=BY,
        partner="p",
        notices=tuple(f"n-p-{number}" for number in numbers),
        reason="they never had user:1",
        acted_at=at(minutes),
    )
    return entry("actions", offset, f"discarded-{numbers}", data)


def poisoned(offset: int, place: int) -> Entry:
    data = MessagePoisoned(topic="rescind.toggles", partition=0, offset=place, reason="not JSON", poisoned_at=at(place))
    return entry("poisoned", offset, f"poisoned-{place}", data)


def acted(offset: int, *places: int, act: Act = Act.REDRIVE, partner: str | None = None) -> Entry:
    ids = tuple(f"poisoned-{place}" for place in places)
    data = OperatorActed(act=act, by=BY, partner=partner, details={"at": offset}, poisoned=ids, acted_at=at(offset))
    return entry("actions", offset, f"acted-{offset}", data)


def delivered(
    offset: int,
    first: int,
    last: int,
    minutes: float = 1,
    *undelivered: str,
    lane: int = 0,
    acknowledged: int = 0,
    problem: str | None = None,
) -> Entry:
    data = BatchDelivered(
        partner="p",
        lane=lane,
        first_offset=first,
        last_offset=last,
        notices=1,
        webhook_id=f"msg_{first}",
        attempt=1,
        status_code=200,
        duration_ms=1,
        delivered_at=at(minutes),
        undelivered=undelivered,
        acknowledged=acknowledged,
        reply_problem=None if problem is None else ReplyProblem(reason=problem, excerpt=f"{problem}..."),
    )
    return entry("deliveries", offset, f"delivered-{lane}-{first}-{last}", data)


def failed(offset: int, number: int = 1) -> Entry:
    data = BatchFailed(
        partner="p",
        lane=0,
        first_offset=0,
        last_offset=0,
        notices=1,
        webhook_id="msg_0",
        attempt=number,
        status_code=503,
        error="HTTP 503",
        duration_ms=1,
        failed_at=at(number),
        next_attempt_at=at(number + 1),
    )
    return entry("deliveries", offset, f"failed-{number}", data)


def acknowledged(
    offset: int,
    number: int,
    status: AckStatus = AckStatus.COMPLETED,
    outcome: Outcome | None = Outcome.DELETED,
    *,
    name: str = "p",
    by: str = "p",
    told: float | None = None,
    amends: str | None = None,
) -> Entry:
    data = Acknowledged(
        notice_id=f"n-{name}-{number}",
        partner=by,
        subject=f"user:{number}",
        status=status,
        outcome=outcome,
        reason=RefusalReason.EXEMPT if status is AckStatus.REFUSED else None,
        occurred_at=at(2 + offset),
        via="api",
        detail=amends,
        amends=None if amends is None else True,
    )
    envelope = Envelope(f"ack-{offset}", at(2 + offset if told is None else told), data)
    return Entry("rescind.acknowledgements", 0, offset, NOON, envelope)


def replied(offset: int, *said: tuple[int, AckStatus, Outcome | None]) -> Entry:
    items = [
        AcknowledgedItem(
            id=f"ack-{number}-{status}",
            notice_id=f"n-p-{number}",
            subject=f"user:{number}",
            status=status,
            outcome=outcome,
        )
        for number, status, outcome in said
    ]
    data = ReplyAcknowledged(partner="p", occurred_at=at(2), items=tuple(items))
    return Entry("rescind.acknowledgements", 0, offset, NOON, Envelope(f"replied-{offset}", at(2), data))


def toggled(offset: int, number: int) -> list[Entry]:
    toggle = ConsentToggled(subject=f"user:{number}", purpose="ai", choice=Choice.OPT_OUT, occurred_at=NOON)
    changed = ConsentChanged(
        subject=toggle.subject,
        purpose="ai",
        choice=Choice.OPT_OUT,
        previous=None,
        retroactive=True,
        toggle_id=f"t{number}",
        occurred_at=NOON,
        accepted_at=NOON,
    )
    request = DeletionRequested(
        subject=toggle.subject, purpose="ai", toggle_id=f"t{number}", occurred_at=NOON, accepted_at=NOON
    )
    return [
        entry("toggles", offset, f"t{number}", toggle),
        entry("decisions", 2 * offset, ids.change_id(f"t{number}"), changed),
        entry("decisions", 2 * offset + 1, ids.deletion_id(f"t{number}"), request),
    ]


VEILS: dict[str, Veil] = {"plain": PLAIN, "sealed": Sealed(bytes(range(SECRET_BYTES)))}


@pytest.fixture(params=VEILS)
def ledger(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path / "ledger.sqlite", veils=(VEILS[request.param],))
    yield opened
    opened.close()


def dump(path: Path) -> dict[str, list[tuple[object, ...]]]:
    connection = sqlite3.connect(path)
    try:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        content = {
            table: sorted(connection.execute(f"SELECT * FROM {table}").fetchall(), key=repr)
            for table in tables
            if table not in ("meta", "lag_changes")
        }
    finally:
        connection.close()
    content["counts"] = [row for row in content["counts"] if row[-1]]
    return content


def status(ledger: Ledger, identity: str) -> NoticeStatus:
    return ledger.notices([identity])[identity].status


def test_a_deletion_from_toggle_to_acknowledgement(ledger: Ledger) -> None:
    ledger.apply([entry("partners", 0, "r1", partner()), *toggled(0, 1), issued(0, 1)])
    assert status(ledger, "n-p-1") is NoticeStatus.QUEUED
    ledger.apply([delivered(0, 0, 0)])
    assert status(ledger, "n-p-1") is NoticeStatus.DELIVERED
    ledger.apply([acknowledged(0, 1)])
    assert status(ledger, "n-p-1") is NoticeStatus.COMPLETED

    (consent,) = ledger.consents("user:1")
    assert (consent.choice, consent.toggle_id) == (Choice.OPT_OUT, "t1")
    kinds = [item.kind for item in ledger.timeline("user:1")]
    assert kinds == [
        "toggled",
        "consent_changed",
        "deletion_requested",
        "notice_issued",
        "delivered",
        "acknowledged",
    ]
    (row,) = ledger.lag(at(5))
    assert (row.open, row.delivered, row.acknowledged, row.state) == (0, 1, 1, LagState.OK)
    assert row.receive_lag.p50 == pytest.approx(60, rel=0.2)
    totals = ledger.totals()
    assert (totals.toggles, totals.opted_out, totals.requests, totals.notices) == (1, 1, 1, 1)
    assert (totals.open, totals.acknowledged) == (0, 1)


def test_undelivered_notices_of_a_batch_stay_queued(ledger: Ledger) -> None:
    ledger.apply([issued(0, 1, 2), delivered(0, 0, 0, 1, "n-p-2")])
    assert status(ledger, "n-p-1") is NoticeStatus.DELIVERED
    assert status(ledger, "n-p-2") is NoticeStatus.QUEUED


def test_another_partners_acknowledgement_changes_nothing(ledger: Ledger) -> None:
    ledger.apply([issued(0, 1), acknowledged(0, 1, by="q")])
    assert status(ledger, "n-p-1") is NoticeStatus.QUEUED
    assert ledger.timeline("user:1")[-1].detail["verdict"] == "not_owner"


def test_a_reply_says_many_things_in_their_order_whether_the_notices_are_read_before_or_after(tmp_path: Path) -> None:
    """Sorted by their ids, "completed" would come first, and "received" too late."""
    reply = replied(
        0,
        (1, AckStatus.RECEIVED, None),
        (2, AckStatus.IN_PROGRESS, None),
        (1, AckStatus.COMPLETED, Outcome.DELETED),
        (3, AckStatus.COMPLETED, Outcome.NOT_FOUND),
    )
    more = replied(1, (2, AckStatus.COMPLETED, Outcome.DELETED), (1, AckStatus.RECEIVED, None))
    dumps = []
    for number, orders in enumerate([[issued(0, 1, 2, 3), reply, more], [reply, more, issued(0, 1, 2, 3)]]):
        with closing(Ledger.open(tmp_path / f"{number}.sqlite")) as ledger:
            for each in orders:
                ledger.apply([each])
            assert [status(ledger, f"n-p-{n}") for n in (1, 2, 3)] == [NoticeStatus.COMPLETED] * 3
            said = [item.detail["verdict"] for item in ledger.timeline("user:1") if item.kind == "acknowledged"]
            assert said == ["applied", "applied"]
            dumps.append(dump(tmp_path / f"{number}.sqlite"))
    assert dumps[0] == dumps[1]


def test_a_removed_partner_owes_nothing(ledger: Ledger) -> None:
    gone = PartnerRemoved.model_validate(
        partner().model_dump() | {"status": PartnerStatus.REMOVED, "revision": 2, "updated_at": at(3)}
    )
    ledger.apply([entry("partners", 0, "r1", partner()), issued(0, 1), entry("partners", 1, "r2", gone), issued(1, 2)])
    assert status(ledger, "n-p-1") is NoticeStatus.CANCELLED
    assert status(ledger, "n-p-2") is NoticeStatus.CANCELLED
    assert ledger.lag(at(5)) == []


def test_overdue_and_failing(ledger: Ledger) -> None:
    ledger.apply([entry("partners", 0, "r1", partner()), issued(0, 1), failed(0, 1), failed(1, 2)])
    (row,) = ledger.lag(at(11))
    assert (row.open, row.backlog, row.overdue_receive, row.overdue_complete) == (1, 1, 1, 0)
    assert (row.consecutive_failures, row.last_error, row.state) == (2, "HTTP 503", LagState.STOP)
    assert row.oldest_open_seconds == 660


def test_a_notice_that_is_late_by_both_clocks_is_overdue_once(ledger: Ledger) -> None:
    ledger.apply([entry("partners", 0, "r1", partner()), issued(0, 1), issued(1, 2), delivered(0, 1, 1)])
    (row,) = ledger.lag(at(61))
    assert (row.overdue_receive, row.overdue_complete, row.overdue, row.open) == (1, 2, 2, 2)


def test_one_that_goes_down_is_stopped_though_it_answered_for_older_notices(ledger: Ledger) -> None:
    """The first notice was delivered and is still open: the partner works on it. The second finds nobody."""
    later = notice(2).model_copy(update={"issued_at": at(5), "receive_by": at(15)})
    pack = entry("notices", 1, "pack", NoticesIssued(partner="p", lane=0, notices=(later,)))
    ledger.apply([entry("partners", 0, "r1", partner()), issued(0, 1), delivered(0, 0, 0), pack, failed(1, 6)])
    assert ledger.lag(at(7))[0].state is LagState.WARN
    ledger.apply([failed(2, 7)])
    assert ledger.lag(at(8))[0].state is LagState.STOP


def test_an_answer_of_the_same_hour_before_a_notice_was_due_is_no_progress(ledger: Ledger) -> None:
    ledger.apply([entry("partners", 0, "r1", partner()), issued(0, 1, 2), delivered(0, 0, 0), acknowledged(0, 1)])
    assert ledger.lag(at(47))[0].state is LagState.OK
    assert ledger.lag(at(59))[0].state is LagState.WARN, "it is at risk"
    assert ledger.lag(at(61))[0].state is LagState.STALL
    ledger.apply([acknowledged(1, 2, AckStatus.IN_PROGRESS, None, told=60.5)])
    assert ledger.lag(at(61))[0].state is LagState.STALL, "it says nothing final"


def test_lag_is_measured_by_when_we_were_told(ledger: Ledger) -> None:
    """A partner that answers after 20 minutes and says that it was done after 2 has answered after 20."""
    ledger.apply([entry("partners", 0, "r1", partner()), issued(0, 1), acknowledged(0, 1, told=20)])
    (row,) = ledger.lag(at(21))
    assert row.complete_lag.p50 == pytest.approx(1200, rel=0.2)
    (said,) = [item for item in ledger.timeline("user:1") if item.kind == "acknowledged"]
    assert (said.at, said.detail["occurred_at"]) == (at(20), at(2).isoformat())


def test_a_ledger_of_another_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger.open(path).close()
    Ledger.open(path).close()
    for statement in ("PRAGMA user_version = 1", "PRAGMA user_version = 0"):
        connection = sqlite3.connect(path)
        connection.execute(statement)
        connection.close()
        with pytest.raises(StorageUnusable, match="delete it, and it is rebuilt"):
            Ledger.open(path)


def test_replays_change_nothing(ledger: Ledger, tmp_path: Path) -> None:
    entries = [entry("partners", 0, "r1", partner()), *toggled(0, 1), issued(0, 1), delivered(0, 0, 0)]
    ledger.apply(entries)
    before = dump(tmp_path / "ledger.sqlite")
    ledger.apply(entries)
    assert dump(tmp_path / "ledger.sqlite") == before


def test_a_repeated_event_at_a_later_offset_changes_nothing_but_where_it_stands(ledger: Ledger, tmp_path: Path) -> None:
    ledger.apply([issued(0, 1), delivered(0, 0, 0), failed(1)])
    before = dump(tmp_path / "ledger.sqlite")
    ledger.apply([issued(1, 1), failed(2), delivered(3, 0, 0, 9)])
    after = dump(tmp_path / "ledger.sqlite")
    for name in ("offsets", "places", "issued_hours"):
        assert before.pop(name) != after.pop(name)
    assert after == before


def test_a_gap_is_refused_and_nothing_of_the_batch_is_kept(ledger: Ledger, tmp_path: Path) -> None:
    ledger.apply([issued(0, 1)])
    before = dump(tmp_path / "ledger.sqlite")
    with pytest.raises(LedgerGap, match="delete it"):
        ledger.apply([issued(1, 2), issued(3, 3)])
    assert dump(tmp_path / "ledger.sqlite") == before
    assert ledger.offsets() == {TopicPartition("rescind.notices", 0): 1}


def test_offsets_between_which_nothing_can_be_read_are_no_gap(ledger: Ledger) -> None:
    """On Kafka the end of a transaction takes an offset."""
    tp = TopicPartition("rescind.notices", 0)
    ledger.apply([replace(issued(1, 1), since=0), replace(issued(3, 3), since=2)])
    # Where the log ends so, the ledger is told to move on.
    ledger.apply([Entry(*tp, 5, NOON, None, since=4)])
    assert ledger.offsets() == {tp: 6}
    ledger.apply([replace(issued(7, 7), since=4)])
    assert ledger.offsets() == {tp: 8}
    # What somebody read from there on says nothing of what stands before it.
    with pytest.raises(LedgerGap, match="delete it"):
        ledger.apply([replace(issued(12, 12), since=10)])


def test_a_gap_that_compaction_left_is_none(ledger: Ledger) -> None:
    ledger.apply([entry("partners", 0, "r1", partner()), entry("partners", 7, "r2", partner("q", 1))])
    assert [row.id for row in ledger.partners()] == ["p", "q"]
    assert ledger.offsets()[TopicPartition("rescind.partners", 0)] == 8


def test_a_gap_is_none_if_the_log_has_nothing_of_it_any_more(tmp_path: Path) -> None:
    starts = {TopicPartition("rescind.notices", 0): 3}
    ledger = Ledger.open(tmp_path / "ledger.sqlite", log_start=lambda tp: starts.get(tp, 0))
    ledger.apply([issued(0, 1), issued(3, 3)])
    with pytest.raises(LedgerGap, match="delete it"):
        ledger.apply([issued(5, 5)])
    # Some of what is missing is retired and some is there: the file is an old one all the same.
    starts[TopicPartition("rescind.notices", 0)] = 6
    with pytest.raises(LedgerGap, match="delete it"):
        ledger.apply([issued(8, 8)])
    ledger.apply([issued(6, 6)])
    ledger.close()


async def test_nobody_waits_for_what_was_retired_before_the_ledger_began(tmp_path: Path) -> None:
    tp = TopicPartition("rescind.notices", 0)
    ledger = Ledger.open(tmp_path / "ledger.sqlite", log_start=lambda _: 5)
    await ledger.reached({tp: 5}, timeout=1)
    with pytest.raises(LedgerBehind):
        await ledger.reached({tp: 6}, timeout=0.01)
    ledger.close()


def test_a_full_disk_keeps_nothing_and_forgets_nothing(ledger: Ledger, tmp_path: Path) -> None:
    ledger.apply([issued(0, 1)])
    pages = ledger._connection.execute("PRAGMA page_count").fetchone()[0]
    ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
    many = [issued(offset, *range(offset * 100, offset * 100 + 100)) for offset in range(1, 30)]
    with pytest.raises(StorageUnusable, match="full"):
        ledger.apply(many)
    assert ledger.offsets() == {TopicPartition("rescind.notices", 0): 1}
    ledger._connection.execute("PRAGMA max_page_count = 1000000")
    ledger.apply(many)
    assert ledger.totals().notices == 2901


def test_toggles_that_share_an_id_are_all_kept(ledger: Ledger) -> None:
    out = ConsentToggled(subject="user:1", purpose="ai", choice=Choice.OPT_OUT, occurred_at=NOON)
    told = [
        out,
        out.model_copy(update={"subject": "user:2"}),
        out.model_copy(update={"purpose": "b"}),
        out.model_copy(update={"occurred_at": at(1)}),
        out.model_copy(update={"choice": Choice.OPT_IN}),
    ]
    ledger.apply([entry("toggles", offset, "1", data) for offset, data in enumerate([*told, *told])])
    assert ledger.totals().toggles == len(told)
    assert [item.kind for item in ledger.timeline("user:2")] == ["toggled"]


async def test_reached_waits_for_the_projection(ledger: Ledger) -> None:
    wanted = {TopicPartition("rescind.notices", 0): 1}
    waiting = asyncio.create_task(ledger.reached(wanted, 5))
    await asyncio.sleep(0)
    assert not waiting.done()
    await asyncio.to_thread(ledger.apply, [issued(0, 1)])
    await waiting
    await ledger.reached(wanted, 0)
    with pytest.raises(LedgerBehind):
        await ledger.reached({TopicPartition("rescind.notices", 0): 2}, 0.01)


def decided(offset: int, number: int, choice: Choice) -> Entry:
    data = ConsentChanged(
        subject="user:1",
        purpose="ai",
        choice=choice,
        retroactive=False,
        toggle_id=f"t{number}",
        occurred_at=at(number),
        accepted_at=at(number),
    )
    return entry("decisions", offset, f"changed-{number}", data)


def again(offset: int, before: Entry) -> Entry:
    """The same event, written once more after a crash."""
    return replace(before, offset=offset)


def ranked(number: int) -> str:
    return rank_of(number, NOON, Choice.OPT_OUT, retroactive=True)


def reversing(offset: int, number: int, by: int, *, rank: int, lane: int = 0) -> Entry:
    """A `resume` about the subject of another notice, which is of rank 1 where it is of 11 to 13."""
    back = notice(number).model_copy(update={"id": f"n-p-{by}", "action": Action.RESUME, "rank": ranked(rank)})
    pack = NoticesIssued(partner="p", lane=lane, notices=(back,))
    return entry("notices", offset, f"back-{by}", pack, partition=lane)


STREAMS: dict[str, list[Entry]] = {
    "toggles": [toggled(0, 1)[0], toggled(1, 2)[0], again(2, toggled(0, 1)[0])],
    "decisions": [
        decided(0, 1, Choice.OPT_OUT),
        replace(toggled(0, 7)[2], offset=1),
        decided(2, 2, Choice.OPT_IN),
        again(3, decided(0, 1, Choice.OPT_OUT)),
        again(4, replace(toggled(0, 7)[2], offset=1)),
    ],
    "partners": [
        entry("partners", 0, "r1", partner()),
        entry("partners", 1, "r2", partner("q", 1)),
        entry(
            "partners",
            2,
            "r3",
            PartnerRemoved.model_validate(
                partner("q", 1).model_dump() | {"status": "removed", "revision": 2, "updated_at": at(3)}
            ),
        ),
        entry("partners", 3, "tried", PartnerTried(partner="p", tried_at=at(45))),
    ],
    "notices": [
        issued(0, 1),
        issued(1, 2, 3),
        issued(2, 1),
        issued(3, 5, name="q", lane=1),
        issued(4, 6, 7, 8, 9),
        reissued(5, 3, 6, how="redrive"),
        issued(6, 9),
        reissued(7, 8, 2, minutes=21),
        issued(8, 11, 12, 13, 14),
        reversing(9, 11, 21, rank=2),
        reissued(10, 12, 13, minutes=24, how="retry"),
        reversing(11, 12, 22, rank=2),
        reversing(12, 13, 23, rank=0),
    ],
    # Read side by side with the first lane.
    "notices of another lane": [
        reissued(0, 3, 7, lane=2, minutes=22, how="redrive"),
        reissued(1, 1, 9, 8, lane=2, minutes=23),
        reissued(2, 10, lane=2, minutes=23),  # what was issued first is retired
        reissued(3, 11, lane=2, minutes=25, how="retry"),
        reissued(4, 13, lane=2, minutes=23.5, how="redrive"),
    ],
    "deliveries": [
        failed(0),
        delivered(1, 0, 0, 5, problem="the later one"),
        delivered(2, 1, 1, 2, "n-p-3", acknowledged=1),
        delivered(3, 1, 1, 9, "n-p-3"),
        delivered(4, 1, 1, 0.5, lane=2, problem="earlier"),  # by the clock of another worker
        delivered(5, 4, 4, 4, "n-p-6", "n-p-7", acknowledged=1),
        delivered(6, 5, 7, 25, "n-p-3"),
        delivered(7, 0, 0, 3, "n-p-3", lane=2),
    ],
    "undeliverable": [
        refused(0, 3, 1),
        refused(1, 6, 4),
        refused(2, 7, 4, minutes=2),
        again(3, refused(0, 3, 1)),
        refused(4, 3, 5, minutes=3),
        refused(5, 3, 0, lane=2, minutes=4),
        refused(6, 10, 2, lane=2),
        parked(7, 11, 8),
        parked(8, 12, 8),
        parked(9, 13, 8),
        again(10, parked(8, 12, 8)),
        parked(11, 11, 3, lane=2, minutes=40, failures=2),
        parked(12, 12, 10, minutes=41, failures=2),
        parked(13, 13, 10, minutes=42, failures=2),
        refused(14, 14, 8, minutes=43),
        parked(15, 21, 9, minutes=44),
    ],
    "poisoned": [poisoned(0, 1), poisoned(1, 2), again(2, poisoned(0, 1)), poisoned(3, 3)],
    "actions": [
        acted(0, 1),
        acted(1, act=Act.PAUSE, partner="p"),
        acted(2, 1, 3, act=Act.DISCARD),
        again(3, acted(0, 1)),
        discarded(4, 14, 99),
        again(5, discarded(4, 14, 99)),
        discarded(6, 14, 13, minutes=50),
        acted(7, act=Act.MARK_REPLIES_SEEN, partner="p"),
        again(8, acted(7, act=Act.MARK_REPLIES_SEEN, partner="p")),
    ],
    "acknowledgements": [
        acknowledged(0, 1, AckStatus.RECEIVED, None),
        acknowledged(1, 1, by="q"),
        acknowledged(2, 1),
        acknowledged(3, 1, AckStatus.REFUSED, None),
        acknowledged(4, 2, AckStatus.IN_PROGRESS, None),
        acknowledged(5, 5, name="q", by="q"),
        again(6, acknowledged(0, 1, AckStatus.RECEIVED, None)),
        again(7, acknowledged(2, 1)),
        again(8, acknowledged(4, 2, AckStatus.IN_PROGRESS, None)),
        acknowledged(9, 3, outcome=Outcome.SUPPRESSED),
        acknowledged(10, 1, AckStatus.REFUSED, None, amends="a backup"),
        acknowledged(11, 6),
        acknowledged(12, 6, outcome=Outcome.SUPPRESSED, amends="not yet"),
        again(13, acknowledged(10, 1, AckStatus.REFUSED, None, amends="a backup")),
        acknowledged(14, 6, outcome=Outcome.NOT_FOUND),
    ],
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_interleaving_ends_the_same(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    directory = tmp_path_factory.mktemp("ledgers")
    ends = []
    order = data.draw(st.permutations([name for name, entries in STREAMS.items() for _ in entries]))
    for name, plan in (("a", [key for key in STREAMS for _ in STREAMS[key]]), ("b", order)):
        ledger = Ledger.open(directory / f"{name}.sqlite")
        rest = {key: list(entries) for key, entries in STREAMS.items()}
        sequence = [rest[key].pop(0) for key in plan]
        while sequence:
            size = data.draw(st.integers(1, len(sequence))) if name == "b" else len(sequence)
            ledger.apply(sequence[:size])
            if data.draw(st.booleans()):
                ledger.apply(sequence[:size])  # a crash before the offset was committed
            sequence = sequence[size:]
        ledger.close()
        ends.append(dump(directory / f"{name}.sqlite"))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("minutes", [-1.0, 0.0, 0.5, 7.0, 60.0 * 24 * 3650])
def test_the_file_rolls_lag_up_by_the_same_buckets(ledger: Ledger, tmp_path: Path, minutes: float) -> None:
    ledger.apply([issued(0, 1), delivered(0, 0, 0, minutes)])
    connection = sqlite3.connect(tmp_path / "ledger.sqlite")
    rows = connection.execute("SELECT hours, bucket, n FROM lag_rollups WHERE clock = 'receive'").fetchall()
    connection.close()
    bucket = bucket_of(int(minutes * 60_000_000))
    assert rows == [(1, bucket, 1), (24, bucket, 1)]


P, R = Progress, AckStatus


@pytest.mark.parametrize(
    ("current", "said", "verdict"),
    [
        (P(), P(R.RECEIVED), Verdict.APPLIED),
        (P(), P(R.IN_PROGRESS), Verdict.APPLIED),
        (P(), P(R.COMPLETED, Outcome.DELETED), Verdict.APPLIED),
        (P(), P(R.REFUSED, None, RefusalReason.EXEMPT), Verdict.APPLIED),
        (P(R.RECEIVED), P(R.RECEIVED), Verdict.REPEATED),
        (P(R.RECEIVED), P(R.IN_PROGRESS), Verdict.APPLIED),
        (P(R.IN_PROGRESS), P(R.RECEIVED), Verdict.LATE),
        (P(R.IN_PROGRESS), P(R.COMPLETED, Outcome.NOT_FOUND), Verdict.APPLIED),
        (P(R.COMPLETED, Outcome.DELETED), P(R.IN_PROGRESS), Verdict.LATE),
        (P(R.COMPLETED, Outcome.DELETED), P(R.COMPLETED, Outcome.DELETED), Verdict.REPEATED),
        (P(R.COMPLETED, Outcome.DELETED), P(R.COMPLETED, Outcome.NOT_FOUND), Verdict.CONTRADICTION),
        (P(R.COMPLETED, Outcome.DELETED), P(R.REFUSED, None, RefusalReason.OTHER), Verdict.CONTRADICTION),
        (P(R.REFUSED, None, RefusalReason.OTHER), P(R.COMPLETED, Outcome.DELETED), Verdict.CONTRADICTION),
    ],
)
def test_verdicts(current: Progress, said: Progress, verdict: Verdict) -> None:
    assert judge(current, said, owner=True, action=Action.ERASE) is verdict
    assert judge(current, said, owner=False, action=Action.ERASE) is Verdict.NOT_OWNER


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("outcome", Outcome)
def test_an_outcome_of_something_else_completes_nothing(action: Action, outcome: Outcome) -> None:
    either = {Outcome.NOT_FOUND, Outcome.ALREADY_DELETED}
    fitting = either | ({Outcome.RESUMED} if action is Action.RESUME else {Outcome.DELETED, Outcome.SUPPRESSED})
    other = Verdict.NOT_UNDERSTOOD if outcome is Outcome.UNKNOWN else Verdict.UNFIT
    verdict = judge(P(), P(R.COMPLETED, outcome), owner=True, action=action)
    stays = action is Action.ERASE and outcome is Outcome.SUPPRESSED
    assert verdict is (Verdict.SUPPRESSED if stays else Verdict.APPLIED if outcome in fitting else other)


def test_whoever_resumes_what_it_must_erase_still_owes_it(ledger: Ledger) -> None:
    ledger.apply([issued(0, 1), delivered(0, 0, 0), acknowledged(0, 1, outcome=Outcome.RESUMED)])
    assert status(ledger, "n-p-1") is NoticeStatus.DELIVERED
    assert ledger.timeline("user:1")[-1].summary == "p says completed (resumed); recorded as unfit."
    ledger.apply([acknowledged(1, 1)])
    assert status(ledger, "n-p-1") is NoticeStatus.COMPLETED


@given(st.lists(st.integers(1_000, 10**12), min_size=1, max_size=200))
def test_percentiles_are_exact_to_a_fifth(lags: list[int]) -> None:
    histogram: dict[int, int] = {}
    for lag in lags:
        histogram[bucket_of(lag)] = histogram.get(bucket_of(lag), 0) + 1
    exact = sorted(lags)[max(0, -(-len(lags) * 95 // 100) - 1)] / 1e6
    found = percentiles(histogram)
    assert found.count == len(lags)
    assert found.p95 is not None
    assert exact / 1.2 <= found.p95 <= exact * 1.2


def test_buckets_cover_a_year() -> None:
    assert [bucket_of(upper) for upper in UPPER_MICROS] == list(range(len(UPPER_MICROS)))
    assert [bucket_of(upper + 1) for upper in UPPER_MICROS] == list(range(1, len(UPPER_MICROS) + 1))
    assert bucket_of(-5) == bucket_of(0) == 0
    assert upper_seconds(bucket_of(365 * 86_400 * 10**6)) >= 365 * 86_400
