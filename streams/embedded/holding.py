"""What may not go yet: records that a consumer group has still to commit past."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from streams.embedded.schema import SHIFT

_GROUPS = (
    "SELECT consumer_group FROM subscriptions WHERE topic = ?"
    " UNION SELECT consumer_group FROM commits WHERE tp >> ? = ?"
)
COMMITTED = "SELECT consumer_group, offset FROM commits WHERE tp = ?"
_FIRST = "SELECT offset, timestamp FROM records WHERE tp = ? AND offset >= ? ORDER BY offset LIMIT 1"


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Records of a partition that are older, or more, than its retention says, and stay for a group's sake.

    `committed` is the offset that the group wants next, `records` how many are held back from there on, and
    `oldest` when the first of them was appended, in milliseconds since the epoch.
    """

    topic: str
    partition: int
    group: str
    committed: int
    records: int
    oldest: int


def groups_of(connection: sqlite3.Connection, topic: int) -> list[str]:
    """Every group that reads a topic, by its number, or has ever committed on it."""
    return [group for (group,) in connection.execute(_GROUPS, (topic, SHIFT, topic))]


def floor(connection: sqlite3.Connection, tp: int) -> tuple[int, str] | None:
    """The lowest offset that a group still wants of a partition, and the group; None if nobody reads it.

    A group that has committed nothing here wants everything: its partner may never have answered yet.
    """
    committed = dict(connection.execute(COMMITTED, (tp,)).fetchall())
    wanted = [(committed.get(group, 0), group) for group in groups_of(connection, tp >> SHIFT)]
    return min(wanted, default=None)


def first_from(connection: sqlite3.Connection, tp: int, offset: int) -> tuple[int, int] | None:
    """The offset and the timestamp of the first record at or after an offset."""
    row: tuple[int, int] | None = connection.execute(_FIRST, (tp, offset)).fetchone()
    return row


def first_since(connection: sqlite3.Connection, tp: int, start: int, end: int, cutoff: int) -> int:
    """The first offset in [start, end) whose record is not older than `cutoff`, or `end`. A few look-ups,
    since records stand in the order of their timestamps."""
    while start < end:
        middle = (start + end) // 2
        found = first_from(connection, tp, middle)
        if found is not None and found[0] < end and found[1] < cutoff:
            start = found[0] + 1
        else:
            end = middle
    return start


def held_back(connection: sqlite3.Connection, topic: str, tp: int, wanted_gone: int) -> HeldBack | None:
    """What is held back of a partition of which retention would drop everything below an offset."""
    holder = floor(connection, tp)
    if holder is None or holder[0] >= wanted_gone:
        return None
    first = first_from(connection, tp, holder[0])
    if first is None or first[0] >= wanted_gone:
        return None
    partition = tp & (1 << SHIFT) - 1
    return HeldBack(topic, partition, holder[1], holder[0], wanted_gone - first[0], first[1])
