"""How agents read their streams, beyond what the conformance suite asks of every engine."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agents.consuming import batches, or_crash
from streams.embedded.consumer import Consumer
from streams.errors import Overtaken
from streams.log import events_topic
from streams.records import Record
from streams.topics import TopicSpec
from tests.conformance.embedded import Embedded
from tests.conformance.harness import running, until


async def test_what_its_log_calls_overtaken_is_left_alone_and_the_agent_goes_on() -> None:
    class App:
        crashed = False

    async def overtaken() -> None:
        raise Overtaken("one[0] was assigned anew since")

    message = SimpleNamespace(topic="one", partition=0, offset=7)
    await or_crash(App(), message, overtaken())


async def test_what_was_read_before_a_rebalance_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Embedded(tmp_path)
    engine.create(TopicSpec("one", 1))
    to_message = Consumer._to_message

    def partly_old(self: Consumer, tp: Any, record: Any) -> Any:
        message = to_message(self, tp, record)
        message.generation_id -= record.value == b"old"
        return message

    monkeypatch.setattr(Consumer, "_to_message", partly_old)
    values = (b"old", b"new", b"old", b"old", b"newer")
    await engine.appender.append([Record("one", None, value, 0) for value in values])
    app = engine.app("g")
    taken: list[list[bytes]] = []

    async def read(stream: Any) -> None:
        async for batch in batches(stream, 10):
            taken.append([event.message.value for event in batch])

    app.agent(events_topic(app, "one"), name="reader")(read)
    async with running(app):
        await until(lambda: bool(taken))
    engine.close()
    assert taken == [[b"new", b"newer"]]
