"""What the answer to an attempt means: a pure decision."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from agents.faults import Fault
from agents.retrying import Attempt, Backoff
from streams.events import Failing


class AttemptVerdict(StrEnum):
    ACCEPTED = "accepted"
    #: The request itself is at fault, says the endpoint.
    REFUSED = "refused"
    #: The endpoint answers with an error, or not in time. That may be for one of the notices.
    FAILED = "failed"
    #: The way to the endpoint, or its state. Whatever it is, it passes: a legal duty has no limit of attempts.
    RETRY = "retry"
    #: The partner wants no more of anything.
    SUSPEND = "suspend"


#: Bad Request, Content Too Large, Unprocessable Content (RFC 9110 section 15.5).
_REFUSED = frozenset({400, 413, 422})
_GONE = 410
_TOO_MANY = 429
_UNAVAILABLE = 503

#: After so many failures that are alike, one of the notices may be what an endpoint fails for.
ALIKE = 3
#: A notice is undeliverable after so many refusals of it alone, and not before this time has passed since the first.
REFUSALS, REFUSED_FOR = 3, timedelta(minutes=15)
#: What the first wait of a parked notice is, in the base of all waits.
_PARKED = 60.0


def judge(attempt: Attempt, *, reached: bool = True) -> AttemptVerdict:
    """`reached` tells whether the endpoint was connected to at all."""
    if attempt.accepted:
        return AttemptVerdict.ACCEPTED
    status = attempt.status
    if status == _GONE:
        return AttemptVerdict.SUSPEND
    if status in _REFUSED:
        return AttemptVerdict.REFUSED
    if status is None:
        return AttemptVerdict.FAILED if reached and attempt.fault is Fault.TIMEOUT else AttemptVerdict.RETRY
    if status == _TOO_MANY or (status == _UNAVAILABLE and attempt.retry_after is not None) or status < 400:
        return AttemptVerdict.RETRY
    return AttemptVerdict.FAILED


def blames(verdict: AttemptVerdict) -> bool:
    """May one of the notices be at fault?"""
    return verdict in (AttemptVerdict.REFUSED, AttemptVerdict.FAILED)


def is_undeliverable(failing: Failing, now: datetime) -> bool:
    """Is a notice, that failed alone just now, refused for good? Only if its endpoint takes others of its action."""
    first = failing.first_refused_at
    return failing.others_taken and failing.refusals >= REFUSALS and first is not None and now - first >= REFUSED_FOR


def parked_wait(failing: Failing, backoff: Backoff) -> float:
    """Seconds until a parked notice is tried again: they grow, up to the longest of all waits."""
    return min(backoff.cap, _PARKED * backoff.base * 2.0 ** min(failing.failures - 1, 64))
