"""What every format makes of an input: step by step, what goes out and what became of the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, Protocol

from rescind.gate.judging import Judge, Judged
from rescind.gate.lines import Place


class Reject(NamedTuple):
    """A malformed row: the number of its (first) line or, where there are no lines, of the row, from 1."""

    number: int
    why: str
    row: bytes


@dataclass(slots=True)
class Step:
    """`out` is what goes out, as it came in. `place` is where one could go on; None if nowhere."""

    out: bytes
    read: int
    judged: Judged
    rejects: list[Reject]
    place: Place | None


class Source(Protocol):
    """A format, over one input."""

    def steps(self, file: BinaryIO, judge: Judge, place: Place) -> Iterator[Step]:
        """Everything from a place on. What comes out does not depend on where that is."""
        ...
