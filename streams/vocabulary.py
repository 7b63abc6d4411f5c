"""Our words for an answer, and those of public vocabularies, which a partner may use instead.

Sources: OpenDSR 2.0 (statuses of a request), Data Rights Protocol 1.0 (statuses with their reasons, written
`status/reason`), California's DROP (the codes that a data broker reports: privacy.ca.gov, DROP for data brokers,
technical specifications, reference, "Status code reference"). Where two of our words have one of theirs,
theirs is read as the first one in the table. `docs/vocabulary.md` is this table for people, with what is doubtful.
"""

from __future__ import annotations

from typing import NamedTuple

from streams.events import AckStatus, Outcome, RefusalReason, Vocabulary
from streams.kinds import Action


class Meaning(NamedTuple):
    """What is said of a notice. Completed without an outcome means: as asked."""

    status: AckStatus
    outcome: Outcome | None = None
    reason: RefusalReason | None = None

    def asked(self, action: Action) -> Meaning:
        """The same, with the outcome of what was asked where none is said."""
        if self.status is not AckStatus.COMPLETED or self.outcome is not None:
            return self
        return self._replace(outcome=AS_ASKED[action])


FINAL = frozenset({AckStatus.COMPLETED, AckStatus.REFUSED})
AS_ASKED = {
    Action.ERASE: Outcome.DELETED,
    Action.STOP: Outcome.SUPPRESSED,
    Action.RESUME: Outcome.RESUMED,
}


class Row(NamedTuple):
    """One of our words, and what each vocabulary has for it; None where it has nothing."""

    ours: Meaning
    opendsr: str | None
    drp: str | None
    drop: str | None

    def code(self, vocabulary: Vocabulary) -> str | None:
        return {Vocabulary.OPENDSR: self.opendsr, Vocabulary.DRP: self.drp, Vocabulary.DROP: self.drop}[vocabulary]


_done, _refused = AckStatus.COMPLETED, AckStatus.REFUSED
TABLE = (
    Row(Meaning(AckStatus.RECEIVED), "pending", "open", None),
    Row(Meaning(AckStatus.IN_PROGRESS), "in_progress", "in_progress", None),
    Row(Meaning(_done), "completed", "fulfilled", None),
    Row(Meaning(_done, Outcome.DELETED), "completed", "fulfilled", "3"),
    Row(Meaning(_done, Outcome.SUPPRESSED), "completed", "fulfilled", None),
    Row(Meaning(_done, Outcome.NOT_FOUND), "completed", "denied/no_match", "5"),
    Row(Meaning(_done, Outcome.ALREADY_DELETED), "completed", "fulfilled", "5"),
    Row(Meaning(_done, Outcome.RESUMED), "completed", "fulfilled", None),
    Row(Meaning(_refused, None, RefusalReason.OTHER), "cancelled", "denied/other", None),
    Row(Meaning(_refused, None, RefusalReason.EXEMPT), "cancelled", "denied/claim_not_covered", "2"),
    Row(Meaning(_refused, None, RefusalReason.LEGAL_HOLD), "cancelled", "denied/other", "2"),
    Row(Meaning(_refused, None, RefusalReason.IDENTITY_NOT_VERIFIED), "cancelled", "denied/insuf_verification", None),
    Row(Meaning(_refused, None, RefusalReason.OUTSIDE_JURISDICTION), "cancelled", "denied/outside_jurisdiction", None),
)
#: Their words that say more than ours can; they are kept beside ours.
_SHARED = (Vocabulary.DROP, "4")
ALSO = {
    # Several people share the identifier, and all were opted out: nobody could tell whose data to delete.
    _SHARED: Meaning(_refused, None, RefusalReason.IDENTITY_NOT_VERIFIED),
    (Vocabulary.DRP, "in_progress/need_user_verification"): Meaning(AckStatus.IN_PROGRESS),
    (Vocabulary.DRP, "denied/suspected_fraud"): Meaning(_refused, None, RefusalReason.OTHER),
    (Vocabulary.DRP, "denied/too_many_requests"): Meaning(_refused, None, RefusalReason.OTHER),
}
_READ = ALSO | {
    (vocabulary, code): row.ours
    for row in reversed(TABLE)
    for vocabulary in Vocabulary
    if (code := row.code(vocabulary)) is not None
}


def meaning(vocabulary: str, code: str) -> Meaning:
    """What a code means, whatever its letter case. Raises `ValueError`, which does not quote what is given, if there is
    none such."""
    if vocabulary not in set(Vocabulary):
        raise ValueError(f"not a vocabulary, which are: {', '.join(Vocabulary)}")
    found = _READ.get((Vocabulary(vocabulary), code.lower()))
    if found is None:
        known = ", ".join(sorted(each for of, each in _READ if of == vocabulary))
        raise ValueError(f"not a code of vocabulary {vocabulary}, which has: {known}")
    return found


def read_as(said: Meaning, vocabulary: Vocabulary | None, code: str | None, action: Action) -> Meaning:
    """What an answer means to what was asked. Whom DROP's code 4 opted out, it stopped, which is all that a `stop`
    asks for."""
    if (vocabulary, code) == _SHARED and action is Action.STOP:
        return Meaning(_done, Outcome.SUPPRESSED)
    return said.asked(action)
