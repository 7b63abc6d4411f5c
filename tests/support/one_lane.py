"""One partner with one lane, in held time: the real consent, fan-out, lane, courier, retries, reminders and ledger over
a log in memory, without Faust, so that hundreds of histories can be tried. A worker may die at any step of the log,
and another one takes over from what is durable."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cryptography.fernet import Fernet

from agents.attempts import Attempts
from agents.consent import States, take
from agents.consuming import or_crash
from agents.deadlines import Deadlines
from agents.delivery import Courier
from agents.directory import Directory
from agents.lanes import Lane
from agents.packing import pack
from agents.poison import Received
from agents.remembering import table_key
from agents.retries import Retries
from agents.retrying import Backoff
from agents.webhooks import Answer, Payload, body_of
from ledger import Entry, Ledger
from streams.cloudevents import Envelope, decode
from streams.events import ConsentToggled, Data, NoticesIssued, PartnerRegistered
from streams.kinds import Choice
from streams.records import Commit, Message, Position, Record, TopicPartition, record
from streams.sealing import Sealer
from streams.topics import ALL, DECISIONS, NOTICES, PARTNERS, TOGGLES
from streams.written import WrittenNotice
from tests.support.held_time import HeldClock, HeldTimeLoop

LANE = TopicPartition(NOTICES.name, 0)
GROUP = "rescind"
Says = Callable[[Sequence[WrittenNotice]], Answer]


class MemoryLog:
    """Everything stands in one partition of its topic, and the ledger has it at once."""

    def __init__(self, clock: HeldClock, ledger: Ledger) -> None:
        self._clock = clock
        self._ledger = ledger
        self.messages: dict[TopicPartition, list[Message]] = {}
        self.committed: dict[TopicPartition, Commit] = {}
        #: Called with each message.
        self.followers: list[Callable[[Message], None]] = []
        #: The worker dies before the step after so many others is durable, or right behind that.
        self.dies: tuple[str, int] | None = None

    def put(self, records: Sequence[Record]) -> list[Position]:
        positions, entries, fresh = [], [], []
        for item in records:
            tp = TopicPartition(item.topic, 0)
            known = self.messages.setdefault(tp, [])
            now = self._clock()
            message = Message(*tp, len(known), now.timestamp(), item.headers, item.key, item.value)
            known.append(message)
            fresh.append(message)
            positions.append(Position(*tp, message.offset))
            entries.append(Entry(*tp, message.offset, now, decode(item.value, item.headers)))
        self._ledger.apply(entries)
        for message in fresh:
            for follower in list(self.followers):
                follower(message)
        return positions

    def happened(self, topic: str, identity: str, data: Data) -> None:
        self.put([record(topic, Envelope(identity, self._clock(), data), 0)])

    def events(self, topic: str) -> list[Envelope]:
        found = self.messages.get(TopicPartition(topic, 0), [])
        return [decode(each.value, each.headers) for each in found]

    # -- as agents see it

    async def append(self, records: Sequence[Record]) -> list[Position]:
        await asyncio.sleep(0)
        return self.put(records)

    async def step(
        self, app: Any, records: Sequence[Record], commits: Mapping[TopicPartition, Commit], *, once: bool = True
    ) -> list[Position]:
        await asyncio.sleep(0)
        how, left = self.dies or ("", 0)
        self.dies = (how, left - 1) if left > 0 else self.dies
        if how == "before" and left <= 0:
            await self._die()
        positions = self.put(records)
        self.committed |= commits
        if how == "behind" and left <= 0:
            await self._die()
        return positions

    async def _die(self) -> None:
        await asyncio.Event().wait()

    async def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        tp = TopicPartition(topic, 0)
        return {tp: len(self.messages.get(tp, []))}

    async def partitions(self, topic: str) -> int:
        return next(spec.partitions for spec in ALL if spec.name == topic)

    async def read(self, tp: TopicPartition, start: int, end: int) -> AsyncIterator[Sequence[Message]]:
        yield self.messages.get(tp, [])[start:end]


class _Stream:
    """As Faust gives one to an agent, as far as a lane looks."""

    def __init__(self) -> None:
        self.channel = SimpleNamespace(queue=asyncio.Queue[Any]())

    def put(self, message: Message) -> None:
        if (message.topic, message.partition) == LANE:
            fields = {**message._asdict(), "tp": LANE}
            self.channel.queue.put_nowait(SimpleNamespace(message=SimpleNamespace(**fields), ack=lambda: None))


class _App:
    """What agents are told of Faust's app."""

    conf = SimpleNamespace(id=GROUP)
    crashed = False

    async def crash(self, error: BaseException) -> None:
        raise error


class _Slow:
    """An `Appender` before which something may happen."""

    def __init__(self, lane: OneLane) -> None:
        self._lane = lane
        self.end_offsets, self.partitions = lane.log.end_offsets, lane.log.partitions

    async def append(self, records: Sequence[Record]) -> list[Position]:
        meanwhile, self._lane.meanwhile = self._lane.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return await self._lane.log.append(records)


class Endpoint:
    """A `Sender` that answers as `says` says; what came is told to `came`."""

    def __init__(self, says: Says) -> None:
        self.says = says
        self._payloads: dict[bytes, tuple[WrittenNotice, ...]] = {}

    def payload(self, notices: Sequence[WrittenNotice], *, single: bool, gzip: bool) -> Payload:
        body, media_type = body_of(notices, single=single)
        self._payloads[body] = tuple(notices)
        return Payload(body, media_type, gzip)

    async def send(self, url: str, secrets: Sequence[str], webhook_id: str, payload: Payload, now: datetime) -> Answer:
        await asyncio.sleep(0)
        return self.says(self._payloads[payload.body])


class OneLane:
    """`start` it, and `stop` it."""

    def __init__(self, loop: HeldTimeLoop, start: datetime, path: Path, says: Says, **fields: Any) -> None:
        self.loop = loop
        self.clock = HeldClock(loop, start)
        self.ledger = Ledger.open(path)
        self.log = MemoryLog(self.clock, self.ledger)
        self.endpoint = Endpoint(says)
        self._sealer = Sealer(Fernet.generate_key().decode())
        self._fields = fields
        self._states: States = {}
        self._worker: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        #: Happens between the next look for parked notices and what it writes.
        self.meanwhile: Callable[[], object] | None = None
        self._retries = Retries(_Slow(self), self.ledger, self.clock)
        self._deadlines = Deadlines(
            self.log,
            self.ledger,
            self.clock,
            lambda: f"d{next(self._numbers)}",
            None,  # type: ignore[arg-type]
        )

    async def start(self) -> None:
        secrets = [{"scheme": "v1", "sealed": self._sealer.seal("secret")}]
        now = self.clock()
        fixed = {"id": "p", "name": "P", "url": "https://p.example/", "purposes": ("ai",), "lane": 0}
        whom = fixed | {"secrets": secrets, "created_at": now, "updated_at": now, "linger_ms": 0} | self._fields
        self.log.happened(PARTNERS.name, "registered", PartnerRegistered.model_validate(whom))
        await self._begin()

    async def stop(self) -> None:
        await self._end()
        self.ledger.close()

    # -- what happens

    def chosen(self, choices: Sequence[tuple[str, Choice]]) -> list[str]:
        """Users choose; notices stand in the lane. The ids of the toggles."""
        names, partner = [], self.ledger.partner("p")
        assert partner is not None
        toggles = []
        for subject, choice in choices:
            number = next(self._numbers)
            names.append(f"t{number}")
            data = ConsentToggled(
                subject=subject, purpose="ai", choice=choice, occurred_at=self.clock(), version=number
            )
            self.log.happened(TOGGLES.name, names[-1], data)
            toggles.append(Received(Envelope(names[-1], self.clock(), data), TOGGLES.name, 0, number, self.clock()))
        known = {key: self._states[key] for subject, _ in choices if (key := table_key(subject, "ai")) in self._states}
        changes, decisions = take(known, toggles)
        self._states |= changes
        self.log.put([record(DECISIONS.name, each, 0) for each in decisions])
        self.log.put([record(NOTICES.name, each, 0) for each in pack(decisions, [partner])])
        return names

    async def dies(self, how: str, steps: int, seconds: float) -> None:
        """The worker dies at the step of the log after so many others, or after so many seconds, and another one takes
        over."""
        self.log.dies = how, steps
        self.loop.jump(seconds)
        await self.settled()
        self.log.dies = None
        await self._end()
        await self._begin()
        await self.settled()

    async def settled(self) -> None:
        await self.loop.settled(0.05)

    async def passed(self, seconds: float) -> None:
        self.loop.jump(seconds)
        await self.settled()
        await self._retries.look()
        await self.settled()
        await self._deadlines.look()
        await self.settled()

    # -- inside

    async def _begin(self) -> None:
        directory = Directory(self.log)
        for message in self.log.messages[TopicPartition(PARTNERS.name, 0)]:
            directory.take([message], message.offset + 1)
        stream = _Stream()
        self.log.followers = [
            stream.put,
            lambda message: directory.take([message], message.offset + 1) if message.topic == PARTNERS.name else None,
        ]
        attempts = Attempts(self.log, directory, self.endpoint, self._sealer, self.clock, Backoff())
        courier = Courier(attempts)
        commits = dict(self.log.committed)
        start = commits[LANE].offset if LANE in commits else 0
        ends = await self.log.end_offsets(NOTICES.name)
        for message in self.log.messages.get(LANE, [])[start:]:
            stream.put(message)
        app: Any = _App()
        lane = Lane(app, stream, self.log, self.clock, courier, commits, ends)  # type: ignore[arg-type]
        self._worker = asyncio.create_task(self._work(app, lane, stream.channel.queue))

    async def _work(self, app: Any, lane: Lane, queue: asyncio.Queue[Any]) -> None:
        try:
            while True:
                event = await queue.get()
                await or_crash(app, event.message, lane.take(event))
        finally:
            lane.cancel()

    async def _end(self) -> None:
        assert self._worker is not None
        if self._worker.done():
            self._worker.result()
        self._worker.cancel()
        await asyncio.wait([self._worker])


def first_issues(log: MemoryLog) -> list[Any]:
    """Notices in the order in which they were issued first."""
    packs = [event.data for event in log.events(NOTICES.name)]
    return [
        notice for data in packs if isinstance(data, NoticesIssued) and data.again is None for notice in data.notices
    ]
