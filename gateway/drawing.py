"""The geometry of what is drawn: pure functions from figures to places on a canvas.

A canvas is stretched to whatever room there is, so nothing in it is text: labels stand beside it, at equal distances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log

from ledger import Block, Percentiles

#: Marks of a scale of time, in seconds. Between two of them it is logarithmic, and each step is as high as the others:
#: so that what takes a second and what takes a month both show.
_MARKS = (0.001, 0.01, 0.1, 1, 10, 60, 600, 3_600, 21_600, 86_400, 7 * 86_400, 30 * 86_400, 90 * 86_400, 365 * 86_400)
WIDTH, HEIGHT = 1000, 240


@dataclass(frozen=True, slots=True)
class Course:
    """A line through values at equal distances, from zero up, and the area under it."""

    line: str
    area: str
    end: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Column:
    """A block of a chart of lag: from the floor up to p50, from there to p95, and to p99."""

    block: Block
    lag: Percentiles
    x: float
    width: float
    p50: float
    p95: float
    p99: float

    @property
    def inner(self) -> float:
        """Where its bar begins: there is a little air between two."""
        return round(self.x + self.width * 0.09, 2)

    @property
    def bar(self) -> float:
        return round(self.width * 0.82, 2)


@dataclass(frozen=True, slots=True)
class LagChart:
    """`marks` are seconds, the highest first. `median` is a path, broken where nothing was measured."""

    columns: tuple[Column, ...]
    median: str
    marks: tuple[float, ...]


def course(values: Sequence[int], width: float, height: float, top: int | None = None, margin: float = 2) -> Course:
    """Of two values or more; `top` is what reaches the top, by default the largest."""
    most = max(1, top if top is not None else max(values))
    step = (width - 2 * margin) / (len(values) - 1)
    places = [
        (round(margin + number * step, 1), round(height - margin - value / most * (height - 2 * margin), 1))
        for number, value in enumerate(values)
    ]
    line = " ".join(f"{x:g},{y:g}" for x, y in places)
    floor = height - margin
    return Course(line, f"{places[0][0]:g},{floor:g} {line} {places[-1][0]:g},{floor:g}", places[-1])


def rounded_up(value: int) -> int:
    """To 2, to 4, or to 1, 2 or 5 times a power of ten: an even number, so that its half is one too."""
    if value <= 4:
        return 2 if value <= 2 else 4
    size = 10
    while size < value:
        size = size * 5 // 2 if str(size).startswith("2") else size * 2
    return size


def share(part: float, whole: float) -> float:
    """Of a whole, in percent; nothing of nothing."""
    return round(100 * min(1.0, max(0.0, part / whole)), 1) if whole > 0 else 0.0


def lag_chart(blocks: Sequence[Block], lags: Sequence[Percentiles]) -> LagChart | None:
    """None where nothing was measured."""
    measured = [lag for lag in lags if lag.count]
    if not measured:
        return None
    marks = _scale(min(lag.p50 or 0 for lag in measured), max(lag.p99 or 0 for lag in measured))
    width = WIDTH / len(blocks)
    columns = tuple(
        Column(
            block,
            lag,
            round(number * width, 2),
            round(width, 2),
            *(_height(each or 0, marks) for each in (lag.p50, lag.p95, lag.p99)),
        )
        for number, (block, lag) in enumerate(zip(blocks, lags, strict=True))
        if lag.count
    )
    return LagChart(columns, _median(columns), tuple(reversed(marks)))


def _scale(low: float, high: float) -> tuple[float, ...]:
    """The marks around both, at least three."""
    first = max((number for number, mark in enumerate(_MARKS) if mark <= low), default=0)
    last = min((number for number, mark in enumerate(_MARKS) if mark >= high), default=len(_MARKS) - 1)
    first = min(first, len(_MARKS) - 3)
    return _MARKS[first : max(last, first + 2) + 1]


def _height(seconds: float, marks: Sequence[float]) -> float:
    """How far from the canvas's top."""
    steps = len(marks) - 1
    for number, (lower, upper) in enumerate(pairwise(marks)):
        if seconds <= upper:
            up = number + (log(seconds / lower) / log(upper / lower) if seconds > lower else 0)
            return round(HEIGHT * (1 - up / steps), 2)
    return 0.0


def _median(columns: Sequence[Column]) -> str:
    """Through the middles of neighbours; what has none is a dash as wide as its block."""
    path = []
    for before, column, after in zip((None, *columns), columns, (*columns[1:], None), strict=False):
        from_before = before is not None and before.block.end == column.block.start
        to_after = after is not None and column.block.end == after.block.start
        middle = column.x + column.width / 2
        if from_before or to_after:
            path.append(f"{'L' if from_before else 'M'}{middle:g} {column.p50:g}")
        else:
            path.append(f"M{column.x:g} {column.p50:g}H{column.x + column.width:g}")
    return "".join(path)
