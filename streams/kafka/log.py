"""The log on a Kafka cluster, as a whole."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import zlib
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition as KafkaTP

from streams.errors import LogUnavailable, Overtaken, TopicsMissing
from streams.kafka.connecting import Cluster
from streams.kafka.consumer import (
    HEARTBEAT_INTERVAL,
    MAX_POLL_RECORDS,
    REBALANCE_TIMEOUT,
    SESSION_TIMEOUT,
    Transport,
)
from streams.kafka.offsets import committed
from streams.kafka.steps import Steps
from streams.kafka.stopping import stop_consumer
from streams.kafka.writer import Writer
from streams.log import READ, Log
from streams.records import Commit, Message, Position, Record, TopicPartition
from streams.settings import KafkaSettings
from streams.tables import Source
from streams.topics import ALL, TOGGLES

#: Milliseconds that a reader waits for news before it says how far it is.
_POLL_MS = 1_000
#: Seconds for which a start tries to reach the brokers, and between its attempts.
_REACH, _RETRY = 30.0, 1.0
#: Seconds that the clients may take to stop.
_STOP = 3.0
#: What a transaction of an agent's writes is readable a moment after it is committed, and what is committed with it may
#: be seen before. Whoever waits for the end of such a topic must wait for that, too. In the others, which platforms
#: write, what is not decided is not there, and may stay so for long.
_BY_STEPS = frozenset(spec.name for spec in ALL if spec is not TOGGLES)
#: Seconds for which it is good enough to know how many partitions there are, and where they start.
_METADATA_AGE = 30.0


log = logging.getLogger(__name__)


class KafkaLog(Log):
    """Any number of processes may have one, each with the same topics. Raises `InvalidInput` and
    `StorageUnusable`, both for settings."""

    def __init__(self, url: str, settings: KafkaSettings) -> None:
        super().__init__()
        self._cluster = Cluster(url, settings)
        self._starts: dict[TopicPartition, int] = {}
        self._starts_asked: dict[str, float] = {}
        self._topics: dict[str, tuple[float, list[KafkaTP]]] = {}
        self._stamp = 0
        self._steps: list[Steps] = []
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> None:
        deadline = time.monotonic() + _REACH
        while True:
            try:
                return await self._start()
            except LogUnavailable as error:
                await self._stack.aclose()
                if time.monotonic() > deadline:
                    raise
                log.warning("%s; trying again in %.1f s", error, _RETRY)
            await asyncio.sleep(_RETRY)

    async def _start(self) -> None:
        self._stack = contextlib.AsyncExitStack()
        common = self._cluster.clients()
        self._writer = Writer(common)
        self._asking = AIOKafkaConsumer(**common, enable_auto_commit=False, isolation_level="read_committed")
        self._looking = AIOKafkaConsumer(**common, enable_auto_commit=False)
        self._admin = AIOKafkaAdminClient(**common)
        self._stack.push_async_callback(self._writer.stop)
        self._stack.push_async_callback(stop_consumer, self._asking)
        self._stack.push_async_callback(stop_consumer, self._looking)
        self._stack.push_async_callback(self._admin.close)
        with self._explained():
            await self._writer.start()
            await self._asking.start()
            await self._looking.start()
            await self._admin.start()
            self._stamp = zlib.crc32(str((await self._admin.describe_cluster())["cluster_id"]).encode())
            # All of them: brokers that may (auto.create.topics.enable) make a topic that aiokafka asks for by name.
            found = {topic["topic"] for topic in await self._admin.describe_topics() if topic["partitions"]}
        missing = [spec.name for spec in ALL if spec.name not in found]
        if missing:
            raise TopicsMissing(
                f"Kafka at {self._cluster.named} has no topic {', '.join(missing)}: run `rescind topics apply` first"
            )

    async def append(self, records: Sequence[Record]) -> list[Position]:
        await self._known({record.topic for record in records})
        with self._explained():
            return await self._writer.append(records)

    async def _known(self, topics: Iterable[str]) -> None:
        """Raises `LogUnavailable` if one is not there."""
        for topic in topics:
            if not self._writer.knows(topic):
                await self._tps(topic)

    async def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        tps = await self._tps(topic)
        with self._explained():
            if time.monotonic() > self._starts_asked.get(topic, float("-inf")) + _METADATA_AGE:
                self._starts |= _ours(await self._asking.beginning_offsets(tps))
                self._starts_asked[topic] = time.monotonic()
            return _ours(await (self._looking if topic in _BY_STEPS else self._asking).end_offsets(tps))

    async def partitions(self, topic: str) -> int:
        self._topics.pop(topic, None)
        return len(await self._tps(topic))

    def hold(self, app: Any, *topics: str) -> None:
        app.transport.steps.topics.update(topics)

    async def step(
        self,
        app: Any,
        records: Sequence[Record],
        commits: Mapping[TopicPartition, Commit],
        *,
        once: bool = True,
        generation: int | None = None,
    ) -> list[Position]:
        steps: Steps = app.transport.steps
        await self._known({record.topic for record in records})
        if once and len(commits) == 1 and not any(commit.note for commit in commits.values()):
            ((tp, commit),) = commits.items()
            return await steps.step(records, tp, commit, generation)
        if generation not in (None, app.consumer_generation_id):
            raise Overtaken("the partitions were assigned anew since")
        app.consumer.must_have(commits)
        with self._explained():
            positions = await self._writer.append(records) if records else []
        held = {tp: commit for tp, commit in commits.items() if tp.topic in steps.topics}
        for tp, commit in held.items():
            await steps.step([], tp, commit, generation)
        with self._explained():
            await app.consumer.commit_step({tp: commit for tp, commit in commits.items() if tp not in held})
        return positions

    def handled(self, app: Any) -> Mapping[TopicPartition, int]:
        return dict(app.consumer.handled())

    def since(self, app: Any, message: Any) -> int:
        return int(app.consumer.since(message))

    async def commits(self, group: str, topic: str) -> dict[TopicPartition, Commit]:
        return await self.committed(group, _ours(dict.fromkeys(await self._tps(topic), 0)))

    async def committed(self, group: str, tps: Iterable[TopicPartition]) -> dict[TopicPartition, Commit]:
        """What a group has committed of these partitions, once it is final. Raises `LogUnavailable`."""
        with self._explained():
            return await committed(self._admin, group, tps)

    async def read(self, tp: TopicPartition, start: int, end: int) -> AsyncIterator[Sequence[Message]]:
        at = KafkaTP(*tp)
        with self._explained():
            end = min(end, (await self._asking.end_offsets([at]))[at])
        if start >= end:
            return
        async with self._reader({at: start}) as reader:
            while start < end:
                with self._explained():
                    found = await reader.getmany(timeout_ms=_POLL_MS, max_records=READ)
                    start = await reader.position(at)
                messages = [_message(record) for record in found.get(at, ()) if record.offset < end]
                if messages:
                    yield messages

    def own(self, group: str) -> None:
        """The members of a group share its partitions."""

    async def follow(
        self, topic: str, start: Mapping[TopicPartition, int] | None = None, most: int = READ
    ) -> AsyncIterator[tuple[Sequence[Message], dict[TopicPartition, int]]]:
        tps = await self._tps(topic)
        known = {KafkaTP(*tp): offset for tp, offset in (start or {}).items()}
        async with self._reader(dict.fromkeys(tps, 0) | known) as reader:
            while True:
                with self._explained():
                    found = await reader.getmany(timeout_ms=_POLL_MS, max_records=most)
                    positions = {TopicPartition(*tp): await reader.position(tp) for tp in tps}
                yield [_message(record) for records in found.values() for record in records], positions

    async def backlog(self, group: str, topic: str) -> dict[TopicPartition, int]:
        tps = await self._tps(topic)
        known = await self.commits(group, topic)
        with self._explained():
            starts, ends = await asyncio.gather(self._asking.beginning_offsets(tps), self._asking.end_offsets(tps))
        return {
            tp: end - max(known.get(tp, Commit(0)).offset, start)
            for tp, start, end in ((TopicPartition(*tp), starts[tp], ends[tp]) for tp in tps)
        }

    def start_offset(self, tp: TopicPartition) -> int:
        return self._starts.get(tp, 0)

    def begin_upkeep(self, retention: float | None = None) -> None:
        """The brokers do that, by the topics' settings."""

    def held_records(self) -> dict[str, int]:
        """The brokers drop what is due, whoever has not read it; so topics keep what a partner may still need."""
        return {}

    async def stop(self) -> None:
        await super().stop()
        await asyncio.gather(*(steps.stop() for steps in self._steps))
        try:
            async with asyncio.timeout(_STOP):
                await self._stack.aclose()
        except TimeoutError:
            # A producer waits for its brokers without end. Whoever waited for a record has given it up by now.
            log.warning("Kafka at %s did not take leave within %.0f s", self._cluster.named, _STOP)

    def _app_settings(self) -> dict[str, Any]:
        return self._cluster.faust() | {
            "broker_max_poll_records": MAX_POLL_RECORDS,
            "broker_commit_interval": 0.5,
            "broker_session_timeout": SESSION_TIMEOUT,
            "broker_heartbeat_interval": HEARTBEAT_INTERVAL,
            "broker_rebalance_timeout": REBALANCE_TIMEOUT,
            "consumer_auto_offset_reset": "earliest",
            "consumer_metadata_max_age_ms": 30_000,
            # Only an operator makes topics.
            "topic_allow_declare": False,
        }

    def _prepare(self, app: Any) -> None:
        app.transport = Transport(app.conf.broker_consumer, app)
        app.transport.log = self
        app.transport.steps = steps = Steps(_Group(app, self), self._cluster.clients())
        self._steps.append(steps)

    def _source(self, app: Any) -> Source:
        return _Source(app, self)

    async def _tps(self, topic: str) -> list[KafkaTP]:
        known = self._topics.get(topic)
        if known is not None and time.monotonic() < known[0] + _METADATA_AGE:
            return known[1]
        with self._explained():
            (described,) = await self._admin.describe_topics([topic])
        numbers = sorted(part["partition"] for part in described["partitions"])
        if not numbers:
            raise LogUnavailable(f"there is no topic {topic}")
        tps = [KafkaTP(topic, number) for number in numbers]
        self._topics[topic] = (time.monotonic(), tps)
        return tps

    @contextlib.asynccontextmanager
    async def _reader(self, starts: Mapping[KafkaTP, int]) -> AsyncIterator[AIOKafkaConsumer]:
        """A consumer of no group, which begins at these offsets, or at the log start where that lies behind."""
        reader = AIOKafkaConsumer(
            **self._cluster.clients(),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        try:
            with self._explained():
                await reader.start()
                reader.assign(list(starts))
                for tp, start in starts.items():
                    reader.seek(tp, start)
            yield reader
        finally:
            await stop_consumer(reader)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except KafkaError as error:
            raise LogUnavailable(f"Kafka at {self._cluster.named}: {error}") from None


class _Group:
    """See `streams.kafka.steps.Group`."""

    def __init__(self, app: Any, log: KafkaLog) -> None:
        self._app = app
        self._log = log

    @property
    def name(self) -> str:
        return str(self._app.conf.id)

    async def is_member(self, generation: int) -> bool:
        return bool(await self._app.consumer.is_member(generation))

    async def committed(self, tps: Collection[TopicPartition]) -> Mapping[TopicPartition, Commit]:
        return await committed(self._log._admin, self.name, tps)

    async def crash(self, error: Exception) -> None:
        await self._app.crash(error)


class _Source:
    """See `streams.tables.Source`."""

    def __init__(self, app: Any, log: KafkaLog) -> None:
        self._app = app
        self._log = log

    async def committed(self, group: str, tp: TopicPartition) -> int:
        await self._app.transport.steps.ready([tp])
        return (await self._log.committed(group, [tp])).get(tp, Commit(0)).offset

    async def bounds(self, tp: TopicPartition) -> tuple[int, int]:
        asked = [KafkaTP(*tp)]
        with self._log._explained():
            starts = await self._log._asking.beginning_offsets(asked)
            ends = await self._log._asking.end_offsets(asked)
        return starts[asked[0]], ends[asked[0]]

    def read(self, tp: TopicPartition, start: int, end: int) -> AsyncIterator[Sequence[Message]]:
        return self._log.read(tp, start, end)

    async def stamps(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int | None]:
        """The same for all: what tells this cluster from others."""
        return dict.fromkeys(offsets, self._log._stamp)


def _ours(offsets: Mapping[KafkaTP, int]) -> dict[TopicPartition, int]:
    return {TopicPartition(*tp): at for tp, at in offsets.items()}


def _message(record: Any) -> Message:
    return Message(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp / 1000.0,
        record.headers,
        record.key,
        record.value,
    )
