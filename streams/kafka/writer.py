"""Appending to Kafka, where aiokafka's producer leaves things to its caller."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams.errors import LogUnavailable
from streams.kafka.stopping import stop_producer
from streams.records import Position, Record
from streams.topics import MAX_RECORD_BYTES

#: Milliseconds after which a producer asks again how many partitions there are.
_METADATA_AGE_MS = 30_000


class Writer:
    """A producer that is replaced after a failure.

    It is idempotent: what is sent again after an error stands once in the log, and in its order. For that the
    brokers count the records of each producer and partition. aiokafka goes on counting also over what was
    refused, and from then on that partition takes nothing of it any more (`OutOfOrderSequenceNumber`); only a new
    producer begins anew. Cause: `MessageAccumulator._pop_batch`,
    https://github.com/aio-libs/aiokafka/blob/v0.14.0/aiokafka/producer/message_accumulator.py
    """

    def __init__(self, common: Mapping[str, Any]) -> None:
        self._common = common
        self._producer = self._new_producer()
        self._replacing = asyncio.Lock()
        self._leaving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Raises `KafkaError`."""
        await self._producer.start()

    def knows(self, topic: str) -> bool:
        """False if the topic must be asked for first: aiokafka waits very long for one that there is not."""
        return topic in self._producer.client.cluster.topics()

    async def append(self, records: Sequence[Record]) -> list[Position]:
        """Raises `KafkaError`, and `LogUnavailable` for a partition that there is not. After either, nothing of this
        is under way any more: who tries again is not overtaken by the first attempt."""
        producer = self._producer
        sent: list[asyncio.Future[Any]] = []
        try:
            for topic in {record.topic for record in records}:
                await find(producer, topic, {record.partition for record in records if record.topic == topic})
            for record in records:
                sent.append(  # noqa: PERF401 - what was sent before a failure must be known
                    await producer.send(
                        record.topic, record.value, record.key, record.partition, headers=list(record.headers)
                    )
                )
            done = await asyncio.gather(*sent)
        except KafkaError:
            await asyncio.gather(*sent, return_exceptions=True)
            await self._replace(producer)
            raise
        return [Position(each.topic, each.partition, each.offset) for each in done]

    async def stop(self) -> None:
        """What is still under way gets a little time."""
        await asyncio.gather(stop_producer(self._producer), *self._leaving)

    async def _replace(self, spoilt: AIOKafkaProducer) -> None:
        async with self._replacing:
            if self._producer is not spoilt:
                return
            fresh = self._new_producer()
            try:
                await fresh.start()
            except KafkaError:
                await stop_producer(fresh)
                raise
            self._producer = fresh
            # It still has records of others, for partitions that are well.
            leaving = asyncio.create_task(stop_producer(spoilt))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    def _new_producer(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(**settings(self._common))


def settings(common: Mapping[str, Any]) -> dict[str, Any]:
    """What every producer of ours is made with."""
    return {
        **common,
        "acks": "all",
        "enable_idempotence": True,
        "max_batch_size": 1024 * 1024,
        "max_request_size": MAX_RECORD_BYTES,
        "metadata_max_age_ms": _METADATA_AGE_MS,
    }


async def find(producer: AIOKafkaProducer, topic: str, wanted: set[int | None]) -> None:
    """aiokafka asserts that a partition is one that it knows, and it may be new."""
    wanted = wanted - {None}
    if not wanted <= await producer.partitions_for(topic):
        await producer.client.force_metadata_update()
        if missing := wanted - await producer.partitions_for(topic):
            raise LogUnavailable(f"{topic} has no partition {missing.pop()}")
