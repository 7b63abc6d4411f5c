"""Steps: what an app appends and what it commits are one, its notes come back, and its own commits never undo them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import TopicPartition as KafkaTP

from agents.consuming import batches, consume, step_until_durable
from streams.errors import LogUnavailable, Overtaken
from streams.kafka import transactions
from streams.kafka.steps import Steps
from streams.kafka.transactions import Transactions
from streams.log import events_topic
from streams.records import Commit, Record, TopicPartition
from streams.topics import TopicSpec
from tests.conformance.harness import PATIENCE, Engine, reading, running, until
from tests.conformance.kafka import Kafka

INPUT = TopicSpec("input", 1)
OUTPUT = TopicSpec("output", 2)
AT = TopicPartition("input", 0)
#: Seconds until Faust's own commit was made for sure: it makes one twice a second.
SETTLED = 1.2
#: Milliseconds after which brokers end a transaction that was left open.
HANGING_MS = 60_000
#: Seconds within which others go on although one was left open.
SOON = 20.0


def caused(*values: bytes) -> list[Record]:
    """Some in each partition of the output."""
    return [Record("output", None, value, number % 2) for number, value in enumerate(values)]


def told(engine: Engine) -> list[bytes | None]:
    """What is to be read of the output."""
    return [record.value for partition in range(2) for record in engine.stored("output", partition)]


@asynccontextmanager
async def stepping(engine: Engine, number: int) -> AsyncIterator[Any]:
    """An app that was given so many records of the input, and has handled none of them."""
    engine.create(INPUT, OUTPUT)
    await engine.appender.append([Record("input", None, b"%d" % each, 0) for each in range(number)])
    app = engine.app("g")
    engine.log.hold(app, "input")
    given: list[Any] = []

    async def read(stream: Any) -> None:
        async for batch in batches(stream, number):
            given.extend(batch)
            await asyncio.Event().wait()

    app.agent(events_topic(app, "input"), name="stepper", isolated_partitions=True)(read)
    async with running(app):
        await until(lambda: bool(given))
        yield app


async def test_a_step_appends_and_commits(engine: Engine) -> None:
    async with stepping(engine, 5) as app:
        positions = await engine.log.step(app, caused(b"a", b"b", b"c"), {AT: Commit(2)})
        assert [(each.topic, each.partition) for each in positions] == [("output", 0), ("output", 1), ("output", 0)]
        assert [engine.stored("output", 0)[0].offset, engine.stored("output", 1)[0].offset] == [
            positions[0].offset,
            positions[1].offset,
        ]
        assert engine.committed("g") == {AT: 2}
        assert await engine.log.commits("g", "input") == {AT: Commit(2)}
        # Only a commit is a step too, and so are only records.
        await engine.log.step(app, [], {AT: Commit(3)})
        await engine.log.step(app, caused(b"d"), {AT: Commit(3)})
        assert engine.committed("g") == {AT: 3}
    assert told(engine) == [b"a", b"c", b"d", b"b"]


@pytest.mark.parametrize("refused", ["output", None])
async def test_a_step_that_fails_leaves_nothing_and_stands_once_when_repeated(
    engine: Engine, refused: str | None
) -> None:
    engine.create(TopicSpec("other", 1))
    async with stepping(engine, 5) as app:
        step = [Record("other", None, b"other", 0), *caused(b"a", b"b")]
        with engine.refusing(refused):
            for _ in range(2):
                with pytest.raises(LogUnavailable):
                    await engine.log.step(app, step, {AT: Commit(4)})
            assert engine.stored("other", 0) == []
        assert told(engine) == []
        assert engine.committed("g") == {}
        await engine.log.step(app, step, {AT: Commit(4)})
        assert told(engine) == [b"a", b"b"]
        assert [record.value for record in engine.stored("other", 0)] == [b"other"]
        assert engine.committed("g") == {AT: 4}


async def test_a_commit_of_a_step_never_goes_back(engine: Engine) -> None:
    async with stepping(engine, 5) as app:
        await engine.log.step(app, caused(b"a"), {AT: Commit(4)})
        await engine.log.step(app, caused(b"b"), {AT: Commit(2)})
        assert sorted(value or b"" for value in told(engine)) == [b"a", b"b"]
        assert engine.committed("g") == {AT: 4}
        # Nor does the app's own commit, for which nothing is handled.
        await app.consumer.commit()
        await asyncio.sleep(SETTLED)
        assert engine.committed("g") == {AT: 4}


async def test_notes_come_back_and_outlive_the_app(engine: Engine) -> None:
    note = "x" * 4_000
    async with stepping(engine, 5) as app:
        await engine.log.step(app, caused(b"a"), {AT: Commit(2, note)}, once=False)
        assert told(engine) == [b"a"]
        assert await engine.log.commits("g", "input") == {AT: Commit(2, note)}
        await engine.log.step(app, [], {AT: Commit(2, "another")}, once=False)
        assert await engine.log.commits("g", "input") == {AT: Commit(2, "another")}
    await engine.restart()
    assert await engine.log.commits("g", "input") == {AT: Commit(2, "another")}
    assert await engine.log.commits("nobody", "input") == {}


@dataclass
class Lane:
    """An agent of a topic that is not held, as a lane is: it steps by hand, and acknowledges what it is told to."""

    app: Any
    events: list[Any] = field(default_factory=list)

    def add(self) -> None:
        async def read(stream: Any) -> None:
            async for event in stream.noack().events():
                self.events.append(event)

        self.app.agent(events_topic(self.app, "input"), name="lane", isolated_partitions=True)(read)


@asynccontextmanager
async def lane(engine: Engine, number: int) -> AsyncIterator[Lane]:
    engine.create(INPUT, OUTPUT)
    await engine.appender.append([Record("input", None, b"%d" % each, 0) for each in range(number)])
    found = Lane(engine.app("g"))
    found.add()
    async with running(found.app):
        await until(lambda: len(found.events) == number)
        yield found


async def test_the_apps_own_commit_takes_no_note_away(engine: Engine) -> None:
    async with lane(engine, 5) as here:
        await engine.log.step(here.app, [], {AT: Commit(2, "3 is done")}, once=False)
        # As far as the step went, and then no commit of the app's own.
        for event in here.events[:2]:
            event.ack()
        await asyncio.sleep(SETTLED)
        assert await engine.log.commits("g", "input") == {AT: Commit(2, "3 is done")}
        await engine.log.step(here.app, [], {AT: Commit(1, "back")}, once=False)
        assert await engine.log.commits("g", "input") == {AT: Commit(2, "3 is done")}
        # All of it is handled, so the note says nothing any more.
        for event in here.events[2:]:
            event.ack()
        await until(lambda: engine.committed("g") == {AT: 5})
        assert await engine.log.commits("g", "input") == {AT: Commit(5)}


async def test_a_step_with_a_note_is_durable_on_return_or_says_so(engine: Engine) -> None:
    async with lane(engine, 5) as here:
        with engine.refusing(None), pytest.raises(LogUnavailable):
            await engine.log.step(here.app, [], {AT: Commit(2, "3 is done")}, once=False)
        assert await engine.log.commits("g", "input") in ({}, {AT: Commit(0)})
        await engine.log.step(here.app, [], {AT: Commit(2, "3 is done")}, once=False)
        assert await engine.log.commits("g", "input") == {AT: Commit(2, "3 is done")}


async def read(engine: Engine, tp: TopicPartition, start: int, end: int) -> list[tuple[int, bytes | None]]:
    async with asyncio.timeout(PATIENCE):
        return [
            (message.offset, message.value)
            async for messages in engine.log.read(tp, start, end)
            for message in messages
        ]


async def test_a_reader_of_a_range_gets_that_and_no_more(engine: Engine) -> None:
    engine.create(INPUT)
    await engine.appender.append([Record("input", None, b"%d" % each, 0) for each in range(3_000)])
    wanted = [(number, b"%d" % number) for number in range(3_000)]
    assert await read(engine, AT, 0, 3_000) == wanted
    assert await read(engine, AT, 10, 2_500) == wanted[10:2_500]
    assert await read(engine, AT, 7, 8) == [wanted[7]]
    assert await read(engine, AT, 7, 7) == []
    # What is not there yet is not waited for.
    assert await read(engine, AT, 2_999, 9_000) == [wanted[2_999]]
    assert await read(engine, AT, 5_000, 9_000) == []


async def test_steps_of_an_agent_stand_once_and_pass_over_what_caused_nothing(engine: Engine) -> None:
    engine.create(INPUT, OUTPUT)
    app = engine.app("g")
    engine.log.hold(app, "input")

    async def handle(batch: Sequence[Any]) -> None:
        records = caused(*(event.message.value for event in batch if event.message.value != b"nothing"))
        if records:
            await step_until_durable(app, engine.log, records, batch)

    async def agent(stream: Any) -> None:
        await consume(app, stream, 7, handle)

    app.agent(events_topic(app, "input"), name="stepper", isolated_partitions=True)(agent)
    values = [b"nothing" if number % 5 == 4 else b"%d" % number for number in range(100)]
    async with running(app):
        for number in range(0, 100, 10):
            await engine.appender.append([Record("input", None, value, 0) for value in values[number : number + 10]])
        await until(lambda: engine.committed("g") == {AT: 100})
    assert sorted(value or b"" for value in told(engine)) == sorted(value for value in values if value != b"nothing")


# -- only several holders can show this, hence Kafka alone


class Claims:
    """A group whose member believes what it is told to."""

    name = "g"

    def __init__(self, engine: Kafka, *believed: bool) -> None:
        self._log: Any = engine.log
        self._believed = list(believed)
        self.asked = 0

    async def is_member(self, generation: int) -> bool:
        self.asked += 1
        return self._believed.pop(0) if len(self._believed) > 1 else self._believed[0]

    async def committed(self, tps: Any) -> Any:
        return await self._log.committed(self.name, tps)

    async def crash(self, error: Exception) -> None:
        raise error


async def holder(engine: Kafka, generation: int, claims: Claims) -> Steps:
    steps = Steps(claims, {"bootstrap_servers": engine.broker.address})
    steps.topics.add("input")
    steps.assigned([AT], generation)
    async with asyncio.timeout(PATIENCE):
        await steps.ready([AT])
    return steps


async def test_a_former_holder_can_neither_append_nor_commit(kafka_engine: Kafka) -> None:
    engine = kafka_engine
    engine.create(INPUT, OUTPUT)
    # It was taken for dead, finds out when it tries to begin anew, and was a member until then.
    old = await holder(engine, 1, Claims(engine, True, True, False))
    await old.step(caused(b"a"), AT, Commit(1), 1)
    new = await holder(engine, 2, Claims(engine, True))
    for _ in range(3):
        with pytest.raises(LogUnavailable):
            await old.step(caused(b"zombie"), AT, Commit(9), 1)
    assert await new.step(caused(b"b"), AT, Commit(2), 2)
    assert told(engine) == [b"a", b"b"]
    assert engine.committed("g") == {AT: 2}
    await asyncio.gather(old.stop(), new.stop())


async def test_who_was_shut_out_by_one_that_is_no_member_goes_on(kafka_engine: Kafka) -> None:
    engine = kafka_engine
    engine.create(INPUT, OUTPUT)
    # Fenced, it begins anew since it looks as if it were a member still; afterwards it does not any more.
    claims = Claims(engine, True, True, True, False)
    old = await holder(engine, 1, claims)
    new = await holder(engine, 2, Claims(engine, True))
    for _ in range(3):
        with pytest.raises(LogUnavailable):
            await old.step(caused(b"zombie"), AT, Commit(9), 1)
    assert claims.asked > 3
    with pytest.raises(LogUnavailable):
        await new.step(caused(b"b"), AT, Commit(2), 2)
    await new.step(caused(b"b"), AT, Commit(2), 2)
    assert told(engine) == [b"b"]
    assert engine.committed("g") == {AT: 2}
    await asyncio.gather(old.stop(), new.stop())


async def test_a_step_of_which_nobody_knows_what_became_stands_once(
    kafka_engine: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = kafka_engine
    engine.create(INPUT, OUTPUT)
    steps = await holder(engine, 1, Claims(engine, True))
    commit = AIOKafkaProducer.commit_transaction

    async def unanswered(self: AIOKafkaProducer, done: bool) -> None:
        if done:
            await commit(self)
        raise KafkaConnectionError("the connection is lost")

    for number, done in enumerate((True, False)):
        with monkeypatch.context() as patch:
            patch.setattr(AIOKafkaProducer, "commit_transaction", lambda self, done=done: unanswered(self, done))
            with pytest.raises(LogUnavailable, match="the connection is lost"):
                await steps.step(caused(b"%d" % number), AT, Commit(number + 1), 1)
        (position,) = await steps.step(caused(b"%d" % number), AT, Commit(number + 1), 1)
        (stored,) = [each for each in engine.stored("output", 0) if each.value == b"%d" % number]
        assert position.offset == stored.offset
    assert engine.committed("g") == {AT: 2}
    await steps.stop()


async def test_what_was_read_before_a_rebalance_is_not_stepped_after_it(kafka_engine: Kafka) -> None:
    engine = kafka_engine
    engine.create(INPUT, OUTPUT)
    steps = await holder(engine, 1, Claims(engine, True))
    await steps.step(caused(b"a"), AT, Commit(1), 1)
    steps.assigned([AT], 2)
    with pytest.raises(Overtaken):
        await steps.step(caused(b"b"), AT, Commit(2), 1)
    await steps.step(caused(b"b"), AT, Commit(2), 2)
    steps.assigned([], 3)
    with pytest.raises(LogUnavailable):
        await steps.step(caused(b"c"), AT, Commit(3), None)
    assert told(engine) == [b"a", b"b"]
    await steps.stop()


async def test_what_a_killed_holder_left_open_holds_up_nobody_once_there_is_another(kafka_engine: Kafka) -> None:
    engine = kafka_engine
    engine.create(INPUT, OUTPUT)
    killed = AIOKafkaProducer(
        bootstrap_servers=engine.broker.address, transactional_id="g:input:0", transaction_timeout_ms=HANGING_MS
    )
    await killed.start()
    await killed.begin_transaction()
    await killed.send_and_wait("output", b"never", partition=0)
    await killed.send_offsets_to_transaction({KafkaTP(*AT): 7}, "g")
    await engine.appender.append([Record("output", None, b"behind", 0)])
    watcher = engine.app("watcher")
    inbox = reading(watcher, "output")
    async with running(watcher):
        await asyncio.sleep(0.5)
        assert inbox.messages == []
        async with asyncio.timeout(SOON), stepping(engine, 1) as app:
            await engine.log.step(app, caused(b"after"), {AT: Commit(1)})
            await inbox.reach(2)
    assert inbox.values() == [b"behind", b"after"]
    assert engine.committed("g") == {AT: 1}
    await killed.stop()


async def test_who_has_lost_a_partition_does_not_even_append(kafka_engine: Kafka) -> None:
    engine = kafka_engine
    async with lane(engine, 1) as here:
        engine.create(TopicSpec("input", 2))
        with pytest.raises(LogUnavailable, match=r"input\[1\] is somebody else's"):
            await engine.log.step(here.app, caused(b"zombie"), {TopicPartition("input", 1): Commit(1)}, once=False)
        with pytest.raises(Overtaken):
            await engine.log.step(here.app, caused(b"zombie"), {AT: Commit(1)}, once=False, generation=0)
    assert told(engine) == []


async def test_a_cancelled_step_holds_up_nobody(kafka_engine: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = kafka_engine
    engine.create(INPUT, OUTPUT)
    monkeypatch.setattr(transactions, "TIMEOUT_MS", HANGING_MS)
    steps = await holder(engine, 1, Claims(engine, True))
    hanging = asyncio.Event()

    async def hang(self: AIOKafkaProducer) -> None:
        hanging.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(AIOKafkaProducer, "commit_transaction", hang)
        step = asyncio.ensure_future(steps.step(caused(b"never"), AT, Commit(1), 1))
        await hanging.wait()
        step.cancel()
        await asyncio.wait([step])
    await engine.appender.append([Record("output", None, b"behind", 0)])
    app = engine.app("watcher")
    inbox = reading(app, "output")
    async with running(app):
        async with asyncio.timeout(SOON):
            await inbox.reach(1)
    assert inbox.values() == [b"behind"]
    assert engine.committed("g") == {}
    await steps.stop()


async def test_a_group_begins_no_transaction_while_it_is_not_asked_to(kafka_engine: Kafka) -> None:
    engine = kafka_engine
    engine.create(INPUT, OUTPUT)
    transactions = Transactions({"bootstrap_servers": engine.broker.address}, "g:input:0")
    await transactions.start()
    assert await transactions.run([], "g", {}, lambda _: None) == []
    await transactions.stop()
    assert engine.committed("g") == {}
