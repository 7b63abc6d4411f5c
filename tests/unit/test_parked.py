"""What the ledger makes of parked notices, of those that operators discard, and of those that a user reverses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from pathlib import Path

import pytest

from ledger import Became, Cancelled, Entry, Ledger, NoticeStatus, Span, Wanted
from ledger.retries import OF_ONE
from streams.deadlines import Deadline, Step
from streams.events import (
    ConsentChanged,
    Data,
    DeletionRequested,
    NoticesIssued,
    Partner,
    PartnerChanged,
    PartnerSuspended,
    PartnerTried,
)
from streams.kinds import Action, Choice
from streams.ranks import rank_of
from tests.unit.test_ledger import (
    NOON,
    VEILS,
    acknowledged,
    at,
    delivered,
    discarded,
    entry,
    failed,
    issued,
    notice,
    parked,
    partner,
    ranked,
    refused,
    reissued,
    reversing,
    status,
)


@pytest.fixture(params=VEILS)
def ledger(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Ledger]:
    with closing(Ledger.open(tmp_path / "ledger.sqlite", veils=(VEILS[request.param],))) as opened:
        opened.apply([entry("partners", 0, "r1", partner())])
        yield opened


def said(ledger: Ledger, number: int = 1) -> list[tuple[str, str]]:
    return [(item.kind, item.summary) for item in ledger.timeline(f"user:{number}")]


def due(ledger: Ledger, minutes: float, after: str = "", most: int = 1000) -> list[str]:
    return [each.notice.id for each in ledger.retries(at(minutes), after, most).retries]


# -- ranks


OUT, IN = Choice.OPT_OUT, Choice.OPT_IN


def chosen(version: int | None, choice: Choice = OUT, *, past: bool = True) -> ConsentChanged:
    rank = None if version is None else rank_of(version, NOON, choice, retroactive=past)
    return ConsentChanged(
        subject="user:1", purpose="ai", choice=choice, retroactive=past, toggle_id="t", occurred_at=NOON,
        accepted_at=NOON, rank=rank,
    )  # fmt: skip


def asked(version: int | None, name: str | None = None) -> DeletionRequested:
    rank = None if version is None else rank_of(version, NOON, OUT, retroactive=True)
    return DeletionRequested(
        subject="user:1", purpose="ai", toggle_id="t", occurred_at=NOON, accepted_at=NOON, partner=name, rank=rank
    )


@pytest.mark.parametrize(
    ("decisions", "version"),
    [
        ([chosen(1)], 1),
        ([chosen(1), asked(1)], 1),
        ([chosen(1, past=False), asked(4)], 4),  # it reached back later
        ([chosen(1), asked(7, "p")], 1),  # a withdrawal of one partner's export
        ([chosen(1), chosen(2, IN)], None),
        ([chosen(1), chosen(2, IN), chosen(3)], 3),
        ([chosen(2), chosen(None)], 2),
        ([chosen(None)], None),
        ([chosen(None), asked(5)], 5),
        ([chosen(2, IN)], None),
    ],
)
@pytest.mark.parametrize("together", [False, True])
def test_the_rank_of_an_opt_out_that_stands(
    ledger: Ledger, decisions: list[Data], version: int | None, together: bool
) -> None:
    entries = [entry("decisions", offset, f"d{offset}", data) for offset, data in enumerate(decisions)]
    for some in [entries] if together else [[each] for each in entries]:
        ledger.apply(some)
    expected = {} if version is None else {"user:1": rank_of(version, NOON, OUT, retroactive=True)}
    assert ledger.opt_out_ranks("ai", ["user:1", "user:2"]) == expected


# -- undeliverable, and parked, is open


@pytest.mark.parametrize("held", [refused(0, 1, 0), parked(0, 1, 0)], ids=["undeliverable", "parked"])
def test_what_is_not_taken_is_open_and_runs_against_both_clocks(ledger: Ledger, held: Entry) -> None:
    ledger.apply([issued(0, 1), issued(1, 2), held, delivered(0, 1, 1), acknowledged(0, 2)])
    (row,) = ledger.lag(at(5))
    assert (row.open, row.overdue, row.oldest_open_at) == (1, 0, NOON)
    (row,) = ledger.lag(at(11))
    assert (row.overdue_receive, row.overdue_complete) == (1, 0)
    (row,) = ledger.lag(at(61))
    assert (row.overdue_receive, row.overdue_complete, row.overdue) == (1, 1, 1)
    told = {(each.deadline, each.step) for _, each in ledger.due(at(61), None, 100).reached}
    assert told == {(Deadline.RECEIVE, Step.BREACHED), (Deadline.COMPLETE, Step.BREACHED)}
    assert [each.id for each in ledger.listed(Wanted(overdue=True), at(61), None, 10).notices] == ["n-p-1"]
    report = ledger.report_summary(Span("p", NOON, at(1)), at(61)).totals.all
    assert (report.asked, report.completed, report.open, report.overdue) == (2, 1, 1, 1)
    assert ledger.totals().open == 1


def counts(ledger: Ledger) -> dict[str, int]:
    rows = ledger._connection.execute("SELECT name, n FROM counts WHERE partner = 'p' AND kind = 'erase' AND n <> 0")
    return {name: n for name, n in rows.fetchall() if not name.startswith("attempt")}


def test_counters_tell_both(ledger: Ledger) -> None:
    ledger.apply([issued(0, 1, 2, 3), refused(0, 1, 0), parked(1, 2, 0)])
    assert counts(ledger) == {"undeliverable": 1, "parked": 1, "parked_queued": 1, "queued": 2}
    ledger.apply([reissued(1, 1, 2, how="redrive")])
    assert counts(ledger) == {"queued": 3}


def test_a_parked_notice_says_so_in_lists_and_its_timeline(ledger: Ledger) -> None:
    ledger.apply([issued(0, 1), parked(0, 1, 0, minutes=2, retry=3)])
    (row,) = ledger.listed(Wanted(partner="p"), at(3), None, 10).notices
    assert (row.status, row.parked, row.retry_at) == (NoticeStatus.QUEUED, True, at(5))
    assert row.last_words == "HTTP 500: 0@0"
    assert said(ledger)[-1] == (
        "parked",
        "p does not take the notice, though it takes others; it is tried again from 2026-01-01 12:05Z on:"
        " HTTP 500: 0@0",
    )
    ledger.apply([reissued(1, 1, minutes=6, how="retry"), delivered(0, 1, 1, 7)])
    row = ledger.notices(["n-p-1"])["n-p-1"]
    assert (row.status, row.parked, row.retry_at, row.last_words) == (NoticeStatus.DELIVERED, False, None, None)
    assert said(ledger)[-2:] == [("retried", "The notice is tried again at p."), ("delivered", "p took delivery.")]


def test_what_two_ledgers_tried_again_is_told_once(ledger: Ledger) -> None:
    ledger.apply([issued(0, 1), parked(0, 1, 0)])
    again = reissued(1, 1, minutes=6, how="retry")
    ledger.apply([again, replace(again, offset=2)])
    assert [kind for kind, _ in said(ledger)] == ["notice_issued", "parked", "retried"]
    ledger.apply([parked(1, 1, 1, minutes=7)])
    assert due(ledger, 60) == [], "it still stands at the second place"
    ledger.apply([parked(2, 1, 2, minutes=8)])
    assert due(ledger, 60) == ["n-p-1"]


# The last place counts. Each with the status, and whether it is parked.
HISTORIES = {
    "parked": ([issued(0, 1), parked(0, 1, 0)], "queued", True),
    "and issued again": ([issued(0, 1), parked(0, 1, 0), reissued(1, 1)], "queued", False),
    "and parked again": ([issued(0, 1), parked(0, 1, 0), reissued(1, 1), parked(1, 1, 1)], "queued", True),
    "and refused for good": ([issued(0, 1), parked(0, 1, 0), reissued(1, 1), refused(1, 1, 1)], "undeliverable", False),
    "redriven and parked": ([issued(0, 1), refused(0, 1, 0), reissued(1, 1), parked(1, 1, 1)], "queued", True),
    "refused and parked there": ([issued(0, 1), refused(0, 1, 0), parked(1, 1, 0)], "undeliverable", False),
    "by a clock that is behind": (
        [issued(0, 1), parked(0, 1, 0), reissued(1, 1, minutes=20), reissued(2, 1, minutes=10), parked(1, 1, 1)],
        "queued",
        False,
    ),
    "in a later lane": (
        [issued(0, 1), parked(0, 1, 0), reissued(0, 1, lane=2), refused(1, 1, 0, lane=2)],
        "undeliverable",
        False,
    ),
    "taken once": ([issued(0, 1), delivered(0, 0, 0), reissued(1, 1), parked(0, 1, 1)], "delivered", True),
    "taken once, refused": ([issued(0, 1), delivered(0, 0, 0), reissued(1, 1), refused(0, 1, 1)], "delivered", False),
    "answered": ([issued(0, 1), parked(0, 1, 0), acknowledged(0, 1)], "completed", False),
    "discarded": ([issued(0, 1), parked(0, 1, 0), discarded(0, 1)], "cancelled", False),
    "reversed": ([issued(0, 11), parked(0, 11, 0), reversing(1, 11, 21, rank=2)], "cancelled", False),
    "reversed, refused": ([issued(0, 11), refused(0, 11, 0), reversing(1, 11, 21, rank=2)], "cancelled", False),
    "not reversed by what is older": (
        [issued(0, 11), parked(0, 11, 0), reversing(1, 11, 21, rank=0)],
        "queued",
        True,
    ),
    "reversed, not held up": ([issued(0, 11), reversing(1, 11, 21, rank=2)], "queued", False),
    "reversed by its place alone": (
        [issued(0, 1), parked(0, 1, 0), reversing(1, 1, 21, rank=2)],
        "cancelled",
        False,
    ),
    "not reversed by what is no choice": (
        [reversing(0, 1, 21, rank=2), parked(0, 21, 0), issued(1, 1)],
        "queued",
        True,
    ),
    "reversed, then redriven": (
        [issued(0, 11), refused(0, 11, 0), reversing(1, 11, 21, rank=2), reissued(2, 11)],
        "queued",
        False,
    ),
    "reversed, then taken": (
        [issued(0, 11), parked(0, 11, 0), reversing(1, 11, 21, rank=2), reissued(2, 11), delivered(0, 2, 2)],
        "delivered",
        False,
    ),
    "taken, its replay parked, reversed": (
        [issued(0, 11), delivered(0, 0, 0), reissued(1, 11), parked(0, 11, 1), reversing(2, 11, 21, rank=2)],
        "delivered",
        False,
    ),
}


@pytest.mark.parametrize(("entries", "expected", "waits"), HISTORIES.values(), ids=HISTORIES)
def test_what_a_notice_is_by_the_last_of_its_places(
    tmp_path: Path, entries: list[Entry], expected: str, waits: bool
) -> None:
    """Whichever topic is read first."""
    streams: dict[tuple[str, int], list[Entry]] = {}
    for each in entries:
        streams.setdefault((each.topic, each.partition), []).append(each)
    for number, order in enumerate(permutations(streams.values())):
        with closing(Ledger.open(tmp_path / f"{number}.sqlite")) as ledger:
            ledger.apply([entry("partners", 0, "r1", partner())])
            for stream in order:
                for each in stream:
                    ledger.apply([each])
            of = next(
                data for each in entries if each.envelope and isinstance(data := each.envelope.data, NoticesIssued)
            )
            row = ledger.notices([of.notices[0].id])[of.notices[0].id]
            assert (row.status, row.parked) == (expected, waits)
            assert bool(due(ledger, 10_000)) == waits
            back = len(ledger.notices(["n-p-21"]))
            assert ledger.lag(at(5))[0].open == back + (expected not in ("completed", "cancelled"))


# -- closed by the user, or by an operator


def test_a_reversed_one_leaves_the_dead_letters_and_says_why(ledger: Ledger) -> None:
    ledger.apply([issued(0, 11), refused(0, 11, 0), reversing(1, 11, 21, rank=2)])
    assert ledger.refused(None, None, 10) == []
    row = ledger.notices(["n-p-11"])["n-p-11"]
    assert (row.cancelled_because, row.cancelled_at) == (Cancelled.REVERSED, at(1))
    told = ("cancelled", "The user chose otherwise before p took delivery; the notice is cancelled.")
    assert told in said(ledger, 11)
    back = notice(11).model_copy(update={"id": "n-p-21", "action": Action.RESUME, "rank": ranked(2)})
    assert ledger.askable(["n-p-11", "n-p-21"]).notices == [back]


def test_a_discarded_one_is_cancelled_and_says_by_whom_and_why(ledger: Ledger) -> None:
    ledger.apply([issued(0, 1, 2), refused(0, 1, 0), parked(1, 2, 0), discarded(0, 1, 2)])
    assert ledger.refused(None, None, 10) == []
    assert ledger.lag(at(61))[0].open == 0
    row = ledger.notices(["n-p-1"])["n-p-1"]
    assert (row.status, row.cancelled_because, row.cancelled_at) == ("cancelled", Cancelled.DISCARDED, at(30))
    assert said(ledger)[-1] == ("discarded", "The notice is discarded by on call (key k1): they never had user:1")
    (act,) = ledger.actions(None, None, 10)
    assert act.details == {"reason": "they never had user:1"}
    span = Span("p", NOON, at(1))
    words = [each.words for each in ledger.report_page(span, at(61), None, 10).rows]
    assert words == ["discarded by on call (key k1): they never had user:1"] * 2
    summary = ledger.report_summary(span, at(61))
    assert (summary.totals.all.cancelled, summary.totals.all.discarded, summary.totals.all.open) == (2, 2, 0)
    assert [each.notice.id for each in summary.discarded] == ["n-p-1", "n-p-2"]


def test_who_answers_after_all_has_the_last_word(ledger: Ledger) -> None:
    ledger.apply([issued(0, 1), refused(0, 1, 0), discarded(0, 1), acknowledged(0, 1)])
    assert status(ledger, "n-p-1") is NoticeStatus.COMPLETED


def test_a_sealed_ledger_names_nobody_though_an_operator_did(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with closing(Ledger.open(path, veils=(VEILS["sealed"],))) as ledger:
        ledger.apply([issued(0, 1), parked(0, 1, 0), discarded(0, 1)])
        ledger._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"user:1" not in path.read_bytes()


# -- what is due, and when


def test_it_is_due_when_its_time_has_come(ledger: Ledger) -> None:
    ledger.apply([issued(0, 1, 2), parked(0, 1, 0, minutes=1, retry=4), parked(1, 2, 0, minutes=1, retry=9)])
    assert [due(ledger, minutes) for minutes in (4.9, 5, 10)] == [[], ["n-p-1"], ["n-p-1", "n-p-2"]]
    assert [ledger.any_retry(at(minutes)) for minutes in (4.9, 5)] == [False, True]


def changed(offset: int, minutes: float, **fields: object) -> Entry:
    """A change of the partner by an operator."""
    body = partner().model_dump() | {"revision": offset + 1, "updated_at": at(minutes)} | fields
    return entry("partners", offset, f"r{offset}", PartnerChanged.model_validate(body))


SUSPENDED = PartnerSuspended(partner="p", revision=1, reason="410", suspended_at=at(2))


@pytest.mark.parametrize(
    ("news", "is_due"),
    [
        ([entry("partners", 1, "t", PartnerTried(partner="p", tried_at=at(2)))], True),
        ([entry("partners", 1, "t", PartnerTried(partner="p", tried_at=at(0.5)))], False),  # before it was parked
        ([entry("partners", 1, "t", PartnerTried(partner="q", tried_at=at(2)))], False),
        ([changed(1, 2, url="https://new.example/")], True),
        ([changed(1, 2, status="paused")], False),
        ([changed(1, 2, status="paused"), changed(2, 3)], True),  # resumed
        ([entry("partners", 1, "s", SUSPENDED)], False),
        ([entry("partners", 1, "s", SUSPENDED), changed(2, 3)], True),
        ([changed(1, 2, status="removed")], False),
        ([changed(1, 2, draining_since=at(2))], True),
    ],
)
def test_what_somebody_does_by_hand_makes_it_due_at_once(ledger: Ledger, news: list[Entry], is_due: bool) -> None:
    ledger.apply([issued(0, 1), parked(0, 1, 0, minutes=1, retry=600), *news])
    assert due(ledger, 4) == (["n-p-1"] if is_due else [])


def test_a_partner_that_gets_nothing_now_gets_it_later(ledger: Ledger) -> None:
    ledger.apply([issued(0, 1), parked(0, 1, 0), changed(1, 0.5, status="suspended")])
    assert due(ledger, 60) == []
    ledger.apply([changed(2, 0.7)])
    assert due(ledger, 60) == ["n-p-1"]


def test_what_is_tried_again_is_the_notice_as_it_was_and_what_came_of_it(ledger: Ledger) -> None:
    ledger.apply([issued(0, 11), failed(0), parked(0, 11, 0, failures=3)])
    found = ledger.retries(at(60), "", 10)
    (retry,) = found.retries
    assert (retry.notice, retry.parked, retry.failing.failures) == (notice(11), "parked-p-11-0-0", 3)
    assert isinstance(retry.partner, Partner)
    assert (found.checked, found.next) == ({0: 1}, None)


def test_pages_go_on_with_the_next_partner_and_take_a_share_of_each(ledger: Ledger) -> None:
    for lane, name in enumerate(("a", "b", "c")):
        ledger.apply([entry("partners", 1 + lane, name, partner(name, lane))])
        numbers = range(1, OF_ONE + 11)
        ledger.apply([replace(issued(0, *numbers, name=name, lane=lane), partition=lane)])
        start = lane * len(numbers)
        ledger.apply([parked(start + n, number, 0, lane=lane, name=name) for n, number in enumerate(numbers)])
    first = ledger.retries(at(60), "", OF_ONE + 50)
    assert [sum(each.partner.id == name for each in first.retries) for name in "abc"] == [OF_ONE, 50, 0]
    assert first.next == "b"
    rest = ledger.retries(at(60), "b", OF_ONE + 50)
    assert [sum(each.partner.id == name for each in rest.retries) for name in "abc"] == [0, 0, OF_ONE]
    assert rest.next is None


# -- what became of what was issued again


@pytest.mark.parametrize(
    ("after", "outcome", "words"),
    [
        ([], Became.WAITING, None),
        ([failed(0)], Became.WAITING, None),  # before it was issued again
        ([failed(0, 30)], Became.WAITING, "HTTP 503"),
        ([failed(0, 30), delivered(1, 5, 5, 31)], Became.WAITING, None),
        ([delivered(0, 1, 1, 30)], Became.TAKEN, None),
        ([acknowledged(0, 11)], Became.TAKEN, None),
        ([refused(1, 11, 1, minutes=30)], Became.REFUSED, "HTTP 422: 0@1"),
        ([parked(1, 11, 1, minutes=30)], Became.PARKED, "HTTP 500: 0@1"),
        ([parked(1, 11, 1, minutes=30), reissued(2, 11, minutes=40, how="retry")], Became.PARKED, "HTTP 500: 0@1"),
        ([parked(1, 11, 1), reversing(2, 11, 21, rank=2)], Became.CANCELLED, None),
        ([parked(1, 11, 1), discarded(0, 11)], Became.CANCELLED, None),
    ],
)
def test_what_became_of_a_redriven_notice(
    ledger: Ledger, after: list[Entry], outcome: Became, words: str | None
) -> None:
    ledger.apply([issued(0, 11), refused(0, 11, 0), reissued(1, 11, how="redrive"), *after])
    (found,) = ledger.outcomes([("n-p-11", 0, 1), ("n-p-99", 0, 1)])
    assert (found.notice_id, found.outcome, found.words) == ("n-p-11", outcome, words)
    assert (found.retry_at is not None) == (outcome is Became.PARKED)


# -- how far it was checked


def test_whatever_is_issued_again_says_how_far_it_was_checked(ledger: Ledger) -> None:
    lanes = [replace(issued(offset, 30 + offset, lane=2), partition=2) for offset in range(3)]
    ledger.apply([issued(0, 1), *lanes, parked(0, 1, 0)])
    checked = {0: 1, 2: 3}
    span = Span("p", NOON - timedelta(hours=1), NOON + timedelta(hours=1))
    assert ledger.issued(span, None, 1000).checked == checked
    assert ledger.issued(span, None, 1).checked == checked
    assert ledger.askable(["n-p-1"]).checked == checked
    assert ledger.overtaking(["n-p-1"]).checked == checked
    assert ledger.retries(at(60), "", 10).checked == checked
