"""A lane through whole histories, in time that passes at once: a partner that answers as it likes, workers that die
between any two steps, parked notices that are tried again, and a receiver that knows nothing of ranks.

The model beside it knows only what was issued, what the receiver heard, and what is on the log.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.fernet import Fernet

from agents.attempts import Attempts
from agents.delivery import Courier
from agents.directory import Directory
from agents.faults import Fault
from agents.lanes import Lane
from agents.retrying import Attempt, Backoff
from agents.webhooks import Answer, Payload
from streams.cloudevents import Envelope, decode
from streams.events import (
    Actor,
    Again,
    BatchDelivered,
    Notice,
    NoticeParked,
    NoticesIssued,
    NoticesSuperseded,
    NoticeUndeliverable,
    PartnerStatus,
    PartnerTried,
)
from streams.kinds import Action, Choice
from streams.ranks import rank_of
from streams.records import Commit, Message, Position, Record, TopicPartition, record
from streams.sealing import Sealer
from streams.topics import DELIVERIES, NOTICES, PARTNERS, UNDELIVERABLE
from tests.unit.fakes import NOON, OK, message, notice, partner

LANE = TopicPartition(NOTICES.name, 0)
BY = Actor(key="k", role="operator")
REFUSED = Answer(Attempt(422, "HTTP 422"), 1.0)
ERROR = Answer(Attempt(500, "HTTP 500"), 1.0)
BUSY = Answer(Attempt(503, "HTTP 503", "30"), 1.0)
AWAY = Answer(Attempt(None, "connection refused", fault=Fault.CONNECT), 1.0)
SILENT = Answer(Attempt(None, "no answer in time", fault=Fault.TIMEOUT), 1.0, dialled=True)
GONE = Answer(Attempt(410, "HTTP 410"), 1.0)


# -- time that passes at once


class Leaping(selectors.DefaultSelector):
    """Waits for nothing: time leaps to where something happens."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("everybody waits, for ever")
        self.now += max(1e-6, timeout)  # nothing is done in no time
        return super().select(0)


class LeapingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._leaping = Leaping()
        super().__init__(self._leaping)

    def time(self) -> float:
        return self._leaping.now


# -- the world


@dataclass(slots=True)
class Event:
    message: Message
    ack: Callable[[], None] = lambda: None


class App:
    crashed = False

    def __init__(self) -> None:
        self.error: BaseException | None = None

    async def crash(self, error: BaseException) -> None:
        self.crashed, self.error = True, error


class Stream:
    def __init__(self) -> None:
        self.channel = self
        self.queue: asyncio.Queue[Event] = asyncio.Queue()


class Life:
    """Of one worker. What it does after its death comes to nothing."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.died = asyncio.Event()

    async def breathe(self) -> None:
        """Die here, or not."""
        self.left -= 1
        if self.left < 0:
            self.died.set()
        if self.died.is_set():
            await asyncio.Event().wait()


def stored(offset: int, headers: Any, key: bytes | None, value: bytes | None) -> Any:
    """A message of the lane, as Faust gives it."""
    return SimpleNamespace(
        tp=LANE, topic=LANE.topic, partition=0, offset=offset, timestamp=0.0, headers=headers, key=key, value=value
    )


@dataclass
class World:
    """All that outlives a worker."""

    dice: random.Random
    lane: list[Message] = field(default_factory=list)
    told: list[Any] = field(default_factory=list)
    partners: list[Record] = field(default_factory=list)
    commit: Commit = field(default_factory=lambda: Commit(0))
    says: Callable[[Sequence[str]], Answer] = lambda ids: OK
    #: What was first heard, and first taken, in order.
    heard: list[str] = field(default_factory=list)
    took: list[str] = field(default_factory=list)
    requests: int = 0
    issued: dict[str, Notice] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    directory: Directory = field(init=False)
    buffer: Stream | None = None
    life: Life | None = None
    revision: int = 0
    fields: dict[str, Any] = field(default_factory=dict)
    #: Ids that are on the log as left out.
    left_out: set[str] = field(default_factory=set)
    #: Are events on the log before the commit that goes with them, where a crash may come in between?
    torn: bool = False

    # the log

    def append_lane(self, data: NoticesIssued | None) -> None:
        offset = len(self.lane)
        if data is None:
            put = stored(offset, [], None, b"{")
        else:
            item = record(NOTICES.name, Envelope(f"pack-{offset}", NOON, data), partition=0)
            put = stored(offset, item.headers, item.key, item.value)
        self.lane.append(put)
        if self.buffer is not None:
            self.buffer.queue.put_nowait(Event(put))

    def keep(self, records: Sequence[Record]) -> None:
        for item in records:
            data = decode(item.value, item.headers).data
            if item.topic == PARTNERS.name:
                self.partners.append(item)
                self.directory.take([message(item, len(self.partners) - 1)], len(self.partners))
            elif item.topic in (DELIVERIES.name, UNDELIVERABLE.name):
                self.told.append(data)
                if isinstance(data, NoticesSuperseded):
                    self.left_out.update(data.superseded)

    def change(self, **fields: Any) -> None:
        self.revision += 1
        self.fields |= fields
        whom = partner("p", **(self.fields | {"revision": self.revision}))
        self.keep([record(PARTNERS.name, Envelope(f"p-{self.revision}", NOON, whom))])

    def now(self) -> datetime:
        return NOON + timedelta(seconds=asyncio.get_running_loop().time())

    # what is issued

    def say(self, *said: tuple[int, Action]) -> None:
        """A pack: of each the subject's number and what is asked."""
        notices = []
        for subject, action in said:
            number = len(self.issued)
            choice = Choice.OPT_IN if action is Action.RESUME else Choice.OPT_OUT
            rank = rank_of(number, NOON, choice, retroactive=action is Action.ERASE)
            made = notice(number, action).model_copy(update={"subject": f"user:{subject}", "rank": rank})
            self.issued[made.id] = made
            notices.append(made)
        self.append_lane(NoticesIssued(partner="p", lane=0, notices=tuple(notices)))

    def try_parked(self, looked: int | None = None) -> int:
        """As the retries agent does, which has read the lane up to `looked`."""
        checked = len(self.lane) if looked is None else looked
        closed = {each for data in self.told for each in ended(data, self.lane)}
        open_ = {data.notice_id: data for data in self.told if isinstance(data, NoticeParked)}
        again = {each.id for message_ in self.lane for each in issued_again(message_)}
        count = 0
        for identity, data in open_.items():
            parkings = sum(isinstance(each, NoticeParked) and each.notice_id == identity for each in self.told)
            if identity in closed or self.tries.get(identity, 0) >= parkings or data.retry_at > self.now():
                continue
            mine = self.issued[identity]
            if any(opposite(other, mine) for at in self.lane[:checked] for other in issued_first(at)):
                self.reversed.add(identity)
                continue
            self.tries[identity] = parkings
            pack = NoticesIssued(
                partner="p", lane=0, notices=(mine,), again=Again(how="retry", by=BY), checked=checked,
                failing=data.failing,
            )  # fmt: skip
            self.append_lane(pack)
            count += 1
        assert again <= self.tries.keys()
        return count

    tries: dict[str, int] = field(default_factory=dict)
    #: Parked, and closed by a later choice.
    reversed: set[str] = field(default_factory=set)

    # the receiver

    def hear(self, ids: Sequence[str]) -> None:
        self.requests += 1
        for identity in ids:
            if identity in self.left_out and not self.torn:
                self.broken.append(f"{identity} was left out, and is sent")
            if identity not in self.heard:
                mine = self.issued[identity]
                newer = [
                    each
                    for each in self.heard
                    if about(self.issued[each]) == about(mine) and newer_than(self.issued[each], mine)
                ]
                if newer:
                    self.broken.append(f"{identity} is first sent after {newer}")
                self.heard.append(identity)

    def take(self, ids: Sequence[str]) -> None:
        self.took += [each for each in ids if each not in self.took]


def about(one: Notice) -> tuple[str, str]:
    return one.subject, one.purpose


def newer_than(one: Notice, other: Notice) -> bool:
    return (one.rank or "") > (other.rank or "")


def opposite(later: Notice, earlier: Notice) -> bool:
    turned = (later.action is Action.RESUME) is not (earlier.action is Action.RESUME)
    return about(later) == about(earlier) and turned and newer_than(later, earlier)


def _pack(at: Message) -> NoticesIssued | None:
    if at.value == b"{":
        return None
    data = decode(at.value, at.headers).data
    assert isinstance(data, NoticesIssued)
    return data


def issued_first(at: Message) -> Sequence[Notice]:
    pack = _pack(at)
    return pack.notices if pack is not None and pack.again is None else ()


def issued_again(at: Message) -> Sequence[Notice]:
    pack = _pack(at)
    return pack.notices if pack is not None and pack.again is not None else ()


def ended(data: Any, lane: Sequence[Message]) -> Collection[str]:
    match data:
        case BatchDelivered():
            packs = [_pack(at) for at in lane[data.first_offset : data.last_offset + 1]]
            every = {each.id for pack in packs if pack is not None for each in pack.notices}
            return every - set(data.undelivered)
        case NoticesSuperseded():
            return data.superseded
        case NoticeUndeliverable():
            return (data.notice_id,)
    return ()


class Desk:
    """The log, as one worker sees it."""

    def __init__(self, world: World, life: Life) -> None:
        self._world = world
        self._life = life

    async def append(self, records: Sequence[Record]) -> list[Position]:
        await self._life.breathe()
        self._world.keep(records)
        await self._life.breathe()
        return [Position(item.topic, 0, 0) for item in records]

    async def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        world = self._world
        return {TopicPartition(topic, 0): len(world.partners if topic == PARTNERS.name else world.lane)}

    async def partitions(self, topic: str) -> int:
        return 1

    async def step(
        self, app: Any, records: Sequence[Record], commits: Mapping[TopicPartition, Commit], *, once: bool = True
    ) -> list[Position]:
        await self._life.breathe()
        self._world.keep(records)
        if self._world.torn:
            await self._life.breathe()
        (commit,) = commits.values()
        if commit.offset >= self._world.commit.offset:
            self._world.commit = commit
        await self._life.breathe()
        return []

    async def read(self, tp: TopicPartition, start: int, end: int) -> AsyncIterator[Sequence[Message]]:
        for at in range(start, end):
            await self._life.breathe()
            yield [self._world.lane[at]]


class Endpoint:
    """The partner's, as one worker reaches it."""

    def __init__(self, world: World, life: Life) -> None:
        self._world = world
        self._life = life

    def payload(self, notices: Sequence[Any], *, single: bool, gzip: bool) -> Payload:
        return Payload(",".join(each.id for each in notices).encode(), "text/plain", gzip)

    async def send(self, url: str, secrets: Sequence[str], webhook_id: str, payload: Payload, now: Any) -> Answer:
        ids = payload.body.decode().split(",")
        await self._life.breathe()
        self._world.hear(ids)
        await asyncio.sleep(0.01)
        answer = self._world.says(ids)
        if answer.attempt.accepted or (answer is SILENT and self._world.dice.random() < 0.5):
            self._world.take(ids)
        await self._life.breathe()
        return answer


async def work(world: World, life: Life, sealer: Sealer) -> None:
    """A worker's life with the lane."""
    app, stream, desk = App(), Stream(), Desk(world, life)
    world.buffer, world.life = stream, life
    for at in world.lane[world.commit.offset :]:
        stream.queue.put_nowait(Event(at))
    backoff = Backoff(base=1.0, cap=600.0)
    courier = Courier(Attempts(desk, world.directory, Endpoint(world, life), sealer, world.now, backoff))
    lane = Lane(app, stream, desk, world.now, courier, {LANE: world.commit}, {LANE: len(world.lane)})  # type: ignore[arg-type]
    try:
        while True:
            await lane.take(await stream.queue.get())
            if app.error is not None:
                raise app.error
    finally:
        lane.cancel()
        world.buffer = None


async def until(world: World, sealer: Sealer, done: Callable[[], bool], lives: int, most: float) -> bool:
    """Work until then, with so many deaths, and so many seconds at most. Was it in time?"""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + most
    while True:
        life = Life(world.dice.choice([2, 5, 12, 30, 80]) if lives > 0 else 10**9)
        lives -= 1
        worker = asyncio.ensure_future(work(world, life, sealer))
        died = asyncio.ensure_future(life.died.wait())
        while not done() and not died.done() and not worker.done() and loop.time() < deadline:
            left = min(deadline - loop.time(), 1.0 if lives > 0 else 10.0)
            await asyncio.wait([worker, died], timeout=left, return_when=asyncio.FIRST_COMPLETED)
        failed = worker.exception() if worker.done() else None
        life.died.set()
        for each in (worker, died):
            each.cancel()
        await asyncio.wait([worker, died])
        if failed is not None:
            raise failed
        if done():
            return True
        if loop.time() >= deadline:
            return False


def moods(dice: random.Random, world: World) -> Callable[[Sequence[str]], Answer]:
    """One way for an endpoint to be."""
    bad = {each for each in world.issued if dice.random() < 0.3}
    actions = {dice.choice(list(Action))}
    how = dice.choice([REFUSED, ERROR, SILENT])
    always = dice.choice([REFUSED, ERROR, BUSY, AWAY, SILENT, OK])
    answers = [OK, OK, REFUSED, ERROR, BUSY, AWAY, SILENT, GONE]
    return dice.choice(
        [
            lambda ids: OK,
            lambda ids: always,
            lambda ids: how if bad & set(ids) else OK,
            lambda ids: how if actions & {world.issued[each].action for each in ids} else OK,
            lambda ids: how if len(ids) > 1 else OK,
            lambda ids: world.dice.choice(answers),
        ]
    )


async def act(world: World, dice: random.Random) -> None:
    """Something happens."""
    match dice.randrange(14):
        case 0 | 1 | 2 | 3:
            size = dice.choice([1, 1, 1, 2, 5])
            world.say(*((dice.randrange(4), dice.choice(list(Action))) for _ in range(size)))
        case 4 | 5:
            world.says = moods(dice, world)
        case 6:
            looked = dice.randint(0, len(world.lane))
            for _ in range(dice.randrange(3)):
                world.say((dice.randrange(4), dice.choice(list(Action))))
            world.try_parked(max(looked, 0) if dice.random() < 0.3 else None)
        case 7:
            world.append_lane(None)
        case 8:
            world.change(batch_size=dice.choice([1, 2, 3, 10]))
        case 9:
            world.change(max_body_bytes=dice.choice([1024, 100_000]))
        case 10:
            world.change(url=f"https://p{dice.randrange(3)}.example/hook")
        case 13:
            world.change(max_requests_per_second=dice.choice([None, 0.5, 20.0]), max_in_flight=dice.choice([None, 1]))
        case 12:
            world.keep([record(PARTNERS.name, Envelope("tried", NOON, PartnerTried(partner="p", tried_at=NOON)))])
        case 11:
            world.change(status=dice.choice([PartnerStatus.PAUSED, PartnerStatus.ACTIVE]))


async def acts(world: World, dice: random.Random) -> None:
    """Many things happen, while workers live and die."""
    for _ in range(dice.randrange(4, 60)):
        for _ in range(dice.choice([1, 1, 3, 8])):
            await act(world, dice)
        await asyncio.sleep(dice.choice([0.0, 0.003, 0.02, 0.5, 5.0, 1000.0]))


async def history(seed: int, *, torn: bool = False) -> World:
    dice = random.Random(seed)
    world = World(dice, torn=torn)
    sealer = Sealer(Fernet.generate_key().decode())

    class Partners:
        async def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
            return {TopicPartition(PARTNERS.name, 0): len(world.partners)}

    world.directory = Directory(Partners())  # type: ignore[arg-type]
    world.change(batch_size=dice.choice([1, 2, 4, 10]), secrets=[{"scheme": "v1", "sealed": sealer.seal("secret")}])
    acting = asyncio.ensure_future(acts(world, dice))
    await until(world, sealer, acting.done, dice.choice([0, 1, 3, 10, 100]), 1e6)
    await acting
    # Only some are bad from here on, and somebody else comes: the lane goes on.
    world.change(status=PartnerStatus.ACTIVE)
    bad = {each for each in world.issued if dice.random() < 0.3}
    how = dice.choice([REFUSED, ERROR, SILENT])
    world.says = lambda ids: how if bad & set(ids) else OK
    for arrival in range(40):
        world.say((100 + arrival, Action.ERASE))
        if await until(world, sealer, lambda: world.commit.offset >= len(world.lane), 1, 5000.0):
            break
    else:
        raise AssertionError("the lane stands still")
    # In the end everything is well, and what was parked is tried again.
    world.says = lambda ids: OK
    for _ in range(5):
        await until(world, sealer, lambda: False, 0, 7200.0)
        world.try_parked()
    assert await until(world, sealer, lambda: world.commit.offset >= len(world.lane), 0, 1e5), "the lane stands still"
    return world


def check(world: World) -> None:
    assert world.broken == []
    ends = {each for data in world.told for each in ended(data, world.lane)} | world.reversed
    assert sorted(world.issued.keys() - ends) == [], "nobody knows what became of these"
    for subject in {each.subject for each in world.issued.values()}:
        mine = [each for each in world.issued.values() if each.subject == subject]
        newest = max(mine, key=lambda each: each.rank or "")
        took = [each for each in world.took if world.issued[each].subject == subject]
        undeliverable = {each.notice_id for each in world.told if isinstance(each, NoticeUndeliverable)}
        if newest.id in undeliverable:
            continue
        assert newest.id in took, "the last word never came"
        last = world.issued[took[-1]]
        assert (last.action is Action.RESUME) is (newest.action is Action.RESUME), "the partner ends with the opposite"


def run(seed: int, *, torn: bool = False) -> World:
    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        return runner.run(history(seed, torn=torn))


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("torn", [False, True])
def test_whatever_happens_nobody_is_turned_around_and_nothing_is_lost(seed: int, torn: bool) -> None:
    check(run(seed, torn=torn))
