"""The steps of a notice's deadlines, and when to look at it next."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.watching import BIT, NEVER, Reached, Watched, first_wakes, reached, wakes
from streams.clocks import Watch
from streams.deadlines import Deadline, Step

R, C, X = Deadline.RECEIVE, Deadline.COMPLETE, Deadline.EXTENDED
#: To be received within 100, and completed within 1000.
PLAIN = Watched(issued_at=0, receive_by=100, due_by=1000, extended=False, watch=None, marked=0)


def told(*steps: tuple[Deadline, Step]) -> int:
    return sum(BIT[step] for step in steps)


@pytest.mark.parametrize(
    ("now", "delivered", "marked", "steps"),
    [
        (79, False, (), []),
        (80, False, (), [(R, Step.AT_RISK)]),
        (80, True, (), []),
        (99, False, ((R, Step.AT_RISK),), []),
        (100, False, ((R, Step.AT_RISK),), [(R, Step.BREACHED)]),
        # Of what was missed, only the end of it.
        (100, False, (), [(R, Step.BREACHED)]),
        (200, False, ((R, Step.BREACHED),), []),
        (499, True, (), []),
        (500, True, (), [(C, Step.REMINDER_1)]),
        (500, False, (), [(R, Step.BREACHED), (C, Step.REMINDER_1)]),
        (800, True, ((C, Step.REMINDER_1),), [(C, Step.AT_RISK)]),
        (900, True, (), [(C, Step.AT_RISK), (C, Step.REMINDER_2)]),
        # Whoever died in between has told of one of them.
        (900, True, ((C, Step.REMINDER_2),), [(C, Step.AT_RISK)]),
        (950, True, ((C, Step.REMINDER_2), (C, Step.AT_RISK)), []),
        (1000, True, (), [(C, Step.BREACHED)]),
        (1000, True, ((C, Step.BREACHED),), []),
    ],
)
def test_what_is_to_be_told(
    now: int, delivered: bool, marked: tuple[Any, ...], steps: list[tuple[Deadline, Step]]
) -> None:
    notice = PLAIN._replace(marked=told(*marked))
    assert reached(notice, now, delivered=delivered) == [Reached(*step) for step in steps]


def test_what_was_told_of_the_first_deadline_is_told_again_of_the_extended_one() -> None:
    late = PLAIN._replace(marked=told((C, Step.AT_RISK), (C, Step.REMINDER_2)), due_by=2000, extended=True)
    assert reached(late, 999, delivered=True) == []
    assert reached(late, 1600, delivered=True) == [(X, Step.AT_RISK), (X, Step.REMINDER_1)]
    assert reached(late, 2000, delivered=True) == [(X, Step.BREACHED)]


def test_a_partner_may_be_watched_otherwise() -> None:
    other = PLAIN._replace(watch=Watch(at_risk=0.5, remind=()).model_dump_json())
    assert reached(other, 500, delivered=True) == [(C, Step.AT_RISK)]
    assert reached(other, 999, delivered=True) == [(C, Step.AT_RISK)]
    assert wakes(other) == (50, 500)


fractions = st.floats(0.001, 0.999)
watches = st.builds(
    lambda risk, remind: Watch(at_risk=risk, remind=tuple(sorted(remind))),
    fractions,
    st.lists(fractions, max_size=3, unique=True),
)
notices = st.builds(
    lambda receive, due, extended, watch, bits: Watched(
        0, receive, due, extended, None if watch is None else watch.model_dump_json(), told(*bits)
    ),
    st.integers(1, 10**6),
    st.integers(1, 10**6),
    st.booleans(),
    st.none() | watches,
    st.sets(st.sampled_from(sorted(BIT))),
)


@given(notices, st.integers(0, 2 * 10**6), st.booleans())
def test_a_notice_is_looked_at_when_there_is_something_to_tell_and_else_not(
    notice: Watched, now: int, delivered: bool
) -> None:
    receive, complete = wakes(notice)
    wake = complete if delivered else min(receive, complete)
    assert (wake <= now) == bool(reached(notice, now, delivered=delivered))


@given(notices, st.integers(0, 2 * 10**6), st.booleans())
def test_what_was_told_is_not_told_again(notice: Watched, now: int, delivered: bool) -> None:
    steps = reached(notice, now, delivered=delivered)
    assert reached(notice._replace(marked=notice.marked | told(*steps)), now, delivered=delivered) == []


@given(notices)
def test_every_notice_comes_to_an_end(notice: Watched) -> None:
    for _ in BIT:
        notice = notice._replace(marked=notice.marked | told(*reached(notice, 10**7, delivered=False)))
    assert wakes(notice) == (NEVER, NEVER)


@given(st.none() | watches, st.integers(1, 10**9), st.integers(1, 10**9))
def test_a_new_notice_is_first_looked_at_as_any_other(watch: Watch | None, receive: int, complete: int) -> None:
    text = None if watch is None else watch.model_dump_json()
    row = Watched(5, 5 + receive, 5 + complete, extended=False, watch=text, marked=0)
    assert first_wakes(watch, 5, 5 + receive, 5 + complete) == wakes(row)
