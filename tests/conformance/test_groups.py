"""Consumer groups: where a group begins, goes on, and what it commits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from agents.consuming import batches, consume
from streams.embedded.log import MAX_POLL_RECORDS
from streams.log import LANE_BUFFER, STREAM_BUFFER, events_topic
from streams.records import Record, TopicPartition
from streams.topics import TopicSpec
from tests.conformance.harness import PATIENCE, Engine, Inbox, reading, running, started, until

ONE = TopicSpec("one", 1)
TWO = TopicSpec("two", 2)
LANES = TopicSpec("lanes", 8)
AT = TopicPartition("one", 0)


async def append(engine: Engine, topic: str, values: Sequence[bytes], partition: int = 0) -> None:
    await engine.appender.append([Record(topic, None, value, partition) for value in values])


async def test_a_group_begins_at_the_earliest_and_goes_on_from_its_commit(engine: Engine) -> None:
    engine.create(ONE)
    await append(engine, "one", [b"0", b"1", b"2"])
    app = engine.app("g")
    inbox = reading(app, "one")
    async with running(app):
        await inbox.reach(3)
    assert engine.committed("g") == {AT: 3}
    await engine.restart()
    await append(engine, "one", [b"3"])
    app = engine.app("g")
    inbox = reading(app, "one")
    async with running(app):
        await append(engine, "one", [b"4"])
        await inbox.reach(2)
    assert inbox.values() == [b"3", b"4"]
    assert engine.committed("g") == {AT: 5}


async def test_two_groups_know_nothing_of_each_other(engine: Engine) -> None:
    engine.create(ONE)
    await append(engine, "one", [b"0", b"1"])
    first, second = engine.app("first"), engine.app("second")
    read_first = reading(first, "one")
    async with running(first):
        await read_first.reach(2)
        read_second = reading(second, "one")
        async with running(second):
            await append(engine, "one", [b"2"])
            await asyncio.gather(read_first.reach(3), read_second.reach(3))
    assert read_first.values() == read_second.values() == [b"0", b"1", b"2"]
    assert engine.committed("first") == engine.committed("second") == {AT: 3}


async def test_what_was_not_acknowledged_comes_again(engine: Engine) -> None:
    engine.create(ONE)
    await append(engine, "one", [b"0", b"1", b"2", b"3"])
    app = engine.app("g")

    async def stick_at_two(event: Any) -> None:
        if event.message.offset == 2:
            await asyncio.Event().wait()

    inbox = reading(app, "one", handle=stick_at_two)
    async with running(app):
        await inbox.reach(2)
        await until(lambda: engine.committed("g") == {AT: 2})
    assert engine.committed("g") == {AT: 2}
    app = engine.app("g")
    inbox = reading(app, "one")
    async with running(app):
        await inbox.reach(2)
    assert inbox.values() == [b"2", b"3"]


async def test_a_commit_that_fails_is_made_later(engine: Engine) -> None:
    engine.create(ONE)
    app = engine.app("g")
    inbox = reading(app, "one")
    async with running(app):
        with engine.refusing(None):
            await append(engine, "one", [b"0"])
            await inbox.reach(1)
            # Long enough for the commit to have been tried, and for Faust to have forgotten what for.
            await asyncio.sleep(1.2)
            assert engine.committed("g") == {}
            assert not app.should_stop
        await until(lambda: engine.committed("g") == {AT: 1})
        await append(engine, "one", [b"1"])
        await until(lambda: engine.committed("g") == {AT: 2})


async def test_a_batch_is_committed_when_it_is_handled_and_not_before(engine: Engine) -> None:
    engine.create(ONE, TWO)
    for topic, partition in (("one", 0), ("two", 0), ("two", 1)):
        await append(engine, topic, [b"%d" % number for number in range(30)], partition)
    app = engine.app("g")
    taken: list[list[Any]] = []
    turn = asyncio.Semaphore(0)

    async def read(stream: Any) -> None:
        async for batch in batches(stream, 7):
            taken.append([event.message for event in batch])
            await turn.acquire()

    app.agent(events_topic(app, "one", "two"), name="reader")(read)
    async with running(app):
        for number in range(1, 6):
            await until(lambda number=number: len(taken) == number)  # type: ignore[misc]
            await app.consumer.commit()
            handled = [message for batch in taken[:-1] for message in batch]
            assert engine.committed("g") == {
                TopicPartition(topic, partition): offsets
                for topic, partition in (("one", 0), ("two", 0), ("two", 1))
                if (offsets := len([m for m in handled if (m.topic, m.partition) == (topic, partition)]))
            }
            turn.release()
        assert all(len(batch) <= 7 for batch in taken)


async def test_a_heavy_batch_is_a_short_one(engine: Engine) -> None:
    engine.create(ONE)
    await append(engine, "one", [bytes(1_500_000)] * 6)
    app = engine.app("g")
    sizes: list[int] = []

    async def read(stream: Any) -> None:
        async for batch in batches(stream, 500):
            sizes.append(len(batch))

    app.agent(events_topic(app, "one"), name="reader")(read)
    async with running(app):
        await until(lambda: sum(sizes) == 6)
    assert max(sizes) <= 3


async def test_an_unexpected_error_stops_the_app_and_loses_nothing(engine: Engine) -> None:
    engine.create(ONE, TWO)
    await append(engine, "one", [b"0", b"1", b"2", b"3"])
    app = engine.app("g")
    reading(app, "two", isolated_partitions=True)
    handled: list[bytes] = []

    async def handle(batch: Sequence[Any]) -> None:
        if batch[0].message.offset == 2:
            raise RuntimeError("nobody expected this")
        handled.extend(event.message.value for event in batch)

    async def read(stream: Any) -> None:
        await consume(app, stream, 1, handle)

    app.agent(events_topic(app, "one"), name="fragile")(read)
    async with started(app):
        async with asyncio.timeout(PATIENCE):
            await app.wait_until_stopped()
        assert isinstance(app.crash_reason, RuntimeError)
        await append(engine, "two", [b"late"])
        # A service takes its time to stop; whatever runs meanwhile must not step over what failed.
        await asyncio.sleep(1)
    assert handled == [b"0", b"1"]
    # What was handled before may be committed, or come again.
    start = engine.committed("g").get(AT, 0)
    assert start <= 2
    assert engine.committed("g").keys() <= {AT}

    app = engine.app("g")
    inbox, other = reading(app, "one"), reading(app, "two")
    async with running(app):
        await asyncio.gather(inbox.reach(4 - start), other.reach(1))
    assert inbox.values() == [b"%d" % number for number in range(start, 4)]


async def test_one_blocked_lane_of_eight_holds_up_nobody(engine: Engine) -> None:
    engine.create(LANES)
    behind = STREAM_BUFFER + 5 * MAX_POLL_RECORDS
    assert behind > 5_000
    await append(engine, "lanes", [b"blocked"] * behind)
    for lane in range(1, 8):
        await append(engine, "lanes", [b"%d" % number for number in range(300)], lane)
    app = engine.app("g")
    go = asyncio.Event()

    async def block_lane_zero(event: Any) -> None:
        if event.message.partition == 0:
            await go.wait()

    inbox = reading(app, "lanes", handle=block_lane_zero, isolated_partitions=True)
    async with running(app):
        await inbox.reach(7 * 300)
        # By now Faust has read of the blocked lane as much as it ever will; the others still move.
        for number in range(3):
            for lane in range(1, 8):
                await append(engine, "lanes", [b"late"], lane)
            await inbox.reach(7 * (301 + number))
        assert inbox.values(0) == []
        for lane in range(1, 8):
            assert inbox.values(lane) == [b"%d" % number for number in range(300)] + [b"late"] * 3
        go.set()
        await inbox.reach(7 * 303 + behind)
    offsets = [message.offset for message in inbox.messages if message.partition == 0]
    assert offsets == list(range(behind))


async def test_the_buffer_of_a_lane_of_packs_is_enough_for_one_poll_more(engine: Engine) -> None:
    engine.create(LANES)
    await append(engine, "lanes", [b"blocked"] * (LANE_BUFFER + 3 * MAX_POLL_RECORDS))
    app = engine.app("g")
    inbox = Inbox()

    async def read(stream: Any) -> None:
        async for event in stream.events():
            if event.message.partition == 0:
                await asyncio.Event().wait()
            inbox.put(event.message)

    app.agent(events_topic(app, "lanes", buffer=LANE_BUFFER), name="lanes", isolated_partitions=True)(read)
    async with running(app):
        for number in range(1, 30):
            await append(engine, "lanes", [b"v"], 1 + number % 7)
            await inbox.reach(number)
        assert TopicPartition("lanes", 0) not in engine.committed("g")
