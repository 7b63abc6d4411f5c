"""The state that sums a partner up, and the reason for it in words: pure functions of figures and the time.

There is nothing to set. A deadline is the notice's own. Whether a clock *moves* is judged by that clock alone: by the
last time that a notice which was overdue by it was taken by the endpoint (receive) or answered for good (complete). A
delivery is no progress towards completion, and an answer to what is not late yet is none for what is.

What came and went is compared by windows rather than by counts, as Burrow does
(https://github.com/linkedin/Burrow/wiki/Consumer-Lag-Evaluation-Rules): who in the last hour as in the last day was
asked more than it answered, and owes something of before that day, falls behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from streams.deadlines import Deadline
from streams.events import PartnerStatus
from streams.kinds import Action

#: From which share of the last day's answers of an action on the state is not OK: late ones (each was a broken
#: deadline), and late and refused ones together (a partner may refuse, but not most of what it is asked).
LATE_SHARE, LATE_OR_REFUSED_SHARE = 0.1, 0.5
#: For how long a clock with something overdue counts as moving after it moved: so long, or a part of the clock.
_PATIENCE, _PART_OF_CLOCK = timedelta(hours=1), 20
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
#: How many reasons are named, and how many characters are taken of what is not in our words.
_NAMED, _MOST_WORDS = 2, 160


class LagState(StrEnum):
    """How a partner is doing, worst last."""

    OK = "OK"
    WARN = "WARN"  #: something is at risk, late, failing, undeliverable, growing or not understood, and it is moving
    STALL = "STALL"  #: something is overdue and that clock does not move; or nothing is delivered at all
    STOP = "STOP"  #: nothing was taken in two attempts or more, or paused or suspended with work left


class Assessment(NamedTuple):
    """A state, and why it is that one."""

    state: LagState
    reason: str


@dataclass(frozen=True, slots=True)
class ClockFigures:
    """One clock, `receive` or `complete`, of a partner's open notices of one action. `issued_at` and `due_at` are of
    the notice that is due first: where any is overdue, of that which is so for the longest. `moved_at` is when a notice
    that was overdue was last taken (receive) or answered for good (complete), and `ever` whether any notice was."""

    action: Action
    clock: Deadline
    overdue: int = 0
    at_risk: int = 0
    issued_at: datetime | None = None
    due_at: datetime | None = None
    moved_at: datetime | None = None
    ever: bool = False


@dataclass(frozen=True, slots=True)
class AnswerFigures:
    """A partner's final answers to notices of one action in the last day. `late_or_refused` counts each once."""

    action: Action
    answered: int
    late: int = 0
    refused: int = 0
    late_or_refused: int = 0


@dataclass(frozen=True, slots=True)
class Health:
    """What the state is judged by. `waiting` counts what waits for its first delivery, without what is parked or
    undeliverable; `oldest_queued_at` is when the oldest of that was issued. `unclear_reply` says what was not
    understood of the last reply that was not, while that is open. `arrived` and `answered` are how many notices, over
    the last hour and the last day."""

    status: PartnerStatus = PartnerStatus.ACTIVE
    open: int = 0
    waiting: int = 0
    undeliverable: int = 0
    parked: int = 0
    oldest_open_at: datetime | None = None
    oldest_queued_at: datetime | None = None
    consecutive_failures: int = 0
    last_success_at: datetime | None = None
    replies_not_understood: int = 0
    unclear_reply: str | None = None
    clocks: tuple[ClockFigures, ...] = ()
    answers: tuple[AnswerFigures, ...] = ()
    arrived: tuple[int, int] = (0, 0)
    answered: tuple[int, int] = (0, 0)


def state_of(health: Health, now: datetime) -> Assessment:
    """The worst of what there is to say, and the first reasons for it.

    >>> state_of(Health(status=PartnerStatus.PAUSED, open=12), datetime(2026, 1, 1)).reason
    '12 notices are open, and it is paused'
    """
    for state, findings in ((LagState.STOP, _stop), (LagState.STALL, _stall), (LagState.WARN, _warn)):
        reasons = list(findings(health, now))
        if reasons:
            return Assessment(state, "; ".join(reasons[:_NAMED]))
    return Assessment(LagState.OK, "nothing is late, at risk or failing" if health.open else "nothing is open")


def _stop(health: Health, now: datetime) -> Iterator[str]:
    if health.status is not PartnerStatus.ACTIVE and health.open:
        yield f"{_are(health.open)} open, and it is {health.status}"
    if health.waiting and health.consecutive_failures > 1:
        yield f"{health.consecutive_failures} attempts in a row failed, and {_wait(health.waiting)}"


def _stall(health: Health, now: datetime) -> Iterator[str]:
    for each in _by_overdue(health):
        if not _moves(each, now):
            last = _words(_patience(each))
            yield f"{_past(each)}, and no overdue one was {_DONE[each.clock]} in the last {last}"
    if health.waiting and _before(health.oldest_queued_at, now - _HOUR) and not _taken(health, now - _HOUR):
        yield f"nothing was taken for an hour, and {_wait(health.waiting)}"


def _warn(health: Health, now: datetime) -> Iterator[str]:
    for each in _by_overdue(health):
        yield f"{_past(each)}; overdue ones were {_DONE[each.clock]} in the last {_words(_patience(each))}"
    if health.undeliverable:
        yield f"{_are(health.undeliverable)} undeliverable"
    if health.parked:
        yield f"{_are(health.parked)} parked, failing while others are taken"
    if health.unclear_reply is not None:
        count, words = health.replies_not_understood, _shortened(health.unclear_reply)
        many = (
            "1 reply was not fully understood"
            if count == 1
            else f"{count:,} replies were not fully understood, the last"
        )
        yield f"{many}: {words}"
    for each in sorted(health.clocks, key=lambda clock: -clock.at_risk):
        if each.at_risk:
            yield _at_risk(each, now)
    if health.consecutive_failures:
        failed = health.consecutive_failures
        yield "the last attempt failed" if failed == 1 else f"{failed} attempts in a row failed"
    for answers in health.answers:
        if reason := _poor(answers):
            yield reason
    if _growing(health, now):
        yield "for a day more has come than was answered"


def _taken(health: Health, since: datetime) -> bool:
    return health.last_success_at is not None and health.last_success_at >= since


def _by_overdue(health: Health) -> list[ClockFigures]:
    if not health.clocks:
        return []
    return sorted((each for each in health.clocks if each.overdue), key=lambda clock: -clock.overdue)


def _moves(figures: ClockFigures, now: datetime) -> bool:
    return figures.moved_at is not None and figures.moved_at >= now - _patience(figures)


def _patience(figures: ClockFigures) -> timedelta:
    """Of the notice that is overdue for the longest: nothing else has to be looked at."""
    if figures.issued_at is None or figures.due_at is None:
        return _PATIENCE
    return max(_PATIENCE, (figures.due_at - figures.issued_at) / _PART_OF_CLOCK)


def _growing(health: Health, now: datetime) -> bool:
    (hour, day), (hour_done, day_done) = health.arrived, health.answered
    return hour > hour_done and day > day_done and _before(health.oldest_open_at, now - _DAY)


def _poor(answers: AnswerFigures) -> str | None:
    """Where too many were late, or late or refused."""
    if not answers.late_or_refused:
        return None
    late, refused = answers.late / answers.answered, answers.refused / answers.answered
    if late < LATE_SHARE and answers.late_or_refused / answers.answered < LATE_OR_REFUSED_SHARE:
        return None
    shares = [(late, "late"), (refused, "refused")]
    parts = " and ".join(f"{100 * share:.0f} % {word}" for share, word in shares if share >= 0.005)
    many = "1 answer" if answers.answered == 1 else f"{answers.answered:,} answers"
    return f"{parts}, of {many} to {answers.action} notices in the last day"


# -- in words

_DONE = {Deadline.RECEIVE: "taken", Deadline.COMPLETE: "answered"}
_DEADLINE = {Deadline.RECEIVE: "receive-by", Deadline.COMPLETE: "complete-by"}


def _past(figures: ClockFigures) -> str:
    return f"{_are(figures.overdue, figures.action)} past {_DEADLINE[figures.clock]}"


def _at_risk(figures: ClockFigures, now: datetime) -> str:
    words = f"{_are(figures.at_risk, figures.action)} at risk"
    if figures.issued_at is None or figures.due_at is None or figures.due_at <= max(now, figures.issued_at):
        return words
    gone = int(100 * ((now - figures.issued_at) / (figures.due_at - figures.issued_at)))
    nothing = "" if figures.ever else f", and nothing was {_DONE[figures.clock]}"
    return f"{words}: {gone} % of the time to {figures.clock} is gone{nothing}"


def _are(count: int, action: Action | None = None) -> str:
    kind = f"{action} " if action else ""
    return f"1 {kind}notice is" if count == 1 else f"{count:,} {kind}notices are"


def _shortened(words: str) -> str:
    """Without its full stop: more follows."""
    words = words.removesuffix(".")
    return words if len(words) <= _MOST_WORDS else f"{words[: _MOST_WORDS - 1].rstrip()}…"


def _wait(count: int) -> str:
    return "1 notice waits" if count == 1 else f"{count:,} notices wait"


def _words(span: timedelta) -> str:
    hours = span // _HOUR
    return "hour" if hours == 1 else f"{hours} hours"


def _before(happened: datetime | None, mark: datetime) -> bool:
    return happened is not None and happened < mark
