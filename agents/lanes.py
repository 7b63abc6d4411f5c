"""The delivery agent: one actor a lane. It joins small neighbours to requests of the partner's size."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agents.consuming import append_until_durable, or_crash, patiently
from agents.delivery import Courier
from agents.parcels import Batch
from agents.poison import poisoned
from agents.superseding import Words
from streams.clock import Clock
from streams.errors import Undecodable
from streams.log import LANE_BUFFER, events_topic
from streams.records import Appender, Record, TopicPartition
from streams.topics import NOTICES
from streams.written import WrittenNotice, WrittenPack, read_pack


def add_delivery(app: Any, appender: Appender, courier: Courier, clock: Clock) -> None:
    """Add the agent to a Faust app."""

    @app.agent(events_topic(app, NOTICES.name, buffer=LANE_BUFFER), name="delivery", isolated_partitions=True)
    async def delivery(stream: Any) -> None:
        done = Done(app, appender)
        # Whatever stands in the lane by now, another worker may have delivered, and died before that was written.
        ends = await patiently(lambda: appender.end_offsets(NOTICES.name))
        lane = Lane(stream.noack(), appender, clock, courier, done, ends)
        try:
            async for event in lane.stream.events():
                await or_crash(app, event.message, lane.take(event))
        finally:
            done.cancel()


#: Batches that a partner has and the log not yet, at most: after a crash it gets them again.
_MOST_WAITING = 20
#: Notices that a lane looks ahead, about: they take three times the memory of a message that merely waits.
_MOST_AHEAD = 5_000


@dataclass(slots=True)
class Joined:
    """Neighbours that one request can carry."""

    events: list[Any] = field(default_factory=list)
    partner: str = ""
    notices: list[WrittenNotice] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)

    def takes(self, pack: WrittenPack | None, most: int) -> bool:
        """Does it have room for a pack of this partner's? What is no pack needs none. A notice that was issued again
        does not share a request with itself: what is refused is known by the notice's id."""
        if pack is None or not self.notices:
            return True
        room = pack.partner == self.partner and len(self.notices) + len(pack.notices) <= most
        return room and {notice.id for notice in self.notices}.isdisjoint(notice.id for notice in pack.notices)

    def add(self, event: Any, pack: WrittenPack | None) -> None:
        self.events.append(event)
        if pack is not None:
            self.partner = pack.partner
            self.notices += pack.notices
            self.offsets += [event.message.offset] * len(pack.notices)

    def batch(self) -> Batch:
        first, last = self.events[0].message, self.events[-1].message
        return Batch(first.partition, first.offset, last.offset, self.partner, tuple(self.notices), tuple(self.offsets))


class Done:
    """What a lane's partner has: recorded while the lane goes on, as much at once as has come up meanwhile, and
    acknowledged once that is durable. A lane that waited for the disk each time would stand still half of its time."""

    def __init__(self, app: Any, appender: Appender) -> None:
        self._app = app
        self._appender = appender
        self._waiting: list[tuple[list[Record], list[Any]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def add(self, records: list[Record], events: list[Any]) -> None:
        """Return at once, unless too much waits already."""
        self._waiting.append((records, events))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(or_crash(self._app, events[0].message, self._write()))
        elif len(self._waiting) >= _MOST_WAITING:
            await asyncio.wait([self._writing])

    async def _write(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting, []
            records = [record for each, _ in taken for record in each]
            if records:
                await append_until_durable(self._appender, records)
            for _, events in taken:
                for event in events:
                    event.ack()

    def cancel(self) -> None:
        """The lane goes away; what is not durable comes again."""
        if self._writing is not None:
            self._writing.cancel()


class Lane:
    """A lane's messages become requests, one after the other."""

    def __init__(
        self,
        stream: Any,
        appender: Appender,
        clock: Clock,
        courier: Courier,
        done: Done,
        ends: Mapping[TopicPartition, int],
    ) -> None:
        self.stream = stream
        self._buffer = stream.channel.queue
        self._appender = appender
        self._clock = clock
        self._courier = courier
        self._done = done
        self._joined = Joined()
        self._busy_until = float("-inf")
        self._words = Words()
        #: Packs that were looked at before it was their turn, by offset.
        self._ahead: dict[int, WrittenPack] = {}
        self._notices_ahead = 0
        #: The last offset that was looked at.
        self._seen = -1
        #: Where lanes ended when this worker got this one: nobody else has delivered what came since.
        self._ends = ends

    async def take(self, event: Any) -> None:
        """Return when the lane may go on with the next message."""
        pack = await self._read(event.message)
        if not self._joined.takes(pack, self._most(pack)):
            await self._deliver()
        self._joined.add(event, pack)
        if len(self._joined.notices) >= self._most(pack) or not await self._more_to_come(pack):
            await self._deliver()

    async def _read(self, message: Any) -> WrittenPack | None:
        """The pack. None if it is none; then it is durable in `rescind.poisoned` on return."""
        if (pack := self._ahead.pop(message.offset, None)) is not None:
            self._notices_ahead -= len(pack.notices)
            return pack
        self._seen = max(self._seen, message.offset)
        try:
            pack = read_pack(message.value, message.headers)
        except Undecodable as error:
            await append_until_durable(self._appender, [poisoned(message, str(error), self._clock())])
            return None
        self._words.add(pack.partner, message.offset, pack.notices)
        return pack

    def _most(self, pack: WrittenPack | None) -> int:
        partner = None if pack is None else self._courier.partner(pack.partner)
        return 1 if partner is None else partner.batch_size

    async def _more_to_come(self, pack: WrittenPack | None) -> bool:
        """Whether there is another message at once. A lane that was busy right now waits a moment for one."""
        if not self._buffer.empty():
            return True
        partner = None if pack is None else self._courier.partner(pack.partner)
        linger = 0.0 if partner is None else partner.linger_ms / 1000
        if asyncio.get_running_loop().time() >= self._busy_until + linger:
            return False
        await asyncio.sleep(linger)
        return not self._buffer.empty()

    async def _deliver(self) -> None:
        joined, self._joined = self._joined, Joined()
        records: list[Record] = []
        if joined.notices:
            batch = joined.batch()
            records = await self._courier.deliver(batch, lambda: self._reversed(batch))
            self._words.forget(batch.partner, batch.last, batch.notices)
        await self._done.add(records, joined.events)
        self._busy_until = asyncio.get_running_loop().time()

    def _reversed(self, batch: Batch) -> frozenset[str]:
        """What is not worth delivering any more. What this worker found in the lane goes out in order."""
        ours_from = self._ends.get(TopicPartition(NOTICES.name, batch.lane))
        if ours_from is None or batch.last < ours_from:
            return frozenset()
        self._look_ahead()
        return self._words.reversed(batch.partner, batch.offsets, batch.notices, ours_from)

    def _look_ahead(self) -> None:
        """Read what has come since, if there is room. Most of the buffer has been looked at before, so begin at its
        end."""
        fresh = []
        if self._notices_ahead < _MOST_AHEAD:
            for event in reversed(self._buffer._queue):
                if event.message.offset <= self._seen:
                    break
                fresh.append(event.message)
        while fresh and self._notices_ahead < _MOST_AHEAD:
            message = fresh.pop()
            self._seen = message.offset
            try:
                pack = read_pack(message.value, message.headers)
            except Undecodable:
                continue  # it is set aside when it is its turn
            self._ahead[message.offset] = pack
            self._notices_ahead += len(pack.notices)
            self._words.add(pack.partner, message.offset, pack.notices)
