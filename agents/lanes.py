"""The delivery agent: one actor a lane. It joins small neighbours to requests of the partner's size."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agents.consuming import append_until_durable, or_crash, patiently
from agents.delivery import Courier
from agents.parcels import Batch, Parcel, Place
from agents.poison import poisoned
from agents.progress import LaneProgress
from agents.reports import superseded
from agents.superseding import Words
from streams.clock import Clock
from streams.errors import Undecodable
from streams.events import Failing
from streams.kinds import Action
from streams.log import LANE_BUFFER, Log, events_topic
from streams.records import Commit, Record, TopicPartition
from streams.topics import NOTICES
from streams.written import WrittenNotice, WrittenPack, read_pack


def add_delivery(app: Any, log: Log, courier: Courier, clock: Clock) -> None:
    """Add the agent to a Faust app."""

    @app.agent(events_topic(app, NOTICES.name, buffer=LANE_BUFFER), name="delivery", isolated_partitions=True)
    async def delivery(stream: Any) -> None:
        # What another worker has settled behind its commit, and where lanes ended when it may still have sent.
        commits = await patiently(lambda: log.commits(app.conf.id, NOTICES.name))
        ends = await patiently(lambda: log.end_offsets(NOTICES.name))
        lane = Lane(app, stream.noack(), log, clock, courier, commits, ends)
        try:
            async for event in lane.stream.events():
                await or_crash(app, event.message, lane.take(event))
        finally:
            lane.cancel()


#: Batches that a partner has and the log not yet, at most: after a crash it gets them again.
_MOST_WAITING = 20
#: Messages that are handled together at most, whatever they are: what is no pack holds no notices.
_MOST_EVENTS = 1_000
#: Notices that a lane looks ahead, about: they take three times the memory of a message that merely waits.
_MOST_AHEAD = 5_000


@dataclass(slots=True)
class Joined:
    """Neighbours that one request can carry."""

    events: list[Any] = field(default_factory=list)
    partner: str = ""
    notices: list[WrittenNotice] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    #: What came of the one notice so far, if it is one that was parked: it goes alone.
    failing: Failing | None = None
    #: The same messages, given once more.
    again: list[Any] = field(default_factory=list)

    def takes(self, pack: WrittenPack | None, most: int) -> bool:
        """Does it have room for a pack of this partner's? What is no pack needs none. A notice that was issued again
        does not share a request with itself: what is refused is known by the notice's id."""
        if pack is None or not self.notices:
            return True
        room = pack.partner == self.partner and len(self.notices) + len(pack.notices) <= most
        alone = self.failing is not None or pack.failing is not None
        return room and not alone and {each.id for each in self.notices}.isdisjoint(each.id for each in pack.notices)

    def add(self, event: Any, pack: WrittenPack | None) -> None:
        self.events.append(event)
        if pack is not None:
            self.partner = pack.partner
            self.failing = pack.failing
            self.notices += pack.notices
            self.offsets += [event.message.offset] * len(pack.notices)

    def batch(self, settled: Collection[Place]) -> Batch:
        first, last = self.events[0].message, self.events[-1].message
        batch = Batch(
            first.partition, first.offset, last.offset, self.partner, tuple(self.notices), tuple(self.offsets)
        )
        if not settled:
            return batch
        done = frozenset(number for number, place in enumerate(batch.places()) if place in settled)
        return replace(batch, done=done)


class Done:
    """What a lane's partner has: recorded and committed while the lane goes on, as much at once as has come up
    meanwhile. A lane that waited for the disk each time would stand still half of its time."""

    def __init__(self, app: Any, log: Log) -> None:
        self._app = app
        self._log = log
        self._waiting: list[tuple[Sequence[Record], Sequence[Any], Commit]] = []
        self._writing: asyncio.Task[None] | None = None

    async def add(self, message: Any, records: Sequence[Record], commit: Commit, events: Sequence[Any] = ()) -> None:
        """Return at once, unless too much waits already. The events are acknowledged when all is durable."""
        self._waiting.append((records, events, commit))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(or_crash(self._app, message, self._write(message.tp)))
        elif len(self._waiting) >= _MOST_WAITING:
            await asyncio.wait([self._writing])

    async def all(self) -> None:
        """Return when everything is durable."""
        while self._writing is not None and not self._writing.done():
            await asyncio.wait([self._writing])

    async def _write(self, tp: Any) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting, []
            records = [record for each, _, _ in taken for record in each]
            commits = {TopicPartition(*tp): taken[-1][-1]}
            await patiently(lambda: self._log.step(self._app, records, commits, once=False))  # noqa: B023
            for _, events, _ in taken:
                for event in events:
                    event.ack()

    def cancel(self) -> None:
        """The lane goes away; what is not durable comes again."""
        if self._writing is not None:
            self._writing.cancel()


class Lane:
    """A lane's messages become requests, one after the other. What a delivery asks of it is `agents.delivery.Hold`."""

    def __init__(
        self,
        app: Any,
        stream: Any,
        log: Log,
        clock: Clock,
        courier: Courier,
        commits: Mapping[TopicPartition, Commit],
        ends: Mapping[TopicPartition, int],
    ) -> None:
        self.stream = stream
        self._buffer = stream.channel.queue
        self._log = log
        self._clock = clock
        self._courier = courier
        self._done = Done(app, log)
        self._joined = Joined()
        self._busy_until = float("-inf")
        self._words = Words()
        self._looked_back = LookedBack()
        self._commits = commits
        #: From the first message on.
        self._progress: LaneProgress | None = None
        #: The last one that was taken.
        self._message: Any = None
        #: The first offset that is not done, and the first that was not taken.
        self._base = self._next = 0
        #: Whose the batch is that is being delivered.
        self._partner = ""
        #: Packs that were looked at before it was their turn, by offset.
        self._ahead: dict[int, WrittenPack] = {}
        self._notices_ahead = 0
        #: The last offset that was looked at, and the last one in the buffer when that was looked through.
        self._seen = self._in_buffer = -1
        #: Where lanes ended when this worker got this one: nobody else has delivered what came since.
        self._ends = ends

    def cancel(self) -> None:
        """The lane goes to another worker."""
        self._done.cancel()

    async def take(self, event: Any) -> None:
        """Return when the lane may go on with the next message."""
        message = self._message = event.message
        if self._progress is None:
            self._base = message.offset
            self._progress = LaneProgress(self._commits.get(TopicPartition(*message.tp)))
        if message.offset < self._next:
            await self._take_again(event)
            return
        self._next = message.offset + 1
        pack = await self._read(message)
        if not self._joined.takes(pack, self._most(pack)):
            await self._deliver()
        if pack is not None:
            await self._leave_out_old(pack, message)
            self._notices_ahead -= len(self._ahead.pop(message.offset).notices)
        self._joined.add(event, pack)
        full = len(self._joined.notices) >= self._most(pack) or len(self._joined.events) >= _MOST_EVENTS
        if full or not await self._more_to_come(pack):
            await self._deliver()

    async def _take_again(self, event: Any) -> None:
        """A rebalance gives what was not committed once more, also to who keeps the lane: it was sent already, or is
        about to be."""
        if event.message.offset >= self._base:
            self._joined.again.append(event)
        else:
            await self._done.all()
            event.ack()
        if self._joined.events and self._buffer.empty():
            await self._deliver()

    # -- for deliveries, see `agents.delivery.Hold`

    def reversed(self, parcel: Parcel) -> Collection[str]:
        """What this worker found in the lane goes out in order: a former holder may have sent it."""
        ours_from = self._ends.get(TopicPartition(NOTICES.name, parcel.batch.lane))
        if ours_from is None or not parcel.count or parcel.last < ours_from:
            return ()
        self._look_ahead()
        return self._words.reversed(parcel, ours_from)

    def ahead(self, start: int = 0) -> Iterator[Parcel]:
        """The first one of each subject. Of a subject that something was issued again about, none."""
        self._look_ahead()
        seen: set[str] = set()
        lane, partner = self._message.partition, self._partner
        for offset, pack in self._ahead.items():
            if pack.partner != partner:
                return
            batch = Batch(lane, offset, offset, partner, tuple(pack.notices), (offset,) * len(pack.notices))
            for number, notice in enumerate(pack.notices):
                if (offset, number) in self._settled or notice.subject in seen:
                    continue
                seen.add(notice.subject)
                if pack.again is None and offset >= start:
                    yield Parcel(batch, (number,))

    def end(self) -> int:
        self._look_ahead()
        return self._seen + 1

    async def arrival(self) -> None:
        """Nobody else waits for the stream's buffer meanwhile, so whoever puts something there wakes this."""
        if self._last_in_buffer() > self._in_buffer:
            return  # it came before anybody waited here
        waiting = asyncio.get_running_loop().create_future()
        self._buffer._getters.append(waiting)
        try:
            await waiting
        finally:
            waiting.cancel()

    async def keep(self, records: Sequence[Record], settled: Collection[Place]) -> None:
        assert self._progress is not None  # noqa: S101 - a delivery is of messages that were taken
        self._progress.settle(settled)
        await self._done.add(self._message, records, self._progress.commit(self._base))
        await self._done.all()

    # -- inside

    @property
    def _settled(self) -> Collection[Place]:
        return () if self._progress is None else self._progress.settled

    async def _read(self, message: Any) -> WrittenPack | None:
        """The pack. None if it is none; then it is durable in `rescind.poisoned` on return."""
        if message.offset in self._ahead:
            return self._ahead[message.offset]
        try:
            return self._look_at(message)
        except Undecodable as error:
            await append_until_durable(self._log, [poisoned(message, str(error), self._clock())])
            return None

    def _look_at(self, message: Any) -> WrittenPack:
        self._seen = max(self._seen, message.offset)
        pack = read_pack(message.value, message.headers)
        self._ahead[message.offset] = pack
        self._notices_ahead += len(pack.notices)
        self._words.add(pack.partner, message.offset, pack.notices)
        return pack

    def _look_ahead(self) -> None:
        """Read what has come since, if there is room. Most of the buffer has been looked at before, so begin at its
        end."""
        fresh = []
        self._in_buffer = self._last_in_buffer()
        if self._notices_ahead < _MOST_AHEAD:
            for event in reversed(self._buffer._queue):
                if event.message.offset <= self._seen:
                    break
                fresh.append(event.message)
        while fresh and self._notices_ahead < _MOST_AHEAD:
            # What cannot be read is set aside when it is its turn.
            with contextlib.suppress(Undecodable):
                self._look_at(fresh.pop())

    def _last_in_buffer(self) -> int:
        waiting = self._buffer._queue
        return waiting[-1].message.offset if waiting else -1

    async def _leave_out_old(self, pack: WrittenPack, message: Any) -> None:
        """Of what was issued again: leave out what was reversed between the look of whoever issued it and this place.
        What comes behind it is looked at as for all others."""
        if pack.checked is None or pack.checked >= message.offset:
            return
        start, reading = pack.checked, self._reading(message)
        await patiently(lambda: self._looked_back.reach(start, message.offset, reading))
        old = [self._looked_back.reversed(pack.partner, start, notice) for notice in pack.notices]
        places = {(message.offset, number) for number, is_old in enumerate(old) if is_old}
        if places - set(self._settled):
            lane, offsets = message.partition, (message.offset,) * len(pack.notices)
            batch = Batch(lane, message.offset, message.offset, pack.partner, tuple(pack.notices), offsets)
            ids = [pack.notices[number].id for _, number in sorted(places)]
            await self.keep([superseded(batch, ids, self._clock())], places)

    def _reading(self, message: Any) -> Callable[[int], AsyncIterator[Sequence[Any]]]:
        """From an offset to a message of the lane."""
        return lambda start: self._log.read(TopicPartition(*message.tp), start, message.offset)

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
        assert self._progress is not None  # noqa: S101 - see `take`
        joined, self._joined = self._joined, Joined()
        self._partner = joined.partner
        records: list[Record] = []
        if joined.notices:
            batch = joined.batch(self._settled)
            if len(batch.done) < len(batch.notices):
                records = await self._send(batch, joined.failing)
            self._words.forget(batch.partner, batch.last, batch.notices)
        self._base = joined.events[-1].message.offset + 1
        events = [*joined.events, *joined.again]
        await self._done.add(self._message, records, self._progress.commit(self._base), events)
        self._busy_until = asyncio.get_running_loop().time()

    async def _send(self, batch: Batch, failing: Failing | None) -> list[Record]:
        if failing is not None:
            return await self._courier.retry(batch, failing, self)
        return await self._courier.deliver(batch, self)


class LookedBack:
    """A stretch of the lane that was read once more: what was issued in it for the first time. Many packs that were
    issued again have the same stretch to look through, so it is only read on from where it ends."""

    def __init__(self) -> None:
        self._start = self._end = 0
        #: By whom and what they are about: where they stand, whether they say to resume, and their ranks.
        self._said: dict[tuple[str, str, str], list[tuple[int, bool, str]]] = {}

    async def reach(self, start: int, end: int, read: Callable[[int], AsyncIterator[Sequence[Any]]]) -> None:
        """Know all from `start` to `end`, and not much before; `read` reads from an offset to `end`."""
        if not self._start <= start <= self._end or start - self._start > _MOST_AHEAD:
            self._start = self._end = start
            self._said.clear()
        async for messages in read(self._end):
            for message in messages:
                self._add(message)
                self._end = message.offset + 1
        self._end = max(self._end, end)

    def reversed(self, partner: str, start: int, notice: WrittenNotice) -> bool:
        """Does one from `start` on take back what a notice asks?"""
        said = self._said.get((partner, notice.subject, notice.purpose), ())
        resumes, rank = notice.action == Action.RESUME, notice.rank or ""
        return any(at >= start and other is not resumes and later > rank for at, other, later in said)

    def _add(self, message: Any) -> None:
        # What is no pack was set aside when it was its turn.
        with contextlib.suppress(Undecodable):
            pack = read_pack(message.value, message.headers)
            for notice in pack.notices if pack.again is None else ():
                about = (pack.partner, notice.subject, notice.purpose)
                word = (message.offset, notice.action == Action.RESUME, notice.rank or "")
                self._said.setdefault(about, []).append(word)
