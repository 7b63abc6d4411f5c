"""Steps of an app as Kafka's transactions: what a step appends and what it commits become visible together, or never.

**Who may commit.** The transactional id is `<group>:<topic>:<partition>` of the partition that the step goes through.
Whoever begins a producer under such an id shuts out ("fences") the one before, and ends what it left open. So the new
holder of a partition begins its producer before anybody asks what is committed (`Steps.ready`): nothing of the former
holder can be committed from then on. But a worker that was taken for dead, and does not know it yet, must not step any
more by beginning yet another. So a producer counts only if the worker was a member of its group *in the generation of
its assignment* after the producer had begun: the next holder begins its own later than that, and shuts this one out.
The rightful holder that was shut out by such a worker begins another, and goes on.

**What is committed.** Of a partition that is held so, every commit goes by this producer, also that of the app itself,
which passes over the marks that transactions leave, and over what caused nothing. So no commit is overtaken by an older
one that was under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from aiokafka.errors import KafkaError, ProducerFenced, TransactionalIdAuthorizationFailed
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import TopicPartition as KafkaTP

from streams.errors import LogUnavailable, Overtaken
from streams.kafka.transactions import Transactions
from streams.records import Commit, Position, Record, TopicPartition

#: Seconds that a step may take; the brokers take back what is open for longer than `transactions.TIMEOUT_MS`.
_STEPPING = 8.0
#: Seconds that a producer may take to begin, and until the first one of an assignment is tried again.
_BEGINNING, _BEGIN_AGAIN = 15.0, 0.5
#: Seconds that a step which is under way gets when its partition is assigned anew, or goes away.
_RUNNING = 2.0
#: Seconds that all of it gets to end.
_ENDING = 3.0
#: What is committed of a partition of which nothing is.
_NOTHING = Commit(-1)

log = logging.getLogger(__name__)


class Group(Protocol):
    """What steps ask of the group whose partitions they go through."""

    @property
    def name(self) -> str: ...

    async def is_member(self, generation: int) -> bool:
        """Do the brokers count us as a member, in this generation? Raises `KafkaError`."""
        ...

    async def committed(self, tps: Collection[TopicPartition]) -> Mapping[TopicPartition, Commit]:
        """What is committed for good. Raises `KafkaError`."""
        ...

    async def crash(self, error: Exception) -> None:
        """End the app: a person must do something."""
        ...


class _Doubt(NamedTuple):
    """A step that may be committed or not: nobody answered."""

    offset: int
    positions: list[Position]


class _NotOurs(LogUnavailable):
    """The partition is somebody else's by now."""


class Hold:
    """A partition, from one assignment to the next."""

    def __init__(self, steps: Steps, tp: TopicPartition, generation: int, before: Hold | None) -> None:
        self.generation = generation
        self.known = _NOTHING
        self._steps = steps
        self._group = steps.group
        self._tp = tp
        self._id = f"{steps.group.name}:{tp.topic}:{tp.partition}"
        self._transactions: Transactions | None = None
        self._doubt: _Doubt | None = None
        self._over = False
        self._stepped = False
        self._lock = asyncio.Lock()
        self.ready = asyncio.ensure_future(self._begin_first(before))

    def rested(self) -> bool:
        """Has no step been made since this was asked before, and is none under way?"""
        stepped, self._stepped = self._stepped, False
        return not stepped and not self._lock.locked()

    async def step(self, records: Sequence[Record], commit: Commit) -> list[Position]:
        """Raises `LogUnavailable`: repeat it."""
        async with self._lock:
            await asyncio.wait([self.ready])
            if self._over:
                raise _NotOurs(f"{self._named} was assigned anew")
            try:
                async with asyncio.timeout(_STEPPING):
                    return await self._step(records, commit)
            except ProducerFenced:
                raise LogUnavailable(f"{self._named} may be somebody else's by now") from None
            except (KafkaError, TimeoutError) as error:
                reason = error if str(error) else "no answer"
                raise LogUnavailable(f"Kafka did not take a step through {self._named}: {reason}") from None

    async def end(self) -> None:
        """A step that is under way gets a little time. Then none is, and none will be."""
        self._over = True
        self.ready.cancel()
        try:
            async with asyncio.timeout(_RUNNING), self._lock:
                pass
        except TimeoutError:
            log.warning("a step through %s is given up", self._named)
        self._leave()

    @property
    def _named(self) -> str:
        return f"{self._tp.topic}[{self._tp.partition}]"

    async def _step(self, records: Sequence[Record], commit: Commit) -> list[Position]:
        transactions = self._transactions or await self._begin()
        if self._doubt is not None:
            doubt = self._doubt
            await self.look()
            self._doubt = None
            if doubt.offset == commit.offset <= self.known.offset:
                return doubt.positions
        forward = commit.offset >= self.known.offset
        if not records and commit.offset <= self.known.offset and not commit.note:
            return []
        try:
            offsets = {KafkaTP(*self._tp): OffsetAndMetadata(*commit)} if forward else {}
            done = await transactions.run(
                records, self._group.name, offsets, lambda told: self._may_be_done(commit.offset, told)
            )
        except BaseException:
            # Also where this is cancelled: nobody knows how far it came.
            self._leave()
            raise
        self._doubt = None
        self._stepped = bool(records)
        self.known = commit if forward else self.known
        return done

    def _may_be_done(self, offset: int, positions: list[Position]) -> None:
        self._doubt = _Doubt(offset, positions)

    async def look(self) -> None:
        """See what is committed. Raises `KafkaError`."""
        self.known = (await self._group.committed([self._tp])).get(self._tp, _NOTHING)

    async def _begin_first(self, before: Hold | None) -> None:
        if before is not None:
            await before.end()
        while True:
            try:
                await self._begin()
                return await self.look()
            except _NotOurs:
                # The next assignment ends this.
                await asyncio.Event().wait()
            except TransactionalIdAuthorizationFailed:
                refusal = f"we may not use the transactional id {self._id} (operations Describe and Write)"
                await self._group.crash(LogUnavailable(refusal))
                await asyncio.Event().wait()
            except (KafkaError, TimeoutError) as error:
                log.warning("steps through %s cannot begin yet: %s", self._named, error if str(error) else "no answer")
            await asyncio.sleep(_BEGIN_AGAIN)

    async def _begin(self) -> Transactions:
        await self._must_be_member()  # else we would shut out the rightful holder for a moment
        fresh = Transactions(self._steps.common, self._id)
        try:
            async with asyncio.timeout(_BEGINNING):
                await fresh.start()
            await self._must_be_member()
        except BaseException:
            self._steps.soon(fresh.stop())
            raise
        self._transactions = fresh
        return fresh

    async def _must_be_member(self) -> None:
        if not await self._group.is_member(self.generation):
            raise _NotOurs(f"{self._named} is somebody else's by now")

    def _leave(self) -> None:
        if self._transactions is not None:
            self._steps.soon(self._transactions.stop())
            self._transactions = None


class Steps:
    """Those of one app."""

    def __init__(self, group: Group, common: Mapping[str, Any]) -> None:
        self.group = group
        self.common = common
        self.topics: set[str] = set()
        self._holds: dict[TopicPartition, Hold] = {}
        self._later: set[asyncio.Task[None]] = set()
        self._stopped = False

    def assigned(self, tps: Iterable[TopicPartition], generation: int) -> None:
        """Of these partitions those of our topics are ours from now on, and no others; `ready` tells when."""
        before, self._holds = self._holds, {}
        for tp in tps:
            if tp.topic in self.topics and not self._stopped:
                self._holds[tp] = Hold(self, tp, generation, before.pop(tp, None))
        for gone in before.values():
            self.soon(gone.end())

    async def ready(self, tps: Iterable[TopicPartition]) -> None:
        """Return when nothing of former holders of these can be committed any more."""
        wanted = list(tps)
        while left := [hold for tp in wanted if (hold := self._holds.get(tp)) is not None and not hold.ready.done()]:
            await asyncio.wait([hold.ready for hold in left])
            for hold in left:
                if hold.ready.done() and not hold.ready.cancelled():
                    hold.ready.result()

    async def step(
        self, records: Sequence[Record], tp: TopicPartition, commit: Commit, generation: int | None
    ) -> list[Position]:
        """`generation` is that in which the partition was read. Raises `LogUnavailable` and `Overtaken`."""
        hold = self._holds.get(tp)
        if generation is not None and (hold is None or generation != hold.generation):
            raise Overtaken(f"{tp.topic}[{tp.partition}] was assigned anew since")
        if hold is None:
            raise _NotOurs(f"{tp.topic}[{tp.partition}] is somebody else's by now")
        return await hold.step(records, commit)

    def known(self, tp: TopicPartition) -> Commit | None:
        """What is committed, as far as we know; None of a partition that is not held."""
        hold = self._holds.get(tp)
        return None if hold is None else hold.known

    async def advance(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Commit what needed no step, since it caused no record; where steps are being made, they commit it. False if
        not all of it worked: ask again later."""
        due = [
            hold.step([], Commit(at))
            for tp, at in offsets.items()
            if (hold := self._holds.get(tp)) is not None and at > hold.known.offset and hold.rested()
        ]
        failed = [each for each in await asyncio.gather(*due, return_exceptions=True) if isinstance(each, Exception)]
        for error in failed:
            if not isinstance(error, LogUnavailable):
                raise error
            log.warning("offsets are not committed yet: %s", error)
        return not failed

    def soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that nobody waits for, until all ends."""
        task = asyncio.ensure_future(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def stop(self) -> None:
        """In bounded time."""
        self._stopped = True
        self.assigned((), -1)
        deadline = asyncio.get_running_loop().time() + _ENDING
        while self._later:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                log.warning("Kafka did not take leave of all producers within %.0f s", _ENDING)
                for task in self._later:
                    task.cancel()
                return
            await asyncio.wait(self._later, timeout=left)
