"""The file of a table's states: what it keeps, and every file that it refuses."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from streams.errors import NotStored, StorageUnusable
from streams.states import Reach, StateFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "t.sqlite"


async def test_what_is_written_is_there_after_opening_again(path: Path) -> None:
    values = {
        f'key {number} \u00e9\U0001f600"\\'.encode(): f"value {number}\n\u2028".encode() for number in range(2500)
    }
    with closing(StateFile(path)) as file:
        assert file.reach(0) is None
        await file.write(values, {0: Reach(7, 1000), 3: Reach(1, None)})
        await file.write({next(iter(values)): None, b"other": b"1"}, {0: Reach(9, 2000)})
    expected = {**values, b"other": b"1"}
    del expected[next(iter(values))]
    with closing(StateFile(path)) as file:
        assert dict(file.items()) == expected
        assert list(file.items()) == sorted(expected.items())
        assert await file.read([*values, b"other", b"unknown"]) == expected
        assert await file.read([]) == {}
        assert (file.get(b"other"), file.get(b"unknown")) == (b"1", None)
        assert [file.reach(partition) for partition in (0, 1, 3)] == [Reach(9, 2000), None, Reach(1, None)]


async def test_a_write_is_all_or_nothing_and_may_be_repeated(path: Path) -> None:
    with closing(StateFile(path)) as file:
        await file.write({b"a": b"1"}, {0: Reach(1, None)})
        larger = {b"a": b"2", b"b": bytes([98]) * 500_000}
        file._writer.execute("PRAGMA max_page_count = 20")
        with pytest.raises(NotStored, match="full"):
            await file.write(larger, {0: Reach(2, None)})
        assert dict(file.items()) == {b"a": b"1"}
        assert file.reach(0) == Reach(1, None)
        file._writer.execute("PRAGMA max_page_count = 1000000")
        await file.write(larger, {0: Reach(2, None)})
        assert dict(file.items()) == larger
        assert file.reach(0) == Reach(2, None)


async def test_a_closed_file_says_so(path: Path) -> None:
    file = StateFile(path)
    file.close()
    with pytest.raises(NotStored, match="closed"):
        await file.read([b"a"])


def test_it_is_for_the_owner_only(path: Path) -> None:
    with closing(StateFile(path)):
        modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {0o600}


async def test_its_wal_alone_is_no_file(path: Path) -> None:
    """Somebody deletes the file that we said may be deleted, and leaves what lies beside it."""
    file = StateFile(path)
    await file.write({b"a": b"1"}, {0: Reach(1, None)})
    wal = path.with_name("t.sqlite-wal").read_bytes()
    assert wal
    file.close()
    path.unlink()
    path.with_name("t.sqlite-wal").write_bytes(wal)
    with closing(StateFile(path)) as again:
        assert dict(again.items()) == {}
        assert again.reach(0) is None


def garbage(path: Path) -> None:
    path.write_bytes(b"no database at all, whatever its name says" * 100)


def of_somebody_else(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE notes (text)")


def newer(path: Path) -> None:
    StateFile(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 2")


def cut_short(path: Path) -> None:
    StateFile(path).close()
    path.write_bytes(path.read_bytes()[:4096])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (garbage, "is damaged, or no table of ours"),
        (of_somebody_else, "is no table of ours"),
        (newer, r"was written by a newer Rescind \(format 2; this one reads 1\)"),
        (cut_short, "is damaged"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_as_it_is(path: Path, spoil: Callable[[Path], None], says: str) -> None:
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(StorageUnusable, match=says) as caught:
        StateFile(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).endswith("delete it, and it is rebuilt from the log")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageUnusable, match="cannot use the table"):
        StateFile(tmp_path / "nowhere" / "t.sqlite")
    with pytest.raises(StorageUnusable, match="cannot use the table"):
        StateFile(tmp_path)


async def test_damage_that_shows_later_is_said(path: Path) -> None:
    with closing(StateFile(path)) as file:
        await file.write({b"%06d" % number: bytes([97]) * 500 for number in range(20_000)}, {})
    size = path.stat().st_size
    with path.open("r+b") as raw:
        raw.seek(size // 2)
        raw.write(b"\xff" * (size // 4))
    with closing(StateFile(path)) as file:
        with pytest.raises(StorageUnusable, match=r"is damaged.*delete it"):
            await file.read([b"%06d" % number for number in range(20_000)])
        with pytest.raises(StorageUnusable, match=r"is damaged.*delete it"):
            dict(file.items())
