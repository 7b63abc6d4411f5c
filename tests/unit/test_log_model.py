"""The embedded log against a model in memory: any sequence of appends, reads, commits, upkeep and crashes."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streams.embedded.maintenance import Upkeep
from streams.embedded.store import LogStore, pack_headers, unpack_headers
from streams.partitioning import partition_of
from streams.records import Record, TopicPartition
from streams.topics import TopicSpec

names = st.sampled_from(["a", "b", "c"])
blobs = st.none() | st.binary(max_size=8)
keys = st.none() | st.sampled_from([b"", b"k", b"l", b"m"])
headers = st.lists(st.tuples(st.sampled_from(["x", "y"]), st.binary(max_size=4)), max_size=3).map(tuple)
wishes = st.lists(st.tuples(names, st.integers(0, 2) | st.none(), keys, blobs, headers), max_size=6)

#: The one topic that is compacted, and so long that no tombstone is forgotten.
COMPACTED, FOR_EVER = "c", 1e12


class LogMachine(RuleBasedStateMachine):
    """What is in memory is true; the log must agree with it, before and after every crash."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.opened: list[LogStore] = []
        self.topics: dict[str, int] = {}
        #: By offset, of each partition; and the next offset, and the log start.
        self.records: dict[TopicPartition, dict[int, Record]] = {}
        self.ends: dict[TopicPartition, int] = {}
        self.starts: dict[TopicPartition, int] = {}
        self.commits: dict[str, dict[TopicPartition, int]] = {}
        self.crash()

    @rule()
    def crash(self) -> None:
        """The former store is left as it is, as a killed process leaves it."""
        self.opened.append(LogStore(Path(self.directory.name) / "log.sqlite"))

    @property
    def store(self) -> LogStore:
        return self.opened[-1]

    @rule(name=names, partitions=st.integers(1, 3))
    def add_topic_or_partitions(self, name: str, partitions: int) -> None:
        self.store.create_topics([TopicSpec(name, partitions, "compact" if name == COMPACTED else "delete")])
        count = self.topics[name] = max(partitions, self.topics.get(name, 0))
        assert self.store.partitions(name) == count
        for number in range(count):
            tp = TopicPartition(name, number)
            self.records.setdefault(tp, {})
            self.ends.setdefault(tp, 0)
            self.starts.setdefault(tp, 0)

    @precondition(lambda self: self.topics)
    @rule(wanted=wishes)
    def produce(
        self, wanted: Sequence[tuple[str, int | None, bytes | None, bytes | None, tuple[tuple[str, bytes]]]]
    ) -> None:
        known = sorted(self.topics)
        batch = []
        for name, partition, key, value, pairs in wanted:
            topic = known["abc".index(name) % len(known)]
            number = None if partition is None else partition % self.topics[topic]
            batch.append(Record(topic, key, value, number, pairs))
        positions = asyncio.run(self.store.append(batch))
        for record, position in zip(batch, positions, strict=True):
            tp = TopicPartition(position.topic, position.partition)
            if record.partition is not None:
                assert position.partition == record.partition
            elif record.key is not None:
                assert position.partition == partition_of(record.key, self.topics[record.topic])
            assert position.offset == self.ends[tp]
            self.records[tp][position.offset] = record
            self.ends[tp] += 1

    @precondition(lambda self: self.topics)
    @rule(data=st.data())
    def fetch(self, data: st.DataObject) -> None:
        tp = data.draw(st.sampled_from(sorted(self.records)))
        start = data.draw(st.integers(0, self.ends[tp] + 1))
        limit = data.draw(st.integers(1, 5))
        ((*found,),) = asyncio.run(self.store.fetch([(tp, start, limit)]))
        expected = [(offset, record) for offset, record in sorted(self.records[tp].items()) if offset >= start][:limit]
        assert [(row.offset, row.key, row.value, tuple(unpack_headers(row.headers))) for row in found] == [
            (offset, record.key, record.value, record.headers) for offset, record in expected
        ]

    @precondition(lambda self: self.topics)
    @rule(group=st.sampled_from(["g", "h"]), data=st.data())
    def commit(self, group: str, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(sorted(self.records)), unique=True))
        offsets = {tp: data.draw(st.integers(0, self.ends[tp])) for tp in chosen}
        asyncio.run(self.store.commit(group, offsets))
        self.commits.setdefault(group, {}).update(offsets)

    def floor(self, tp: TopicPartition) -> int:
        """The lowest offset that a group wants of those that have committed anywhere on the topic."""
        wanted = [
            commits.get(tp, 0)
            for commits in self.commits.values()
            if any(committed.topic == tp.topic for committed in commits)
        ]
        return min([self.ends[tp], *wanted])

    def upkeep(self, **spec: float | int | None) -> None:
        specs = {name: TopicSpec(name, 1, tombstone_retention=FOR_EVER, **spec) for name in "abc"}  # type: ignore[arg-type]
        upkeep = Upkeep(self.store, specs, lambda: round(time.time() * 1000) + 3_600_000, dirty=lambda _: 1)
        upkeep.round()
        upkeep.stop()
        for tp in self.records:
            if tp.topic == COMPACTED:
                self.compact(tp)

    @rule()
    def compact_all(self) -> None:
        self.upkeep()

    @rule()
    def retain_nothing_old(self) -> None:
        self.upkeep(retention=60.0)
        for tp in self.records:
            if tp.topic != COMPACTED:
                self.retire(tp, self.ends[tp])

    @rule(limit=st.integers(0, 200))
    def retain_so_many_bytes(self, limit: int) -> None:
        self.upkeep(retention_bytes=limit)
        for tp, records in self.records.items():
            if tp.topic != COMPACTED:
                surplus = sum(map(weight, records.values())) - limit
                upto = self.starts[tp]
                for offset in sorted(records):
                    if surplus <= 0:
                        break
                    surplus -= weight(records[offset])
                    upto = offset + 1
                self.retire(tp, upto)

    def retire(self, tp: TopicPartition, upto: int) -> None:
        upto = min(upto, self.floor(tp))
        gone = [offset for offset in self.records[tp] if offset < upto]
        for offset in gone:
            del self.records[tp][offset]
        if gone:
            self.starts[tp] = upto

    def compact(self, tp: TopicPartition) -> None:
        bound = self.floor(tp)
        newest = {record.key: offset for offset, record in sorted(self.records[tp].items()) if offset < bound}
        for offset, record in list(self.records[tp].items()):
            if record.key is not None and offset < newest.get(record.key, 0):
                del self.records[tp][offset]

    @invariant()
    def agrees(self) -> None:
        for tp, records in self.records.items():
            assert self.store.end(tp) == self.ends[tp]
            assert self.store.start(tp) == self.starts[tp]
            assert asyncio.run(self.store.earliest(tp)) == min(records, default=self.ends[tp])
        for group in ("g", "h"):
            assert asyncio.run(self.store.committed(group)) == self.commits.get(group, {})

    def teardown(self) -> None:
        for store in self.opened:
            store.release()
        self.directory.cleanup()


def weight(record: Record) -> int:
    """As `retention_bytes` counts."""
    return 24 + len(record.value or b"") + len(record.key or b"") + len(pack_headers(record.headers) or b"")


TestLog = LogMachine.TestCase
TestLog.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
