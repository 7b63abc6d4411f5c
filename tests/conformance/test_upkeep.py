"""Retention, compaction and more partitions, as a consumer sees them."""

from __future__ import annotations

import asyncio
from typing import Any

from agents.consuming import batches
from streams.log import events_topic
from streams.partitioning import partition_of
from streams.records import Position, Record, TopicPartition
from streams.topics import TopicSpec
from tests.conformance.harness import NO_CHANGELOGS, Engine, only_on, reading, running, until

HOUR, DAY = 3_600.0, 86_400.0
AGED = TopicSpec("aged", 1, retention=HOUR)
KEYED = TopicSpec("keyed", 1, "compact", tombstone_retention=HOUR)
AT = TopicPartition("aged", 0)
KEYED_AT = TopicPartition("keyed", 0)


async def append(engine: Engine, topic: str, *pairs: tuple[bytes | None, bytes | None]) -> list[Position]:
    return await engine.appender.append([Record(topic, key, value, 0) for key, value in pairs])


async def bounds(app: Any, tp: TopicPartition) -> tuple[int, int]:
    """The earliest offset and the end, as Faust asks for them."""
    at = next(each for each in app.consumer.assignment() if tuple(each) == tuple(tp))
    return (await app.consumer.earliest_offsets(at))[at], (await app.consumer.highwaters(at))[at]


async def test_what_has_expired_is_gone_and_offsets_go_on(engine: Engine) -> None:
    engine.create(AGED)
    await append(engine, "aged", *[(None, b"%d" % number) for number in range(5)])
    await engine.upkeep(later=DAY)
    assert engine.stored("aged", 0) == []
    await engine.restart()
    assert (await engine.appender.end_offsets("aged"))[AT] == 5
    assert await append(engine, "aged", (None, b"5")) == [Position("aged", 0, 5)]
    app = engine.app("g")
    inbox = reading(app, "aged")
    async with running(app):
        await inbox.reach(1)
        assert await bounds(app, AT) == (5, 6)
    assert inbox.values() == [b"5"]
    assert engine.committed("g") == {AT: 6}


async def test_an_emptied_partition_is_read_on_when_something_comes(engine: Engine) -> None:
    engine.create(AGED)
    await append(engine, "aged", *[(None, b"%d" % number) for number in range(5)])
    await engine.upkeep(later=DAY)
    app = engine.app("g")
    inbox = reading(app, "aged")
    async with running(app):
        assert await bounds(app, AT) == (5, 5)
        await append(engine, "aged", (None, b"5"), (None, b"6"))
        await inbox.reach(2)
        await until(lambda: engine.committed("g") == {AT: 7})
    assert inbox.values() == [b"5", b"6"]


async def test_who_stands_before_the_log_start_goes_on_at_it(engine: Engine) -> None:
    engine.create(AGED)
    await append(engine, "aged", *[(None, b"%d" % number) for number in range(5)])
    app = engine.app("g")
    inbox = reading(app, "aged")
    async with running(app):
        await inbox.reach(5)
        await until(lambda: engine.committed("g") == {AT: 5})
        await engine.upkeep(later=DAY)
        at = next(each for each in app.consumer.assignment() if tuple(each) == AT)
        await app.consumer.seek(at, 2)
        # Neither a busy loop nor a stall: there is nothing to read, and then there is.
        await asyncio.sleep(0.2)
        await append(engine, "aged", (None, b"5"))
        await inbox.reach(6)
        await until(lambda: engine.committed("g") == {AT: 6})
    assert inbox.values()[5:] == [b"5"]


async def close_and_upkeep(engine: Engine, later: float = 0.0) -> None:
    """Kafka never compacts the segment that it writes to. Here one ends after a millisecond, when the next record
    comes: so let one come that is of no matter."""
    await asyncio.sleep(0.01)
    await append(engine, "keyed", (b"last", b""))
    await engine.upkeep(later)


async def test_of_every_key_the_newest_is_read_and_gaps_are_committed_over(engine: Engine) -> None:
    engine.create(KEYED)
    pairs = [(b"stays", b"0")]
    pairs += [(b"%d" % (number % 7), b"%d" % number) for number in range(1, 100)]
    await append(engine, "keyed", *pairs)
    await close_and_upkeep(engine)
    expected = [b"0", *[b"%d" % number for number in range(93, 100)], b""]
    assert [record.value for record in engine.stored("keyed", 0)] == expected
    app = engine.app("g")
    inbox = reading(app, "keyed")
    async with running(app):
        await inbox.reach(9)
        await until(lambda: engine.committed("g") == {KEYED_AT: 101})
        await append(engine, "keyed", (b"stays", b"101"))
        await until(lambda: engine.committed("g") == {KEYED_AT: 102})
    assert inbox.values() == [*expected, b"101"]
    assert [message.offset for message in inbox.messages] == [0, *range(93, 102)]


async def test_what_is_behind_a_gap_is_not_committed_before_it_is_handled(engine: Engine) -> None:
    engine.create(KEYED)
    await append(engine, "keyed", (b"a", b"0"), *[(b"b", b"%d" % number) for number in range(1, 50)])
    await close_and_upkeep(engine)
    app = engine.app("g")
    seen: list[int] = []
    go = asyncio.Event()

    async def read(stream: Any) -> None:
        async for (event,) in batches(stream, 1):
            seen.append(event.message.offset)
            if event.message.offset == 49:
                await go.wait()

    app.agent(events_topic(app, "keyed"), name="reader")(read)
    async with running(app):
        await until(lambda: seen == [0, 49])
        await app.consumer.commit()
        # The gap may count as handled, or not.
        assert 1 <= engine.committed("g")[KEYED_AT] <= 49
        go.set()
        await until(lambda: engine.committed("g") == {KEYED_AT: 51})


async def test_a_tombstone_is_read_for_a_while_and_then_forgotten(engine: Engine) -> None:
    engine.create(KEYED)
    await append(engine, "keyed", (b"a", b"1"), (b"b", b"1"), (b"a", None), (b"c", b"1"))
    await close_and_upkeep(engine)
    app = engine.app("g")
    inbox = reading(app, "keyed")
    async with running(app):
        await inbox.reach(4)
    assert inbox.values() == [b"1", None, b"1", b""]
    await close_and_upkeep(engine, later=DAY)
    assert [record.key for record in engine.stored("keyed", 0) if record.key != b"last"] == [b"b", b"c"]


@only_on("embedded", NO_CHANGELOGS)
async def test_a_compacted_table_is_recovered_as_it_was(engine: Engine) -> None:
    engine.create(TopicSpec("input", 2))

    def tabled() -> tuple[Any, Any]:
        app = engine.app("g")
        table = app.Table("t", partitions=2, key_type=bytes, value_type=bytes)

        async def keep(stream: Any) -> None:
            async for batch in batches(stream, 50):
                for event in batch:
                    if event.message.value is None:
                        table.pop(event.message.key, None)
                    else:
                        table[event.message.key] = event.message.value

        app.agent(events_topic(app, "input"), name="keep", isolated_partitions=True)(keep)
        return app, table

    def total() -> int:
        return sum(engine.committed("g").values())

    app, table = tabled()
    writes = [(b"%d" % (number % 20), None if number % 3 == 0 else b"%d" % number) for number in range(200)]
    async with running(app):
        await engine.appender.append([Record("input", key, value) for key, value in writes])
        await until(lambda: total() == 200)
        await engine.upkeep()
        before = dict(table)
        await engine.appender.append([Record("input", b"new", b"v")])
        await until(lambda: total() == 201)
    for later in (0.0, 2 * DAY, 4 * DAY):
        await engine.upkeep(later)
        await engine.restart()
        app, table = tabled()
        async with running(app):
            assert dict(table) == before | {b"new": b"v"}
    changelog = [record.key for number in range(2) for record in engine.stored("g-t-changelog", number)]
    assert len(changelog) == len(set(changelog))


async def test_a_topic_gets_more_partitions_and_keys_go_by_the_new_number(engine: Engine) -> None:
    keys = [b"%d" % number for number in range(30)]
    engine.create(TopicSpec("wide", 2))
    await engine.appender.append([Record("wide", key, b"old") for key in keys])
    app = engine.app("g")
    inbox = reading(app, "wide")
    async with running(app):
        await inbox.reach(30)
    engine.create(TopicSpec("wide", 5))
    await engine.restart()
    positions = await engine.appender.append([Record("wide", key, b"new") for key in keys])
    assert [position.partition for position in positions] == [partition_of(key, 5) for key in keys]
    assert len(await engine.appender.end_offsets("wide")) == 5
    engine.create(TopicSpec("wide", 3))
    assert len(await engine.appender.end_offsets("wide")) == 5, "there are never fewer"
    await engine.restart()
    app = engine.app("g")
    inbox = reading(app, "wide")
    async with running(app):
        await inbox.reach(30)
        assert {tp.partition for tp in app.consumer.assignment()} == set(range(5))
        await until(lambda: sum(engine.committed("g").values()) == 60)
    assert set(inbox.values()) == {b"new"}
    old = [record.value for number in range(2) for record in engine.stored("wide", number) if record.value == b"old"]
    assert len(old) == 30, "what is there stays where it is"
