"""What other programs and operators do to a cluster while we read from it, hence on Kafka alone."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
import pytest
from kafka import KafkaProducer

from agents.consent import add_consent
from streams.clock import utc_now
from streams.cloudevents import decode
from streams.errors import LogUnavailable
from streams.events import ConsentChanged, ConsentToggled, MessagePoisoned
from streams.kafka import stopping
from streams.records import Record, TopicPartition
from streams.topics import DECISIONS, POISONED, TOGGLES, TopicSpec
from tests.conformance.harness import reading, running, until
from tests.conformance.kafka import Kafka

AGED = TopicSpec("aged", 1, retention=3_600.0)
AT = TopicPartition("aged", 0)


def toggle(subject: str, choice: str) -> bytes:
    return orjson.dumps(
        {
            "subject": subject,
            "purpose": "ai",
            "choice": choice,
            "occurred_at": "2026-01-01T12:00:00Z",
            "retroactive": False,
        }
    )


async def test_any_program_may_say_toggles_in_binary_mode(kafka_engine: Kafka) -> None:
    engine = kafka_engine
    with KafkaProducer(bootstrap_servers=engine.broker.address) as producer:
        for number, choice in enumerate(["opt_out", "perhaps"]):
            headers = {
                "ce_specversion": "1.0",
                "ce_id": f"evt-{number}",
                "ce_source": "/platform",
                "ce_type": ConsentToggled.TYPE,
                "ce_time": "2026-01-01T12:00:00Z",
                "ce_subject": f"user:{number}",
                "content-type": "application/json",
            }
            value = toggle(f"user:{number}", choice)
            producer.send(
                TOGGLES.name, value, b"user:%d" % number, headers=[(k, v.encode()) for k, v in headers.items()]
            )
        producer.send(TOGGLES.name, b"{", b"user:2")
        producer.flush()
    app = engine.app("g")
    add_consent(app, engine.log, utc_now)
    async with running(app):
        await until(lambda: engine.committed("g") == {TopicPartition(TOGGLES.name, 0): 3})
    (decision,) = [decode(record.value or b"") for record in engine.stored(DECISIONS.name, 0)]
    assert isinstance(decision.data, ConsentChanged)
    assert (decision.data.subject, decision.data.toggle_id) == ("user:0", "evt-0")
    poisoned = [decode(record.value or b"").data for record in engine.stored(POISONED.name, 0)]
    assert [(data.topic, data.offset) for data in poisoned if isinstance(data, MessagePoisoned)] == [
        (TOGGLES.name, 1),
        (TOGGLES.name, 2),
    ]


async def test_partitions_that_are_added_while_an_app_runs_are_read_from_their_beginning(kafka_engine: Kafka) -> None:
    engine = kafka_engine
    engine.create(TopicSpec("wide", 2))
    app = engine.app("g")
    app.conf.consumer_metadata_max_age_ms = 500
    inbox = reading(app, "wide", isolated_partitions=True)
    async with running(app):
        await engine.appender.append([Record("wide", None, b"old", 1)])
        await inbox.reach(1)
        with_three = Record("wide", None, b"new", 2)
        try:
            await engine.appender.append([with_three])
        except LogUnavailable as error:
            assert "wide has no partition 2" in str(error)
        else:
            raise AssertionError("there is no such partition yet")
        engine.create(TopicSpec("wide", 3))
        assert await engine.log.partitions("wide") == 3
        # At once, before anybody asked again how many there are.
        await engine.appender.append([with_three, Record("wide", None, b"newer", 2)])
        await inbox.reach(3)
        await until(lambda: engine.committed("g") == {TopicPartition("wide", 1): 1, TopicPartition("wide", 2): 2})
    assert inbox.values() == [b"old", b"new", b"newer"]


async def test_a_group_whose_commit_was_retired_goes_on_at_the_log_start(kafka_engine: Kafka) -> None:
    engine = kafka_engine
    engine.create(AGED)
    await engine.appender.append([Record("aged", None, b"%d" % number) for number in range(5)])
    app = engine.app("g")
    inbox = reading(app, "aged", handle=lambda event: asyncio.sleep(0 if event.message.offset < 2 else 3_600))
    async with running(app):
        await until(lambda: engine.committed("g") == {AT: 2})
    await engine.upkeep(later=86_400.0)
    app = engine.app("g")
    inbox = reading(app, "aged")
    async with running(app):
        # What is gone is no lag.
        await until(lambda: engine.committed("g") == {AT: 5})
        assert await engine.log.backlog("g", "aged") == {AT: 0}
        await engine.appender.append([Record("aged", None, b"5")])
        await until(lambda: engine.committed("g") == {AT: 6})
    assert inbox.values() == [b"5"]


async def test_what_is_retired_under_a_reader_is_passed_over(kafka_engine: Kafka) -> None:
    engine = kafka_engine
    engine.create(AGED, TopicSpec("busy", 1))
    await engine.appender.append([Record("aged", None, b"%d" % number) for number in range(5)])
    app = engine.app("g")
    inbox, busy = reading(app, "aged"), reading(app, "busy")
    async with running(app):
        await inbox.reach(5)
        await engine.upkeep(later=86_400.0)
        (at,) = [tp for tp in app.consumer.assignment() if tp.topic == "aged"]
        # As after a rebalance: it must fetch again what is gone.
        app.consumer._next[at] = 2
        await engine.appender.append([Record("aged", None, b"5")])
        for number in range(50):
            await engine.appender.append([Record("busy", None, b"v")])
            await busy.reach(number + 1)
        await inbox.reach(6)
        await until(lambda: engine.committed("g").get(AT) == 6)
    assert inbox.values()[5:] == [b"5"]


async def test_an_app_and_its_log_stop_though_their_brokers_are_away(
    kafka_engine: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = kafka_engine
    monkeypatch.setattr(stopping, "SENDING", 0.5)
    engine.create(TopicSpec("one", 1))
    await engine.appender.append([Record("one", None, b"%d" % number) for number in range(2)])
    app = engine.app("g")
    begun, go = asyncio.Event(), asyncio.Event()

    async def wait(_: Any) -> None:
        begun.set()
        await go.wait()

    inbox = reading(app, "one", handle=wait)
    async with running(app):
        await begun.wait()
        engine.broker.kill()
        appending = asyncio.ensure_future(engine.appender.append([Record("one", None, b"2")]))
        # Now there is something to commit.
        go.set()
        await inbox.reach(1)
        start = time.monotonic()
    appending.cancel()
    await engine.log.stop()
    assert time.monotonic() - start < 10
