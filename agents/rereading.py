"""A ledger made from the log as a whole, topic after topic, for nobody's consumer group."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from agents.poison import Intake
from agents.projection import ANSWERS, EXPECTED, TOPICS, entries
from ledger import Ledger
from streams.clock import Clock
from streams.log import Log
from streams.records import Message
from streams.topics import ACKNOWLEDGEMENTS

#: Told of each topic with how many records of it were read.
Progress = Callable[[str, int], None]


async def reread(log: Log, ledger: Ledger, clock: Clock, on_progress: Progress) -> None:
    """Project all that is in the log now. What cannot be decoded was set aside when it was read for the first time,
    or will be when the ledger's own group comes to it. Raises `StorageUnusable`, and what the log raises."""
    events, answers = Intake(log, clock, *EXPECTED), Intake(log, clock, *ANSWERS)
    for topic in (*TOPICS, ACKNOWLEDGEMENTS):
        intake = answers if topic is ACKNOWLEDGEMENTS else events
        ends = await log.end_offsets(topic.name)
        count = 0
        reader = _Reader()
        if any(ends.values()):
            async with aclosing(log.follow(topic.name)) as following:  # type: ignore[type-var]
                async for messages, positions in following:
                    received, _ = await asyncio.to_thread(intake.sort, messages)
                    await asyncio.to_thread(ledger.apply, entries(messages, received, reader.since))
                    count += len(messages)
                    if all(positions.get(tp, 0) >= end for tp, end in ends.items()):
                        break
        on_progress(topic.name, count)


class _Reader:
    """Everything is read, from the beginning: what lies between two messages cannot be."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}

    def since(self, message: Message) -> int:
        """To be asked once for each message, in order. The first one may stand where the log starts by now."""
        first = self._next.get(message.partition, message.offset)
        self._next[message.partition] = message.offset + 1
        return first
