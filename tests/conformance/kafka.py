"""Apache Kafka, as the conformance suite sees it: what is asked of the log goes through `KafkaLog`, everything else
past it, through another client."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaTP
from kafka.admin import ConfigResource, ConfigResourceType

from streams.kafka.log import KafkaLog
from streams.log import Log
from streams.records import Appender, TopicPartition
from streams.settings import KafkaSettings
from streams.topics import ALL, MAX_RECORD_BYTES, TopicSpec
from tests.conformance.harness import PATIENCE, Stored, until
from tests.kafka.broker import Broker

#: Where groups write down what they commit.
_COMMITS = "__consumer_offsets"
#: Bytes of what ends a transaction in a partition: 78. With its headers a record of ours takes more than 100.
_MARK = 80


class Kafka:
    """A broker that is empty when the case begins. Those topics of Rescind that are not `whole` have one partition
    each: the fewer there are the sooner they are gone."""

    def __init__(self, broker: Broker, directory: Path, whole: Sequence[TopicSpec] = ()) -> None:
        self.broker = broker
        self._directory = directory
        self._whole = whole
        self._topics: dict[str, TopicSpec] = {}
        self._stack = contextlib.ExitStack()
        self._admin = self._stack.enter_context(broker.admin())
        self._reader = self._stack.enter_context(
            KafkaConsumer(bootstrap_servers=broker.address, enable_auto_commit=False, isolation_level="read_committed")
        )
        self._looking = self._stack.enter_context(
            KafkaConsumer(bootstrap_servers=broker.address, enable_auto_commit=False)
        )

    async def __aenter__(self) -> Self:
        self.create(*[spec if spec in self._whole else replace(spec, partitions=1) for spec in ALL])
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.log.stop()
        self._stack.close()

    async def _open(self) -> None:
        self.log: Log = KafkaLog(f"kafka://{self.broker.address}", KafkaSettings())
        await self.log.start()

    @property
    def appender(self) -> Appender:
        return self.log

    def create(self, *topics: TopicSpec) -> None:
        new = {spec.name: spec for spec in topics if spec.name not in self._topics}
        if new:
            made = {name: {"num_partitions": spec.partitions, "configs": configs(spec)} for name, spec in new.items()}
            self._admin.create_topics(made)
        known = self._topics | new
        more = {spec.name: spec.partitions for spec in topics if spec.partitions > known[spec.name].partitions}
        if more:
            self._admin.create_partitions(more)
        self._admin.wait_for_topics([*new, *more])
        self._topics = known | {spec.name: spec for spec in topics if spec.name in more}

    def app(self, group: str) -> Any:
        return self.log.new_app(group, self._directory)

    def stored(self, topic: str, partition: int) -> list[Stored]:
        tp = KafkaTP(topic, partition)
        self._reader.assign([tp])
        self._reader.seek_to_beginning(tp)
        # A transaction that is committed becomes readable a moment later.
        end = self._looking.end_offsets([tp])[tp]
        found: list[Stored] = []
        deadline = time.monotonic() + PATIENCE
        while self._reader.position(tp) < end:
            assert time.monotonic() < deadline, f"{topic}[{partition}] has a transaction that is not decided"
            for record in self._reader.poll(100).get(tp, ()):
                headers = tuple(record.headers)
                found.append(Stored(record.offset, record.key, record.value, headers, record.timestamp / 1000))
        return found

    def committed(self, group: str) -> dict[TopicPartition, int]:
        known = self._admin.list_group_offsets(group)[group]
        # A group takes its place at the beginning at once, which is no progress.
        return {TopicPartition(*tp): at.offset for tp, at in known.items() if at.offset}

    @contextlib.contextmanager
    def refusing(self, topic: str | None) -> Iterator[None]:
        """Whatever comes is too large, but for the end of a transaction, which brokers cannot do without."""
        name = _COMMITS if topic is None else topic
        self._configure(name, {"max.message.bytes": str(_MARK)})
        try:
            yield
        finally:
            self._configure(name, {"max.message.bytes": str(MAX_RECORD_BYTES)})

    async def upkeep(self, later: float = 0.0) -> None:
        """Kafka cannot be told another time. But it does all of this by itself, so make what will be due by then
        due now, and wait for it."""
        for spec in self._topics.values():
            if spec.cleanup == "compact":
                await until(lambda spec=spec: self._compacted(spec, spec.tombstone_retention < later))  # type: ignore[misc]
            elif spec.retention is not None and spec.retention < later:
                self._configure(spec.name, {"retention.ms": "1"})
                await until(lambda spec=spec: not any(self._all_stored(spec)))  # type: ignore[misc]
                self._configure(spec.name, {"retention.ms": "-1"})

    async def restart(self) -> None:
        await self.log.stop()
        await self._open()

    def _compacted(self, spec: TopicSpec, without_tombstones: bool) -> bool:
        """Kafka never compacts the segment that it writes to, hence not the newest record."""
        for records in self._all_stored(spec):
            older = records[:-1]
            keys = [record.key for record in older]
            if len(keys) > len(set(keys)):
                return False
            if without_tombstones and any(record.value is None for record in older):
                return False
        return True

    def _all_stored(self, spec: TopicSpec) -> list[list[Stored]]:
        return [self.stored(spec.name, partition) for partition in range(spec.partitions)]

    def _configure(self, topic: str, settings: Mapping[str, str]) -> None:
        """Return when the broker goes by these settings.

        It answers when they are written down, shows them a little later, and goes by them yet a little later. But it
        takes one change after another: once it shows a second, which was made when it showed the first, the first
        is in force.
        """
        self._change(topic, settings)
        self._change(topic, {"flush.messages": str(time.monotonic_ns())})

    def _change(self, topic: str, settings: Mapping[str, str]) -> None:
        """Return when the broker shows these settings."""
        self._admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, dict(settings))])
        asked = ConfigResource(ConfigResourceType.TOPIC, topic, dict.fromkeys(settings))
        deadline = time.monotonic() + PATIENCE
        while True:
            shown = self._admin.describe_configs([asked], config_filter="all")["topic"][topic]
            if all(shown[name]["value"] == value for name, value in settings.items()):
                return
            assert time.monotonic() < deadline, f"{topic} does not get {settings}"


def configs(spec: TopicSpec) -> dict[str, str]:
    """A topic's settings, with the least delay that there can be."""
    chosen = {
        "cleanup.policy": spec.cleanup,
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(MAX_RECORD_BYTES),
        "retention.ms": "-1",
    }
    if spec.cleanup == "compact":
        chosen |= {
            # Every batch in a segment of its own, since the newest segment is left alone.
            "segment.ms": "1",
            "min.cleanable.dirty.ratio": "0",
            # The first cleaning keeps a tombstone whatever this says; the next may drop it.
            "delete.retention.ms": "0",
        }
    return chosen
