"""A Faust table whose states lie on disk, and whose changelog is the topic that it follows from.

**The design.** Faust repeats every change of a table in a changelog topic, and a restart reads all of it. On
the embedded log that is work without need: log and table lie on the same disk, and the topic whose events
change the table (its *source*) is durable, ordered, and says everything that the changelog would. So here a
change is written once, into a file (`StateFile`), and in the same transaction stands how far into the source
the states reach. A restart opens the file, and is done.

**When it is written.** Changes wait in memory until Faust commits the source's offsets, twice a second; right
before, all of them go to disk in one transaction, in a thread. Until then an agent reads its own changes from
memory. Several changes of one key in between cost one.

**Why recovery is exact.** Let C be the source offset that is committed in the log, and S what the file holds:
the effect of everything below S, perhaps of some more.

- An agent makes what it decides durable before it changes the table (`agents.deciding.decide`). So whatever
  the file holds, the decisions behind it are in the log: a file is never ahead of them.
- The file is written before the commit, so after SIGKILL at any moment C <= S. From C on everything comes
  again, under the same ids: what is in the file already changes and causes nothing, the rest is decided as
  it would have been. Wherever the kill falls (before the decisions are durable; between them and the change
  in memory; before, within or after the file's transaction; before the commit), one of the two holds.
- A power cut may cost the file its last transactions (it is not synced at each), and somebody may delete it or
  put an older copy in its place. Then S < C. Before streams start, the agent takes what lies between again,
  for the table alone (`retake`): what it decided then is durable, since C was committed after it.
- A file that is ahead of its log (S lies beyond the end, or another record stands there) belongs to another
  log: its states know decisions that this log does not have. It is refused.

**What else was measured.** The state in the log's own file, in the transactions of its writer, would need none
of this. But then changes of random keys, a page of 4 KiB each, go through the one thread and the one WAL that
every append waits for. RocksDB (rocksdict) writes a random change in 2 us, reads it in 11 to 23; SQLite, in
batches as here, 15 and 5 (10 million keys, two cores). The sum is the same, and it is no dependency.

Measured (two cores, others at work): 1 million states were ready after 57 s and took 416 MB as a changelog in
memory; here 10 million are ready with the service, which takes 105 MB. The consent agent takes 8,500 toggles a
second instead of 2,300, since no change is sent through Faust; the table alone takes 50,000. To take again runs
at some 20,000 a second.

What retention removes from the source cannot be taken again. From then on a file that is deleted comes back
as far as the log reaches.

On Kafka a worker may lose its disk, hence there a table keeps Faust's changelog; `retake` is not needed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from faust.tables.table import Table
from faust.types import TP

from streams.embedded.states import Reach, StateFile
from streams.embedded.store import LogStore
from streams.embedded.waiting import Store
from streams.errors import NotStored
from streams.records import TopicPartition
from streams.workarounds import PromptTableManager

#: Records of the source that are taken again at once.
_RETAKEN = 2_000

#: Take messages of the source again, for their effect on the table alone.
Retake = Callable[[Sequence[Any]], Awaitable[None]]


class SourcedTable(Table):
    """A table without a changelog; see above. Keys and values are UTF-8 text, as bytes. Raises
    `StorageUnusable` for a file that is ahead of the log."""

    def __init__(
        self, app: Any, *, name: str, source: str, file: StateFile, log: LogStore, retake: Retake, **kwargs: Any
    ) -> None:
        super().__init__(app, name=name, key_type=bytes, value_type=bytes, **kwargs)
        self._source = source
        self._file = file
        self._log_store = log
        self._retake = retake
        for partition in range(log.partitions(source) or 0):
            self._refuse_ahead(TopicPartition(source, partition))

    def _new_store(self) -> Any:
        return Store(
            f"states://{self._file.path}", self.app, self, file=self._file, key_type=bytes, value_type=bytes,
            key_serializer="raw", value_serializer="raw",
        )  # fmt: skip

    async def load(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The values of those keys that there are, off the event loop."""
        found: dict[bytes, bytes] = await self.data.load(keys)
        return found

    async def before_commit(self, offsets: Mapping[TP, int]) -> None:
        """The agent has done with the source below these offsets: store what came of it."""
        mine = {tp.partition: at for tp, at in offsets.items() if tp.topic == self._source}
        if mine:
            await self.data.flush(await self._reaches(mine))

    # -- where Faust would use the changelog

    async def on_start(self) -> None:
        await self.add_runtime_dependency(self.data)

    def on_key_set(self, key: bytes, value: bytes) -> None:
        self._sensor_on_set(self, key, value)

    def on_key_del(self, key: bytes) -> None:
        self._sensor_on_del(self, key)

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Make the states as new as the commits, before the streams begin. Whatever this raises stops the app."""
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)
        committed = await self._log_store.committed(self.app.conf.id)
        for tp in sorted(newly_assigned):
            if tp.topic == self._source:
                await self._catch_up(TopicPartition(*tp), committed.get(TopicPartition(*tp), 0))

    async def _catch_up(self, tp: TopicPartition, committed: int) -> None:
        reach = self._file.reach(tp.partition)
        start = earliest = await self._log_store.earliest(tp)
        if reach is not None:
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
        while start < committed:
            start = await self._take_again(tp, start, committed)

    async def _take_again(self, tp: TopicPartition, start: int, end: int) -> int:
        (rows,) = await self._log_store.fetch([(tp, start, min(_RETAKEN, end - start))])
        if not rows:
            return end
        await self._retake([self.app.consumer._to_message(TP(*tp), row) for row in rows])
        reach = Reach(rows[-1].offset + 1, rows[-1].timestamp)
        await self.data.flush({tp.partition: reach})
        return reach.next

    def _refuse_ahead(self, tp: TopicPartition) -> None:
        """A file that knows more than its log would hide what it decided elsewhere."""
        reach = self._file.reach(tp.partition)
        if reach is not None and reach.next > self._log_store.end(tp):
            raise self._file.unusable(f"is ahead of the log at {tp.topic}[{tp.partition}]@{reach.next}")

    async def _refuse_foreign(self, tp: TopicPartition, reach: Reach) -> None:
        """The same of a file that knows something else, where that can still be told."""
        now = (await self._reaches({tp.partition: reach.next}))[tp.partition]
        if None not in (reach.stamp, now.stamp) and reach != now:
            raise self._file.unusable("belongs to another log")

    async def _reaches(self, offsets: Mapping[int, int]) -> dict[int, Reach]:
        """Offsets of the source with their stamps, where the record right below is still there."""
        wanted = [(TopicPartition(self._source, partition), at - 1, 1) for partition, at in offsets.items()]
        found = await self._log_store.fetch(wanted)
        return {
            partition: Reach(at, rows[0].timestamp if rows and rows[0].offset == at - 1 else None)
            for (partition, at), rows in zip(offsets.items(), found, strict=True)
        }


class Tables(PromptTableManager):
    """Faust's, with room for tables without a changelog."""

    def add(self, table: Any) -> Any:
        if not isinstance(table, SourcedTable):
            return super().add(table)
        self[table.name] = table
        # Faust makes a changelog's channel for every table that has none in here.
        self._channels[table] = None
        return table

    async def before_commit(self, offsets: Mapping[TP, int]) -> bool:
        """Store what every table owes to the source below these offsets, which are about to be committed.
        False if it could not be, because the app stops: then they must not be."""
        try:
            for table in self.values():
                if isinstance(table, SourcedTable):
                    await table.before_commit(offsets)
        except NotStored as error:
            self.log.warning("offsets are not committed: %s", error)
            return False
        return True
