"""The log in one SQLite file, as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from streams.embedded.assignor import Assignor
from streams.embedded.holding import HeldBack
from streams.embedded.maintenance import Upkeep
from streams.embedded.opening import path_of
from streams.embedded.schema import StoredRecord
from streams.embedded.store import LogStore, unpack_headers
from streams.log import READ, Log
from streams.records import Commit, Message, Position, Record, TopicPartition
from streams.states import StateFile
from streams.tables import Source, refuse_ahead
from streams.topics import ALL, kept_for

#: Records of one poll, of all partitions together (of one: `MAX_PARTITION_RECORDS` of the transport). One
#: poll must bring far less than a stream's buffer holds: a full buffer stops Faust's fetcher for every
#: partition, and one blocked lane would stop all the others.
MAX_POLL_RECORDS = 800

#: Seconds for which what was found out about the disk is good.
_CHECK_SECONDS = 1.0

Read = Callable[[TopicPartition, int, int], AsyncIterator[Sequence[Message]]]


class EmbeddedLog(Log):
    """Opened by its constructor, which raises `InvalidInput` and `StorageUnusable`. Close it last."""

    def __init__(self, url: str) -> None:
        super().__init__()
        path = path_of(url)
        # Faust parses URLs by other rules than ours; what it is given has only one reading.
        self._url = f"sqlite://{quote(str(path))}"
        self._store = LogStore.shared(path)
        self._store.create_topics(ALL)
        self._upkeep: Upkeep | None = None
        self._checking: asyncio.Task[None] | None = None
        self._checked_at = float("-inf")

    async def start(self) -> None:
        """Nothing is left to do."""

    async def append(self, records: Sequence[Record]) -> list[Position]:
        return await self._store.append(records)

    async def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        return await self._store.end_offsets(topic)

    async def partitions(self, topic: str) -> int:
        return self._store.partitions(topic) or 0

    async def check_writable(self) -> None:
        # Whoever asks without a key must not make the disk turn each time.
        now = asyncio.get_running_loop().time()
        if self._checking is None or (self._checking.done() and now - self._checked_at >= _CHECK_SECONDS):
            self._checking, self._checked_at = asyncio.ensure_future(self._store.check_writable()), now
            self._checking.add_done_callback(_look_at)
        await asyncio.shield(self._checking)

    async def step(
        self,
        app: Any,
        records: Sequence[Record],
        commits: Mapping[TopicPartition, Commit],
        *,
        once: bool = True,
        generation: int | None = None,
    ) -> list[Position]:
        return await self._store.step(app.conf.id, records, commits)

    async def commits(self, group: str, topic: str) -> dict[TopicPartition, Commit]:
        return {tp: commit for tp, commit in (await self._store.commits(group)).items() if tp.topic == topic}

    async def read(self, tp: TopicPartition, start: int, end: int) -> AsyncIterator[Sequence[Message]]:
        while start < end:
            (rows,) = await self._store.fetch([(tp, start, min(READ, end - start))])
            # Where the first records were retired there are others above the end.
            found = [_message(tp, row) for row in rows if row.offset < end]
            if not found:
                return
            yield found
            start = rows[-1].offset + 1

    def own(self, group: str) -> None:
        self._store.own_group(group)

    async def follow(
        self, topic: str, start: Mapping[TopicPartition, int] | None = None, most: int = READ
    ) -> AsyncIterator[tuple[Sequence[Message], dict[TopicPartition, int]]]:
        ends = await self._store.end_offsets(topic)
        positions = dict.fromkeys(ends, 0) | dict(start or {})
        appended = asyncio.Event()
        self._store.add_waiter(appended)
        try:
            while True:
                appended.clear()
                wanted = [(tp, at, most) for tp, at in positions.items() if at < self._store.end(tp)]
                if not wanted:
                    # Most of what is appended is none of this topic's, and asking the reader costs two threads a turn.
                    await appended.wait()
                    continue
                # What is retired leaves nothing between the position and the end.
                seen = {tp: self._store.end(tp) for tp, _, _ in wanted}
                for (tp, _, _), rows in zip(wanted, await self._store.fetch(wanted), strict=True):
                    positions[tp] = rows[-1].offset + 1 if rows else seen[tp]
                    yield [_message(tp, row) for row in rows], dict(positions)
        finally:
            self._store.remove_waiter(appended)

    async def backlog(self, group: str, topic: str) -> dict[TopicPartition, int]:
        committed = await self._store.committed(group)
        ends = await self._store.end_offsets(topic)
        return {tp: end - max(committed.get(tp, 0), self._store.start(tp)) for tp, end in ends.items()}

    def start_offset(self, tp: TopicPartition) -> int:
        return self._store.start(tp)

    def begin_upkeep(self, retention: float | None = None) -> None:
        specs = kept_for(ALL, retention)
        self._upkeep = Upkeep(self._store, {spec.name: spec for spec in specs})
        self._upkeep.start()

    def held_back(self) -> tuple[HeldBack, ...]:
        """What is kept beyond its retention, because a group has not committed past it yet."""
        return () if self._upkeep is None else self._upkeep.held

    def held_records(self) -> dict[str, int]:
        held: dict[str, int] = {}
        for item in self.held_back():
            held[item.topic] = held.get(item.topic, 0) + item.records
        return held

    def _app_settings(self) -> dict[str, Any]:
        return {
            "broker": self._url,
            "broker_max_poll_records": MAX_POLL_RECORDS,
            "broker_commit_interval": 0.5,
            "PartitionAssignor": Assignor,
        }

    def _source(self, app: Any) -> Source:
        return _Source(self._store, self.read)

    def _check_states(self, file: StateFile, topic: str) -> None:
        for partition in range(self._store.partitions(topic) or 0):
            tp = TopicPartition(topic, partition)
            refuse_ahead(file, tp, self._store.end(tp))

    async def stop(self) -> None:
        self.close()

    def close(self) -> None:
        """The same as `stop`, for who has no event loop."""
        if self._upkeep is not None:
            self._upkeep.stop()
        for file in self._files:
            file.close()
        self._store.release()


class _Source:
    """See `streams.tables.Source`."""

    def __init__(self, store: LogStore, read: Read) -> None:
        self._store = store
        self.read = read

    async def committed(self, group: str, tp: TopicPartition) -> int:
        return (await self._store.committed(group)).get(tp, 0)

    async def bounds(self, tp: TopicPartition) -> tuple[int, int]:
        return await self._store.earliest(tp), self._store.end(tp)

    async def stamps(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int | None]:
        """When the record right below was appended, where it is still there."""
        found = await self._store.fetch([(tp, at - 1, 1) for tp, at in offsets.items()])
        return {
            tp: rows[0].timestamp if rows and rows[0].offset == at - 1 else None
            for (tp, at), rows in zip(offsets.items(), found, strict=True)
        }


def _message(tp: TopicPartition, row: StoredRecord) -> Message:
    return Message(*tp, row.offset, row.timestamp / 1000.0, unpack_headers(row.headers), row.key, row.value)


def _look_at(task: asyncio.Task[None]) -> None:
    """Whoever asked may have gone."""
    if not task.cancelled():
        task.exception()
