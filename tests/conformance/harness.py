"""What a case may ask of an engine of the log, and the few tools that every case needs.

A case drives a log through Faust and through the `Appender` alone, and looks at what became of it
through `Engine.stored` and `Engine.committed`, which read what *another process* would read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest

from agents.consuming import batches
from streams.log import Log, events_topic
from streams.records import Appender, TopicPartition
from streams.topics import TopicSpec

#: Seconds after which something that must happen has not happened.
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as it stands in the log. `timestamp` is in seconds since the epoch."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp: float


class Engine(Protocol):
    """A log of its own for one case. To add an engine, write one of these and name it in `conftest`."""

    log: Log

    @property
    def appender(self) -> Appender:
        """The face that the gateway sees."""
        ...

    def create(self, *topics: TopicSpec) -> None:
        """Make topics, beside those of Rescind, which are there."""
        ...

    def app(self, group: str) -> Any:
        """A new Faust app that consumes as `group`, set up as the service does it."""
        ...

    def stored(self, topic: str, partition: int) -> list[Stored]:
        """Everything that is durable in a partition, read past everything of ours."""
        ...

    def committed(self, group: str) -> dict[TopicPartition, int]:
        """What is durable of a group's commits, read the same way."""
        ...

    def refusing(self, topic: str | None) -> AbstractContextManager[None]:
        """Inside, the log takes no record of `topic`, or no commit if that is None."""
        ...

    async def upkeep(self, later: float = 0.0) -> None:
        """Let the log compact and retire all that is due `later` seconds from now, by the topics' settings."""
        ...

    async def restart(self) -> None:
        """Close the log and open it again, with nothing of the former one left in memory."""
        ...


#: Why cases of tables with a changelog need not pass on Kafka.
NO_CHANGELOGS = "no table of ours has a changelog, see `streams.tables`: on Kafka these are Faust's own affair"


def only_on(engine: str, why: str) -> pytest.MarkDecorator:
    """Marks a case that the other engine cannot be asked to pass, with the reason."""
    return pytest.mark.only_on(engine, why)


@dataclass(slots=True)
class Inbox:
    """What an agent was given, with a way to wait for it."""

    messages: list[Any] = field(default_factory=list)
    _grown: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, message: Any) -> None:
        self.messages.append(message)
        self._grown.set()

    async def reach(self, number: int) -> list[Any]:
        """Wait until there are `number` messages."""
        async with asyncio.timeout(PATIENCE):
            while len(self.messages) < number:
                self._grown.clear()
                await self._grown.wait()
        return self.messages

    def values(self, partition: int | None = None) -> list[bytes | None]:
        return [message.value for message in self.messages if partition in (None, message.partition)]


@asynccontextmanager
async def started(app: Any) -> AsyncIterator[Any]:
    """A Faust app that begins, and is stopped at the end. Like a process that ends, this takes along what
    Faust may leave behind when it crashed."""
    others = asyncio.all_tasks()
    app.finalize()
    await app.start()
    try:
        yield app
    finally:
        try:
            await app.stop()
        finally:
            # Other apps may have begun meanwhile, and stay.
            if app.crashed:
                left = asyncio.all_tasks() - others
                for task in left:
                    task.cancel()
                await asyncio.gather(*left, return_exceptions=True)


@asynccontextmanager
async def running(app: Any) -> AsyncIterator[Any]:
    """A Faust app that has recovered its tables and reads its streams."""
    async with started(app):
        async with asyncio.timeout(PATIENCE):
            await app.tables.recovery.completed.wait()
        yield app


@asynccontextmanager
async def producing(engine: Engine) -> AsyncIterator[Any]:
    """Faust's producer alone."""
    app = engine.app("producer")
    app.finalize()
    producer = await app.maybe_start_producer()
    try:
        yield producer
    finally:
        await producer.stop()


async def send(producer: Any, topic: str, key: bytes | None, value: bytes | None, partition: int | None = None) -> Any:
    """Send as Faust's channels do; the result is a future."""
    return await producer.send(topic, key, value, partition, None, None)


async def send_all(producer: Any, topic: str, partition: int, values: Sequence[bytes]) -> None:
    """Send, and wait until all are acknowledged."""
    await asyncio.gather(*[await send(producer, topic, None, value, partition) for value in values])


def reading(app: Any, *topics: str, handle: Callable[[Any], Awaitable[None]] | None = None, **agent: Any) -> Inbox:
    """Add an agent that takes every event of the topics; what it has taken it acknowledges.

    As our agents do, by hand: a stream of Faust's that acknowledges by itself does so also for the event
    at hand when it is stopped.
    """
    inbox = Inbox()

    async def read(stream: Any) -> None:
        async for (event,) in batches(stream, 1):
            if handle is not None:
                await handle(event)
            inbox.put(event.message)

    app.agent(events_topic(app, *topics), name="reader-" + "-".join(topics), **agent)(read)
    return inbox


async def until(true: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Wait for something that nobody announces."""
    async with asyncio.timeout(patience):
        while not true():
            await asyncio.sleep(0.01)
