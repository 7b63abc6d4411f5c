"""The producer of the embedded log: a send is done when it is on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

from faust.transport.producer import Producer as FaustProducer
from faust.transport.producer import ProducerBuffer
from faust.types import TP, RecordMetadata

from streams.embedded.store import LogStore
from streams.embedded.writer import durable
from streams.errors import LogUnavailable
from streams.records import Record, TopicPartition
from streams.topics import TopicSpec

#: Records handed in but not yet on disk; beyond this a sender waits.
_MAX_IN_FLIGHT = 20_000


class _Buffer(ProducerBuffer):
    """Faust looks at the size for every message that is read, and asks its settings each time."""

    @property
    def size(self) -> int:
        return int(self.pending.qsize())


class Producer(FaustProducer):
    """Appends; a send's future is done when the record is on disk."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._store: LogStore = self.transport.store
        self.buffer = _Buffer(loop=self.loop, beacon=self.beacon)
        self.buffer.app = self.app
        # Table changes wait here for the next turn of the loop. Faust's default of 100 would hold up the
        # stream although one transaction takes thousands.
        self.buffer.max_messages = _MAX_IN_FLIGHT
        self._in_flight: set[asyncio.Future[Any]] = set()
        #: Why a table's change did not reach its changelog. The table in memory is ahead of it then, and
        #: only a restart puts that right.
        self.lost_change: BaseException | None = None

    async def on_stop(self) -> None:
        await self.flush()

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Any,
        *,
        transactional_id: str | None = None,
    ) -> Awaitable[RecordMetadata]:
        if len(self._in_flight) >= _MAX_IN_FLIGHT:
            await asyncio.wait(self._in_flight, return_when=asyncio.FIRST_COMPLETED)
        record = Record(topic, key, value, partition, _header_pairs(headers))
        tp = self._store.place(record)
        # Nobody repeats a table's change.
        patient = topic in self.app.tables.changelog_topics
        stored = self._store.append_nowait([(tp, record)], patient=patient)
        sent = asyncio.ensure_future(_metadata(tp, stored))
        self._in_flight.add(sent)
        sent.add_done_callback(lambda done: self._landed(topic, done))
        return sent

    def _landed(self, topic: str, sent: asyncio.Future[Any]) -> None:
        self._in_flight.discard(sent)
        # Whoever sends an event hears of its failure and repeats it. Nobody waits for a table's change.
        error = LogUnavailable("nobody waited for it") if sent.cancelled() else sent.exception()
        if error is not None and topic in self.app.tables.changelog_topics:
            self.lost_change = error

    async def send_and_wait(self, *args: Any, **kwargs: Any) -> RecordMetadata:
        return await (await self.send(*args, **kwargs))

    async def flush(self) -> None:
        """Wait until everything sent is on disk, or is known not to be."""
        # A change that waits for room in flight is in neither of the two, but once room is there it is
        # under way before this can look again. The buffer's own flush gives up after a tenth of a second.
        while self.buffer.size or self._in_flight:
            if self.buffer.should_stop:
                self._give_up_buffered()
            await self.buffer.flush()
            if self._in_flight:
                await asyncio.wait(self._in_flight)

    def _give_up_buffered(self) -> None:
        """After a crash nobody sends what waits in the buffer, and Faust's flush of it would raise."""
        while not self.buffer.pending.empty():
            self.buffer.pending.get_nowait().cancel()
            self.lost_change = self.lost_change or LogUnavailable("the producer has stopped")

    async def create_topic(self, topic: str, partitions: int, replication: int, **kwargs: Any) -> None:
        await create_topic(self._store, topic, partitions, kwargs)

    def key_partition(self, topic: str, key: bytes) -> TP:
        return TP(topic, self._store.partition_for(topic, key))

    def supports_headers(self) -> bool:
        return True


async def create_topic(store: LogStore, topic: str, partitions: int, settings: Mapping[str, Any]) -> None:
    cleanup = "compact" if settings.get("compacting") else "delete"
    spec = TopicSpec(topic, partitions, cleanup)  # type: ignore[arg-type]
    await asyncio.to_thread(store.create_topics, [spec])


async def _metadata(tp: TopicPartition, stored: Any) -> RecordMetadata:
    ((offset, timestamp),) = await durable(stored)
    return RecordMetadata(
        topic=tp.topic,
        partition=tp.partition,
        topic_partition=TP(*tp),
        offset=offset,
        timestamp=timestamp / 1000.0,
        timestamp_type=1,
    )


def _header_pairs(headers: Any) -> tuple[tuple[str, bytes], ...]:
    if not headers:
        return ()
    return tuple(headers.items() if isinstance(headers, Mapping) else headers)
