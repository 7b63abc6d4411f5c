"""How long a request may wait for the log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from streams.errors import LogUnavailable
from streams.records import Appender, Position, Record, TopicPartition

T = TypeVar("T")


class Bounded:
    """An `Appender` that gives up after so many seconds: a client would rather hear that than hang. What was
    given up may still become durable, as after every failure; so it is repeated with the same ids."""

    def __init__(self, inner: Appender, seconds: float) -> None:
        self._inner = inner
        self._seconds = seconds

    async def append(self, records: Sequence[Record]) -> list[Position]:
        return await self._in_time(self._inner.append(records))

    async def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        return await self._in_time(self._inner.end_offsets(topic))

    async def partitions(self, topic: str) -> int:
        return await self._in_time(self._inner.partitions(topic))

    async def _in_time(self, asked: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._seconds):
                return await asked
        except TimeoutError:
            raise LogUnavailable(f"the log did not answer within {self._seconds:g} s") from None
