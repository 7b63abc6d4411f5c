"""The embedded log's store and its one writer: group commit, failures, crashes, two processes."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from streams.embedded.opening import connect
from streams.embedded.schema import SHIFT
from streams.embedded.store import LogStore, pack_headers, unpack_headers
from streams.embedded.writer import MAX_BATCH, GroupWriter
from streams.errors import LogUnavailable, StorageUnusable
from streams.records import Record, TopicPartition
from streams.topics import TopicSpec

TOPIC = TopicSpec("t", 2)
#: The first partition of the first topic.
TP = 1 << SHIFT
Row = tuple[int, bytes | None, bytes | None, bytes | None]


def rows(number: int, tp: int = TP) -> list[Row]:
    return [(tp, None, b"v", None)] * number


def offsets(done: Future[list[tuple[int, int]]]) -> list[int]:
    return [offset for offset, _ in done.result(5)]


def stored(path: Path, tp: int = TP) -> list[int]:
    """The offsets that another connection sees."""
    with contextlib.closing(sqlite3.connect(path)) as other:
        return [row[0] for row in other.execute("SELECT offset FROM records WHERE tp = ? ORDER BY offset", (tp,))]


class Held:
    """A writer whose thread can be held between two transactions, so that jobs pile up behind it."""

    def __init__(self, path: Path) -> None:
        self.connection = connect(path, writable=True)
        self.connection.execute("INSERT OR IGNORE INTO topics VALUES (1, 't', 2, 'delete')")
        self.notified = 0
        self.ends: dict[int, int] = {}
        self.writer = GroupWriter(self.connection, self.ends, self._on_appended, now_ms=lambda: 42)

    def _on_appended(self) -> None:
        self.notified += 1

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Inside, the writer is busy with another job; on return everything handed in is settled."""
        begun, go = threading.Event(), threading.Event()

        def wait(_: sqlite3.Connection) -> None:
            begun.set()
            go.wait(30)

        blocker = self.writer.call(wait)
        assert begun.wait(30)
        try:
            yield
        finally:
            go.set()
        blocker.result(5)
        with contextlib.suppress(LogUnavailable):
            self.writer.call(lambda _: None).result(5)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    writer = Held(tmp_path / "log.sqlite")
    yield writer
    writer.writer.close()


def test_what_waits_together_is_written_in_one_transaction(held: Held) -> None:
    with held.held():
        before = held.notified
        waiting = [held.writer.append(rows(3)) for _ in range(10)]
    assert [offset for done in waiting for offset in offsets(done)] == list(range(30))
    # The blocker's own, then all ten at once, perhaps with the fixture's last call.
    assert held.notified - before <= 3


def test_a_transaction_is_bounded(held: Held, tmp_path: Path) -> None:
    with held.held():
        before = held.notified
        waiting = [held.writer.append(rows(MAX_BATCH)) for _ in range(3)]
    assert [offsets(done)[0] for done in waiting] == [0, MAX_BATCH, 2 * MAX_BATCH]
    assert held.notified - before >= 4
    assert stored(tmp_path / "log.sqlite") == list(range(3 * MAX_BATCH))


def test_each_hears_of_its_own_offsets_and_time(held: Held) -> None:
    assert held.writer.append([*rows(1), *rows(1, TP + 1), *rows(1)]).result(5) == [(0, 42), (0, 42), (1, 42)]
    assert held.writer.append([]).result(5) == []


def test_a_failed_transaction_fails_exactly_those_who_waited(held: Held, tmp_path: Path) -> None:
    assert offsets(held.writer.append(rows(2))) == [0, 1]
    held.connection.execute(
        "CREATE TEMP TRIGGER refuse BEFORE INSERT ON records WHEN new.value = x'bad0'"
        " BEGIN SELECT RAISE(ABORT, 'refused'); END"
    )
    with held.held():
        together = [held.writer.append([*rows(1), (TP, None, b"\xba\xd0", None)]), held.writer.append(rows(1))]
    for done in together:
        with pytest.raises(LogUnavailable, match="refused"):
            done.result(5)
    assert offsets(held.writer.append(rows(2))) == [2, 3]
    assert stored(tmp_path / "log.sqlite") == [0, 1, 2, 3]


def test_a_full_disk_fails_the_append_and_room_heals_it(held: Held, tmp_path: Path) -> None:
    assert offsets(held.writer.append(rows(1))) == [0]
    pages = held.connection.execute("PRAGMA page_count").fetchone()[0]
    held.writer.call(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()).result(5)
    with pytest.raises(LogUnavailable, match="full"):
        held.writer.append([(TP, None, bytes(100_000), None)]).result(5)
    held.writer.call(lambda connection: connection.execute("PRAGMA max_page_count = 100000").fetchall()).result(5)
    assert offsets(held.writer.append([(TP, None, bytes(100_000), None)])) == [1]
    assert stored(tmp_path / "log.sqlite") == [0, 1]


def test_a_read_only_connection_fails_every_append_and_no_thread(held: Held) -> None:
    held.connection.execute("PRAGMA query_only = ON")
    for _ in range(2):
        with pytest.raises(LogUnavailable, match="readonly"):
            held.writer.append(rows(1)).result(5)
    held.connection.execute("PRAGMA query_only = OFF")
    assert offsets(held.writer.append(rows(1))) == [0]


def test_a_closed_connection_fails_every_append_and_no_thread(tmp_path: Path) -> None:
    held = Held(tmp_path / "log.sqlite")
    held.connection.close()
    for _ in range(2):
        with pytest.raises(LogUnavailable, match="closed"):
            held.writer.append(rows(1)).result(5)
    held.writer.close()


def test_close_writes_what_was_handed_in_and_refuses_what_comes_later(held: Held, tmp_path: Path) -> None:
    with held.held():
        waiting = [held.writer.append(rows(1)) for _ in range(5)]
        closing = threading.Thread(target=held.writer.close)
        closing.start()
    closing.join(30)
    assert [offset for done in waiting for offset in offsets(done)] == list(range(5))
    with pytest.raises(LogUnavailable, match="closed"):
        held.writer.append(rows(1)).result(5)
    assert stored(tmp_path / "log.sqlite") == list(range(5))


def test_a_cancelled_waiter_is_not_written_for_and_stops_nobody(held: Held, tmp_path: Path) -> None:
    with held.held():
        gone, stays = held.writer.append(rows(1)), held.writer.append(rows(1))
        assert gone.cancel()
    assert offsets(stays) == [0]
    assert stored(tmp_path / "log.sqlite") == [0]


def test_a_waiter_cannot_be_cancelled_while_its_records_are_written(held: Held, tmp_path: Path) -> None:
    cancelled: list[bool] = []
    waiting: list[Future[Any]] = []
    with held.held():
        waiting.append(held.writer.append(rows(1)))
        # The same transaction: this runs after the append was applied and before the commit.
        held.writer.call(lambda _: cancelled.append(waiting[0].cancel()))
    assert cancelled == [False]
    assert offsets(waiting[0]) == [0]
    assert offsets(held.writer.append(rows(1))) == [1]


async def test_cancelled_tasks_never_stop_the_writer(tmp_path: Path) -> None:
    store = LogStore.shared(tmp_path / "log.sqlite")
    store.create_topics([TOPIC])
    for delay in range(40):
        task = asyncio.ensure_future(store.append([Record("t", b"k", b"v")]))
        await asyncio.sleep(delay / 20_000)
        task.cancel()
        await asyncio.wait([task])
    (position,) = await asyncio.wait_for(store.append([Record("t", None, b"last", partition=0)]), 30)
    store.release()
    assert stored(tmp_path / "log.sqlite", TP) == list(range(position.offset + 1))


def test_if_the_thread_ends_all_the_same_then_whoever_waits_hears(tmp_path: Path) -> None:
    def broken() -> None:
        raise MemoryError

    connection = connect(tmp_path / "log.sqlite", writable=True)
    writer = GroupWriter(connection, {}, broken)
    ended = threading.Event()
    hook, threading.excepthook = threading.excepthook, lambda _: ended.set()
    try:
        writer.append(rows(1)).result(5)
        assert ended.wait(30)
    finally:
        threading.excepthook = hook
    with pytest.raises(LogUnavailable):
        writer.append(rows(1)).result(5)
    writer.close()


def test_two_processes_share_the_offsets_without_gaps(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    store = LogStore(path)
    store.create_topics([TOPIC])
    child = subprocess.Popen([sys.executable, "-c", _OTHER, str(path)], stdout=subprocess.PIPE)
    mine: list[int] = []
    while child.poll() is None or len(mine) < 50:
        mine += offsets(store.append_nowait([(TopicPartition("t", 0), Record("t", None, b"mine"))]))
    assert child.stdout is not None
    with child.stdout:
        theirs = [int(line) for line in child.stdout]
    assert child.returncode == 0
    store._references = 1
    store.release()
    assert len(theirs) == 200
    assert sorted(mine + theirs) == stored(path) == list(range(len(mine) + 200))


_OTHER = """
import sys
from pathlib import Path
from streams.embedded.store import LogStore
from streams.records import Record, TopicPartition
store = LogStore(Path(sys.argv[1]))
for _ in range(200):
    ((offset, _),) = store.append_nowait([(TopicPartition("t", 0), Record("t", None, b"theirs"))]).result(20)
    print(offset)
"""


async def test_a_store_opens_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    store = LogStore.shared(path)
    store.create_topics([TOPIC, TopicSpec("empty", 1)])
    await store.append([Record("t", None, b"v", partition=number % 2) for number in range(5)])
    await store.commit("g", {TopicPartition("t", 0): 2})
    store.release()

    store = LogStore.shared(path)
    assert await store.end_offsets("t") == {TopicPartition("t", 0): 3, TopicPartition("t", 1): 2}
    assert await store.end_offsets("empty") == {TopicPartition("empty", 0): 0}
    assert await store.earliest(TopicPartition("empty", 0)) == 0
    assert await store.committed("g") == {TopicPartition("t", 0): 2}
    assert await store.committed("other") == {}
    store.release()


async def test_a_shared_store_closes_with_its_last_owner_and_not_with_a_borrower(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    first, second = LogStore.shared(path), LogStore.shared(tmp_path / "." / "log.sqlite")
    assert first is second is LogStore.borrowed(path)
    first.create_topics([TOPIC])
    first.release()
    await second.append([Record("t", None, b"v", partition=0)])
    second.release()
    for late in (second.append([Record("t", None, b"v")]), second.fetch([]), second.earliest(TopicPartition("t", 0))):
        with pytest.raises(LogUnavailable, match="closed"):
            await late


@pytest.mark.parametrize("topic", ["nowhere", "t"])
async def test_an_unknown_topic_or_partition_is_named(tmp_path: Path, topic: str) -> None:
    store = LogStore.shared(tmp_path / "log.sqlite")
    store.create_topics([TOPIC])
    tp = TopicPartition(topic, 2)
    for attempt in (
        store.append([Record(topic, b"k", b"v", partition=2)]),
        store.fetch([(tp, 0, 1)]),
        store.earliest(tp),
        store.commit("g", {tp: 1}),
    ):
        with pytest.raises(LogUnavailable, match=topic):
            await attempt
    assert store.partitions("nowhere") is None
    store.release()


@pytest.mark.parametrize("partitions", [0, -1, (1 << SHIFT) + 1])
def test_a_topic_cannot_run_into_the_next(tmp_path: Path, partitions: int) -> None:
    store = LogStore.shared(tmp_path / "log.sqlite")
    with pytest.raises(LogUnavailable, match="partitions"):
        store.create_topics([TOPIC, TopicSpec("wide", partitions)])
    assert store.partitions("t") is None
    store.create_topics([TopicSpec("wide", 1 << SHIFT), TOPIC])
    assert store.place(Record("wide", None, None, partition=65_535)).partition == 65_535
    store.release()


def test_an_existing_topic_gets_more_partitions_and_never_fewer(tmp_path: Path) -> None:
    store = LogStore.shared(tmp_path / "log.sqlite")
    store.create_topics([TOPIC])
    store.append_nowait([(TopicPartition("t", 1), Record("t", None, b"v"))]).result(5)
    store.create_topics([TopicSpec("t", 9)])
    assert store.partitions("t") == 9
    store.create_topics([TOPIC])
    assert store.partitions("t") == 9
    assert store.place(Record("t", b"key", None)).partition == store.partition_for("t", b"key")
    store.release()
    store = LogStore.shared(tmp_path / "log.sqlite")
    assert store.partitions("t") == 9
    assert [store.end(TopicPartition("t", number)) for number in range(9)] == [0, 1, *[0] * 7]
    store.release()


@pytest.mark.parametrize("prepare", [lambda path: path.write_bytes(b"not a database" * 100), lambda path: path.mkdir()])
def test_what_cannot_be_opened_says_so(tmp_path: Path, prepare: Callable[[Path], Any]) -> None:
    path = tmp_path / "log.sqlite"
    prepare(path)
    with pytest.raises(StorageUnusable, match=r"log\.sqlite"):
        LogStore.shared(path)
    with pytest.raises(StorageUnusable):
        LogStore.shared(tmp_path / "nowhere" / "log.sqlite")


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("content-type", b"x"),),
        (("a", b""), ("a", b"1"), ("A", b"2")),
        (("bytes", bytes(range(256))), ("näme", b"\x00")),
    ],
)
def test_headers_come_back_as_they_went(headers: tuple[tuple[str, bytes], ...]) -> None:
    assert tuple(unpack_headers(pack_headers(headers))) == headers
