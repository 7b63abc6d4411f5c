"""Upkeep of the log: what goes and what must stay, in small steps, and that the disk gets its space back."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streams.embedded import compaction, maintenance, retention
from streams.embedded.holding import HeldBack
from streams.embedded.log import EmbeddedLog
from streams.embedded.maintenance import Upkeep
from streams.embedded.store import LogStore
from streams.errors import LogUnavailable
from streams.records import Record, TopicPartition
from streams.topics import ALL, DEADLINES, DISCLOSURES, FOR_EVER, TOGGLES, TopicSpec, kept_for

HOUR, DAY = 3_600.0, 86_400.0
AGED = TopicSpec("aged", 2, retention=HOUR)
SIZED = TopicSpec("sized", 1, retention_bytes=50_000)
FOREVER = TopicSpec("forever", 1)
KEYED = TopicSpec("keyed", 1, "compact")
SPECS = (AGED, SIZED, FOREVER, KEYED)
TP = TopicPartition("aged", 0)
KEYED_TP = TopicPartition("keyed", 0)


class Kept:
    """A log with its upkeep, whose clock the test sets."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.later = 0.0
        self.open()

    def open(self) -> None:
        self.store = LogStore.shared(self.path)
        self.store.create_topics(SPECS)
        specs = {spec.name: spec for spec in SPECS}
        self.upkeep = Upkeep(self.store, specs, lambda: round((time.time() + self.later) * 1000), lambda _: 1)

    def reopen(self) -> None:
        self.close()
        self.open()

    def close(self) -> None:
        self.upkeep.stop()
        self.store.release()

    def append(self, topic: str, *pairs: tuple[bytes | None, bytes | None], partition: int = 0) -> list[int]:
        records = [Record(topic, key, value, partition) for key, value in pairs]
        return [position.offset for position in asyncio.run(self.store.append(records))]

    def fill(self, topic: str, number: int, size: int = 100, partition: int = 0) -> None:
        self.append(topic, *[(None, bytes(size))] * number, partition=partition)

    def commit(self, group: str, offset: int, tp: TopicPartition = TP) -> None:
        asyncio.run(self.store.commit(group, {tp: offset}))

    def round(self, later: float = 0.0) -> None:
        """A round as of `later` seconds from now."""
        self.later = later
        self.upkeep.round()

    def offsets(self, tp: TopicPartition) -> list[int]:
        return [row.offset for row in asyncio.run(self.store.fetch([(tp, 0, 1_000_000)]))[0]]

    def bounds(self, tp: TopicPartition) -> tuple[int, int, int]:
        """Log start, earliest and end."""
        return self.store.start(tp), asyncio.run(self.store.earliest(tp)), self.store.end(tp)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path / "log.sqlite")
    yield made
    made.close()


# -- retention


def test_what_is_too_old_goes_and_nothing_else(kept: Kept) -> None:
    kept.fill("aged", 1_200)
    kept.fill("aged", 3, partition=1)
    kept.fill("forever", 3)
    kept.round(later=HOUR - 60)
    assert kept.bounds(TP) == (0, 0, 1_200)
    kept.round(later=HOUR + 60)
    assert kept.bounds(TP) == (1_200, 1_200, 1_200)
    assert kept.bounds(TopicPartition("aged", 1)) == (3, 3, 3)
    assert kept.bounds(TopicPartition("forever", 0)) == (0, 0, 3)


def test_an_emptied_partition_never_begins_at_zero_again(kept: Kept) -> None:
    kept.fill("aged", 7)
    kept.round(later=DAY)
    kept.reopen()
    assert kept.bounds(TP) == (7, 7, 7)
    kept.round(later=DAY)
    assert kept.append("aged", (None, b"next")) == [7]
    kept.reopen()
    assert kept.bounds(TP) == (7, 7, 8)
    assert kept.offsets(TP) == [7]


def test_what_is_too_much_goes_from_the_front(kept: Kept) -> None:
    tp = TopicPartition("sized", 0)
    kept.fill("sized", 2_000, size=1_000)
    kept.round()
    start, earliest, end = kept.bounds(tp)
    assert start == earliest
    assert end == 2_000
    assert 40_000 < (end - start) * 1_024 <= 50_000
    # Counted on from here, also by an upkeep that begins anew.
    for reopened in (False, True):
        if reopened:
            kept.reopen()
        kept.fill("sized", 10, size=1_000)
        kept.round()
        before, (start, _, end) = start, kept.bounds(tp)
        assert start == before + 10
    kept.append("sized", (None, bytes(200_000)))
    kept.round()
    assert kept.offsets(tp) == [], "one record that is too much all by itself"


def test_nothing_goes_before_every_group_has_committed_past_it(kept: Kept) -> None:
    kept.fill("aged", 10)
    kept.commit("quick", 10)
    kept.commit("slow", 4)
    kept.round(later=DAY)
    assert kept.bounds(TP)[0] == 4
    (held,) = kept.upkeep.held
    assert (held.topic, held.partition, held.group, held.committed, held.records) == ("aged", 0, "slow", 4, 6)
    assert abs(held.oldest / 1000 - time.time()) < 60
    kept.commit("slow", 9)
    kept.round(later=DAY)
    assert kept.bounds(TP)[0] == 9
    kept.commit("slow", 10)
    kept.round(later=DAY)
    assert kept.bounds(TP) == (10, 10, 10)
    assert kept.upkeep.held == ()


def test_a_partition_waits_for_a_group_that_has_committed_elsewhere_or_only_reads(kept: Kept) -> None:
    """A lane whose partner has never answered: nothing of it is committed, and all of it is wanted."""
    kept.fill("aged", 5)
    kept.fill("aged", 5, partition=1)
    kept.commit("couriers", 5, TopicPartition("aged", 1))
    kept.round(later=DAY)
    assert kept.bounds(TP) == (0, 0, 5)
    assert kept.bounds(TopicPartition("aged", 1)) == (5, 5, 5)
    kept.commit("couriers", 5)
    asyncio.run(kept.store.subscribe("new", ["aged"]))
    kept.round(later=DAY)
    assert kept.bounds(TP) == (0, 0, 5)
    assert [(held.group, held.records) for held in kept.upkeep.held] == [("new", 5)]
    kept.store.forget_group("new")
    kept.round(later=DAY)
    assert kept.bounds(TP) == (5, 5, 5)


def test_a_group_that_comes_while_a_round_runs_finds_what_was_there(kept: Kept) -> None:
    kept.fill("aged", 2_000)
    kept.later = DAY
    steps = kept.upkeep.steps()
    next(steps)
    at = kept.bounds(TP)[0]
    assert 0 < at <= retention.STEP_ROWS
    asyncio.run(kept.store.subscribe("new", ["aged"]))
    for _ in steps:
        pass
    assert kept.bounds(TP)[0] == at
    assert kept.offsets(TP) == list(range(at, 2_000))


def test_a_step_is_small_in_rows_and_in_bytes(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.fill("aged", 3_000)
    kept.append("aged", *[(None, bytes(300_000))] * 20)
    for number in range(3):
        kept.append("keyed", *[(b"%d" % n, b"%d" % number) for n in range(1_500)])
    changed: list[int] = []
    write = kept.store.write

    def counting(function: Any) -> int:
        def counted(connection: sqlite3.Connection) -> int:
            before = connection.total_changes
            answer: int = function(connection)
            changed.append(connection.total_changes - before)
            return answer

        return write(counted)

    monkeypatch.setattr(kept.store, "write", counting)
    kept.round(later=DAY)
    assert kept.offsets(TP) == []
    assert len(kept.offsets(KEYED_TP)) == 1_500
    assert max(changed) <= max(retention.STEP_ROWS + 1, compaction.STEP_DROP)
    # Big records go a few at a time.
    assert len([number for number in changed if 1 < number <= 6]) >= 4


def test_the_disk_gets_its_space_back(kept: Kept) -> None:
    kept.fill("aged", 5_000, size=2_000)
    kept.fill("forever", 100)

    def size() -> int:
        kept.store._writer.call(lambda _: None).result(5)
        with contextlib.closing(sqlite3.connect(kept.path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return kept.path.stat().st_size

    full = size()
    assert full > 10_000_000
    kept.round(later=DAY)
    assert size() < 2_000_000
    assert kept.offsets(TopicPartition("forever", 0)) == list(range(100))


def test_appends_go_on_beside_a_long_round(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.fill("aged", 20_000)
    kept.later = DAY
    kept.commit("g", 20_000)
    worst = number = steps = 0
    retire = kept.store.retire

    def counted(tp: int, upto: int) -> int:
        nonlocal steps
        steps += 1
        return retire(tp, upto)

    monkeypatch.setattr(kept.store, "retire", counted)
    rounds = threading.Thread(target=kept.upkeep.round)
    rounds.start()
    while rounds.is_alive():
        before = steps
        assert kept.append("forever", (None, b"v")) == [number]
        worst = max(worst, steps - before)
        number += 1
    assert kept.bounds(TP) == (20_000, 20_000, 20_000)
    assert number > 10
    # In steps, and not in seconds: the machine may stand still.
    assert worst < steps / 3, "the round held the writer"


# -- compaction


def test_the_newest_of_every_key_stays_in_its_place(kept: Kept) -> None:
    kept.append("keyed", (b"a", b"1"), (b"b", b"1"), (None, b"no key"), (b"a", b"2"), (b"c", b"1"), (b"b", b"2"))
    kept.round()
    assert kept.offsets(KEYED_TP) == [2, 3, 4, 5]
    assert kept.bounds(KEYED_TP) == (0, 2, 6)
    kept.append("keyed", (b"c", b"2"), (b"a", b"3"))
    kept.round()
    assert kept.offsets(KEYED_TP) == [2, 5, 6, 7]
    kept.reopen()
    assert kept.bounds(KEYED_TP) == (0, 2, 8)


def test_a_tombstone_wipes_out_at_once_and_goes_later(kept: Kept) -> None:
    kept.append("keyed", (b"a", b"1"), (b"b", b"1"), (b"a", None), (b"c", b"1"))
    kept.round()
    assert kept.offsets(KEYED_TP) == [1, 2, 3]
    kept.round(later=DAY - 60)
    assert kept.offsets(KEYED_TP) == [1, 2, 3]
    kept.round(later=DAY + 60)
    assert kept.offsets(KEYED_TP) == [1, 3]
    # One that comes after the first round waits as long after its own.
    kept.append("keyed", (b"b", None), (b"d", b"1"))
    kept.round(later=DAY + 120)
    assert kept.offsets(KEYED_TP) == [3, 4, 5]
    kept.round(later=2 * DAY + 90)
    kept.round(later=3 * DAY + 300)
    assert kept.offsets(KEYED_TP) == [3, 5]


def test_the_last_record_stays_whatever_it_is(kept: Kept) -> None:
    """Whoever follows a table waits for the record before the end."""
    kept.append("keyed", (b"a", b"1"), (b"a", None))
    for days in range(5):
        kept.round(later=days * DAY)
    assert kept.offsets(KEYED_TP) == [1]
    assert kept.bounds(KEYED_TP) == (0, 1, 2)


def test_compaction_waits_for_groups_too(kept: Kept) -> None:
    kept.append("keyed", (b"a", b"1"), (b"a", b"2"), (b"a", b"3"), (b"a", b"4"))
    kept.commit("g", 2, KEYED_TP)
    kept.round()
    assert kept.offsets(KEYED_TP) == [1, 2, 3]
    kept.commit("g", 4, KEYED_TP)
    kept.round()
    assert kept.offsets(KEYED_TP) == [3]


def test_a_pass_is_made_only_when_enough_is_new(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "log.sqlite")
    kept.upkeep._dirty = compaction.worthwhile
    kept.append("keyed", *[(b"0", b"1")] * (compaction.MIN_DIRTY - 1))
    kept.round()
    assert len(kept.offsets(KEYED_TP)) == compaction.MIN_DIRTY - 1
    kept.append("keyed", (b"0", b"2"))
    kept.round()
    assert kept.offsets(KEYED_TP) == [compaction.MIN_DIRTY - 1]
    assert compaction.worthwhile(10_000) == 10_000, "half of what is walked over is new"
    kept.close()


def test_any_sequence_compacts_to_what_a_table_would_hold(kept: Kept) -> None:
    chance = random.Random(3)
    table: dict[bytes, tuple[int, bytes | None]] = {}
    end = 0
    for _ in range(12):
        for _ in range(chance.randrange(400)):
            key = b"%d" % chance.randrange(60)
            value = None if chance.random() < 0.2 else b"%d" % end
            kept.append("keyed", (key, value)) if end % 50 == 0 else None
            if end % 50:
                kept.store.append_nowait([(KEYED_TP, Record("keyed", key, value))])
            table[key] = (end, value)
            end += 1
        kept.append("keyed", (b"tail", b"%d" % end))
        table[b"tail"] = (end, b"%d" % end)
        end += 1
        kept.round()
        found = {row.offset: (row.key, row.value) for row in asyncio.run(kept.store.fetch([(KEYED_TP, 0, 9_999)]))[0]}
        assert found == {offset: (key, value) for key, (offset, value) in table.items()}


# -- the whole log


async def test_a_log_keeps_for_ever_by_default_and_says_what_it_holds_back(tmp_path: Path) -> None:
    assert all(spec.retention is None and spec.retention_bytes is None for spec in ALL)
    assert {spec.retention for spec in kept_for(ALL, 5.0)} == {5.0, None}
    assert FOR_EVER == (TOGGLES, DEADLINES, DISCLOSURES)
    assert all(spec.retention is None for spec in kept_for(ALL, 5.0) if spec.cleanup == "compact" or spec in FOR_EVER)
    log = EmbeddedLog(f"sqlite://{tmp_path}/log.sqlite")
    assert log.held_back() == ()
    log.begin_upkeep(3600.0)
    assert log.held_back() == ()
    assert log.start_offset(TopicPartition("rescind.toggles", 0)) == 0
    log.close()


def test_it_runs_beside_the_log_outlives_an_error_and_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(maintenance, "_ROUND", 0.01)
    log = EmbeddedLog(f"sqlite://{tmp_path}/log.sqlite")
    tp = TopicPartition("rescind.deliveries", 0)
    asyncio.run(log.append([Record(tp.topic, None, b"v", 0)] * 5))
    asyncio.run(log._store.commit("g", {tp: 3}))
    retire = log._store.retire
    failures = [LogUnavailable("no room yet")]

    def fail_once(at: int, upto: int) -> int:
        if failures:
            raise failures.pop()
        return retire(at, upto)

    monkeypatch.setattr(log._store, "retire", fail_once)
    log.begin_upkeep(0.0)
    deadline = time.monotonic() + 10
    while not log.held_back():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (held,) = log.held_back()
    assert replace(held, oldest=0) == HeldBack(tp.topic, 0, "g", 3, 2, 0)
    assert log.held_records() == {tp.topic: 2}
    assert log.start_offset(tp) == 3
    assert "no room yet" in caplog.text
    log.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "log-upkeep"]
