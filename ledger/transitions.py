"""What an acknowledgement does to a notice: a pure function over the acknowledgements' own order.

All acknowledgements by a partner travel in one partition, so every ledger judges them in the same order. Nothing but
they is asked: a notice is answered alike before and after its delivery, refused by the endpoint or cancelled. What it
all comes to is `status` in `schema.sql`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from streams.events import AckStatus, Outcome, RefusalReason
from streams.kinds import Action


class Verdict(StrEnum):
    """How an acknowledgement was taken. Every one is recorded, whatever the verdict."""

    APPLIED = "applied"
    REPEATED = "repeated"  #: says what is known already
    LATE = "late"  #: an earlier step than the one reached; changes nothing
    CONTRADICTION = "contradiction"  #: another final answer after a final one; operators should look
    UNEXPLAINED = "unexplained"  #: another `expected_by` without a word why; changes nothing
    UNFIT = "unfit"  #: an outcome of something else than what was asked; changes nothing
    NOT_OWNER = "not_owner"  #: the notice is another partner's


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a notice has come by its partner's word. `expected_by` is when the partner means to be done, in
    microseconds since the epoch."""

    status: AckStatus | None = None
    outcome: Outcome | None = None
    reason: RefusalReason | None = None
    expected_by: int | None = None


_STEP = {
    None: 0,
    AckStatus.RECEIVED: 1,
    AckStatus.IN_PROGRESS: 2,
    AckStatus.COMPLETED: 3,
    AckStatus.REFUSED: 3,
}
_FINAL = 3
_OF_RESUME = frozenset({Outcome.RESUMED, Outcome.NOT_FOUND, Outcome.ALREADY_DELETED})


def fits(outcome: Outcome, action: Action) -> bool:
    """Can this come of that? "Resumed" is no answer to somebody who asks for deletion, nor the other way round."""
    return outcome in _OF_RESUME if action is Action.RESUME else outcome is not Outcome.RESUMED


def judge(current: Progress, said: Progress, *, owner: bool, action: Action, explained: bool = False) -> Verdict:
    """A completed or refused notice never goes back. `explained` tells whether the partner said why."""
    if not owner:
        return Verdict.NOT_OWNER
    if said.outcome is not None and not fits(said.outcome, action):
        return Verdict.UNFIT
    if _STEP[said.status] < _STEP[current.status]:
        return Verdict.LATE
    if _STEP[current.status] == _FINAL:
        return Verdict.REPEATED if _agree(current, said) else Verdict.CONTRADICTION
    return _moved(current, said, explained) if said.status is current.status else Verdict.APPLIED


def after(current: Progress, said: Progress) -> Progress:
    """How far a notice has come by what was applied. When its partner last meant to be done is kept."""
    moves = said.status is AckStatus.IN_PROGRESS and said.expected_by is not None
    return replace(said, expected_by=said.expected_by if moves else current.expected_by)


def _agree(final: Progress, said: Progress) -> bool:
    # Who has deleted all, and is asked once more, finds it deleted.
    again = final.outcome is Outcome.DELETED and said.outcome is Outcome.ALREADY_DELETED
    return again or (said.status, said.outcome, said.reason) == (final.status, final.outcome, final.reason)


def _moved(current: Progress, said: Progress, explained: bool) -> Verdict:
    """The same step once more, maybe with another time to be done by."""
    if said.status is not AckStatus.IN_PROGRESS or said.expected_by in (None, current.expected_by):
        return Verdict.REPEATED
    return Verdict.APPLIED if explained or current.expected_by is None else Verdict.UNEXPLAINED
