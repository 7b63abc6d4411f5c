"""The state of a partner and its reason, as a table of cases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.partner_state import AnswerFigures, ClockFigures, Health, LagState, state_of
from streams.deadlines import Deadline
from streams.events import PartnerStatus
from streams.kinds import Action

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SECOND = timedelta(seconds=1)
OK, WARN, STALL, STOP = LagState
ERASE, STOPS = Action.ERASE, Action.STOP
RECEIVE, COMPLETE = Deadline.RECEIVE, Deadline.COMPLETE


def ago(span: timedelta) -> datetime:
    return NOW - span


def late(
    overdue: int = 1,
    *,
    clock: Deadline = COMPLETE,
    action: Action = ERASE,
    length: timedelta = 30 * DAY,
    since: timedelta = HOUR,
    moved: timedelta | None = None,
) -> ClockFigures:
    """Notices that are overdue, the first of them `since` then; `moved` tells how long ago an overdue one last was."""
    due = ago(since)
    return ClockFigures(action, clock, overdue, 0, due - length, due, None if moved is None else ago(moved), False)


def near(at_risk: int, gone: float, *, clock: Deadline = COMPLETE, ever: bool = False) -> ClockFigures:
    """Notices at risk, of whose thirty days such a part is gone."""
    issued = ago(30 * DAY * gone)
    return ClockFigures(ERASE, clock, 0, at_risk, issued, issued + 30 * DAY, None, ever)


def answers(answered: int, late: int = 0, refused: int = 0, both: int | None = None, action: Action = ERASE) -> Health:
    """Of a partner that owes nothing more. `both` are late or refused."""
    poor = max(late, refused) if both is None else both
    return Health(answers=(AnswerFigures(action, answered, late, refused, poor),))


WELL = "nothing is late, at risk or failing"
TABLE: dict[str, tuple[Health, LagState, str]] = {
    # -- nothing to say
    "nothing was ever asked": (Health(), OK, "nothing is open"),
    "just asked": (Health(open=3, waiting=3, oldest_queued_at=ago(SECOND)), OK, WELL),
    "taken, and its time runs": (Health(open=921, last_success_at=ago(DAY)), OK, WELL),
    "paused with nothing to do": (Health(status=PartnerStatus.PAUSED), OK, "nothing is open"),
    # -- STOP
    "paused with work left": (
        Health(status=PartnerStatus.PAUSED, open=12),
        STOP,
        "12 notices are open, and it is paused",
    ),
    "suspended with work left that it took": (
        Health(status=PartnerStatus.SUSPENDED, open=1),
        STOP,
        "1 notice is open, and it is suspended",
    ),
    "answers 400 to everything": (
        Health(open=40, waiting=40, consecutive_failures=7, oldest_queued_at=ago(SECOND)),
        STOP,
        "7 attempts in a row failed, and 40 notices wait",
    ),
    "two failures": (
        Health(open=1, waiting=1, consecutive_failures=2),
        STOP,
        "2 attempts in a row failed, and 1 notice waits",
    ),
    "takes one, and fails ever since, though that was after the oldest that waits was issued": (
        Health(open=9, waiting=8, consecutive_failures=9, oldest_queued_at=ago(HOUR), last_success_at=ago(SECOND)),
        STOP,
        "9 attempts in a row failed, and 8 notices wait",
    ),
    "fails, and something is overdue too": (
        Health(open=9, waiting=8, consecutive_failures=2, clocks=(late(8),)),
        STOP,
        "2 attempts in a row failed, and 8 notices wait",
    ),
    "is paused, and failed before": (
        Health(status=PartnerStatus.PAUSED, open=8, waiting=8, consecutive_failures=2),
        STOP,
        "8 notices are open, and it is paused; 2 attempts in a row failed, and 8 notices wait",
    ),
    # -- STALL
    "says 200 and never answers, to clocks of seconds": (
        Health(open=1, last_success_at=ago(SECOND), clocks=(late(length=10 * SECOND, since=SECOND),)),
        STALL,
        "1 erase notice is past complete-by, and no overdue one was answered in the last hour",
    ),
    "the same, and one more was delivered just now": (
        Health(open=2, last_success_at=NOW, clocks=(late(length=10 * SECOND, since=HOUR),)),
        STALL,
        "1 erase notice is past complete-by, and no overdue one was answered in the last hour",
    ),
    "delivers late ones, and answers none": (
        Health(open=5, clocks=(late(3, clock=RECEIVE, moved=SECOND), late(2))),
        STALL,
        "2 erase notices are past complete-by, and no overdue one was answered in the last 36 hours",
    ),
    "answers late ones, and takes none": (
        Health(open=5, clocks=(late(3, clock=RECEIVE, length=DAY), late(2, moved=SECOND))),
        STALL,
        "3 erase notices are past receive-by, and no overdue one was taken in the last hour",
    ),
    "answers late stops, and no late erases": (
        Health(open=5, clocks=(late(3, action=STOPS, moved=SECOND), late(2))),
        STALL,
        "2 erase notices are past complete-by, and no overdue one was answered in the last 36 hours",
    ),
    "answered a late one a second more than an hour ago": (
        Health(open=5, clocks=(late(2, length=10 * SECOND, moved=HOUR + SECOND),)),
        STALL,
        "2 erase notices are past complete-by, and no overdue one was answered in the last hour",
    ),
    "answered a late one more than a twentieth of the clock ago": (
        Health(open=5, clocks=(late(2, moved=36 * HOUR + SECOND),)),
        STALL,
        "2 erase notices are past complete-by, and no overdue one was answered in the last 36 hours",
    ),
    "most of it in two clocks, the worse one first": (
        Health(open=9, clocks=(late(2), late(4_321, clock=RECEIVE, length=DAY), late(1, action=STOPS))),
        STALL,
        "4,321 erase notices are past receive-by, and no overdue one was taken in the last hour; "
        "2 erase notices are past complete-by, and no overdue one was answered in the last 36 hours",
    ),
    "overdue and undeliverable": (
        Health(open=2, undeliverable=2, clocks=(late(2, clock=RECEIVE, length=DAY),)),
        STALL,
        "2 erase notices are past receive-by, and no overdue one was taken in the last hour",
    ),
    "nothing was taken for an hour, nor tried": (
        Health(open=1, waiting=1, oldest_queued_at=ago(HOUR + SECOND)),
        STALL,
        "nothing was taken for an hour, and 1 notice waits",
    ),
    "failed once, and is to be tried again in a day": (
        Health(open=1, waiting=1, oldest_queued_at=ago(2 * HOUR), consecutive_failures=1),
        STALL,
        "nothing was taken for an hour, and 1 notice waits",
    ),
    # -- WARN
    "answers late ones": (
        Health(open=5, clocks=(late(2, moved=36 * HOUR),)),
        WARN,
        "2 erase notices are past complete-by; overdue ones were answered in the last 36 hours",
    ),
    "answered one late, of a clock of seconds": (
        Health(open=5, clocks=(late(2, length=10 * SECOND, moved=HOUR),)),
        WARN,
        "2 erase notices are past complete-by; overdue ones were answered in the last hour",
    ),
    "takes late ones": (
        Health(open=5, clocks=(late(2, clock=RECEIVE, length=DAY, moved=SECOND),)),
        WARN,
        "2 erase notices are past receive-by; overdue ones were taken in the last hour",
    ),
    "921 open, none ever answered, most of the time gone": (
        Health(open=921, clocks=(near(921, 0.86),)),
        WARN,
        "921 erase notices are at risk: 86 % of the time to complete is gone, and nothing was answered",
    ),
    "one at risk of one that answers": (
        Health(open=9, clocks=(near(1, 0.999, ever=True),)),
        WARN,
        "1 erase notice is at risk: 99 % of the time to complete is gone",
    ),
    "at risk to receive": (
        Health(open=9, waiting=9, clocks=(near(9, 0.8, clock=RECEIVE),)),
        WARN,
        "9 erase notices are at risk: 80 % of the time to receive is gone, and nothing was taken",
    ),
    "some late and moving, some at risk": (
        Health(open=9, clocks=(ClockFigures(ERASE, COMPLETE, 2, 5, ago(30 * DAY), ago(HOUR), ago(SECOND), True),)),
        WARN,
        "2 erase notices are past complete-by; overdue ones were answered in the last 35 hours; "
        "5 erase notices are at risk",
    ),
    "a clock of no length": (
        Health(open=1, clocks=(ClockFigures(ERASE, COMPLETE, 0, 1, NOW, NOW, None, False),)),
        WARN,
        "1 erase notice is at risk",
    ),
    "something undeliverable": (Health(open=3, undeliverable=3), WARN, "3 notices are undeliverable"),
    "something parked": (Health(open=1, parked=1), WARN, "1 notice is parked, failing while others are taken"),
    "both": (
        Health(open=3, undeliverable=1, parked=2),
        WARN,
        "1 notice is undeliverable; 2 notices are parked, failing while others are taken",
    ),
    "what is parked is tried again and fails": (
        Health(open=1, parked=1, consecutive_failures=3),
        WARN,
        "1 notice is parked, failing while others are taken; 3 attempts in a row failed",
    ),
    "the first failure": (Health(open=1, waiting=1, consecutive_failures=1), WARN, "the last attempt failed"),
    "564 of 927 answered late": (
        answers(927, 564),
        WARN,
        "61 % late, of 927 answers to erase notices in the last day",
    ),
    "51 % refused": (answers(100, refused=51), WARN, "51 % refused, of 100 answers to erase notices in the last day"),
    "both at once": (
        answers(927, 564, 473, 700),
        WARN,
        "61 % late and 51 % refused, of 927 answers to erase notices in the last day",
    ),
    "a tenth late": (answers(1_000, 100), WARN, "10 % late, of 1,000 answers to erase notices in the last day"),
    "a bit less": (answers(1_000, 99), OK, "nothing is open"),
    "half refused": (answers(2, refused=1), WARN, "50 % refused, of 2 answers to erase notices in the last day"),
    "less than half": (answers(1_000, refused=499), OK, "nothing is open"),
    "few late and many refused, most of all together": (
        answers(1_000, 50, 460, 505),
        WARN,
        "5 % late and 46 % refused, of 1,000 answers to erase notices in the last day",
    ),
    "all of one action refused, and more of another done": (
        Health(answers=(AnswerFigures(STOPS, 300), AnswerFigures(ERASE, 100, 0, 100, 100))),
        WARN,
        "100 % refused, of 100 answers to erase notices in the last day",
    ),
    "no answers at all": (answers(0), OK, "nothing is open"),
    "more comes than goes, and something is a day old": (
        Health(open=9, arrived=(2, 9), answered=(1, 8), oldest_open_at=ago(DAY + SECOND)),
        WARN,
        "for a day more has come than was answered",
    ),
    "more comes than goes, for less than a day": (
        Health(open=9, arrived=(2, 9), answered=(1, 8), oldest_open_at=ago(DAY - SECOND)),
        OK,
        WELL,
    ),
    "it kept up in the hour": (
        Health(open=9, arrived=(2, 9), answered=(2, 8), oldest_open_at=ago(DAY + SECOND)),
        OK,
        WELL,
    ),
    "it kept up in the day": (
        Health(open=9, arrived=(2, 9), answered=(1, 9), oldest_open_at=ago(DAY + SECOND)),
        OK,
        WELL,
    ),
    "a reply was not fully understood": (
        Health(open=1, unclear_reply="not JSON.", replies_not_understood=1_204),
        WARN,
        "1,204 replies were not fully understood, the last: not JSON",
    ),
    "a reply was not fully understood, and nothing is open": (
        Health(unclear_reply="not JSON", replies_not_understood=1),
        WARN,
        "1 reply was not fully understood: not JSON",
    ),
    "the same, at length": (
        Health(unclear_reply="it says " * 40, replies_not_understood=1),
        WARN,
        f"1 reply was not fully understood: {('it says ' * 20)[:159].rstrip()}…",
    ),
    "some were not understood, and that is over": (Health(open=1, replies_not_understood=3), OK, WELL),
    "nothing was taken, and a reply was not fully understood before": (
        Health(open=1, waiting=1, consecutive_failures=2, unclear_reply="not JSON", replies_not_understood=1),
        STOP,
        "2 attempts in a row failed, and 1 notice waits",
    ),
    "something is parked, the last attempt failed, and a reply was not fully understood": (
        Health(open=2, parked=1, consecutive_failures=1, unclear_reply="not JSON", replies_not_understood=1),
        WARN,
        "1 notice is parked, failing while others are taken; 1 reply was not fully understood: not JSON",
    ),
    "something waits for an hour, and others were taken": (
        Health(open=2, waiting=1, oldest_queued_at=ago(2 * HOUR), last_success_at=ago(HOUR)),
        OK,
        WELL,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_state_and_reason(case: str) -> None:
    health, state, reason = TABLE[case]
    assert state_of(health, NOW) == (state, reason)


CLOCKS = st.builds(
    late,
    st.integers(0, 3),
    clock=st.sampled_from([RECEIVE, COMPLETE]),
    action=st.sampled_from(list(Action)),
    length=st.timedeltas(SECOND, 90 * DAY),
    since=st.timedeltas(SECOND, 90 * DAY),
    moved=st.none() | st.timedeltas(timedelta(0), 90 * DAY),
)


@given(
    st.lists(CLOCKS, max_size=6),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(0, 3),
    st.sampled_from(PartnerStatus),
)
def test_ok_means_that_nothing_is_overdue_undeliverable_or_failing(
    clocks: list[ClockFigures], undeliverable: int, parked: int, failures: int, status: PartnerStatus
) -> None:
    opened = sum(clock.overdue for clock in clocks) + undeliverable + parked
    health = Health(
        status=status, open=opened, undeliverable=undeliverable, parked=parked, consecutive_failures=failures,
        clocks=tuple(clocks), last_success_at=NOW,
    )  # fmt: skip
    state, reason = state_of(health, NOW)
    assert reason
    troubled = bool(opened or failures)
    assert (state is OK) == (not troubled)
    for clock in clocks:
        if clock.overdue and (clock.moved_at is None or clock.moved_at < NOW - max(HOUR, _length(clock) / 20)):
            assert state in (STALL, STOP)


def _length(clock: ClockFigures) -> timedelta:
    assert clock.issued_at is not None
    assert clock.due_at is not None
    return clock.due_at - clock.issued_at
