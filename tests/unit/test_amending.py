"""Answers that are taken back, and those that leave the data where it is: what a notice comes to, whatever is read
first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import Entry, Extended, Ledger, NoticeStatus, Span, Wanted, Window
from ledger.transitions import COUNTS, Progress, Verdict, after, judge
from streams.events import Acknowledged, AckStatus, NoticesIssued, Outcome
from streams.kinds import Action
from tests.unit.test_extending import asks
from tests.unit.test_ledger import acknowledged, at, delivered, dump, entry, notice, partner, status

DONE, REFUSED, WORKING = AckStatus.COMPLETED, AckStatus.REFUSED, AckStatus.IN_PROGRESS
DELETED, SUPPRESSED, NOT_FOUND = Outcome.DELETED, Outcome.SUPPRESSED, Outcome.NOT_FOUND
REGISTERED = entry("partners", 0, "r", partner())


def issued(**others: Any) -> Entry:
    changed = notice(1).model_copy(update={"extended_complete_by": at(120)} | others)
    return entry("notices", 0, "pack", NoticesIssued(partner="p", lane=0, notices=(changed,)))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger.open(tmp_path / "ledger.sqlite")) as opened:
        yield opened


def words(ledger: Ledger) -> list[str]:
    return [each.summary for each in ledger.timeline("user:1") if each.kind == "acknowledged"]


def verdicts(ledger: Ledger) -> list[Any]:
    return [each.detail["verdict"] for each in ledger.timeline("user:1") if each.kind == "acknowledged"]


def test_what_is_only_suppressed_stays_open_and_becomes_late(ledger: Ledger) -> None:
    ledger.apply([REGISTERED, issued(), acknowledged(0, 1, outcome=SUPPRESSED)])
    row = ledger.notices(["n-p-1"])["n-p-1"]
    assert (row.status, row.outcome, row.completed_at, row.received_at) == ("in_progress", SUPPRESSED, None, at(2))
    assert words(ledger) == ["p says completed (suppressed); the data is still there, so the notice stays open."]
    assert ledger.lag(at(61))[0].overdue_complete == 1
    assert ledger.lag(at(61))[0].acknowledged == 0
    assert [each.id for each in ledger.listed(Wanted(overdue=True), at(61), None, 9).notices] == ["n-p-1"]
    summary = ledger.report_summary(Span("p", at(0), at(1)), at(61))
    assert (summary.totals.all.completed, summary.totals.all.open, summary.totals.all.suppressed) == (0, 1, 1)
    assert summary.totals.outcomes == {}
    closeup = ledger.closeup("p", at(61), Window.DAY)
    assert closeup is not None
    assert closeup.funnel.suppressed == 1


def test_and_is_done_once_it_is_deleted(ledger: Ledger) -> None:
    ledger.apply([REGISTERED, issued(), acknowledged(0, 1, outcome=SUPPRESSED), acknowledged(1, 1, told=70)])
    row = ledger.notices(["n-p-1"])["n-p-1"]
    assert (row.status, row.outcome, row.completed_at, row.answered_first_at) == (
        NoticeStatus.COMPLETED,
        DELETED,
        at(70),
        None,
    )
    assert verdicts(ledger) == ["suppressed", "applied"]
    assert ledger.contradictions(None, None, 9) == []
    totals = ledger.report_summary(Span("p", at(0), at(1)), at(80)).totals
    assert (totals.all.suppressed, totals.all.answered_late, totals.outcomes) == (0, 1, {"deleted": 1})


@pytest.mark.parametrize("action", [Action.STOP, Action.ERASE])
def test_to_stop_or_by_contract_it_is_the_answer(ledger: Ledger, action: Action) -> None:
    contract = True if action is Action.ERASE else None
    ledger.apply([REGISTERED, issued(action=action, suppression_completes=contract)])
    ledger.apply([acknowledged(0, 1, outcome=SUPPRESSED), acknowledged(1, 1, told=70)])
    row = ledger.notices(["n-p-1"])["n-p-1"]
    # It was done when it was suppressed; that it is deleted later takes nothing back, and makes it no later.
    assert (row.status, row.outcome, row.completed_at) == (NoticeStatus.COMPLETED, DELETED, at(2))
    assert verdicts(ledger) == ["applied", "applied"]
    assert ledger.report_summary(Span("p", at(0), at(1)), at(80)).totals.all.answered_late == 0


def test_the_setting_counts_as_it_was_when_the_notice_was_issued(ledger: Ledger) -> None:
    now = partner().model_copy(update={"suppression_completes": True})
    ledger.apply([entry("partners", 0, "r", now), issued(), acknowledged(0, 1, outcome=SUPPRESSED)])
    assert status(ledger, "n-p-1") == "in_progress"
    (again,) = ledger.askable(["n-p-1"]).notices
    assert again.suppression_completes is None


def test_a_notice_that_is_issued_again_says_all_that_it_said(ledger: Ledger) -> None:
    ledger.apply([issued(suppression_completes=True, legal_receive_by=at(-9), legal_complete_by=at(-5))])
    (again,) = ledger.askable(["n-p-1"]).notices
    assert (again.suppression_completes, again.legal_receive_by, again.legal_complete_by) == (True, at(-9), at(-5))


def test_an_amended_answer_takes_the_place_of_the_one_before(ledger: Ledger) -> None:
    ledger.apply([REGISTERED, issued(), acknowledged(0, 1)])
    ledger.apply([acknowledged(1, 1, REFUSED, None, told=90, amends="a backup is under legal hold")])
    row = ledger.notices(["n-p-1"])["n-p-1"]
    assert (row.status, row.outcome, row.reason) == (NoticeStatus.REFUSED, None, "exempt")
    assert (row.completed_at, row.answered_first_at) == (at(90), at(2))
    assert words(ledger) == [
        "p says completed (deleted).",
        "p says refused (exempt), in the place of its earlier answer: a backup is under legal hold.",
    ]
    assert ledger.contradictions(None, None, 9) == []
    lag = ledger.lag(at(100))[0]
    assert (lag.contradictions, lag.acknowledged, lag.open) == (0, 1, 0)
    report = ledger.report_summary(Span("p", at(0), at(1)), at(100))
    assert (report.totals.all.completed, report.totals.all.refused, report.totals.all.answered_late) == (0, 1, 1)
    assert [each.words for each in report.refused] == ["a backup is under legal hold"]
    assert [each.id for each in ledger.listed(Wanted(statuses=frozenset({row.status})), at(9), None, 9).notices]


def test_a_refusal_that_is_amended_twice_has_its_last_words(ledger: Ledger) -> None:
    ledger.apply(
        [issued(), acknowledged(0, 1, REFUSED, None, amends="first"), acknowledged(1, 1, amends="done after all")]
    )
    ledger.apply([acknowledged(2, 1, REFUSED, None, amends="no, it was not")])
    (row,) = ledger.report_summary(Span("p", at(0), at(1)), at(9)).refused
    assert row.words == "no, it was not"


def test_one_that_was_not_deleted_after_all_is_open_again(ledger: Ledger) -> None:
    ledger.apply([REGISTERED, issued(), acknowledged(0, 1)])
    ledger.apply([acknowledged(1, 1, outcome=SUPPRESSED, amends="the job had failed"), asks(2, 30)])
    row = ledger.notices(["n-p-1"])["n-p-1"]
    assert (row.status, row.outcome, row.completed_at) == (NoticeStatus.IN_PROGRESS, SUPPRESSED, None)
    assert verdicts(ledger) == ["applied", "reopened", "repeated"]
    # Since it is open, more time may be asked for.
    assert row.extended_by == "ack-2"
    assert ledger.lag(at(121))[0].overdue_complete == 1
    assert ledger.lag(at(121))[0].acknowledged == 0


@pytest.mark.parametrize(
    ("second", "verdict"),
    [
        (acknowledged(1, 1, REFUSED, None), "contradiction"),
        (acknowledged(1, 1, outcome=NOT_FOUND), "contradiction"),
        (acknowledged(1, 1, outcome=SUPPRESSED), "contradiction"),
        (acknowledged(1, 1, outcome=Outcome.ALREADY_DELETED), "repeated"),
    ],
)
def test_only_an_unexplained_change_contradicts(ledger: Ledger, second: Entry, verdict: str) -> None:
    ledger.apply([issued(), acknowledged(0, 1), second])
    assert verdicts(ledger) == ["applied", verdict]
    assert status(ledger, "n-p-1") is NoticeStatus.COMPLETED
    assert len(ledger.contradictions(None, None, 9)) == (verdict == "contradiction")


def test_a_contradiction_to_what_was_opened_again_is_listed(ledger: Ledger) -> None:
    ledger.apply([issued(), acknowledged(0, 1), acknowledged(1, 1, REFUSED, None)])
    ledger.apply([acknowledged(2, 1, outcome=SUPPRESSED, amends="the job had failed")])
    (found,) = ledger.contradictions(None, None, 9)
    assert (found.stands, found.stands_outcome, found.stands_since) == (NoticeStatus.IN_PROGRESS, SUPPRESSED, None)


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ([], "STALL"),
        # Who amends what it answered in time does nothing for what is overdue.
        ([acknowledged(1, 1, REFUSED, None, told=900, amends="a backup")], "STALL"),
        ([acknowledged(1, 1, outcome=SUPPRESSED, told=900, amends="not yet")], "STALL"),
        ([acknowledged(1, 2, outcome=SUPPRESSED, told=900)], "STALL"),
        ([acknowledged(1, 2, told=900)], "WARN"),
    ],
)
def test_to_amend_moves_no_clock(ledger: Ledger, said: list[Entry], state: str) -> None:
    both = entry("notices", 0, "pack", NoticesIssued(partner="p", lane=0, notices=tuple(map(notice, (1, 2, 3)))))
    ledger.apply([REGISTERED, both, delivered(0, 0, 0), acknowledged(0, 1), *said])
    assert ledger.lag(at(901))[0].state == state


def test_what_the_platform_was_late_with_is_its_own(ledger: Ledger) -> None:
    ledger.apply([REGISTERED, issued(legal_receive_by=at(-90), legal_complete_by=at(-30))])
    (told,) = [each.summary for each in ledger.timeline("user:1") if each.kind == "issued_late"]
    assert told == (
        "By the person's request the time to take it (2026-01-01 10:30Z) and to complete it (2026-01-01 11:30Z) had"
        " passed when the notice was issued: the platform was late. p has its time from then on."
    )
    row = ledger.notices(["n-p-1"])["n-p-1"]
    assert (row.legal_receive_by, row.legal_complete_by, row.complete_by) == (at(-90), at(-30), at(60))
    lag = ledger.lag(at(5))[0]
    assert (lag.overdue, lag.state) == (0, "OK")
    page = ledger.report_page(Span("p", at(0), at(1)), at(5), None, 9)
    assert [(each.issued_late, each.overdue) for each in page.rows] == [(True, False)]
    assert ledger.report_summary(Span("p", at(0), at(1)), at(5)).totals.all.issued_late == 1
    closeup = ledger.closeup("p", at(5), Window.DAY)
    assert closeup is not None
    assert closeup.funnel.issued_late == 1
    # Nothing is due of it before its own time comes near.
    assert ledger.due(at(7), None, 9).reached == {}


ANSWERS: list[tuple[AckStatus, Outcome | None]] = [
    (AckStatus.RECEIVED, None), (WORKING, None), (DONE, DELETED), (DONE, SUPPRESSED), (DONE, NOT_FOUND),
    (DONE, Outcome.ALREADY_DELETED), (REFUSED, None),
]  # fmt: skip


@st.composite
def histories(draw: st.DrawFn) -> list[Entry]:
    """What a partner says of a notice, in its order; it may ask for more time, and repeat itself."""
    said: list[Entry] = []
    for offset in range(draw(st.integers(1, 9))):
        told = draw(st.integers(0, 100))
        if draw(st.integers(0, 5)) == 0:
            said.append(asks(offset, told))
        elif said and draw(st.integers(0, 5)) == 0:
            said.append(replace(draw(st.sampled_from(said)), offset=offset))
        else:
            answer, outcome = draw(st.sampled_from(ANSWERS))
            amends = draw(st.sampled_from([None, "a mistake"]))
            said.append(acknowledged(offset, 1, answer, outcome, told=told, amends=amends))
    return said


class Model:
    """The same by the pure rules alone, one answer after the other."""

    def __init__(self, said: Sequence[Entry], *, contract: bool) -> None:
        self.progress, self.completed_at, known = Progress(), None, set[str]()
        for each in said:
            assert each.envelope is not None
            data = each.envelope.data
            assert isinstance(data, Acknowledged)
            if each.envelope.id in known:
                continue
            known.add(each.envelope.id)
            answer, why = Progress(data.status, data.outcome, data.reason), data.detail is not None
            verdict = judge(
                self.progress, answer, owner=True, action=Action.ERASE, explained=why, amends=data.amends is True,
                suppression_completes=contract,
            )  # fmt: skip
            if verdict not in COUNTS:
                continue
            before, self.progress = self.progress, after(self.progress, answer, verdict)
            final = self.progress.status in (DONE, REFUSED)
            further = before.status in (DONE, REFUSED) and verdict is Verdict.APPLIED
            if not further:
                self.completed_at = each.envelope.time if final else None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories(), st.booleans(), st.data())
def test_a_rebuilt_ledger_comes_to_the_same(
    tmp_path_factory: pytest.TempPathFactory, said: list[Entry], contract: bool, data: st.DataObject
) -> None:
    directory, model = tmp_path_factory.mktemp("ledgers"), Model(said, contract=contract)
    asked = issued(suppression_completes=True if contract else None)
    ends = []
    for name in ("one by one", "somehow"):
        cut = 0 if name == "one by one" else data.draw(st.integers(0, len(said)))
        rest = [REGISTERED, *said[:cut], asked, *said[cut:]]
        with closing(Ledger.open(directory / name)) as ledger:
            while rest:
                size = 1 if name == "one by one" else data.draw(st.integers(1, len(rest)))
                ledger.apply(rest[:size])
                rest = rest[size:]
            row = ledger.notices(["n-p-1"])["n-p-1"]
            found = (row.outcome, row.reason, row.completed_at)
            assert found == (model.progress.outcome, model.progress.reason, model.completed_at)
            assert row.status == (model.progress.status or "queued")
            # What is counted over hours and days is what stands, and what is counted for ever never falls.
            windows = ledger.lag(at(200), Window.DAY, (Window.DAY,))[0].windows
            assert windows[0].answered == (model.completed_at is not None)
        ends.append(dump(directory / name))
    assert ends[0] == ends[1]
    first = row.answered_first_at or row.completed_at
    ever = [kept for kept in ends[0]["lag_ever"] if "complete" in kept]
    assert len(ever) == (first is not None)


def test_more_time_is_refused_to_who_answered_and_not_to_who_took_that_back(ledger: Ledger) -> None:
    ledger.apply([issued(), acknowledged(0, 1), asks(1, 20)])
    ledger.apply([acknowledged(2, 1, outcome=SUPPRESSED, amends="the job had failed"), asks(3, 30)])
    ledger.apply([acknowledged(4, 1, amends="now it is")])
    found = ledger._connection.execute("SELECT verdict FROM extensions ORDER BY id").fetchall()
    assert found == [(Extended.ANSWERED,), (Extended.GRANTED,)]
