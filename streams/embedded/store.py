"""The embedded log's store: topics, appends, reads, commits. Knows nothing of Faust."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import orjson

from streams.embedded import retention, schema
from streams.embedded.opening import connect
from streams.embedded.owning import Owner
from streams.embedded.schema import SHIFT, StoredRecord
from streams.embedded.trouble import explain
from streams.embedded.writer import GroupCommit, GroupWriter, Row, durable
from streams.errors import LogUnavailable, StorageUnusable
from streams.partitioning import partition_of
from streams.records import Commit, Position, Record, TopicPartition
from streams.topics import Cleanup, TopicSpec

Headers = Sequence[tuple[str, bytes]]
R = TypeVar("R")
_PARTITION = (1 << SHIFT) - 1


class LogStore:
    """One log file, shared by everything in the process. Open it with `LogStore.shared`."""

    _shared: dict[Path, LogStore] = {}  # noqa: RUF012
    _shared_lock = threading.Lock()

    def __init__(self, path: Path) -> None:
        self.path = path
        self._references = 0
        self._topics: dict[str, tuple[int, int]] = {}
        self._ends: dict[int, int] = {}
        self._starts: dict[int, int] = {}
        self._tps: dict[tuple[str, int], int] = {}
        self._waiters: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._round_robin = itertools.count()
        connection = connect(path, writable=True)
        self._reader = connect(path, writable=False)
        self._read_pool = ThreadPoolExecutor(1, thread_name_prefix="log-reader")
        try:
            self._load(connection)
        except sqlite3.Error as error:
            raise StorageUnusable(f"cannot read the log {path}: {explain(error, path)}") from None
        self._owner = Owner(path)
        self._writer = GroupWriter(connection, self._ends, self._wake_waiters, path=path, reload=self._reload)

    @classmethod
    def shared(cls, path: Path) -> LogStore:
        """The process's one store of this file; give it back with `release`."""
        path = path.resolve()
        with cls._shared_lock:
            store = cls._shared.get(path)
            if store is None:
                store = cls._shared[path] = cls(path)
            store._references += 1
            return store

    @classmethod
    def borrowed(cls, path: Path) -> LogStore:
        """The store of this file for somebody who has no moment to give it back. It closes with those who
        `shared` it; if there is nobody, it is opened, and ends with the process."""
        with cls._shared_lock:
            store = cls._shared.get(path.resolve())
        return cls.shared(path) if store is None else store

    def release(self) -> None:
        """Give a shared store back; the last one closes it, after everything handed in is written."""
        with self._shared_lock:
            self._references -= 1
            if self._references > 0:
                return
            self._shared.pop(self.path, None)
        self._writer.close()
        self._read_pool.shutdown()
        self._reader.close()
        self._owner.release()

    # -- topics

    def create_topics(self, specs: Iterable[TopicSpec]) -> None:
        """Create what is missing, and add partitions where more are wanted. There are never fewer than there
        were. Keys go by the new number from then on, so a key's older records may stand elsewhere.

        Raises `LogUnavailable`, also for a number of partitions that cannot be.
        """
        missing = [
            spec
            for spec in specs
            if spec.partitions > (self.partitions(spec.name) or 0) or not self.partitions(spec.name)
        ]
        if not missing:
            return
        for spec in missing:
            if not 0 < spec.partitions <= 1 << SHIFT:
                raise LogUnavailable(f"topic {spec.name} cannot have {spec.partitions} partitions")

        def insert(connection: sqlite3.Connection) -> None:
            connection.executemany(schema.ADD_TOPIC, [(spec.name, spec.partitions, spec.cleanup) for spec in missing])

        self._writer.call(insert).result()
        self._load_topics(self._read(self._all, schema.TOPICS).result())

    def partitions(self, topic: str) -> int | None:
        """How many partitions a topic has; None if there is no such topic."""
        known = self._topics.get(topic)
        return None if known is None else known[1]

    def partition_for(self, topic: str, key: bytes | None) -> int:
        """Where Kafka's default partitioner puts a key; keyless records go around."""
        count = self._topic(topic)[1]
        if key is None:
            return next(self._round_robin) % count
        return partition_of(key, count)

    # -- appending

    def append_nowait(
        self, records: Sequence[tuple[TopicPartition, Record]], *, patient: bool = False
    ) -> Future[list[tuple[int, int]]]:
        """Hand records to the writer. The result is each one's (offset, timestamp in ms), once on disk.

        A patient append waits for room on a disk that is full, where others fail.
        """
        rows: list[Row] = [
            (self._tp(*tp), record.key, record.value, pack_headers(record.headers)) for tp, record in records
        ]
        return self._writer.append(rows, patient=patient)

    async def append(self, records: Sequence[Record]) -> list[Position]:
        """Append durably; see `streams.records.Appender`."""
        return await self._stored(records, ())

    async def step(
        self, group: str, records: Sequence[Record], commits: Mapping[TopicPartition, Commit]
    ) -> list[Position]:
        """Append durably, and commit for a group in the same transaction."""
        return await self._stored(records, [(group, self._tp(*tp), *commit) for tp, commit in commits.items()])

    async def _stored(self, records: Sequence[Record], commits: Sequence[GroupCommit]) -> list[Position]:
        rows: list[Row] = [
            (self._tp(topic, self._partition(topic, key, partition)), key, value, pack_headers(headers))
            for topic, key, value, partition, headers in records
        ]
        stored = await durable(self._writer.append(rows, commits=commits))
        return [
            Position(record.topic, row[0] & _PARTITION, offset)
            for record, row, (offset, _) in zip(records, rows, stored, strict=True)
        ]

    def place(self, record: Record) -> TopicPartition:
        """The partition of a record: its own, or its key's. Raises `LogUnavailable`."""
        return TopicPartition(record.topic, self._partition(record.topic, record.key, record.partition))

    # -- reading

    async def fetch(self, wanted: Sequence[tuple[TopicPartition, int, int]]) -> list[list[StoredRecord]]:
        """For each (partition, from offset, at most) the records that are there, in order."""
        found: list[list[StoredRecord]] = await durable(self._read(self._fetch, wanted))
        return found

    def end(self, tp: TopicPartition) -> int:
        """The offset that the next record will get; everything below is on disk."""
        return self._ends.get(self._tp(*tp), 0)

    async def earliest(self, tp: TopicPartition) -> int:
        """The lowest offset still there, or the end if there is none."""
        rows = await durable(self._read(self._all, schema.EARLIEST, (self._tp(*tp),)))
        first: int | None = rows[0][0]
        return self.end(tp) if first is None else first

    def start(self, tp: TopicPartition) -> int:
        """The partition's log start: everything below was retired. Compaction leaves it where it is."""
        return self._starts.get(self._tp(*tp), 0)

    async def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        """See `streams.records.Appender`."""
        tps = [TopicPartition(topic, number) for number in range(self._topic(topic)[1])]
        return {tp: self.end(tp) for tp in tps}

    def add_waiter(self, event: asyncio.Event) -> None:
        """Set `event` in its own loop whenever something became durable."""
        self._waiters[event] = asyncio.get_running_loop()

    def remove_waiter(self, event: asyncio.Event) -> None:
        self._waiters.pop(event, None)

    # -- consumer groups

    def own_group(self, group: str) -> None:
        """Be the one process that consumes as a group, until the store closes. Raises `LogInUse`."""
        self._owner.own(group)

    async def commit(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        """Store the offsets that a consumer group wants next."""
        await durable(self._writer.commit(group, [(self._tp(*tp), at) for tp, at in offsets.items()]))

    async def committed(self, group: str) -> dict[TopicPartition, int]:
        """The offsets that a consumer group has committed."""
        return {tp: commit.offset for tp, commit in (await self.commits(group)).items()}

    async def commits(self, group: str) -> dict[TopicPartition, Commit]:
        """What a consumer group has committed."""
        rows = await durable(self._read(self._all, schema.COMMITTED, (group,)))
        names = {identity: name for name, (identity, _) in self._topics.items()}
        known = [(tp, Commit(at, note)) for tp, at, note in rows if tp >> SHIFT in names]
        return {TopicPartition(names[tp >> SHIFT], tp & _PARTITION): commit for tp, commit in known}

    async def subscribe(self, group: str, topics: Iterable[str]) -> None:
        """Keep for a group what it has not committed of these topics yet, also before its first commit."""
        wanted = {(group, self._topic(topic)[0]) for topic in topics}
        known = set(await durable(self._read(self._all, schema.SUBSCRIPTIONS, (group,))))
        if new := sorted(wanted - known):
            await durable(self._writer.call(lambda connection: connection.executemany(schema.SUBSCRIBE, new).rowcount))

    def forget_group(self, group: str) -> None:
        """Forget what a group has committed: nothing is kept for it any more."""

        def forget(connection: sqlite3.Connection) -> None:
            for table in ("commits", "subscriptions"):
                connection.execute(f"DELETE FROM {table} WHERE consumer_group = ?", (group,))

        self._writer.call(forget).result()

    async def check_writable(self) -> None:
        """Raises `LogUnavailable` where records would not be taken."""
        await durable(self._writer.check())

    # -- for upkeep; see `streams.embedded.maintenance`

    def topics(self) -> list[tuple[str, int, int, Cleanup]]:
        """Each topic's name, number, partitions and cleanup."""
        rows: list[tuple[str, int, int, Cleanup]] = self._read(self._all, schema.ALL_TOPICS).result()
        return rows

    def end_of(self, tp: int) -> int:
        return self._ends.get(tp, 0)

    def write(self, function: Callable[[sqlite3.Connection], int]) -> int:
        """Run something short in a transaction of the writer's, and wait for it. Raises `LogUnavailable`."""
        answer: int = self._writer.call(function).result()
        return answer

    def retire(self, tp: int, upto: int) -> int:
        """Drop the records of a partition below an offset, unless a group wants them. Its log start then."""
        start = self.write(lambda connection: retention.retire(connection, tp, upto))
        self._starts[tp] = start
        return start

    # -- inside

    def _load(self, connection: sqlite3.Connection) -> None:
        self._ends.update(self._reload(connection))

    def _reload(self, connection: sqlite3.Connection) -> dict[int, int]:
        """What another process may have changed: topics and starts, and the ends. In the writer's thread."""
        self._load_topics(connection.execute(schema.TOPICS).fetchall())
        self._starts.update(schema.read_starts(connection))
        return schema.read_ends(connection)

    def _load_topics(self, rows: Iterable[tuple[int, str, int]]) -> None:
        self._topics.update({name: (identity, partitions) for identity, name, partitions in rows})

    def _topic(self, topic: str) -> tuple[int, int]:
        known = self._topics.get(topic)
        if known is None:
            raise LogUnavailable(f"there is no topic {topic}")
        return known

    def _tp(self, topic: str, partition: int) -> int:
        known = self._tps.get((topic, partition))
        if known is None:
            known = self._tps[topic, partition] = self._new_tp(topic, partition)
        return known

    def _partition(self, topic: str, key: bytes | None, partition: int | None) -> int:
        return self.partition_for(topic, key) if partition is None else partition

    def _new_tp(self, topic: str, partition: int) -> int:
        identity, count = self._topic(topic)
        if not 0 <= partition < count:
            raise LogUnavailable(f"topic {topic} has no partition {partition}")
        return identity << SHIFT | partition

    def _read(self, function: Callable[..., R], *args: Any) -> Future[R]:
        """Run a read in the reader's thread, the only one that touches its connection."""

        def explained() -> R:
            try:
                return function(*args)
            except sqlite3.Error as error:
                raise LogUnavailable(f"the log {self.path} cannot be read: {explain(error, self.path)}") from None

        try:
            return self._read_pool.submit(explained)
        except RuntimeError:
            raise LogUnavailable("the log is closed") from None

    def _fetch(self, wanted: Sequence[tuple[TopicPartition, int, int]]) -> list[list[StoredRecord]]:
        found = []
        for tp, offset, limit in wanted:
            rows = self._all(schema.FETCH, (self._tp(*tp), offset, limit))
            found.append([StoredRecord(*row) for row in rows])
        return found

    def _all(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        return self._reader.execute(sql, parameters).fetchall()

    def _wake_waiters(self) -> None:
        for event, loop in list(self._waiters.items()):
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # the waiter's loop has closed: nobody waits there any more
                self._waiters.pop(event, None)


@lru_cache(maxsize=256)
def pack_headers(headers: tuple[tuple[str, bytes], ...]) -> bytes | None:
    """Headers as stored: JSON of name and Latin-1 text, which carries any bytes unchanged."""
    if not headers:
        return None
    return orjson.dumps([[name, value.decode("latin-1")] for name, value in headers])


def unpack_headers(packed: bytes | None) -> list[tuple[str, bytes]]:
    """The inverse of `pack_headers`; the list is the caller's own."""
    return [] if packed is None else list(_unpacked(packed))


# Nearly all records have the same headers.
@lru_cache(maxsize=256)
def _unpacked(packed: bytes) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, value.encode("latin-1")) for name, value in orjson.loads(packed))
