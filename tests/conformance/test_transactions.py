"""What a program leaves in a topic that writes by transactions: records that were taken back, and marks that take an
offset and are no records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer

from agents.consuming import batches
from streams.log import events_topic
from streams.records import Record, TopicPartition
from streams.topics import TopicSpec
from tests.conformance.harness import reading, running, until
from tests.conformance.kafka import Kafka

ONE = TopicSpec("one", 1)
AT = TopicPartition("one", 0)


@asynccontextmanager
async def transacting(engine: Kafka) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=engine.broker.address, transactional_id="platform")
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def transact(producer: AIOKafkaProducer, *values: bytes, commit: bool = True) -> None:
    await producer.begin_transaction()
    for value in values:
        await producer.send_and_wait("one", value, partition=0)
    await (producer.commit_transaction() if commit else producer.abort_transaction())


async def test_what_was_taken_back_is_never_read_and_marks_are_committed_over(kafka_engine: Kafka) -> None:
    engine = kafka_engine
    engine.create(ONE)
    app = engine.app("g")
    inbox = reading(app, "one")
    async with transacting(engine) as producer:
        await transact(producer, b"0", b"1")  # the mark: 2
        await transact(producer, b"3", b"4", commit=False)
        await transact(producer, b"6")
        async with running(app):
            await inbox.reach(3)
            await until(lambda: engine.committed("g") == {AT: 8})
            await transact(producer, b"8", commit=False)
            await until(lambda: engine.committed("g") == {AT: 10})
            await transact(producer, b"10")
            await until(lambda: engine.committed("g") == {AT: 12})
    assert inbox.values() == [b"0", b"1", b"6", b"10"]
    assert [message.offset for message in inbox.messages] == [0, 1, 6, 10]
    assert (await engine.appender.end_offsets("one"))[AT] == 12
    assert await engine.log.backlog("g", "one") == {AT: 0}


async def test_what_is_not_decided_yet_waits(kafka_engine: Kafka) -> None:
    engine = kafka_engine
    engine.create(ONE)
    app = engine.app("g")
    inbox = reading(app, "one")
    async with transacting(engine) as producer, running(app):
        await producer.begin_transaction()
        await producer.send_and_wait("one", b"0", partition=0)
        await engine.appender.append([Record("one", None, b"1", 0)])
        # The end is where a reader can get to now: nobody must wait for the rest.
        assert (await engine.appender.end_offsets("one"))[AT] == 0
        assert await engine.log.backlog("g", "one") == {AT: 0}
        await asyncio.sleep(0.5)
        assert inbox.messages == []
        await producer.commit_transaction()
        await inbox.reach(2)
        await until(lambda: engine.committed("g") == {AT: 3})
    assert inbox.values() == [b"0", b"1"]


async def test_nothing_counts_as_handled_because_a_mark_lies_behind_it(kafka_engine: Kafka) -> None:
    engine = kafka_engine
    engine.create(ONE)
    app = engine.app("g")
    seen: list[bytes] = []
    go = asyncio.Event()

    async def read(stream: Any) -> None:
        async for (event,) in batches(stream, 1):
            seen.append(event.message.value)
            if event.message.value == b"2":
                await go.wait()

    app.agent(events_topic(app, "one"), name="reader")(read)
    async with transacting(engine) as producer, running(app):
        for number in range(0, 8, 2):
            await transact(producer, b"%d" % number)
        await until(lambda: seen == [b"0", b"2"])
        await app.consumer.commit()
        assert engine.committed("g") == {AT: 2}
        go.set()
        await until(lambda: engine.committed("g") == {AT: 8})
    assert seen == [b"0", b"2", b"4", b"6"]


async def test_marks_do_not_slow_a_reader_down(kafka_engine: Kafka) -> None:
    engine = kafka_engine
    engine.create(ONE)
    async with transacting(engine) as producer:
        for number in range(60):
            await transact(producer, b"%d" % number)
    app = engine.app("g")
    inbox = reading(app, "one")
    async with running(app):
        # A fetch for each mark would take a fifth of a second.
        async with asyncio.timeout(10):
            await inbox.reach(60)
        await until(lambda: engine.committed("g") == {AT: 120})
