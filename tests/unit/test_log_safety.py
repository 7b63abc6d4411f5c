"""The log's file in bad hands: other versions, other programs, damage, no room, no right to write."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.embedded import versions
from streams.embedded.opening import connect
from streams.embedded.schema import SHIFT
from streams.embedded.store import LogStore
from streams.embedded.trouble import explain
from streams.errors import LogUnavailable, RescindError, StorageUnusable
from streams.records import Record, TopicPartition
from streams.topics import TopicSpec
from tests.disks import fill, mounted

TOPIC = TopicSpec("t", 1)
TP = TopicPartition("t", 0)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[LogStore]:
    store = LogStore.shared(path)
    try:
        store.create_topics([TOPIC])
        yield store
    finally:
        store.release()


def refused(path: Path) -> str:
    with pytest.raises(StorageUnusable) as caught:
        LogStore.shared(path)
    said = str(caught.value)
    assert str(path) in said
    assert "\n" not in said
    return said


def pragma(path: Path, name: str) -> int:
    with contextlib.closing(sqlite3.connect(path)) as other:
        return int(other.execute(f"PRAGMA {name}").fetchone()[0])


# -- what kind of file


def test_a_new_log_is_marked_and_can_give_space_back(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    with opened(path):
        assert pragma(path, "application_id") == versions.APPLICATION_ID
        assert pragma(path, "user_version") == versions.VERSION
        assert pragma(path, "auto_vacuum") == 2


def test_an_older_log_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    with opened(path):
        pass
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.execute(f"PRAGMA user_version = {versions.VERSION - 1}")
    before = path.read_bytes()
    assert "was written by an older Rescind" in refused(path)
    assert path.read_bytes() == before


def test_a_newer_log_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    with opened(path):
        pass
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    said = refused(path)
    assert "format 99" in said
    assert "run that version" in said
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE bookmarks (id INTEGER)",
        "PRAGMA application_id = 4711",
        "PRAGMA user_version = 3; CREATE TABLE topics (id INTEGER)",
        "CREATE TABLE topics (id); CREATE TABLE records (id); CREATE TABLE commits (id); CREATE TABLE more (id)",
    ],
)
def test_a_file_of_another_program_is_left_exactly_as_it_is(tmp_path: Path, script: str) -> None:
    path = tmp_path / "log.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.executescript(script)
    before = path.read_bytes()
    assert "another program" in refused(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["log.sqlite"]


def test_two_processes_may_create_the_log_at_once(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    failures: list[BaseException] = []

    def create() -> None:
        try:
            connect(path, writable=True).close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert pragma(path, "auto_vacuum") == 2


# -- damage


async def test_a_damaged_page_is_said_when_it_is_read_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    with opened(path) as store:
        await store.append([Record("t", None, bytes(200)) for _ in range(2000)])
        await store.append([Record("t", None, b"last")])
    size = pragma(path, "page_size")
    with path.open("r+b") as file:
        # Pages in the middle of the file hold records; the schema and the roots are at its beginning.
        file.seek(size * (path.stat().st_size // size // 2))
        file.write(b"\xff" * size)
    with opened(path) as store:
        with pytest.raises(LogUnavailable) as caught:
            await store.fetch([(TP, 0, 5000)])
        said = str(caught.value)
        assert "damaged" in said
        assert "rescind doctor" in said
        assert str(path) in said
        assert [row.value for row in (await store.fetch([(TP, 2000, 5)]))[0]] == [b"last"]
        assert (await store.append([Record("t", None, b"more")]))[0].offset == 2001


def test_a_damaged_beginning_is_said_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    with opened(path):
        pass
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3900)
    assert "damaged" in refused(path)


# -- no room


def test_no_room_fails_who_can_repeat_and_keeps_in_order_what_nobody_repeats(tmp_path: Path) -> None:
    """`max_page_count` stands for the disk; see below for a real one."""
    with opened(tmp_path / "log.sqlite") as store:

        def limit(pages: int) -> None:
            store._writer.call(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchall()).result(5)

        big = bytes(100_000)
        store._writer.call(lambda _: None).result(5)
        limit(pragma(store.path, "page_count"))
        patient = [store.append_nowait([(TP, Record("t", b"%d" % n, big))], patient=True) for n in range(3)]
        with pytest.raises(LogUnavailable, match="full; free some space"):
            store.append_nowait([(TP, Record("t", None, big))]).result(5)
        patient.append(store.append_nowait([(TP, Record("t", b"3", b""))], patient=True))
        # What needs no new page still goes: the commits of whoever works.
        store._writer.commit("g", [(1 << SHIFT, 0)]).result(5)
        assert not any(done.done() for done in patient)
        limit(100_000)
        assert [done.result(5)[0][0] for done in patient] == [0, 1, 2, 3]
        found = asyncio.run(store.fetch([(TP, 0, 9)]))[0]
        assert [row.key for row in found] == [b"0", b"1", b"2", b"3"]


def test_what_waits_for_room_hears_when_the_log_closes(tmp_path: Path) -> None:
    with opened(tmp_path / "log.sqlite") as store:
        pages = pragma(store.path, "page_count")
        store._writer.call(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchall()).result(5)
        waiting = store.append_nowait([(TP, Record("t", None, bytes(100_000)))], patient=True)
        with pytest.raises(LogUnavailable, match="full"):
            store.append_nowait([(TP, Record("t", None, bytes(100_000)))]).result(5)
        assert not waiting.done()
    with pytest.raises(LogUnavailable, match="full"):
        waiting.result(5)


async def test_a_disk_that_is_full_loses_nothing_and_room_heals_it() -> None:
    with mounted("size=4m") as disk, opened(disk / "log.sqlite") as store:
        acknowledged = [(await store.append([Record("t", None, bytes(1000))]))[0].offset for _ in range(20)]
        ballast = fill(disk)
        with pytest.raises(LogUnavailable, match="full; free some space") as caught:
            for _ in range(2000):
                acknowledged.append((await store.append([Record("t", None, bytes(1000))]))[0].offset)
        assert isinstance(caught.value, RescindError)
        waiting = store.append_nowait([(TP, Record("t", b"patient", bytes(50_000)))], patient=True)
        assert [row.offset for row in (await store.fetch([(TP, 0, 5000)]))[0]] == acknowledged
        ballast.unlink()
        acknowledged.append(waiting.result(10)[0][0])
        acknowledged += [(await store.append([Record("t", None, bytes(1000))]))[0].offset for _ in range(20)]
        assert [row.offset for row in (await store.fetch([(TP, 0, 5000)]))[0]] == acknowledged
        assert acknowledged == list(range(len(acknowledged)))


async def test_a_log_on_a_full_disk_says_that_it_takes_nothing_until_there_is_room() -> None:
    with mounted("size=4m") as disk, opened(disk / "log.sqlite") as store:
        await store.append([Record("t", None, bytes(1000))])
        await store.check_writable()
        ballast = fill(disk)
        with pytest.raises(LogUnavailable, match="full"):
            for _ in range(2000):
                await store.append([Record("t", None, bytes(20_000))])
        # However little is asked for, and however often.
        for _ in range(3):
            with pytest.raises(LogUnavailable, match="the log did not take the records: the disk is full") as caught:
                await store.check_writable()
            assert str(caught.value).count("the log did not take") == 1
        ballast.unlink()
        await store.check_writable()
        await store.append([Record("t", None, bytes(20_000))])


async def test_to_ask_whether_a_log_takes_anything_finds_a_full_disk_by_itself_and_changes_nothing() -> None:
    with mounted("size=4m") as disk, opened(disk / "log.sqlite") as store:
        await store.append([Record("t", None, b"v")])
        version = pragma(disk / "log.sqlite", "user_version")
        fill(disk)
        with pytest.raises(LogUnavailable, match="the disk is full"):
            for _ in range(2000):
                await store.check_writable()
        assert pragma(disk / "log.sqlite", "user_version") == version
        assert await store.end_offsets("t") == {TP: 1}


def test_a_log_cannot_be_made_on_a_full_disk_and_says_so() -> None:
    with mounted("size=64k") as disk:
        fill(disk)
        assert "full; free some space" in refused(disk / "log.sqlite")


def test_a_disk_mounted_read_only_is_said() -> None:
    with mounted("size=4m") as disk:
        with opened(disk / "log.sqlite"):
            pass
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert "cannot be written" in refused(disk / "log.sqlite")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; a read-only mount stands in above")
def test_a_file_that_is_somebody_elses_is_said(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    with opened(path):
        pass
    path.chmod(0o400)
    assert "cannot be written" in refused(path)


def test_only_what_we_know_is_explained(tmp_path: Path) -> None:
    assert explain(ValueError("odd")) == "odd"
    assert explain(OSError(errno.EROFS, "Read-only file system")).startswith("the file cannot be written")
    assert explain(OSError(errno.EMFILE, "Too many open files")) == "Too many open files"
    error = sqlite3.OperationalError("disk I/O error")
    assert explain(error, tmp_path) == "disk I/O error"
