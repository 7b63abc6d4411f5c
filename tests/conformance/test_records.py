"""Records: where they go, that they stay, and that they come back as they went."""

from __future__ import annotations

import asyncio
import time

import pytest

from streams.errors import LogUnavailable
from streams.partitioning import partition_of
from streams.records import Position, Record, TopicPartition
from streams.topics import TopicSpec
from tests.conformance.harness import Engine, only_on, producing, reading, running, send, send_all, started

ONE = TopicSpec("one", 1)
FOUR = TopicSpec("four", 4)


async def test_a_partition_keeps_the_order_and_its_offsets_have_no_gaps(engine: Engine) -> None:
    engine.create(FOUR)
    async with producing(engine) as producer:
        sent = [await send(producer, "four", None, b"%d" % number, number % 4) for number in range(400)]
        metadata = await asyncio.gather(*sent)
    assert [(done.partition, done.offset) for done in metadata] == [(number % 4, number // 4) for number in range(400)]
    for partition in range(4):
        found = engine.stored("four", partition)
        assert [record.offset for record in found] == list(range(100))
        assert [record.value for record in found] == [b"%d" % number for number in range(partition, 400, 4)]
    expected = {TopicPartition("four", partition): 100 for partition in range(4)}
    assert await engine.appender.end_offsets("four") == expected


async def test_a_key_has_one_partition_whoever_appends_and_it_is_kafkas(engine: Engine) -> None:
    engine.create(FOUR)
    keys = [b"%d" % number for number in range(40)]
    positions = await engine.appender.append([Record("four", key, b"appender") for key in keys])
    async with producing(engine) as producer:
        metadata = [await (await send(producer, "four", key, b"producer")) for key in keys]
    expected = [partition_of(key, 4) for key in keys]
    assert [position.partition for position in positions] == expected
    assert [done.partition for done in metadata] == expected
    assert set(expected) == {0, 1, 2, 3}


async def test_records_without_a_key_go_everywhere(engine: Engine) -> None:
    engine.create(FOUR)
    positions = await engine.appender.append([Record("four", None, b"v") for _ in range(200)])
    assert {position.partition for position in positions} == {0, 1, 2, 3}


async def test_a_send_is_done_when_another_process_can_read_it_and_not_before(engine: Engine) -> None:
    engine.create(ONE)
    readable: list[bool] = []

    async with producing(engine) as producer:
        for number in range(50):
            sent = await send(producer, "one", None, b"%d" % number, 0)
            sent.add_done_callback(
                lambda done: readable.append(engine.stored("one", 0)[done.result().offset].value is not None)
            )
            metadata = await sent
            assert metadata.offset == number
        (position,) = await engine.appender.append([Record("one", None, b"last")])
    assert engine.stored("one", 0)[position.offset].value == b"last"
    assert readable == [True] * 50


async def test_an_append_is_all_in_order_and_tells_where(engine: Engine) -> None:
    engine.create(FOUR)
    records = [Record("four", None, b"%d" % number, partition=number % 2) for number in range(6)]
    assert await engine.appender.append(records) == [Position("four", number % 2, number // 2) for number in range(6)]
    assert await engine.appender.append([]) == []


HEADERS = (("a", b"1"), ("b", b""), ("a", b"2"), ("content-type", b"x/y"), ("any", bytes(range(256))))


async def test_keys_values_headers_and_times_come_back_as_they_went(engine: Engine) -> None:
    engine.create(ONE)
    app = engine.app("g")
    inbox = reading(app, "one")
    before = time.time()
    async with running(app):
        sends = [
            (b"k", b"v", list(HEADERS)),
            (None, b"v", None),
            (b"k", None, {"h": b"\xff"}),
            (b"", b"", None),
        ]
        for key, value, headers in sends:
            await (await app.producer.send("one", key, value, 0, None, headers))
        messages = await inbox.reach(4)
    assert [(message.key, message.value) for message in messages] == [(key, value) for key, value, _ in sends]
    assert [tuple(message.headers) for message in messages] == [HEADERS, (), (("h", b"\xff"),), ()]
    found = engine.stored("one", 0)
    assert [message.timestamp for message in messages] == [record.timestamp for record in found]
    # The log keeps milliseconds.
    assert all(before - 0.001 <= message.timestamp <= time.time() for message in messages)
    assert found[0].headers == HEADERS


@pytest.mark.parametrize("where", [("nowhere", 0), ("nowhere", None), ("one", 1), ("one", -1)])
async def test_an_unknown_topic_or_partition_is_said_plainly(engine: Engine, where: tuple[str, int | None]) -> None:
    engine.create(ONE)
    topic, partition = where
    async with asyncio.timeout(20):
        with pytest.raises(LogUnavailable, match=topic):
            await engine.appender.append([Record("one", b"k", b"v"), Record(topic, b"k", b"v", partition)])
        with pytest.raises(LogUnavailable, match="nowhere"):
            await engine.appender.end_offsets("nowhere")
    assert engine.stored("one", 0) == []


@only_on("embedded", "Faust's own producer for Kafka waits 40 s for a topic; our agents append past it")
async def test_faust_too_is_told_of_an_unknown_topic_or_partition(engine: Engine) -> None:
    engine.create(ONE)
    async with producing(engine) as producer:
        for topic, partition in (("nowhere", 0), ("nowhere", None), ("one", 1), ("one", -1)):
            with pytest.raises(LogUnavailable, match=topic):
                await (await send(producer, topic, b"k", b"v", partition))
    assert engine.stored("one", 0) == []


@only_on("embedded", "a consumer of Kafka waits for a topic that nobody made yet; a log looks for ours when it starts")
async def test_who_reads_an_unknown_topic_is_told_so(engine: Engine) -> None:
    app = engine.app("g")
    reading(app, "nowhere")
    async with started(app):
        async with asyncio.timeout(20):
            await app.wait_until_stopped()
        assert isinstance(app.crash_reason, LogUnavailable)
        assert "nowhere" in str(app.crash_reason)


async def test_what_the_log_refuses_is_said_and_what_comes_next_is_taken(engine: Engine) -> None:
    engine.create(ONE, FOUR)
    await engine.appender.append([Record("one", None, b"0")])
    with engine.refusing("one"):
        for _ in range(2):
            with pytest.raises(LogUnavailable):
                await engine.appender.append([Record("one", None, b"refused"), Record("four", b"k", b"v")])
    assert await engine.appender.append([Record("one", None, b"1")]) == [Position("one", 0, 1)]
    assert [record.value for record in engine.stored("one", 0)] == [b"0", b"1"]


async def test_what_is_acknowledged_outlives_the_log(engine: Engine) -> None:
    engine.create(ONE)
    async with producing(engine) as producer:
        await send_all(producer, "one", 0, [b"1", b"2"])
    await engine.restart()
    assert await engine.appender.end_offsets("one") == {TopicPartition("one", 0): 2}
    assert await engine.appender.append([Record("one", None, b"3")]) == [Position("one", 0, 2)]
    assert [record.value for record in engine.stored("one", 0)] == [b"1", b"2", b"3"]
