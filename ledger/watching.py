"""Which steps of its deadlines a notice has come to, and when to look at it next: pure functions.

A clock's steps are its reminders and `at_risk`, at fractions of its time, and `breached`, at its end. To look at what
is due and at nothing else, each notice has for each clock the moment of the next step that nobody has told of yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from streams.clocks import Watch
from streams.deadlines import REMINDERS, Deadline, Step

#: After every moment.
NEVER = 2**63 - 1
AS_USUAL = Watch()
_AT_RISK, _FIRST = AS_USUAL.at_risk, min(AS_USUAL.at_risk, AS_USUAL.remind[0])

#: What has been told of a notice, as bits.
BIT = {
    (deadline, step): 1 << place
    for place, (deadline, step) in enumerate(
        [(Deadline.RECEIVE, Step.AT_RISK), (Deadline.RECEIVE, Step.BREACHED)]
        + [(deadline, step) for deadline in (Deadline.COMPLETE, Deadline.EXTENDED) for step in Step]
    )
}


class Watched(NamedTuple):
    """A notice's deadlines, in microseconds, and what was told of them."""

    issued_at: int
    receive_by: int
    due_by: int
    extended: bool
    watch: str | None
    marked: int


class Reached(NamedTuple):
    deadline: Deadline
    step: Step


def wakes(notice: Watched) -> tuple[int, int]:
    """When the next step is that has not been told yet: of receiving it, and of completing it."""
    return (
        min((at for at, _ in _untold(notice, _to_receive(notice))), default=NEVER),
        min((at for at, _ in _untold(notice, _to_complete(notice))), default=NEVER),
    )


def reached(notice: Watched, now: int, *, delivered: bool) -> list[Reached]:
    """What is to be told of a notice now. Of what was missed, the last: a breach alone, and one reminder."""
    told = []
    for steps in ([] if delivered else [_to_receive(notice)]) + [_to_complete(notice)]:
        passed = [step for at, step in _untold(notice, steps) if at <= now]
        breached = [each for each in passed if each.step is Step.BREACHED]
        reminders = [each for each in passed if each.step in REMINDERS]
        told += breached or [each for each in passed if each.step is Step.AT_RISK] + reminders[-1:]
    return told


def first_wakes(watch: Watch | None, issued_at: int, receive_by: int, complete_by: int) -> tuple[int, int]:
    """When a new notice is to be looked at first: for whether it was received, and for whether it was completed."""
    if watch is None:
        return issued_at + int((receive_by - issued_at) * _AT_RISK), issued_at + int((complete_by - issued_at) * _FIRST)
    first = min((watch.at_risk, *watch.remind[:1]))
    return _at(issued_at, receive_by, watch.at_risk), _at(issued_at, complete_by, first)


def risk_margins(watch: Watch | None, issued_at: int, receive_by: int, complete_by: int) -> tuple[int, int]:
    """How long before each deadline a new notice comes at risk, in microseconds. `complete_by` is the latest that there
    may be: as extended, if it can be."""
    at_risk = _AT_RISK if watch is None else watch.at_risk
    return receive_by - _at(issued_at, receive_by, at_risk), complete_by - _at(issued_at, complete_by, at_risk)


def _to_receive(notice: Watched) -> list[tuple[int, Reached]]:
    risk = _at(notice.issued_at, notice.receive_by, _watch(notice.watch).at_risk)
    return [
        (risk, Reached(Deadline.RECEIVE, Step.AT_RISK)),
        (notice.receive_by, Reached(Deadline.RECEIVE, Step.BREACHED)),
    ]


def _to_complete(notice: Watched) -> list[tuple[int, Reached]]:
    watch = _watch(notice.watch)
    deadline = Deadline.EXTENDED if notice.extended else Deadline.COMPLETE
    fractions = [*zip(watch.remind, REMINDERS, strict=False), (watch.at_risk, Step.AT_RISK)]
    steps = [(_at(notice.issued_at, notice.due_by, fraction), Reached(deadline, step)) for fraction, step in fractions]
    return [*steps, (notice.due_by, Reached(deadline, Step.BREACHED))]


def _untold(notice: Watched, steps: Sequence[tuple[int, Reached]]) -> Iterator[tuple[int, Reached]]:
    """Nothing comes after a breach, and no reminder after a later one."""
    told = {step for _, step in steps if notice.marked & BIT[step]}
    if any(each.step is Step.BREACHED for each in told):
        return
    last = max((REMINDERS.index(each.step) for each in told if each.step in REMINDERS), default=-1)
    for at, each in steps:
        if each not in told and not (each.step in REMINDERS and REMINDERS.index(each.step) < last):
            yield at, each


def _at(start: int, end: int, fraction: float) -> int:
    return start + int((end - start) * fraction)


@lru_cache(maxsize=1024)
def _watch(text: str | None) -> Watch:
    return AS_USUAL if text is None else Watch.model_validate_json(text)


def watched(row: Any) -> Watched:
    """Of a row of `COLUMNS`."""
    issued_at, receive_by, due_by, extended, watch, marked = row
    return Watched(issued_at, receive_by, due_by, bool(extended), watch, marked)


COLUMNS = "issued_at, receive_by, due_by, extended_by IS NOT NULL, watch, marked"
