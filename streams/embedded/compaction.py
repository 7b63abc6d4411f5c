"""Compaction: of every key the newest record stays. In steps, and by Kafka's rules.

A pass notes the newest offset of every key in the part that was written since the last pass, then walks the
partition from its beginning and drops what is older. It begins when that part is as long as what the last
pass had kept (Kafka's `min.cleanable.dirty.ratio` of a half), so that a record is walked over twice or so in
all its life. It goes no further than every group has committed, and spares a partition's last record:
whoever follows the partition waits for that one.

A tombstone stays for a while after the pass that dropped what it wiped out, so that who reads from the
beginning meanwhile hears of it: `horizon` is how far the log was clean at `horizon_at`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from streams.embedded import holding

#: Records of one step: read at most, and dropped at most in one transaction.
STEP_READ = 2_000
STEP_DROP = 250
#: A pass for fewer new records than this is not worth its while.
MIN_DIRTY = 1_000


def worthwhile(kept: int) -> int:
    """How many new records make a pass worth its while, when the last one kept so many."""
    return max(MIN_DIRTY, kept)


_STATE = "SELECT start, cleaned, kept, horizon, horizon_at, tombstones FROM upkeep WHERE tp = ?"
_NEWEST = """CREATE TEMP TABLE IF NOT EXISTS newest (
    key BLOB PRIMARY KEY, offset INTEGER NOT NULL
) WITHOUT ROWID"""
_NOTE = """INSERT INTO temp.newest
    SELECT key, MAX(offset) FROM (
        SELECT key, offset FROM records WHERE tp = ? AND offset >= ? AND offset < ? ORDER BY offset LIMIT ?
    ) WHERE key IS NOT NULL GROUP BY key
    ON CONFLICT (key) DO UPDATE SET offset = excluded.offset"""
_STEP_END = """SELECT MAX(offset) FROM (
        SELECT offset FROM records WHERE tp = ? AND offset >= ? AND offset < ? ORDER BY offset LIMIT ?
    )"""
_WALK = """SELECT r.offset, r.value IS NULL, n.offset FROM (
        SELECT offset, key, value FROM records WHERE tp = ? AND offset >= ? AND offset < ? ORDER BY offset LIMIT ?
    ) r LEFT JOIN temp.newest n ON n.key = r.key ORDER BY r.offset"""
_DROP = "DELETE FROM records WHERE tp = ? AND offset = ?"
_DONE = """INSERT INTO upkeep (tp, cleaned, kept, horizon, horizon_at, tombstones) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (tp) DO UPDATE SET cleaned = excluded.cleaned, kept = excluded.kept,
    horizon = excluded.horizon, horizon_at = excluded.horizon_at, tombstones = excluded.tombstones"""

#: Runs a function in a transaction of the log's writer, and gives its answer.
Write = Callable[[Callable[[sqlite3.Connection], int]], int]


@dataclass(frozen=True, slots=True)
class State:
    """What the last pass left. Offsets, counts, and milliseconds since the epoch."""

    start: int = 0
    cleaned: int = 0
    kept: int = 0
    horizon: int = 0
    horizon_at: int = 0
    tombstones: int = 0


def state_of(connection: sqlite3.Connection, tp: int) -> State:
    row = connection.execute(_STATE, (tp,)).fetchone()
    return State() if row is None else State(*row)


def clean(
    reader: sqlite3.Connection,
    write: Write,
    tp: int,
    end: int,
    now: int,
    tombstone_ms: int,
    dirty: Callable[[int], int] = worthwhile,
) -> Iterator[None]:
    """One pass over a partition that ends at `end`, if one is due. Every turn of the iterator is a step.

    `reader` must be able to make temporary tables; nothing else is written through it.
    """
    before = state_of(reader, tp)
    holder = holding.floor(reader, tp)
    bound = end if holder is None else min(end, holder[0])
    expired = now >= before.horizon_at + tombstone_ms
    if bound - before.cleaned < dirty(before.kept) and not (expired and before.tombstones):
        return
    yield from _note_newest(reader, tp, before.cleaned, bound)
    last = end - 1
    forgotten_below = min(before.horizon, last) if expired else 0
    kept = tombstones = 0
    at = before.start
    while rows := reader.execute(_WALK, (tp, at, bound, STEP_READ)).fetchall():
        drop = []
        for offset, is_tombstone, newest in rows:
            superseded = newest is not None and newest > offset
            if superseded or (is_tombstone and offset < forgotten_below):
                drop.append(offset)
            else:
                kept += 1
                tombstones += is_tombstone
        for first in range(0, len(drop), STEP_DROP):
            _drop(write, tp, drop[first : first + STEP_DROP])
            yield
        at = rows[-1][0] + 1
        yield
    reader.execute("DELETE FROM temp.newest")
    horizon = (bound, now) if expired else (before.horizon, before.horizon_at)
    write(lambda connection: connection.execute(_DONE, (tp, bound, kept, *horizon, tombstones)).rowcount)


def _note_newest(reader: sqlite3.Connection, tp: int, start: int, bound: int) -> Iterator[None]:
    reader.execute(_NEWEST)
    reader.execute("DELETE FROM temp.newest")
    while (last := reader.execute(_STEP_END, (tp, start, bound, STEP_READ)).fetchone()[0]) is not None:
        reader.execute(_NOTE, (tp, start, last + 1, STEP_READ))
        start = last + 1
        yield


def _drop(write: Write, tp: int, offsets: Sequence[int]) -> None:
    def drop(connection: sqlite3.Connection) -> int:
        # A group that came meanwhile wants everything that is there.
        holder = holding.floor(connection, tp)
        free = offsets if holder is None else [offset for offset in offsets if offset < holder[0]]
        return connection.executemany(_DROP, [(tp, offset) for offset in free]).rowcount

    write(drop)
