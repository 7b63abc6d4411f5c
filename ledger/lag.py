"""Lag as pure functions: windows, histogram buckets, percentiles. The state that sums a partner up is in
`ledger.states`.

The buckets are those of a DDSketch (Masson, Rim, Lee: DDSketch, VLDB 2019): they grow by a constant factor, so that two
histograms merge by adding up, and a percentile has a bounded relative error. Its Python library would keep a sketch as
a blob, to be unpacked, merged and packed by the interpreter for each hour; as rows, SQLite adds them up itself, exactly
and in either direction, and whoever looks into the file can read them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import inf

from ledger.times import HOUR_MICROS, micros

#: Buckets grow by 2 ** (1/4), hence a percentile is exact to a fifth. Bucket 0 ends at one millisecond.
_PER_DOUBLING = 4
_FIRST_MICROS = 1_000
#: A year and more ends in the last bucket.
_LAST_BUCKET = 180


class Window(StrEnum):
    """A span of time that ends now. Figures over it cover the whole hours that touch it; from a week on, whole days
    (UTC)."""

    HOUR = "1h"
    DAY = "24h"
    WEEK = "7d"
    MONTH = "30d"

    @property
    def span(self) -> timedelta:
        return _SPANS[self]

    @property
    def block_hours(self) -> int:
        """What it is added up of."""
        return 24 if self.span >= _SPANS[Window.WEEK] else 1

    def first_block(self, now: datetime) -> int:
        """The number, since the epoch, of the first block that touches it."""
        return micros(now - self.span) // (self.block_hours * HOUR_MICROS)


_SPANS = {
    Window.HOUR: timedelta(hours=1),
    Window.DAY: timedelta(days=1),
    Window.WEEK: timedelta(days=7),
    Window.MONTH: timedelta(days=30),
}


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Seconds; None where nothing was measured. `count` is how many were."""

    p50: float | None
    p95: float | None
    p99: float | None
    count: int


#: Where each bucket but the last ends, in microseconds; the ledger's triggers look it up there.
UPPER_MICROS = tuple(int(_FIRST_MICROS * 2 ** (bucket / _PER_DOUBLING)) for bucket in range(_LAST_BUCKET))

_MINUTE, _DAY = 60, 86_400
#: Where the buckets of a histogram since ever end, in microseconds: from a quick answer to a deadline that was missed
#: by months. Days, weeks and usual deadlines are among them, so that what was in time can be read off exactly.
EVER_ENDS = (
    *(seconds * 1_000_000 for seconds in (10, _MINUTE, 5 * _MINUTE, 15 * _MINUTE, 60 * _MINUTE, 240 * _MINUTE)),
    *(half_days * _DAY * 500_000 for half_days in (1, 2, 4, 8, 14, 28, 60, 90, 180)),
    2**63 - 1,
)


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
    p50, p95, p99 = _at(sorted(histogram.items()), [0.50 * count, 0.95 * count, 0.99 * count])
    return Percentiles(p50, p95, p99, count)


def _at(histogram: Iterable[tuple[int, int]], ranks: Sequence[float]) -> Iterator[float]:
    """The lags at some ranks of a sorted histogram, which has at least as many."""
    wanted = iter(ranks)
    rank, below = next(wanted), 0
    for bucket, number in histogram:
        while below + number >= rank:
            lower, upper = upper_seconds(bucket - 1) if bucket else 0.0, upper_seconds(bucket)
            yield round(lower + (upper - lower) * (rank - below) / number, 6)
            rank = next(wanted, inf)
        below += number
