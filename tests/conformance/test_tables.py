"""Tables: recovered from their changelogs, and never behind a commit."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.consuming import batches
from streams.embedded.assignor import Assignor
from streams.errors import LogUnavailable
from streams.log import events_topic
from streams.records import Record, TopicPartition
from streams.topics import TopicSpec
from tests.conformance.harness import NO_CHANGELOGS, PATIENCE, Engine, only_on, reading, running, until

INPUT = TopicSpec("input", 2)
SHARED = TopicSpec("shared", 1, "compact")
CHANGELOG = "g-t-changelog"
CHANGES = TopicSpec(CHANGELOG, 2, "compact")


def tabled(engine: Engine) -> tuple[Any, Any]:
    """An app that keeps the newest value of every key."""
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


async def write(engine: Engine, *pairs: tuple[bytes, bytes | None]) -> None:
    await engine.appender.append([Record("input", key, value) for key, value in pairs])


def total(engine: Engine) -> int:
    return sum(engine.committed("g").get(TopicPartition("input", partition), 0) for partition in range(2))


async def test_a_table_is_recovered_with_what_was_changed_and_deleted(engine: Engine) -> None:
    engine.create(INPUT, CHANGES)
    keys = [b"%d" % number for number in range(300)]
    app, table = tabled(engine)
    async with running(app):
        await write(engine, *[(key, b"old") for key in keys])
        await write(engine, (b"1", b"new"), (b"2", None))
        await until(lambda: total(engine) == 302)
    await engine.restart()
    app, table = tabled(engine)
    async with running(app):
        assert table[b"0"] == b"old"
        assert table[b"1"] == b"new"
        assert b"2" not in table
        assert len(table) == 299
        # The streams went on from the commits, and go on now.
        await write(engine, (b"0", b"newer"))
        await until(lambda: total(engine) == 303)
        assert table[b"0"] == b"newer"
        tps = [type(next(iter(app.consumer.assignment())))(CHANGELOG, partition) for partition in range(2)]
        ends = await app.consumer.highwaters(*tps)
        assert sum(ends.values()) == 303
        assert set((await app.consumer.earliest_offsets(*tps)).values()) == {0}


@only_on("embedded", NO_CHANGELOGS)
async def test_a_commit_never_goes_ahead_of_the_table_it_caused(engine: Engine) -> None:
    engine.create(INPUT, CHANGES)
    app, table = tabled(engine)
    async with running(app):
        await write(engine, (b"a", b"1"))
        await until(lambda: total(engine) == 1)
    app, table = tabled(engine)
    async with running(app):
        with engine.refusing(CHANGELOG):
            await write(engine, (b"b", b"2"))
            # The table in memory is ahead of the log now: only a restart puts that right, so the app ends.
            async with asyncio.timeout(PATIENCE):
                await app.wait_until_stopped()
        assert isinstance(app.crash_reason, LogUnavailable)
        assert "a table's change was not stored" in str(app.crash_reason)
    assert table[b"b"] == b"2"
    assert total(engine) == 1
    await engine.restart()
    app, table = tabled(engine)
    async with running(app):
        await until(lambda: total(engine) == 2)
        assert dict(table) == {b"a": b"1", b"b": b"2"}


@only_on("embedded", NO_CHANGELOGS)
async def test_an_app_that_crashes_with_changes_on_the_way_stops_and_commits_nothing_of_them(engine: Engine) -> None:
    engine.create(INPUT, CHANGES)
    app = engine.app("g")
    table = app.Table("t", partitions=2, key_type=bytes, value_type=bytes)

    async def fail(stream: Any) -> None:
        async for (event,) in batches(stream, 1):
            for number in range(event.message.offset * 10):
                table[b"%d" % number] = b"v"
            if event.message.offset:
                # What the producer has not sent by now it never sends.
                await app.crash(RuntimeError("crashed"))
                await asyncio.Event().wait()

    app.agent(events_topic(app, "input"), name="fail", isolated_partitions=True)(fail)
    async with running(app):
        await engine.appender.append([Record("input", None, b"v", 0), Record("input", None, b"v", 0)])
        async with asyncio.timeout(PATIENCE):
            await app.wait_until_stopped()
    assert total(engine) <= 1
    assert app.crash_reason.args == ("crashed",)


class Follower:
    """A global table over a topic that others write to, read as the directory of partners is."""

    def __init__(self, engine: Engine, delay: float = 0.0) -> None:
        self.app, self.table = tabled(engine)
        self.seen: list[int] = []
        self.delay = delay
        self.app.GlobalTable(
            "shared",
            partitions=1,
            key_type=bytes,
            value_type=bytes,
            recovery_buffer_size=1,
            on_changelog_event=self._on_event,
            changelog_topic=self.app.topic(
                "shared", key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw",
                partitions=1, compacting=True, deleting=False, acks=False, internal=True, allow_empty=True,
            ),
        )  # fmt: skip

    async def _on_event(self, event: Any) -> None:
        await asyncio.sleep(self.delay)
        self.seen.append(event.message.offset)


@only_on("embedded", NO_CHANGELOGS)
async def test_a_global_table_follows_what_others_write(engine: Engine) -> None:
    engine.create(INPUT, CHANGES, SHARED)
    await engine.appender.append([Record("shared", b"k", b"%d" % number) for number in range(20)])
    follower = Follower(engine)
    async with running(follower.app):
        await until(lambda: follower.seen == list(range(20)))
        await engine.appender.append([Record("shared", b"k", None)])
        await until(lambda: follower.seen == list(range(21)))
    assert engine.committed("g") == {}


@only_on("embedded", NO_CHANGELOGS)
async def test_a_slow_global_table_misses_nothing_while_the_streams_begin(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.create(INPUT, CHANGES, SHARED)
    app, _ = tabled(engine)
    async with running(app):
        await write(engine, *[(b"%d" % number, b"v") for number in range(50)])
        await until(lambda: total(engine) == 50)
    await engine.appender.append([Record("shared", b"k", b"v") for _ in range(100)])
    await write(engine, *[(b"%d" % number, b"w") for number in range(50)])

    # Recovery has something to do, hence Faust's fetcher runs already when the streams are let go. The seek
    # before that takes its time, and somebody else keeps appending.
    follower = Follower(engine, delay=0.005)
    consumer = follower.app.consumer
    seek = consumer.seek_to_committed

    async def slow_seek() -> Any:
        positions = await seek()
        await asyncio.sleep(0.1)
        return positions

    async def noise() -> None:
        while True:
            await engine.appender.append([Record("rescind.poisoned", None, b"noise")])
            await asyncio.sleep(0.002)

    monkeypatch.setattr(consumer, "seek_to_committed", slow_seek)
    others = asyncio.ensure_future(noise())
    try:
        async with running(follower.app):
            others.cancel()
            await until(lambda: len(follower.seen) == 100 and total(engine) == 100)
    finally:
        others.cancel()
    assert follower.seen == list(range(100))
    assert follower.table[b"0"] == b"w"


@only_on("embedded", "the members of a group share its partitions")
async def test_everything_belongs_to_the_one_process(engine: Engine) -> None:
    engine.create(INPUT, CHANGES, SHARED)
    follower = Follower(engine)
    reading(follower.app, "rescind.toggles")
    async with running(follower.app):
        assignor = follower.app.assignor
        assert isinstance(assignor, Assignor)
        assert {tp.topic for tp in assignor.assigned_standbys()} == {"shared"}
        assert {tp.topic for tp in assignor.assigned_actives()} == {"input", CHANGELOG, "rescind.toggles"}
        for tp in follower.app.consumer.assignment():
            assert assignor.is_active(tp) is not assignor.is_standby(tp)
