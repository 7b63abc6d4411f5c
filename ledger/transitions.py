"""What an acknowledgement does to a notice: a pure function over the acknowledgements' own order.

All acknowledgements by a partner travel in one partition, so every ledger judges them in the same order. Nothing but
they is asked: a notice is answered alike before and after its delivery, refused by the endpoint or cancelled. What it
all comes to is `status` in `schema.sql`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from ledger.times import maybe_micros
from ledger.views import NoticeRow
from streams.events import AckStatus, Outcome, RefusalReason
from streams.kinds import Action


class Verdict(StrEnum):
    """How an acknowledgement was taken. Every one is recorded, whatever the verdict."""

    APPLIED = "applied"
    REPEATED = "repeated"  #: says what is known already
    LATE = "late"  #: an earlier step than the one reached; changes nothing
    AMENDED = "amended"  #: another final answer in the place of the one before, with a word why
    SUPPRESSED = "suppressed"  #: the data is still there, so an `erase` stays open; the answer is kept
    REOPENED = "reopened"  #: amended so that the data is still there: what was closed is open again
    CONTRADICTION = "contradiction"  #: another final answer after a final one; operators should look
    UNEXPLAINED = "unexplained"  #: another `expected_by` without a word why; changes nothing
    UNFIT = "unfit"  #: an outcome of something else than what was asked; changes nothing
    NOT_UNDERSTOOD = "not_understood"  #: an outcome that we have no word for; changes nothing
    NOT_OWNER = "not_owner"  #: the notice is another partner's


#: What changes how far a notice has come.
COUNTS = frozenset({Verdict.APPLIED, Verdict.AMENDED, Verdict.SUPPRESSED, Verdict.REOPENED})


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a notice has come by its partner's word. `expected_by` is when the partner means to be done, in
    microseconds since the epoch."""

    status: AckStatus | None = None
    outcome: Outcome | None = None
    reason: RefusalReason | None = None
    expected_by: int | None = None


def progress_of(notice: NoticeRow) -> Progress:
    """How far a notice has come by its partner's word, whatever else became of it."""
    reason = None if notice.reason is None else RefusalReason(notice.reason)
    outcome = None if notice.outcome is None else Outcome(notice.outcome)
    said = {status.value: status for status in AckStatus}.get(notice.status.value)
    if said is None and outcome is not None:
        said = AckStatus.IN_PROGRESS  # cancelled, say, after it was suppressed
    return Progress(said, outcome, reason, maybe_micros(notice.expected_by))


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
    return outcome in _OF_RESUME if action is Action.RESUME else outcome not in (Outcome.RESUMED, Outcome.UNKNOWN)


def completes(said: Progress, action: Action, *, suppression_completes: bool) -> bool:
    """Is the notice done by this answer? To suppress is not to delete: it completes an `erase` only by contract."""
    stays = action is Action.ERASE and said.outcome is Outcome.SUPPRESSED and not suppression_completes
    return said.status is AckStatus.COMPLETED and said.outcome is not Outcome.UNKNOWN and not stays


def judge(
    current: Progress,
    said: Progress,
    *,
    owner: bool,
    action: Action,
    explained: bool = False,
    amends: bool = False,
    suppression_completes: bool = False,
) -> Verdict:
    """A completed or refused notice goes back only if its partner amends its answer. `explained` tells whether it said
    why; `suppression_completes` is the notice's own."""
    if not owner:
        return Verdict.NOT_OWNER
    if said.outcome is not None and not fits(said.outcome, action):
        return Verdict.NOT_UNDERSTOOD if said.outcome is Outcome.UNKNOWN else Verdict.UNFIT
    if _STEP[said.status] < _STEP[current.status]:
        return Verdict.LATE
    done = said.status is AckStatus.REFUSED or completes(said, action, suppression_completes=suppression_completes)
    if _STEP[current.status] == _FINAL:
        return _after_final(current, said, done, amends and explained)
    if _STEP[said.status] == _FINAL and not done:
        return Verdict.REPEATED if current.outcome is Outcome.SUPPRESSED else Verdict.SUPPRESSED
    return _moved(current, said, explained) if said.status is current.status else Verdict.APPLIED


def after(current: Progress, said: Progress, verdict: Verdict = Verdict.APPLIED) -> Progress:
    """How far a notice has come by what counts. When its partner last meant to be done is kept, and as long as it is
    under way also that the data was only suppressed so far."""
    if verdict in (Verdict.SUPPRESSED, Verdict.REOPENED):
        return Progress(AckStatus.IN_PROGRESS, Outcome.SUPPRESSED, None, current.expected_by)
    if said.status is not AckStatus.IN_PROGRESS:
        return replace(said, expected_by=current.expected_by)
    by = current.expected_by if said.expected_by is None else said.expected_by
    return replace(said, outcome=current.outcome, expected_by=by)


#: What says that nothing is left. Who has deleted all, and is asked once more, finds it deleted.
_GONE = frozenset({Outcome.DELETED, Outcome.ALREADY_DELETED})


def _after_final(final: Progress, said: Progress, done: bool, amends: bool) -> Verdict:
    if {final.outcome, said.outcome} <= _GONE or _answer(final) == _answer(said):
        return Verdict.REPEATED
    if final.outcome is Outcome.SUPPRESSED and said.outcome in _GONE:
        return Verdict.APPLIED  # first suppressed, and deleted then: that goes further, and takes nothing back
    if not amends:
        return Verdict.CONTRADICTION
    return Verdict.AMENDED if done else Verdict.REOPENED


def _answer(progress: Progress) -> tuple[AckStatus | None, Outcome | None, RefusalReason | None]:
    return progress.status, progress.outcome, progress.reason


def _moved(current: Progress, said: Progress, explained: bool) -> Verdict:
    """The same step once more, maybe with another time to be done by."""
    if said.status is not AckStatus.IN_PROGRESS or said.expected_by in (None, current.expected_by):
        return Verdict.REPEATED
    return Verdict.APPLIED if explained or current.expected_by is None else Verdict.UNEXPLAINED
