"""Lag as pure functions: histogram buckets, percentiles, and the state that sums a partner up."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

#: Buckets grow by 2 ** (1/4), hence a percentile is exact to a fifth. Bucket 0 ends at one millisecond.
_PER_DOUBLING = 4
_FIRST_MICROS = 1_000
#: A year and more ends in the last bucket.
_LAST_BUCKET = 180


class LagState(StrEnum):
    """How a partner is doing, worst last."""

    OK = "OK"
    WARN = "WARN"  #: something is late or failing, and it is moving
    STALL = "STALL"  #: something is late, and nothing has moved since it became due
    STOP = "STOP"  #: no answer at all, or paused, suspended or removed with work left


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Seconds; None where nothing was measured. `count` is how many were."""

    p50: float | None
    p95: float | None
    p99: float | None
    count: int


@dataclass(frozen=True, slots=True)
class Health:
    """What the state is judged by."""

    active: bool
    open: int
    backlog: int
    overdue: int
    oldest_queued_at: datetime | None
    consecutive_failures: int
    last_success_at: datetime | None
    last_progress_at: datetime | None
    oldest_due_at: datetime | None


def state_of(health: Health) -> LagState:
    """Free of thresholds but for one: late is what the partner's own clock says, and standing still is no
    success or acknowledgement since the oldest late notice became due. A single failure says little: it
    is tried again before it counts as no answer.
    """
    if not health.active and health.open:
        return LagState.STOP
    answered = _since(health.last_success_at, health.oldest_queued_at)
    if health.backlog and health.consecutive_failures > 1 and not answered:
        return LagState.STOP
    if health.overdue:
        moved = _since(health.last_progress_at, health.oldest_due_at)
        return LagState.WARN if moved else LagState.STALL
    return LagState.WARN if health.consecutive_failures else LagState.OK


def _since(happened: datetime | None, mark: datetime | None) -> bool:
    return happened is not None and (mark is None or happened >= mark)


#: Where each bucket but the last ends, in microseconds; the ledger's triggers look it up there.
UPPER_MICROS = tuple(int(_FIRST_MICROS * 2 ** (bucket / _PER_DOUBLING)) for bucket in range(_LAST_BUCKET))


def bucket_of(micros: int) -> int:
    """The bucket of a lag. A negative one (clocks that disagree) counts as none."""
    return bisect_left(UPPER_MICROS, micros)


def upper_seconds(bucket: int) -> float:
    """Where a bucket ends."""
    return float(_FIRST_MICROS * 2 ** (bucket / _PER_DOUBLING) / 1_000_000)


def percentiles(histogram: Mapping[int, int]) -> Percentiles:
    """Percentiles of a histogram (bucket -> count), interpolated inside the bucket."""
    count = sum(histogram.values())
    if count == 0:
        return Percentiles(None, None, None, 0)
    p50, p95, p99 = (_quantile(histogram, count * share) for share in (0.50, 0.95, 0.99))
    return Percentiles(p50, p95, p99, count)


def _quantile(histogram: Mapping[int, int], rank: float) -> float:
    below = 0
    upper = 0.0
    for bucket, number in sorted(histogram.items()):
        upper = upper_seconds(bucket)
        if below + number >= rank:
            lower = upper_seconds(bucket - 1) if bucket else 0.0
            return round(lower + (upper - lower) * (rank - below) / number, 6)
        below += number
    return upper
