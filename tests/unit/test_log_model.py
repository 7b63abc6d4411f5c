"""The embedded log against a model in memory: any sequence of appends, reads, commits and crashes."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streams.embedded.store import LogStore, unpack_headers
from streams.partitioning import partition_of
from streams.records import Record, TopicPartition
from streams.topics import TopicSpec

names = st.sampled_from(["a", "b", "c"])
blobs = st.none() | st.binary(max_size=8)
headers = st.lists(st.tuples(st.sampled_from(["x", "y"]), st.binary(max_size=4)), max_size=3).map(tuple)
wishes = st.lists(st.tuples(names, st.integers(0, 2) | st.none(), blobs, blobs, headers), max_size=6)


class LogMachine(RuleBasedStateMachine):
    """What is in memory is true; the log must agree with it, before and after every crash."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.opened: list[LogStore] = []
        self.topics: dict[str, int] = {}
        self.records: dict[TopicPartition, list[Record]] = {}
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
    def add_topic(self, name: str, partitions: int) -> None:
        self.store.create_topics([TopicSpec(name, partitions)])
        count = self.topics.setdefault(name, partitions)
        assert self.store.partitions(name) == count
        for number in range(count):
            self.records.setdefault(TopicPartition(name, number), [])

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
            assert position.offset == len(self.records[tp])
            self.records[tp].append(record)

    @precondition(lambda self: self.topics)
    @rule(data=st.data())
    def fetch(self, data: st.DataObject) -> None:
        tp = data.draw(st.sampled_from(sorted(self.records)))
        start = data.draw(st.integers(0, len(self.records[tp]) + 1))
        limit = data.draw(st.integers(1, 5))
        ((*found,),) = asyncio.run(self.store.fetch([(tp, start, limit)]))
        expected = self.records[tp][start : start + limit]
        assert [row.offset for row in found] == list(range(start, start + len(expected)))
        assert [(row.key, row.value, tuple(unpack_headers(row.headers))) for row in found] == [
            (record.key, record.value, record.headers) for record in expected
        ]

    @precondition(lambda self: self.topics)
    @rule(group=st.sampled_from(["g", "h"]), data=st.data())
    def commit(self, group: str, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(sorted(self.records)), unique=True))
        offsets = {tp: data.draw(st.integers(0, len(self.records[tp]))) for tp in chosen}
        asyncio.run(self.store.commit(group, offsets))
        self.commits.setdefault(group, {}).update(offsets)

    @invariant()
    def agrees(self) -> None:
        for tp, records in self.records.items():
            assert self.store.end(tp) == len(records)
        for group in ("g", "h"):
            assert asyncio.run(self.store.committed(group)) == self.commits.get(group, {})

    def teardown(self) -> None:
        for store in self.opened:
            store.release()
        self.directory.cleanup()


TestLog = LogMachine.TestCase
TestLog.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
