"""The embedded log's store: topics, appends, reads, commits. Knows nothing of Faust."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import orjson
from kafka.partitioner.default import murmur2

from streams.embedded import schema
from streams.embedded.schema import SHIFT, StoredRecord
from streams.embedded.writer import GroupWriter, Row, durable
from streams.errors import LogUnavailable, StorageUnusable
from streams.records import Position, Record, TopicPartition
from streams.topics import TopicSpec

Headers = Sequence[tuple[str, bytes]]


class LogStore:
    """One log file, shared by everything in the process. Open it with `LogStore.shared`."""

    _shared: dict[Path, LogStore] = {}  # noqa: RUF012
    _shared_lock = threading.Lock()

    def __init__(self, path: Path) -> None:
        self.path = path
        self._references = 0
        self._topics: dict[str, tuple[int, int]] = {}
        self._ends: dict[int, int] = {}
        self._waiters: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._round_robin = itertools.count()
        connection = schema.connect(path, writable=True)
        self._reader = schema.connect(path, writable=False)
        self._read_pool = ThreadPoolExecutor(1, thread_name_prefix="log-reader")
        try:
            self._load(connection)
        except sqlite3.Error as error:
            raise StorageUnusable(f"cannot read the log {path}: {error}") from None
        self._writer = GroupWriter(connection, self._ends, self._wake_waiters)

    @classmethod
    def shared(cls, path: Path) -> LogStore:
        """The process's one store of this file; give it back with `release`."""
        path = path.absolute()
        with cls._shared_lock:
            store = cls._shared.get(path)
            if store is None:
                store = cls._shared[path] = cls(path)
            store._references += 1
            return store

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

    # -- topics

    def create_topics(self, specs: Iterable[TopicSpec]) -> None:
        """Create what is missing. An existing topic keeps its partitions: keys must stay where they are."""
        missing = [spec for spec in specs if spec.name not in self._topics]
        if not missing:
            return

        def insert(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT OR IGNORE INTO topics (name, partitions, cleanup) VALUES (?, ?, ?)",
                [(spec.name, spec.partitions, spec.cleanup) for spec in missing],
            )

        self._writer.call(insert).result()
        self._load_topics(self._read_pool.submit(self._reader.execute, _SELECT_TOPICS).result().fetchall())

    def partitions(self, topic: str) -> int | None:
        """How many partitions a topic has; None if there is no such topic."""
        known = self._topics.get(topic)
        return None if known is None else known[1]

    def partition_for(self, topic: str, key: bytes | None) -> int:
        """Where Kafka's default partitioner puts a key: murmur2, made positive, modulo partitions."""
        count = self._topic(topic)[1]
        if key is None:
            return next(self._round_robin) % count
        return int(murmur2(key) & 0x7FFFFFFF) % count

    # -- appending

    def append_nowait(self, records: Sequence[tuple[TopicPartition, Record]]) -> Future[list[tuple[int, int]]]:
        """Hand records to the writer. The result is each one's (offset, timestamp in ms), once on disk."""
        rows: list[Row] = [
            (self._tp(*tp), record.key, record.value, pack_headers(record.headers)) for tp, record in records
        ]
        return self._writer.append(rows)

    async def append(self, records: Sequence[Record]) -> list[Position]:
        """Append durably; see `streams.records.Appender`."""
        placed = [(self.place(record), record) for record in records]
        stored = await durable(self.append_nowait(placed))
        return [Position(*tp, offset) for (tp, _), (offset, _) in zip(placed, stored, strict=True)]

    def place(self, record: Record) -> TopicPartition:
        """The partition of a record: its own, or its key's. Raises `LogUnavailable`."""
        partition = record.partition
        if partition is None:
            partition = self.partition_for(record.topic, record.key)
        return TopicPartition(record.topic, partition)

    # -- reading

    async def fetch(self, wanted: Sequence[tuple[TopicPartition, int, int]]) -> list[list[StoredRecord]]:
        """For each (partition, from offset, at most) the records that are there, in order."""
        return await asyncio.get_running_loop().run_in_executor(self._read_pool, self._fetch, wanted)

    def end(self, tp: TopicPartition) -> int:
        """The offset that the next record will get; everything below is on disk."""
        return self._ends.get(self._tp(*tp), 0)

    async def earliest(self, tp: TopicPartition) -> int:
        """The lowest offset still there, or the end if there is none."""
        first = await asyncio.get_running_loop().run_in_executor(self._read_pool, self._earliest, self._tp(*tp))
        return self.end(tp) if first is None else first

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

    async def commit(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        """Store the offsets that a consumer group wants next."""
        await durable(self._writer.commit(group, [(self._tp(*tp), at) for tp, at in offsets.items()]))

    async def committed(self, group: str) -> dict[TopicPartition, int]:
        """What a consumer group has committed."""
        loop = asyncio.get_running_loop()
        rows = await loop.run_in_executor(self._read_pool, self._committed, group)
        names = {identity: name for name, (identity, _) in self._topics.items()}
        return {TopicPartition(names[tp >> SHIFT], tp & (1 << SHIFT) - 1): at for tp, at in rows}

    # -- inside

    def _load(self, connection: sqlite3.Connection) -> None:
        self._load_topics(connection.execute(_SELECT_TOPICS).fetchall())
        self._ends.update(connection.execute(schema.ENDS).fetchall())

    def _load_topics(self, rows: Iterable[tuple[int, str, int]]) -> None:
        self._topics.update({name: (identity, partitions) for identity, name, partitions in rows})

    def _topic(self, topic: str) -> tuple[int, int]:
        known = self._topics.get(topic)
        if known is None:
            raise LogUnavailable(f"there is no topic {topic}")
        return known

    def _tp(self, topic: str, partition: int) -> int:
        identity, count = self._topic(topic)
        if not 0 <= partition < count:
            raise LogUnavailable(f"topic {topic} has no partition {partition}")
        return identity << SHIFT | partition

    def _fetch(self, wanted: Sequence[tuple[TopicPartition, int, int]]) -> list[list[StoredRecord]]:
        found = []
        for tp, offset, limit in wanted:
            rows = self._reader.execute(schema.FETCH, (self._tp(*tp), offset, limit)).fetchall()
            found.append([StoredRecord(*row) for row in rows])
        return found

    def _earliest(self, tp: int) -> int | None:
        row = self._reader.execute(schema.EARLIEST, (tp,)).fetchone()
        return None if row is None else row[0]

    def _committed(self, group: str) -> list[tuple[int, int]]:
        return self._reader.execute(schema.COMMITTED, (group,)).fetchall()

    def _wake_waiters(self) -> None:
        for event, loop in list(self._waiters.items()):
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # the waiter's loop has closed: nobody waits there any more
                self._waiters.pop(event, None)


_SELECT_TOPICS = "SELECT id, name, partitions FROM topics"


def pack_headers(headers: Headers) -> bytes | None:
    """Headers as stored: JSON of name and Latin-1 text, which carries any bytes unchanged."""
    if not headers:
        return None
    return orjson.dumps([[name, value.decode("latin-1")] for name, value in headers])


def unpack_headers(packed: bytes | None) -> list[tuple[str, bytes]]:
    """The inverse of `pack_headers`."""
    if packed is None:
        return []
    return [(name, value.encode("latin-1")) for name, value in orjson.loads(packed)]
