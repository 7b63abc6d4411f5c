"""What an acknowledgement does to a notice: a pure function over the acknowledgements' own order.

All acknowledgements of a subject travel in one partition, so every ledger judges them in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from streams.events import AckStatus, Action, Outcome, RefusalReason


class Verdict(StrEnum):
    """How an acknowledgement was taken. Every one is recorded, whatever the verdict."""

    APPLIED = "applied"
    REPEATED = "repeated"  #: says what is known already
    LATE = "late"  #: an earlier step than the one reached; changes nothing
    CONTRADICTION = "contradiction"  #: another final answer after a final one; operators should look
    UNFIT = "unfit"  #: an outcome of something else than what was asked; changes nothing
    NOT_OWNER = "not_owner"  #: the notice is another partner's


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a notice has come by its partner's word."""

    status: AckStatus | None = None
    outcome: Outcome | None = None
    reason: RefusalReason | None = None


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


def judge(current: Progress, said: Progress, *, owner: bool, action: Action) -> Verdict:
    """A completed or refused notice never goes back."""
    if not owner:
        return Verdict.NOT_OWNER
    if said.outcome is not None and not fits(said.outcome, action):
        return Verdict.UNFIT
    if said == current:
        return Verdict.REPEATED
    if _STEP[current.status] == _FINAL:
        return Verdict.CONTRADICTION if _STEP[said.status] == _FINAL else Verdict.LATE
    if _STEP[said.status] < _STEP[current.status]:
        return Verdict.LATE
    return Verdict.REPEATED if said.status is current.status else Verdict.APPLIED
