"""Retention by age and by size: from the front of a partition, in steps, and never past what a group wants."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from streams.embedded import holding

#: Rows and bytes that one step deletes at most: some milliseconds of the writer's time.
STEP_ROWS = 500
STEP_BYTES = 1024 * 1024
#: Offsets that one step weighs at most.
_WEIGH = 2_000
#: Rows that are looked at to tell how many are too many.
_LOOK = 100_000

_SIZE = "COALESCE(LENGTH(value), 0) + COALESCE(LENGTH(key), 0) + COALESCE(LENGTH(headers), 0) + 24"
_WEIGHT = f"SELECT COALESCE(SUM({_SIZE}), 0) FROM records WHERE tp = ? AND offset >= ? AND offset < ?"
_SIZES = f"SELECT offset, {_SIZE} FROM records WHERE tp = ? AND offset >= ? AND offset < ? ORDER BY offset LIMIT ?"
_DELETE = "DELETE FROM records WHERE tp = ? AND offset < ?"
_SET_START = (
    "INSERT INTO upkeep (tp, start) VALUES (?, ?)"
    " ON CONFLICT (tp) DO UPDATE SET start = MAX(start, excluded.start) RETURNING start"
)


class Weights:
    """How many bytes each partition holds: counted once, then only what is new, less what went."""

    def __init__(self) -> None:
        self._counted: dict[int, int] = {}
        self._bytes: dict[int, int] = {}

    def count(self, connection: sqlite3.Connection, tp: int, start: int, end: int) -> Iterator[None]:
        """Count up to `end`, in steps."""
        at = max(self._counted.get(tp, start), start)
        while at < end:
            upto = min(at + _WEIGH, end)
            (weight,) = connection.execute(_WEIGHT, (tp, at, upto)).fetchone()
            self._bytes[tp] = self.of(tp) + weight
            self._counted[tp] = at = upto
            yield

    def of(self, tp: int) -> int:
        return self._bytes.get(tp, 0)

    def less(self, tp: int, weight: int) -> None:
        self._bytes[tp] = max(0, self.of(tp) - weight)


def gone_by_size(connection: sqlite3.Connection, tp: int, start: int, end: int, surplus: int) -> int:
    """Below which offset records have to go to get rid of `surplus` bytes, or of the first that are looked at."""
    gone = start
    with contextlib.closing(connection.execute(_SIZES, (tp, start, end, _LOOK))) as rows:
        for offset, size in rows:
            if surplus <= 0:
                break
            surplus -= size
            gone = offset + 1
    return gone


def portion(connection: sqlite3.Connection, tp: int, start: int, gone: int) -> tuple[int, int]:
    """How far one step goes towards `gone`, and the bytes of what goes with it."""
    weight = 0
    upto = start
    rows = connection.execute(_SIZES, (tp, start, gone, STEP_ROWS)).fetchall()
    for offset, size in rows:
        if weight >= STEP_BYTES:
            return upto, weight
        weight += size
        upto = offset + 1
    return (upto if len(rows) == STEP_ROWS else gone), weight


def retire(connection: sqlite3.Connection, tp: int, upto: int) -> int:
    """Drop what is below an offset, in the caller's transaction, but nothing that a group wants by now. The
    partition's log start from here on."""
    holder = holding.floor(connection, tp)
    if holder is not None:
        upto = min(upto, holder[0])
    connection.execute(_DELETE, (tp, upto))
    ((start,),) = connection.execute(_SET_START, (tp, upto)).fetchall()
    return int(start)
