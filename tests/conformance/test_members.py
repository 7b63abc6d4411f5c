"""What only several members of a group can show, hence on Kafka alone."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from streams.log import events_topic
from streams.records import Record, TopicPartition
from streams.topics import TopicSpec
from tests.conformance.harness import Inbox, reading, running, until
from tests.conformance.kafka import Kafka

LANES = TopicSpec("lanes", 8)
ALL = [TopicPartition("lanes", lane) for lane in range(8)]
#: Seconds after which brokers give up a silent member, and within which a rebalance ends where nobody was killed.
SESSION, SOON = 60.0, 20.0


@dataclass
class Member:
    """A member of group `g` that reads the lanes. Where it is told to, it holds what it has at hand for ever."""

    app: Any
    inbox: Inbox = field(default_factory=Inbox)
    held: dict[int, int] = field(default_factory=dict)
    holds: set[int] = field(default_factory=set)

    def offsets(self, lane: int) -> list[int]:
        return [message.offset for message in self.inbox.messages if message.partition == lane]

    @property
    def lanes(self) -> list[int]:
        return sorted(tp.partition for tp in self.app.consumer.assignment())

    async def _hold(self, event: Any) -> None:
        if event.message.offset in self.holds:
            self.held[event.message.partition] = event.message.offset
            await until(lambda: event.message.offset not in self.holds)


@asynccontextmanager
async def joined(engine: Kafka, holds: Iterable[int] = ()) -> AsyncIterator[Member]:
    member = Member(engine.app("g"), holds=set(holds))
    # What a rebalance waits for.
    member.app.conf.broker_heartbeat_interval = 0.3
    member.app.conf.broker_session_timeout = SESSION
    member.inbox = reading(member.app, "lanes", handle=member._hold, isolated_partitions=True)
    async with running(member.app):
        yield member


async def fill(engine: Kafka, number: int, lanes: Iterable[int] = range(8)) -> None:
    """More of each lane; a record says where it is."""
    ends = await engine.appender.end_offsets("lanes")
    await engine.appender.append(
        [
            Record("lanes", None, b"%d@%d" % (lane, ends[ALL[lane]] + more), lane)
            for lane in lanes
            for more in range(number)
        ]
    )


def check(members: Sequence[Member]) -> None:
    """Whoever was given something was given it under its own offset, and in order."""
    for member in members:
        for message in member.inbox.messages:
            assert message.value == b"%d@%d" % (message.partition, message.offset)


async def test_two_members_share_the_partitions_and_cover_them_all(kafka_engine: Kafka) -> None:
    engine = kafka_engine
    engine.create(LANES)
    async with joined(engine) as one:
        await until(lambda: one.lanes == list(range(8)))
        async with joined(engine) as two:
            await until(lambda: len(one.lanes) == len(two.lanes) == 4)
            assert sorted(one.lanes + two.lanes) == list(range(8))
            await fill(engine, 5)
            await until(lambda: engine.committed("g") == dict.fromkeys(ALL, 5))
            for member in (one, two):
                assert {lane: member.offsets(lane) for lane in member.lanes} == {
                    key: [*range(5)] for key in member.lanes
                }
                assert len(member.inbox.messages) == 20
        await until(lambda: one.lanes == list(range(8)))
        await fill(engine, 1)
        await until(lambda: engine.committed("g") == dict.fromkeys(ALL, 6))
    check([one, two])
    assert len(one.inbox.messages) + len(two.inbox.messages) == 8 * 6


async def test_what_is_at_hand_when_its_partition_moves_comes_again_at_its_offset(kafka_engine: Kafka) -> None:
    engine = kafka_engine
    engine.create(LANES)
    await fill(engine, 4)
    async with joined(engine, holds=[1]) as one:
        await until(lambda: len(one.held) == 8)
        await until(lambda: engine.committed("g") == dict.fromkeys(ALL, 1))
        async with joined(engine) as two:
            await until(lambda: len(two.lanes) == 4)
            moved = two.lanes
            await until(lambda: all(engine.committed("g")[ALL[lane]] == 4 for lane in moved))
            assert {lane: two.offsets(lane) for lane in moved} == {key: [1, 2, 3] for key in moved}
            stayed = one.lanes
            assert {lane: engine.committed("g")[ALL[lane]] for lane in stayed} == dict.fromkeys(stayed, 1)
            one.holds.clear()
            await until(lambda: engine.committed("g") == dict.fromkeys(ALL, 4))
    for lane in stayed:
        assert sorted(set(one.offsets(lane))) == [0, 1, 2, 3]
        assert two.offsets(lane) == []
    for lane in moved:
        assert one.offsets(lane) == [0]
    check([one, two])


async def test_a_blocked_lane_delays_neither_a_rebalance_nor_a_stop(kafka_engine: Kafka) -> None:
    engine = kafka_engine
    engine.create(LANES)
    await fill(engine, 2)
    async with joined(engine, holds=[0]) as one:
        await until(lambda: len(one.held) == 8)
        start = time.monotonic()
        async with joined(engine, holds=[0]) as two:
            await until(lambda: len(two.held) == 4)
            assert time.monotonic() - start < SOON
            start = time.monotonic()
        assert time.monotonic() - start < SOON
        one.holds.clear()
        await until(lambda: engine.committed("g") == dict.fromkeys(ALL, 2))
        assert time.monotonic() - start < SOON
    check([one])


async def test_what_comes_in_the_middle_of_a_rebalance_is_read_after_it(kafka_engine: Kafka) -> None:
    engine = kafka_engine
    engine.create(LANES)
    async with joined(engine) as one:
        members = [one]
        seek = one.app.consumer.perform_seek

        async def slow_seek() -> None:
            await seek()
            # A poll that began before the rebalance may bring this before the streams are let go, and nothing may
            # come after it.
            await fill(engine, 1)
            await asyncio.sleep(0.2)

        one.app.consumer.perform_seek = slow_seek
        for _ in range(3):
            async with joined(engine) as two:
                members.append(two)
                await until(lambda: len(one.lanes) == len(members[-1].lanes) == 4)
            await until(lambda: len(one.lanes) == 8)
        await until(lambda: engine.committed("g") == dict.fromkeys(ALL, 6))
    check(members)
    for lane in range(8):
        assert {offset for member in members for offset in member.offsets(lane)} == set(range(6))


async def test_a_member_that_stops_in_the_middle_of_a_rebalance_leaves_in_good_order(kafka_engine: Kafka) -> None:
    engine = kafka_engine
    engine.create(LANES)
    async with joined(engine) as one:
        revoked = one.app.consumer._on_partitions_revoked
        stopping: list[asyncio.Future[None]] = []

        async def stop_first(partitions: set[Any]) -> None:
            stopping.append(asyncio.ensure_future(one.app.stop()))
            # Begun, and no further.
            while not one.app.should_stop:
                await asyncio.sleep(0)
            await revoked(partitions)

        one.app.consumer._on_partitions_revoked = stop_first
        async with joined(engine) as two:
            await until(lambda: bool(stopping))
            start = time.monotonic()
            await stopping[0]
            await until(lambda: len(two.lanes) == 8)
            # Else the brokers would wait for it until its session is over.
            assert time.monotonic() - start < SOON


async def test_a_group_that_does_not_take_a_member_is_tried_again(
    kafka_engine: Kafka, caplog: pytest.LogCaptureFixture
) -> None:
    engine = kafka_engine
    engine.create(LANES)
    await fill(engine, 1)
    # A member that shares out partitions by rules that ours do not know.
    stranger = AIOKafkaConsumer(
        "lanes",
        bootstrap_servers=engine.broker.address,
        group_id="g",
        partition_assignment_strategy=[RoundRobinPartitionAssignor],
    )
    await stranger.start()

    async def leave() -> None:
        try:
            await until(lambda: "is not in its group, and tries again" in caplog.text)
        finally:
            await stranger.stop()

    leaving = asyncio.create_task(leave())
    async with joined(engine) as member:
        await leaving
        await until(lambda: engine.committed("g") == dict.fromkeys(ALL, 1))
    check([member])


async def test_who_has_missed_an_assignment_begins_anew_with_all_it_has(kafka_engine: Kafka) -> None:
    engine = kafka_engine
    engine.create(LANES)
    begun: list[int] = []
    app = engine.app("g")
    app.conf.broker_heartbeat_interval = 0.3

    async def read(stream: Any) -> None:
        begun.append(next(iter(stream.active_partitions)).partition)
        async for event in stream.noack().events():
            event.ack()

    app.agent(events_topic(app, "lanes"), name="lanes", isolated_partitions=True)(read)
    async with running(app):
        await until(lambda: sorted(begun) == list(range(8)))
        for missed in (False, True):
            begun.clear()
            generation = app.consumer._generation
            app.consumer._generation -= missed
            async with joined(engine) as other:
                await until(lambda: len(other.lanes) == 4)
                await until(lambda before=generation: app.consumer._generation == before + 1)  # type: ignore[misc]
                await fill(engine, 1)
                ends = await engine.appender.end_offsets("lanes")
                await until(lambda expected=ends: engine.committed("g") == expected)  # type: ignore[misc]
                # Nobody else has had what stayed, unless an assignment was missed.
                assert sorted(begun) == (sorted(set(range(8)) - set(other.lanes)) if missed else [])
                back = set(other.lanes)
            # What comes back has begun, too, before the next round counts.
            await until(lambda expected=back: expected <= set(begun))  # type: ignore[misc]


async def test_members_that_come_and_go_under_load_lose_nothing(kafka_engine: Kafka) -> None:
    engine = kafka_engine
    engine.create(LANES)
    members: list[Member] = []
    written = 0

    async def load() -> None:
        nonlocal written
        while True:
            await fill(engine, 20)
            written += 20
            await asyncio.sleep(0.02)

    loading = asyncio.ensure_future(load())
    try:
        async with joined(engine) as lasting:
            members.append(lasting)
            for round_ in range(3):
                async with contextlib.AsyncExitStack() as stack:
                    for _ in range(1 + round_ % 2):
                        members.append(await stack.enter_async_context(joined(engine)))
                    newest = members[-1].inbox
                    await newest.reach(200)
            loading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await loading
            ends = await engine.appender.end_offsets("lanes")
            await until(lambda: engine.committed("g") == ends)
    finally:
        loading.cancel()
    assert written > 400
    check(members)
    for lane, tp in enumerate(ALL):
        seen = {offset for member in members for offset in member.offsets(lane)}
        assert seen == set(range(ends[tp]))
