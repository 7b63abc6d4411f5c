"""Keeping the index of disclosures, as everybody does who needs it: by following the log, for nobody's group."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from agents.consuming import append_until_durable, patiently
from agents.poison import poisoned
from ledger import DisclosureIndex
from streams.clock import Clock
from streams.errors import StorageUnusable
from streams.records import Appender, Message, Position, TopicPartition, behind
from streams.topics import DISCLOSURES

log = logging.getLogger(__name__)

#: Records that are read at once: each may be a megabyte.
_TOGETHER = 32
_RETRY_SECONDS = 1.0


class FollowedFrom(Protocol):
    """See `streams.log.Log.follow`."""

    def follow(
        self, topic: str, start: Mapping[TopicPartition, int] | None = None, most: int = ...
    ) -> AsyncIterator[tuple[Sequence[Message], dict[TopicPartition, int]]]: ...


@contextmanager
def following(appender: Appender, path: Path, clock: Clock, *, setting_aside: bool = False) -> Iterator[Follower]:
    """The index in a file, and who follows with it. Raises `StorageUnusable`."""
    index = DisclosureIndex.open(path)
    try:
        yield Follower(appender, index, clock, setting_aside=setting_aside)
    finally:
        index.close()


class Follower:
    """Brings an index up to the log, and says when it is there. `setting_aside` is for one follower of a log: it tells
    of records that are no events of ours."""

    def __init__(self, appender: Appender, index: DisclosureIndex, clock: Clock, *, setting_aside: bool) -> None:
        self.index = index
        self._appender = appender
        self._clock = clock
        self._setting_aside = setting_aside
        self._changed = asyncio.Event()

    async def run(self, log: FollowedFrom) -> None:
        """For ever."""

        async def follow() -> None:
            await self._belong_together()
            async for messages, positions in log.follow(DISCLOSURES.name, self.index.offsets(), _TOGETHER):
                await self.take(messages, positions)

        # Who begins again goes on where the index is.
        await patiently(follow)

    async def take(self, messages: Sequence[Message], positions: Mapping[TopicPartition, int]) -> None:
        """Return when they are in the index; a disk that is full only makes this wait."""
        while True:
            try:
                bad = await asyncio.to_thread(self.index.apply, messages, positions)
            except StorageUnusable as error:
                log.error("%s; trying again in %.1f s", error, _RETRY_SECONDS)  # noqa: TRY400 - no traceback needed
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                break
        for message, reason in bad:
            log.warning("%s[%d]@%d is no disclosure: %s", message.topic, message.partition, message.offset, reason)
        if bad and self._setting_aside:
            now = self._clock()
            await append_until_durable(self._appender, [poisoned(message, str(reason), now) for message, reason in bad])
        self._changed.set()
        self._changed = asyncio.Event()

    async def caught_up(self) -> None:
        """Wait for everything that is durable now: an export that was handed over before is in the index then."""
        await self._covers(await patiently(lambda: self._appender.end_offsets(DISCLOSURES.name)))

    async def reached(self, positions: Sequence[Position]) -> None:
        """Wait until the index shows what stands at these positions, for as long as it takes."""
        await self._covers(behind(positions))

    @property
    def news(self) -> asyncio.Event:
        """Set when the index has changed; then there is another one."""
        return self._changed

    async def _covers(self, ends: Mapping[TopicPartition, int]) -> None:
        while True:
            changed, known = self._changed, self.index.offsets()
            if all(known.get(tp, 0) >= end for tp, end in ends.items()):
                return
            await changed.wait()

    async def _belong_together(self) -> None:
        """A log that is older than the index, as after a restored backup, has other records where the index goes on."""
        ends = await self._appender.end_offsets(DISCLOSURES.name)
        if any(offset > ends.get(tp, 0) for tp, offset in self.index.offsets().items()):
            log.warning("the index of disclosures knows more than the log has: it is made anew")
            await asyncio.to_thread(self.index.forget)
