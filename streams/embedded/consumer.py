"""The consumer of the embedded log: what is durable, in order, from a consumer group's commits on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from faust.transport.consumer import Consumer as FaustConsumer
from faust.types import TP, ConsumerMessage
from mode import Service

from streams.embedded.producer import create_topic
from streams.embedded.schema import StoredRecord
from streams.embedded.store import LogStore, unpack_headers
from streams.errors import LogUnavailable
from streams.records import TopicPartition

_GENERATION = 1
#: Records of one poll of one partition. A poll may bring more in all, since they go into many buffers.
MAX_PARTITION_RECORDS = 200
#: Messages after which others get the event loop.
_YIELD_EVERY = 100
#: Seconds until a commit that failed is tried again.
_COMMIT_RETRY = 0.5


class Consumer(FaustConsumer):
    """Reads what is durable, from the consumer group's commits on."""

    consumer_stopped_errors: ClassVar[tuple[type[BaseException], ...]] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._store: LogStore = self.transport.store
        self._group: str = self.app.conf.id
        self._assigned: set[TP] = set()
        self._positions: dict[TP, int] = {}
        self._appended = asyncio.Event()
        self._subscribed = asyncio.Event()
        self._max_poll: int = self.app.conf.broker_max_poll_records or 500
        self._turn = 0
        self._sought = False
        self._streaming = False

    async def on_start(self) -> None:
        self._store.add_waiter(self._appended)

    async def on_stop(self) -> None:
        self._store.remove_waiter(self._appended)
        await super().on_stop()

    async def create_topic(self, topic: str, partitions: int, replication: int, **kwargs: Any) -> None:
        await create_topic(self._store, topic, partitions, kwargs)

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Take every partition of the topics. The assignment itself runs beside the caller, as with Kafka."""
        wanted = set()
        for topic in topics:
            count = self._store.partitions(topic)
            if count is None:
                raise LogUnavailable(f"there is no topic {topic}")
            wanted |= {TP(topic, partition) for partition in range(count)}
        if wanted != self._assigned:
            self._assigned = wanted
            self._subscribed.set()

    @Service.task
    async def _assign(self) -> None:
        while not self.should_stop:
            if await self.wait_for_stopped(self._subscribed):
                return
            self._subscribed.clear()
            self._sought = self._streaming = False
            self.app.on_rebalance_start()
            self.app.consumer_generation_id = _GENERATION
            await self.on_partitions_revoked(set())
            await self.on_partitions_assigned(set(self._assigned), _GENERATION)

    def assignment(self) -> set[TP]:
        return self._assigned

    def highwater(self, tp: TP) -> int:
        return self._store.end(TopicPartition(*tp))

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        return {tp: self.highwater(tp) for tp in partitions}

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        return {tp: await self._store.earliest(TopicPartition(*tp)) for tp in partitions}

    async def position(self, tp: TP) -> int | None:
        return self._positions.get(tp)

    async def _seek(self, partition: TP, offset: int) -> None:
        self._positions[partition] = offset

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        self._positions.update(partitions)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Go back to the commits; where there is none, to the beginning, as also where what was committed is
        retired since. A changelog stays where its table has read to."""
        await self._store.subscribe(self._group, {tp.topic for tp in self._assigned if not self._is_changelog_tp(tp)})
        committed = await self._store.committed(self._group)
        positions = {}
        for tp in self._assigned:
            if not self._is_changelog_tp(tp):
                known = committed.get(TopicPartition(*tp))
                if known is None or known < self._store.start(TopicPartition(*tp)):
                    known = await self._store.earliest(TopicPartition(*tp))
                positions[tp] = known
        self._positions.update(positions)
        return positions

    async def perform_seek(self) -> None:
        await super().perform_seek()
        self._sought = True

    def resume_flow(self) -> None:
        super().resume_flow()
        if self._sought:
            self._streaming = True
        self._appended.set()

    def on_buffer_drop(self, tp: TP) -> None:
        super().on_buffer_drop(tp)
        # There is room again; whoever waits for something new need not wait for that.
        self._appended.set()

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Faust has dropped the acknowledgements already, and never asks again: so try until it works.
        While the consumer stops, once: what is not committed comes again.

        Raises `LogUnavailable` if a table's change is lost: an offset must never be committed before what
        it caused.
        """
        lost = self.app.producer.lost_change
        if lost is not None:
            if self.should_stop:
                return False
            raise LogUnavailable(f"a table's change was not stored: {lost}")
        if not await self.app.tables.before_commit(offsets):
            return False
        wanted = {TopicPartition(*tp): at for tp, at in offsets.items()}
        while True:
            try:
                await self._store.commit(self._group, wanted)
            except LogUnavailable as error:
                self.log.warning("offsets are not committed: %s", error)
                if self.should_stop:
                    return False
                await self.sleep(_COMMIT_RETRY)
            else:
                return True

    async def _drain_messages(self, fetcher: Any) -> None:
        """As Faust's, but for its two tasks and a timer for each message, with which a rebalance can
        interrupt a send into a full buffer: here nothing is rebalanced, and whoever stops cancels this.
        Cause: `Consumer._drain_messages`,
        https://github.com/faust-streaming/faust/blob/v0.15.3/faust/transport/consumer.py
        """
        taken = 0
        while not (self.should_stop or fetcher.should_stop):
            await asyncio.sleep(0)
            async for tp, message in self.getmany(timeout=1.0):
                read = self._read_offset[tp]
                if read is not None and message.offset < read:
                    continue
                if read is not None and message.offset > read + 1 and self.app.topics.acks_enabled_for(message.topic):
                    # Up to the message, without it: Faust's own would count it as handled. And also behind
                    # offset 0, where Faust forgets the gap, and never commits again.
                    await self._add_gap(tp, read + 1, message.offset - 1)
                await self.callback(message)
                self._read_offset[tp] = message.offset
                taken += 1
                if taken % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        self._appended.clear()
        ready = self._ready(active_partitions)
        if not ready:
            # `wait_first` also ends when the service stops.
            await self.wait_first(self._appended.wait(), timeout=timeout)
            ready = self._ready(active_partitions)
        return await self._read(ready) if ready else {}

    def _ready(self, active_partitions: set[TP] | None) -> list[TP]:
        active = self._assigned if active_partitions is None else active_partitions
        if not self._streaming:
            # Faust empties every buffer when recovery is over and the streams begin. What would be read
            # for them, or for a global table, before that moment could be lost, and be committed past.
            standbys = self.app.assignor.assigned_standbys()
            active = {tp for tp in active if self._is_changelog_tp(tp) and tp not in standbys}
        ends = self._store
        positions = self._positions
        return [tp for tp in active if tp in positions and positions[tp] < ends.end(TopicPartition(*tp))]

    async def _read(self, ready: list[TP]) -> Mapping[TP, list[StoredRecord]]:
        # Each ready partition gets an equal share of a poll that is small against a stream's buffer, so
        # that no lane fills up in one poll, and the turn moves on, so that none is left out.
        share = min(MAX_PARTITION_RECORDS, max(1, self._max_poll // len(ready)))
        ready = sorted(ready)
        self._turn += 1
        start = self._turn % len(ready)
        ready = (ready[start:] + ready[:start])[: self._max_poll]
        starts = {tp: self._positions[tp] for tp in ready}
        found = await self._store.fetch([(TopicPartition(*tp), starts[tp], share) for tp in ready])
        records = {}
        for tp, rows in zip(ready, found, strict=True):
            # Somebody may have sought elsewhere while the thread read.
            if self._positions.get(tp) != starts[tp]:
                continue
            if rows:
                self._positions[tp] = rows[-1].offset + 1
                records[tp] = rows
            else:
                # All that was there is retired.
                self._positions[tp] = max(starts[tp], self._store.start(TopicPartition(*tp)))
        return records

    def _to_message(self, tp: TP, record: StoredRecord) -> ConsumerMessage:
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            record.offset,
            record.timestamp / 1000.0,
            0,
            unpack_headers(record.headers),
            record.key,
            record.value,
            None,
            None if record.key is None else len(record.key),
            None if record.value is None else len(record.value),
            tp,
            generation_id=self.app.consumer_generation_id,
        )

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    def topic_partitions(self, topic: str) -> int | None:
        return self._store.partitions(topic)

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:
        return self._store.partition_for(topic, key) if partition is None else partition
