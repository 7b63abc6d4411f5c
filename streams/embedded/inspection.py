"""What stands in a log file: for people who look after it. Reads only, also beside a running service."""

from __future__ import annotations

import fcntl
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from streams.embedded import holding, versions
from streams.embedded.owning import lock_path
from streams.embedded.schema import ALL_TOPICS, EARLIEST, END, SHIFT
from streams.inspecting import reading
from streams.records import TopicPartition


@dataclass(frozen=True, slots=True)
class PartitionState:
    """`start` is the log start, `earliest` the lowest offset that is there, `end` the next one to be."""

    start: int
    earliest: int
    end: int


@dataclass(frozen=True, slots=True)
class TopicState:
    name: str
    cleanup: str
    records: int
    partitions: tuple[PartitionState, ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a group has not committed of a partition: how many offsets, and when the first was appended, in
    milliseconds since the epoch (None if there is none)."""

    group: str
    at: TopicPartition
    committed: int
    lag: int
    oldest: int | None


@dataclass(frozen=True, slots=True)
class LogState:
    version: int
    gives_space_back: bool
    topics: tuple[TopicState, ...]
    waiting: tuple[Waiting, ...]

    def partition(self, at: TopicPartition) -> PartitionState | None:
        for topic in self.topics:
            if topic.name == at.topic and at.partition < len(topic.partitions):
                return topic.partitions[at.partition]
        return None


def inspect(path: Path) -> LogState:
    """Raises `StorageUnusable` for a file that is not ours to read, and `sqlite3.Error` for a damaged one."""
    with reading(path) as connection:
        versions.check(connection, path)
        version = versions.marks(connection)[1]
        starts = _starts(connection)
        topics: list[TopicState] = []
        waiting: list[Waiting] = []
        for name, identity, count, cleanup in connection.execute(ALL_TOPICS).fetchall():
            partitions = tuple(_partition(connection, identity << SHIFT | n, starts) for n in range(count))
            topics.append(TopicState(name, cleanup, _records(connection, identity, cleanup, partitions), partitions))
            waiting += _waiting(connection, name, identity, partitions)
        (vacuum,) = connection.execute("PRAGMA auto_vacuum").fetchone()
    return LogState(version, vacuum == 2, tuple(topics), tuple(waiting))


def owner(log: Path, group: str) -> str | None:
    """Who consumes as a group now; None if nobody does."""
    return holder(lock_path(log, group))


def holder(lock: Path) -> str | None:
    """Who holds a lock file, as words; None if nobody does."""
    try:
        with lock.open("rb") as file:
            try:
                # For an instant only, and shared, so that whoever asks likewise is not misled.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                with suppress(ValueError):
                    return f"process {int(file.read(32))}"
                return "another process"
    except OSError:
        return None
    return None


def _starts(connection: sqlite3.Connection) -> dict[int, int]:
    try:
        return dict(connection.execute("SELECT tp, start FROM upkeep").fetchall())
    except sqlite3.OperationalError:  # a log from before there was upkeep
        return {}


def _partition(connection: sqlite3.Connection, tp: int, starts: dict[int, int]) -> PartitionState:
    start = starts.get(tp, 0)
    end = connection.execute(END, (tp,)).fetchone()[0]
    earliest = connection.execute(EARLIEST, (tp,)).fetchone()[0]
    return PartitionState(start, start if earliest is None else earliest, start if end is None else end)


def _records(
    connection: sqlite3.Connection, identity: int, cleanup: str, partitions: tuple[PartitionState, ...]
) -> int:
    if cleanup == "delete":
        # Without gaps; counting would read it all.
        return sum(partition.end - partition.earliest for partition in partitions)
    bounds = (identity << SHIFT, (identity + 1) << SHIFT)
    (count,) = connection.execute("SELECT COUNT(*) FROM records WHERE tp >= ? AND tp < ?", bounds).fetchone()
    return int(count)


def _waiting(
    connection: sqlite3.Connection, name: str, identity: int, partitions: tuple[PartitionState, ...]
) -> list[Waiting]:
    found = []
    groups = holding.groups_of(connection, identity)
    for number, partition in enumerate(partitions):
        tp = identity << SHIFT | number
        committed = dict(connection.execute(holding.COMMITTED, (tp,)).fetchall())
        for group in groups:
            at = max(committed.get(group, 0), partition.start)
            first = holding.first_from(connection, tp, at) if at < partition.end else None
            oldest = None if first is None else first[1]
            found.append(Waiting(group, TopicPartition(name, number), at, partition.end - at, oldest))
    return found
