"""What the ledger says of partners with habits that were seen: state, reason and figures, from the log alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ledger import Entry, LagState, Ledger, PartnerLag, Window
from ledger.standing import _STANDING
from streams.clocks import Watch
from streams.cloudevents import Envelope
from streams.events import (
    Acknowledged,
    AckStatus,
    BatchDelivered,
    BatchFailed,
    Data,
    Failing,
    Notice,
    NoticeParked,
    NoticesIssued,
    NoticeUndeliverable,
    Outcome,
    PartnerChanged,
    RefusalReason,
)
from streams.kinds import Action
from streams.topics import ACKNOWLEDGEMENTS, DELIVERIES, NOTICES, PARTNERS, UNDELIVERABLE
from tests.unit.test_ledger import NOON, dump, partner

SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))
CLOCKS = (24 * HOUR, 30 * DAY)


class Log:
    """What happened, as entries of the log in the order in which it did."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._ends: dict[str, int] = {}
        self._places: dict[int, int] = {}
        self._add(PARTNERS.name, "registered", NOON, partner())

    def issued(
        self, *numbers: int, at: timedelta = timedelta(0), clocks: tuple[timedelta, timedelta] = CLOCKS, **more: Any
    ) -> None:
        """In a pack; `clocks` are how long there is to receive, and to complete."""
        issued_at = NOON + at
        notices = tuple(
            Notice(
                id=f"n-{number}", cause_id="c", toggle_id="t", subject=f"user:{number}", purpose="ai",
                occurred_at=NOON, issued_at=issued_at, receive_by=issued_at + clocks[0],
                complete_by=issued_at + clocks[1], **{"action": Action.ERASE} | more,
            )
            for number in numbers
        )  # fmt: skip
        place = self._add(
            NOTICES.name, f"pack-{numbers[0]}", issued_at, NoticesIssued(partner="p", lane=0, notices=notices)
        )
        self._places |= dict.fromkeys(numbers, place)

    def delivered(self, number: int, at: timedelta) -> None:
        """The pack of this notice."""
        place = self._places[number]
        data = BatchDelivered(
            partner="p", lane=0, first_offset=place, last_offset=place, notices=1, webhook_id=f"msg-{number}",
            attempt=1, status_code=200, duration_ms=1, delivered_at=NOON + at,
        )  # fmt: skip
        self._add(DELIVERIES.name, f"delivered-{number}", NOON + at, data)

    def failed(self, at: timedelta, status: int | None = 400, number: int = 1) -> None:
        place = self._places[number]
        data = BatchFailed(
            partner="p", lane=0, first_offset=place, last_offset=place, notices=1, webhook_id=f"msg-{number}",
            attempt=1, status_code=status, error=f"HTTP {status}", duration_ms=1, failed_at=NOON + at,
        )  # fmt: skip
        self._add(DELIVERIES.name, f"failed-{number}-{at}", NOON + at, data)

    def undeliverable(self, number: int, at: timedelta) -> None:
        data = NoticeUndeliverable(
            partner="p", lane=0, offset=self._places[number], notice_id=f"n-{number}", subject=f"user:{number}",
            status_code=422, detail="no", refused_at=NOON + at,
        )  # fmt: skip
        self._add(UNDELIVERABLE.name, f"undeliverable-{number}", NOON + at, data)

    def parked(self, number: int, at: timedelta) -> None:
        data = NoticeParked(
            partner="p", lane=0, offset=self._places[number], notice_id=f"n-{number}", subject=f"user:{number}",
            status_code=500, detail="no", parked_at=NOON + at, retry_at=NOON + at + MINUTE,
            failing=Failing(lane=0, offset=0, failures=3, refusals=0, others_taken=True),
        )  # fmt: skip
        self._add(UNDELIVERABLE.name, f"parked-{number}-{at}", NOON + at, data)

    def answered(self, number: int, at: timedelta, status: AckStatus = AckStatus.COMPLETED, **more: Any) -> None:
        data = Acknowledged(
            notice_id=f"n-{number}", partner="p", subject=f"user:{number}", status=status, occurred_at=NOON, via="api",
            reason=RefusalReason.EXEMPT if status is AckStatus.REFUSED else None,
            **{"outcome": Outcome.DELETED if status is AckStatus.COMPLETED else None} | more,
        )  # fmt: skip
        self._add(ACKNOWLEDGEMENTS.name, f"said-{number}-{at}", NOON + at, data)

    def changed(self, **changes: Any) -> None:
        data = PartnerChanged.model_validate(partner().model_dump() | {"revision": 2} | changes)
        self._add(PARTNERS.name, "changed", NOON, data)

    def _add(self, topic: str, identity: str, at: datetime, data: Data) -> int:
        place = self._ends.get(topic, 0)
        self._ends[topic] = place + 1
        self.entries.append(Entry(topic, 0, place, at, Envelope(identity, at, data)))
        return place


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger.open(tmp_path / "ledger.sqlite")) as opened:
        yield opened


def seen(ledger: Ledger, log: Log, at: timedelta) -> PartnerLag:
    """What is said of the partner then, of all that happened until now."""
    ledger.apply(log.entries)
    (row,) = ledger.lag(NOON + at, Window.DAY, tuple(Window))
    return row


SHORT = (5 * SECOND, 10 * SECOND)


def test_who_says_200_and_never_answers_stands_still_whatever_else_it_takes(ledger: Ledger, log: Log) -> None:
    log.issued(1, clocks=SHORT)
    log.delivered(1, SECOND)
    assert seen(ledger, log, 7 * SECOND).state is LagState.OK
    assert seen(ledger, log, 9 * SECOND).state is LagState.WARN
    still = (LagState.STALL, "1 erase notice is past complete-by, and no overdue one was answered in the last hour")
    row = seen(ledger, log, 11 * SECOND)
    assert (row.state, row.reason) == still
    log.issued(2, at=20 * SECOND, clocks=SHORT)
    log.delivered(2, 21 * SECOND)
    row = seen(ledger, log, 22 * SECOND)
    assert (row.state, row.reason) == still


def test_answers_to_what_is_new_leave_what_is_overdue_standing(ledger: Ledger, log: Log) -> None:
    log.issued(1, clocks=SHORT)
    log.delivered(1, SECOND)
    for number in range(2, 9):
        at = number * MINUTE
        log.issued(number, at=at, clocks=SHORT)
        log.delivered(number, at + SECOND)
        log.answered(number, at + 2 * SECOND)
        assert seen(ledger, log, at + 3 * SECOND).state is LagState.STALL
    log.answered(1, 9 * MINUTE)
    assert seen(ledger, log, 9 * MINUTE + SECOND).state is LagState.WARN, "an answer of eight was late"


@pytest.mark.parametrize(("after", "state"), [(60 * MINUTE, LagState.WARN), (61 * MINUTE, LagState.STALL)])
def test_a_late_answer_counts_for_an_hour(ledger: Ledger, log: Log, after: timedelta, state: LagState) -> None:
    log.issued(1, 2, clocks=SHORT)
    log.delivered(1, SECOND)
    log.answered(1, MINUTE)
    assert seen(ledger, log, MINUTE + after).state is state


@pytest.mark.parametrize(("after", "state"), [(36 * HOUR, LagState.WARN), (37 * HOUR, LagState.STALL)])
def test_or_for_a_twentieth_of_the_clock(ledger: Ledger, log: Log, after: timedelta, state: LagState) -> None:
    log.issued(1, 2)
    log.delivered(1, SECOND)
    log.answered(1, 31 * DAY, AckStatus.REFUSED)
    assert seen(ledger, log, 31 * DAY + after).state is state


def test_a_word_on_the_way_is_no_answer(ledger: Ledger, log: Log) -> None:
    log.issued(1, clocks=SHORT)
    log.delivered(1, SECOND)
    log.answered(1, MINUTE, AckStatus.IN_PROGRESS)
    assert seen(ledger, log, 2 * MINUTE).state is LagState.STALL


def test_who_amends_an_answer_that_was_in_time_moves_nothing_that_is_overdue(ledger: Ledger, log: Log) -> None:
    log.issued(1, 2, clocks=SHORT)
    log.delivered(1, SECOND)
    log.answered(1, 2 * SECOND, AckStatus.REFUSED)
    log.answered(1, 2 * MINUTE, amends=True, detail="we were wrong")
    row = seen(ledger, log, 3 * MINUTE)
    assert (row.windows[0].answered, row.windows[0].refused) == (1, 0)
    assert (row.state, row.kinds[1].overdue_answered_at) == (LagState.STALL, None)


def test_who_takes_a_late_answer_back_has_not_answered(ledger: Ledger, log: Log) -> None:
    log.issued(1, clocks=SHORT)
    log.delivered(1, SECOND)
    log.answered(1, MINUTE)
    assert seen(ledger, log, 2 * MINUTE).open == 0
    log.answered(1, 2 * MINUTE, outcome=Outcome.SUPPRESSED, amends=True, detail="it is still in a backup")
    row = seen(ledger, log, 3 * MINUTE)
    assert (row.open, row.state, row.kinds[1].overdue_answered_at) == (1, LagState.STALL, None)


def test_what_is_only_suppressed_is_not_answered(ledger: Ledger, log: Log) -> None:
    log.issued(1, clocks=SHORT)
    log.delivered(1, SECOND)
    log.answered(1, MINUTE, outcome=Outcome.SUPPRESSED)
    row = seen(ledger, log, 3 * MINUTE)
    assert (row.open, row.state) == (1, LagState.STALL)


def test_each_action_is_judged_by_itself(ledger: Ledger, log: Log) -> None:
    log.issued(1, clocks=SHORT)
    log.issued(2, 3, clocks=SHORT, action=Action.STOP)
    log.delivered(1, SECOND)
    log.delivered(2, SECOND)
    log.answered(2, MINUTE, AckStatus.REFUSED)
    row = seen(ledger, log, 2 * MINUTE)
    assert (row.state, row.overdue) == (LagState.STALL, 2)
    assert "erase" in row.reason


def test_a_late_delivery_is_progress_to_receive_only(ledger: Ledger, log: Log) -> None:
    log.issued(1, clocks=(5 * SECOND, DAY))
    log.issued(2, clocks=(5 * SECOND, DAY))
    row = seen(ledger, log, MINUTE)
    assert (row.state, row.overdue_receive) == (LagState.STALL, 2)
    log.delivered(1, 2 * MINUTE)
    row = seen(ledger, log, 3 * MINUTE)
    assert (row.state, row.overdue_receive) == (LagState.WARN, 1)
    assert row.kinds[1].overdue_taken_at == NOON + 2 * MINUTE
    log.issued(3, at=4 * MINUTE, clocks=(HOUR, DAY))
    log.delivered(3, 5 * MINUTE)
    assert seen(ledger, log, 63 * MINUTE).state is LagState.STALL, "what was taken in time says nothing"


@pytest.mark.parametrize("status", [400, 413, 422, 404, 429, 503, None])
def test_who_refuses_everything_is_stopped_and_its_attempts_are_counted(
    ledger: Ledger, log: Log, status: int | None
) -> None:
    log.issued(*range(1, 9))
    log.failed(SECOND, status)
    row = seen(ledger, log, 2 * SECOND)
    assert (row.state, row.reason) == (LagState.WARN, "the last attempt failed")
    log.failed(3 * SECOND, status)
    row = seen(ledger, log, 4 * SECOND)
    assert (row.state, row.reason) == (LagState.STOP, "2 attempts in a row failed, and 8 notices wait")
    assert (row.consecutive_failures, row.last_error) == (2, f"HTTP {status}")
    outcome = "no_answer" if status is None else f"{status // 100}xx"
    assert ledger.metered(["p"]).attempts["p", outcome] == 2


def test_who_fails_after_it_took_some_of_what_waits_is_stopped(ledger: Ledger, log: Log) -> None:
    log.issued(1)
    log.issued(2)
    log.delivered(1, SECOND)
    for number in range(2, 4):
        log.failed(number * MINUTE, 503, 2)
    assert seen(ledger, log, 5 * MINUTE).state is LagState.STOP


def test_what_is_undeliverable_is_seen_on_the_board(ledger: Ledger, log: Log) -> None:
    log.issued(1)
    log.issued(2)
    log.undeliverable(1, SECOND)
    log.delivered(2, SECOND)
    row = seen(ledger, log, MINUTE)
    assert (row.state, row.reason) == (LagState.WARN, "1 notice is undeliverable")
    assert (row.undeliverable, row.kinds[1].undeliverable, row.parked) == (1, 1, 0)
    assert (row.open, row.backlog) == (2, 0)
    assert seen(ledger, log, 23 * HOUR).at_risk_receive == 1
    row = seen(ledger, log, 25 * HOUR)
    assert (row.state, row.overdue_receive) == (LagState.STALL, 1), "its clocks run on"


def test_what_is_parked_is_seen_on_the_board(ledger: Ledger, log: Log) -> None:
    log.issued(1)
    log.issued(2)
    log.failed(SECOND, 500)
    log.failed(2 * SECOND, 500)
    log.delivered(2, 3 * SECOND)
    log.parked(1, 3 * SECOND)
    why = "1 notice is parked, failing while others are taken"
    row = seen(ledger, log, MINUTE)
    assert (row.state, row.reason) == (LagState.WARN, why)
    assert (row.parked, row.kinds[1].parked, row.backlog, row.open) == (1, 1, 1, 2)
    # It is tried again, and fails again: that holds up nothing else, however long it lasts.
    for number in range(4):
        log.failed((number + 2) * MINUTE, 500)
    row = seen(ledger, log, 10 * HOUR)
    assert (row.state, row.reason) == (LagState.WARN, f"{why}; 4 attempts in a row failed")
    log.issued(3, at=10 * HOUR)
    assert seen(ledger, log, 10 * HOUR + SECOND).state is LagState.STOP, "now something else waits, too"
    log.delivered(3, 10 * HOUR + MINUTE)
    assert seen(ledger, log, 10 * HOUR + 2 * MINUTE).reason == why
    assert seen(ledger, log, 23 * HOUR).at_risk_receive == 1
    row = seen(ledger, log, 25 * HOUR)
    assert (row.state, row.overdue_receive) == (LagState.STALL, 1), "it stays open, against its clocks"


def test_who_is_paused_with_work_left_is_stopped(ledger: Ledger, log: Log) -> None:
    log.issued(1)
    log.delivered(1, SECOND)
    log.changed(status="paused")
    row = seen(ledger, log, MINUTE)
    assert (row.state, row.reason) == (LagState.STOP, "1 notice is open, and it is paused")


def test_921_open_none_ever_answered_and_most_of_the_time_gone(ledger: Ledger, log: Log) -> None:
    log.issued(*range(921))
    log.delivered(0, SECOND)
    assert seen(ledger, log, 23 * DAY).state is LagState.OK
    row = seen(ledger, log, timedelta(days=30 * 0.86))
    assert (row.state, row.at_risk, row.at_risk_complete, row.at_risk_receive) == (LagState.WARN, 921, 921, 0)
    assert row.reason == "921 erase notices are at risk: 86 % of the time to complete is gone, and nothing was answered"


def test_when_something_is_at_risk_its_notice_says(ledger: Ledger, log: Log) -> None:
    log.issued(1, watch=Watch(at_risk=0.25))
    log.issued(2)
    log.issued(3, watch=Watch(at_risk=0.5), extended_complete_by=NOON + 60 * DAY)
    for number in (1, 2, 3):
        log.delivered(number, SECOND)
    log.answered(3, SECOND, AckStatus.IN_PROGRESS, extend=True, detail="complex")
    at_risk = {days: seen(ledger, log, days * DAY).at_risk for days in (7, 8, 23, 25, 29, 31, 59, 61)}
    assert at_risk == {7: 0, 8: 1, 23: 1, 25: 2, 29: 2, 31: 1, 59: 1, 61: 0}


def test_what_is_late_by_one_clock_and_at_risk_by_another_is_late(ledger: Ledger, log: Log) -> None:
    log.issued(1, clocks=(5 * HOUR, 10 * HOUR))
    row = seen(ledger, log, 4 * HOUR)
    assert (row.overdue, row.at_risk, row.at_risk_receive, row.at_risk_complete) == (0, 1, 1, 0)
    row = seen(ledger, log, 9 * HOUR)
    assert (row.overdue, row.at_risk, row.at_risk_receive, row.at_risk_complete) == (1, 0, 0, 1)


def test_564_of_927_answered_late_and_half_of_them_refused(ledger: Ledger, log: Log) -> None:
    log.issued(*range(927), clocks=SHORT)
    log.delivered(0, SECOND)
    for number in range(927):
        at = MINUTE if number < 564 else 9 * SECOND
        log.answered(number, at, AckStatus.REFUSED if number % 2 else AckStatus.COMPLETED)
    row = seen(ledger, log, HOUR)
    assert row.state is LagState.WARN
    assert row.reason == "61 % late and 50 % refused, of 927 answers to erase notices in the last day"
    day = row.windows[1]
    assert (day.answered, day.in_time, day.late, day.refused, day.late_or_refused) == (927, 363, 564, 463, 745)
    assert (day.in_time_share, day.late_share, day.refused_share) == (0.3916, 0.6084, 0.4995)
    assert row.kinds[1].windows == row.windows
    assert seen(ledger, log, 2 * DAY).state is LagState.OK


def test_an_answer_in_time_by_an_extension_is_in_time_whichever_topic_is_read_first(tmp_path: Path) -> None:
    """And so is when something overdue last moved."""
    log = Log()
    log.issued(1, 2, clocks=SHORT, extended_complete_by=NOON + DAY)
    log.answered(1, SECOND, AckStatus.IN_PROGRESS, extend=True, detail="complex")
    log.answered(1, HOUR)
    log.answered(2, 2 * HOUR)
    log.delivered(1, 3 * SECOND)
    dumps = []
    topics = {entry.topic for entry in log.entries}
    for number, order in enumerate(itertools.permutations(sorted(topics))):
        path = tmp_path / f"{number}.sqlite"
        with closing(Ledger.open(path)) as ledger:
            for topic in order:
                ledger.apply([entry for entry in log.entries if entry.topic == topic])
            (row,) = ledger.lag(NOON + 3 * HOUR, Window.DAY, (Window.DAY,))
            assert (row.windows[0].in_time, row.windows[0].late) == (1, 1)
            assert row.kinds[1].overdue_answered_at == NOON + 2 * HOUR
        dumps.append(dump(path))
    assert all(each == dumps[0] for each in dumps)


def test_what_is_at_risk_as_usual_is_so_by_the_same_part_of_its_time_everywhere(ledger: Ledger) -> None:
    (sql,) = ledger._connection.execute("SELECT sql FROM sqlite_master WHERE name = 'notices'").fetchone()
    assert sql.count(f"'$.at_risk'), {Watch().at_risk})") == 2


def test_figures_come_from_indexes(ledger: Ledger, log: Log) -> None:
    """None of the questions of lag walks through a table of notices."""
    seen(ledger, log, HOUR)
    plan = ledger._connection.execute(f"EXPLAIN QUERY PLAN {_STANDING}", {"pairs": "[]", "now": 0}).fetchall()
    looks = [row[3] for row in plan if "notices" in row[3]]
    assert looks
    assert all(look.startswith("SEARCH notices USING") and "action=?" in look for look in looks)
