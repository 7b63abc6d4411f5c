"""What the answer to an attempt means: a pure decision."""

from __future__ import annotations

from enum import StrEnum

from agents.retrying import Attempt


class Verdict(StrEnum):
    ACCEPTED = "accepted"
    #: One of several notices is at fault: find it.
    HALVE = "halve"
    #: The partner will not have this notice, ever.
    REFUSED = "refused"
    #: The partner wants no more of anything.
    SUSPEND = "suspend"
    #: Whatever it is, it may pass. A legal duty has no limit of attempts.
    RETRY = "retry"


#: What says that the request itself is at fault, not the way to the partner nor its state: Bad Request, Content
#: Too Large, Unprocessable Content (RFC 9110 section 15.5).
_AT_FAULT = frozenset({400, 413, 422})
_GONE = 410
#: Notices that a partner may refuse one by one without taking any in between. Beyond, it is the endpoint that is
#: broken and not the notices, and it must not turn thousands of duties into dead letters.
REFUSALS = 100


def judge(attempt: Attempt, notices: int, refused: int = 0) -> Verdict:
    """`notices` is how many the request carried, `refused` how many the partner has refused in a row before."""
    if attempt.accepted:
        return Verdict.ACCEPTED
    if attempt.status == _GONE:
        return Verdict.SUSPEND
    if attempt.status not in _AT_FAULT:
        return Verdict.RETRY
    if notices > 1:
        return Verdict.HALVE
    return Verdict.REFUSED if refused < REFUSALS else Verdict.SUSPEND
