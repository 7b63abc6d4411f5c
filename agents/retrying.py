"""When to try a delivery again: a pure decision.

Full jitter over an exponential: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from agents.faults import Fault

_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds. A legal duty has no limit of attempts: the delay only stops growing."""

    base: float = 1.0
    cap: float = 3600.0

    def delay(self, attempt: int, jitter: float) -> float:
        """Seconds to wait after the failed attempt number `attempt` (from 1); `jitter` in [0, 1).

        At least a tenth of the base, so that an unlucky draw does not hammer a partner that is down.
        """
        ceiling = min(self.cap, self.base * 2.0 ** min(attempt - 1, 64))
        return max(self.base / 10, ceiling * jitter)


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one attempt ended: a status code, or None and an error before there was one."""

    status: int | None
    error: str | None = None
    retry_after: str | None = None
    fault: Fault | None = None
    #: Why it failed on our side, in words; None if the fault is the partner's, or may be. Then it is no attempt at all:
    #: nothing is known of the partner.
    ours: str | None = None

    @property
    def accepted(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def next_delay(attempt: Attempt, number: int, backoff: Backoff, jitter: float, now: datetime) -> float:
    """Seconds until the next try. `Retry-After` of a 429 or 503 (RFC 9110 section 10.2.3) is heeded, but
    never beyond the cap: a partner may not put off a duty for ever."""
    own = backoff.delay(number, jitter)
    if attempt.status not in (429, 503) or attempt.retry_after is None:
        return own
    asked = _seconds(attempt.retry_after, now)
    return own if asked is None else min(max(asked, own), backoff.cap)


def _seconds(value: str, now: datetime) -> float | None:
    # Some say it twice, in quotes, or with a fraction; what they mean is plain.
    first = value.partition(",")[0].strip().strip('"')
    if _SECONDS.fullmatch(first):
        return float(first[:12])
    value = value.strip()
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        # The parser overflows on absurd numbers; a partner's header must not stop the service.
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())
