"""A Faust table whose states lie on disk, and whose changelog is the topic that it follows from.

**The design.** Faust repeats every change of a table in a changelog topic, and a restart reads all of it. That is
work without need: the topic whose events
change the table (its *source*) is durable, ordered, and says everything that the changelog would. So here a
change is written once, into a file (`StateFile`), and in the same transaction stands how far into the source
the states reach. A restart opens the file, and is done.

**When it is written.** Changes wait in memory until Faust commits the source's offsets, twice a second; right
before, all of them go to disk in one transaction, in a thread. Until then an agent reads its own changes from
memory. Several changes of one key in between cost one.

**Why recovery is exact.** Let C be the source offset that is committed in the log, and S what the file holds:
the effect of everything below S, perhaps of some more.

- An agent makes what it decides durable before it changes the table (`agents.deciding.decide`), and commits the
  source in the same step (`Log.step`). So whatever the file holds, the decisions behind it are in the log: a file is
  never ahead of them.
- C < S where nothing was decided, or somebody was killed before such toggles were committed. From C on everything
  comes again, under the same ids: what is in the file already changes and causes nothing.
- S < C where somebody was killed after a step and before the file's transaction, where a power cut cost the file its
  last transactions (it is not synced at each), or where somebody deleted it or put an older copy in its place. Before
  it decides anything, the agent takes what lies between again, for the table alone (`retake`): what was decided there
  is durable, since it was appended no later than C was committed.
- A file that is ahead of its log (S lies beyond the end, or another record stands there) belongs to another
  log: its states know decisions that this log does not have. It is refused.

**What else was measured.** The state in the log's own file, in the transactions of its writer, would need none
of this. But then changes of random keys, a page of 4 KiB each, go through the one thread and the one WAL that
every append waits for. RocksDB (rocksdict) writes a random change in 2 us, reads it in 11 to 23; SQLite, in
batches as here, 15 and 5 (10 million keys, two cores). The sum is the same, and it is no dependency.

Measured (two cores, others at work): 1 million states were ready after 57 s and took 416 MB as a changelog in
memory; here 10 million are ready with the service, which takes 105 MB. The consent agent took 8,500 toggles a
second instead of 2,300, since no change is sent through Faust, and takes 15,000 since all else about it is cheaper
too; the table alone takes 50,000. To take again runs at some 30,000 a second.

What retention removes from the source cannot be taken again. From then on a file that is deleted comes back
as far as the log reaches.

**On Kafka** a partition comes and goes with every rebalance, and a worker may lose its disk. The file stays as
it was when the partition went; when it comes back, or a worker meets it for the first time, what others committed
meanwhile is taken again in the same way. Each partition waits for its own states only: lanes and other
partitions go on. A changelog would be fewer records to read (the newest of each key), but it is written twice, and
a worker that was thought dead could put an old state behind a new one; toggles it can only repeat.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from faust.tables.table import Table
from faust.types import TP

from streams.errors import LogUnavailable, NotStored
from streams.records import Message, TopicPartition
from streams.states import Reach, StateFile
from streams.waiting import Store
from streams.workarounds import PromptTableManager

#: Seconds until a log that did not answer is asked again.
_RETRY = 1.0

#: Take messages of the source again, for their effect on the table alone.
Retake = Callable[[Sequence[Message]], Awaitable[None]]


class Source(Protocol):
    """What a table asks of the log that it follows from."""

    async def committed(self, group: str, tp: TopicPartition) -> int:
        """The offset that a group wants next; 0 if it has committed nothing."""
        ...

    async def bounds(self, tp: TopicPartition) -> tuple[int, int]:
        """The lowest offset still there, and the one that the next record will get."""
        ...

    def read(self, tp: TopicPartition, start: int, end: int) -> AsyncIterator[Sequence[Message]]:
        """What is there from `start` to below `end`, in order, some at a time."""
        ...

    async def stamps(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int | None]:
        """For each partition a number that another log would not have below this offset; None if nobody
        knows any more."""
        ...


@dataclass(frozen=True, slots=True)
class Turn:
    """A partition's time with this process, from one rebalance to the next."""

    caught_up: asyncio.Future[None]


class SourcedTable(Table):
    """A table without a changelog; see above. Keys and values are UTF-8 text, as bytes. A file that belongs to
    another log, or is ahead of its own, crashes the app with `StorageUnusable`."""

    def __init__(
        self, app: Any, *, name: str, topic: str, file: StateFile, source: Source, retake: Retake, **kwargs: Any
    ) -> None:
        super().__init__(app, name=name, key_type=bytes, value_type=bytes, **kwargs)
        self._topic = topic
        self._file = file
        self._follows = source
        self._retake = retake
        self._turns: dict[int, Turn] = {}
        self._rebalanced = asyncio.Event()

    def _new_store(self) -> Any:
        return Store(
            f"states://{self._file.path}", self.app, self, file=self._file, key_type=bytes, value_type=bytes,
            key_serializer="raw", value_serializer="raw",
        )  # fmt: skip

    async def load(self, partition: int, keys: Iterable[bytes]) -> tuple[Turn, dict[bytes, bytes]]:
        """The values of those keys that there are, off the event loop, once the partition's states are as new
        as its commits. What comes of them goes back with the turn, to `keep`."""
        turn = await self._turn(partition)
        return turn, await self.peek(keys)

    async def peek(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The same, for whoever takes messages again."""
        found: dict[bytes, bytes] = await self.data.load(keys)
        return found

    def keep(self, partition: int, turn: Turn, changes: Mapping[bytes, bytes]) -> bool:
        """Change the table. False, and nothing is changed, if the turn is over: somebody else may have had the
        partition in between, so all must be decided anew."""
        if self._turns.get(partition) is not turn:
            return False
        self.put(changes)
        return True

    def put(self, changes: Mapping[bytes, bytes]) -> None:
        """The same, for whoever takes messages again."""
        self.data.put(changes)

    async def before_commit(self, offsets: Mapping[TP, int]) -> None:
        """The agent has done with the source below these offsets: store what came of it."""
        mine = {TopicPartition(*tp): at for tp, at in offsets.items() if tp.topic == self._topic}
        if mine:
            stamps = await self._follows.stamps(mine)
            await self.data.flush({tp.partition: Reach(at, stamps[tp]) for tp, at in mine.items()})

    @property
    def behind(self) -> list[int]:
        """The partitions whose states are not yet as new as their commits."""
        return sorted(partition for partition, turn in self._turns.items() if not turn.caught_up.done())

    # -- where Faust would use the changelog

    async def on_start(self) -> None:
        await self.add_runtime_dependency(self.data)

    async def on_stop(self) -> None:
        self._end_turns()
        await super().on_stop()

    def on_key_set(self, key: bytes, value: bytes) -> None:
        self._sensor_on_set(self, key, value)

    def on_key_del(self, key: bytes) -> None:
        self._sensor_on_del(self, key)

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Begin to make the states as new as the commits, also of partitions that stay here: this process may
        have been taken for dead, and somebody else have had them in between."""
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)
        self._end_turns()
        for tp in sorted(assigned):
            if tp.topic == self._topic:
                catching_up = asyncio.ensure_future(self._catch_up_or_crash(TopicPartition(*tp)))
                self._turns[tp.partition] = Turn(catching_up)
        self._rebalanced.set()
        self._rebalanced = asyncio.Event()

    def _end_turns(self) -> None:
        for turn in self._turns.values():
            turn.caught_up.cancel()
        self._turns = {}

    async def _turn(self, partition: int) -> Turn:
        while True:
            turn = self._turns.get(partition)
            if turn is None:
                await self._rebalanced.wait()
                continue
            await asyncio.wait([turn.caught_up])
            if turn is self._turns.get(partition) and not turn.caught_up.cancelled():
                return turn

    async def _catch_up_or_crash(self, tp: TopicPartition) -> None:
        try:
            await self._catch_up_in_time(tp)
        except Exception as error:  # noqa: BLE001 - whatever it is, the app hears of it
            await self.app.crash(error)
            # Nobody may go on with states like these.
            await asyncio.Event().wait()

    async def _catch_up_in_time(self, tp: TopicPartition) -> None:
        while True:
            try:
                return await self._catch_up(tp)
            except LogUnavailable as error:
                self.log.error("%s; trying again in %.1f s", error, _RETRY)  # noqa: TRY400 - no traceback needed
                await asyncio.sleep(_RETRY)

    async def _catch_up(self, tp: TopicPartition) -> None:
        committed = await self._follows.committed(self.app.conf.id, tp)
        earliest, end = await self._follows.bounds(tp)
        reach = self._file.reach(tp.partition)
        start = earliest
        if reach is not None:
            refuse_ahead(self._file, tp, end)
            await self._refuse_foreign(tp, reach)
            start = reach.next
            if start < min(earliest, committed):
                raise self._file.unusable(
                    f"ends at {tp.topic}[{tp.partition}]@{start}, and the log begins at {earliest}"
                )
        elif earliest and committed:
            self.log.warning("%s: what %s[%d] said before %d is gone", self._file.path, *tp, earliest)
        if start < committed:
            self.log.warning("%s: taking %s[%d] again, from %d to %d", self._file.path, *tp, start, committed)
            async for messages in self._follows.read(tp, start, committed):
                await self._retake(messages)
                await self._reached(tp, messages[-1].offset + 1)
            await self._reached(tp, committed)

    async def _reached(self, tp: TopicPartition, offset: int) -> None:
        stamps = await self._follows.stamps({tp: offset})
        await self.data.flush({tp.partition: Reach(offset, stamps[tp])})

    async def _refuse_foreign(self, tp: TopicPartition, reach: Reach) -> None:
        """A file that knows another log would hide what it decided there, where that can still be told."""
        stamp = (await self._follows.stamps({tp: reach.next}))[tp]
        if None not in (reach.stamp, stamp) and reach.stamp != stamp:
            raise self._file.unusable("belongs to another log")


def refuse_ahead(file: StateFile, tp: TopicPartition, end: int) -> None:
    """A file that knows more than its log would hide what it decided elsewhere. Raises `StorageUnusable`."""
    reach = file.reach(tp.partition)
    if reach is not None and reach.next > end:
        raise file.unusable(f"is ahead of the log at {tp.topic}[{tp.partition}]@{reach.next}")


class Tables(PromptTableManager):
    """Faust's, with room for tables without a changelog."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: What else must be done before a commit.
        self.before: list[Callable[[Mapping[TopicPartition, int]], Awaitable[None]]] = []

    def add(self, table: Any) -> Any:
        if not isinstance(table, SourcedTable):
            return super().add(table)
        self[table.name] = table
        # Faust makes a changelog's channel for every table that has none in here.
        self._channels[table] = None
        return table

    @property
    def behind(self) -> list[str]:
        """The partitions whose states are not yet as new as their commits, as `topic[partition]`."""
        sourced = [table for table in self.values() if isinstance(table, SourcedTable)]
        return [f"{table._topic}[{partition}]" for table in sourced for partition in table.behind]

    async def before_commit(self, offsets: Mapping[TP, int]) -> bool:
        """Store what every table owes to the source below these offsets, which are about to be committed.
        False if it could not be, because the app stops: then they must not be."""
        try:
            for table in self.values():
                if isinstance(table, SourcedTable):
                    await table.before_commit(offsets)
            for work in self.before:
                await work({TopicPartition(*tp): at for tp, at in offsets.items()})
        except NotStored as error:
            self.log.warning("offsets are not committed: %s", error)
            return False
        return True
