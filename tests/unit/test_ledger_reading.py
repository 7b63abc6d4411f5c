"""The ledger's file and several processes: who only asks sees what the writer wrote, and takes nothing away."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger import Ledger, LedgerReader
from streams.errors import LedgerBehind, StorageUnusable
from streams.records import TopicPartition
from tests.unit.test_ledger import entry, partner

PARTNERS = TopicPartition("rescind.partners", 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def reader(path: Path) -> Iterator[LedgerReader]:
    opened = LedgerReader(path)
    yield opened
    opened.close()


def register(ledger: Ledger, *numbers: int) -> None:
    for number in numbers:
        ledger.apply([entry("partners", number, f"r{number}", partner(f"p{number}", number))])


def names(reader: LedgerReader) -> list[str]:
    return [known.id for known in reader.partners()]


def elsewhere(path: Path) -> str:
    """How many partners another process, with a connection that may write, finds in the file."""
    code = (
        "import sqlite3, sys; connection = sqlite3.connect(sys.argv[1]);"
        "print(*connection.execute('SELECT COUNT(*) FROM partners').fetchone(), flush=True); connection.close()"
    )
    return subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout


def test_who_comes_and_goes_takes_nothing_from_the_writer(path: Path) -> None:
    """SQLite removes the WAL when the last connection closes, and tells who is the last by locks that a process
    loses as a whole: then what is written afterwards is written into a file that has no name any more."""
    ledger = Ledger.open(path)
    register(ledger, 0)
    assert names(ledger) == ["p0"]  # a connection of its own, beside the writer's
    assert elsewhere(path) == "1\n"
    register(ledger, 1)
    assert elsewhere(path) == "2\n"
    ledger.close()
    assert elsewhere(path) == "2\n"


def test_a_reader_sees_what_the_writer_writes(path: Path, reader: LedgerReader) -> None:
    ledger = Ledger.open(path)
    for number in range(3):
        register(ledger, number)
        assert len(names(reader)) == number + 1
    ledger.close()
    assert len(names(reader)) == 3


def test_a_reader_may_be_there_before_the_ledger_and_does_not_make_it(path: Path, reader: LedgerReader) -> None:
    for _ in range(2):
        with pytest.raises(StorageUnusable, match=r"there is no ledger .* yet: `rescind ledger` makes it"):
            reader.partners()
    assert not list(path.parent.iterdir())
    path.touch()
    with pytest.raises(StorageUnusable, match="only being made"):
        reader.partners()
    ledger = Ledger.open(path)
    register(ledger, 0)
    assert names(reader) == ["p0"]
    ledger.close()


def test_a_ledger_of_another_version_is_not_guessed_at(path: Path, reader: LedgerReader) -> None:
    Ledger.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    with pytest.raises(StorageUnusable, match="another version"):
        reader.partners()


def test_a_ledger_that_is_rebuilt_is_read_anew_and_keeps_its_files(path: Path, reader: LedgerReader) -> None:
    old = Ledger.open(path)
    register(old, 0, 1)
    assert len(names(reader)) == 2
    old.close()
    for file in path.parent.glob("ledger.sqlite*"):
        file.unlink()
    with pytest.raises(StorageUnusable, match="no ledger"):
        reader.partners()
    new = Ledger.open(path)
    register(new, 0)
    # Lets go of the old file, whose WAL had the same name.
    assert names(reader) == ["p0"]
    register(new, 1, 2)
    assert elsewhere(path) == "3\n"
    assert len(names(reader)) == 3
    new.close()


def test_what_a_killed_writer_wrote_is_read(path: Path, reader: LedgerReader) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from ledger import Ledger;"
        "from tests.unit.test_ledger_reading import register;"
        "register(Ledger.open(Path(sys.argv[1])), 0, 1); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(names(reader)) == 2


async def test_a_reader_waits_for_what_the_writer_has_still_to_read(path: Path, reader: LedgerReader) -> None:
    ledger = Ledger.open(path)
    register(ledger, 0)
    await reader.reached({PARTNERS: 1}, 0.0)
    with pytest.raises(LedgerBehind):
        await reader.reached({PARTNERS: 2}, 0.05)
    waiting = asyncio.ensure_future(reader.reached({PARTNERS: 3}, 20))
    await asyncio.to_thread(register, ledger, 1)
    done, _ = await asyncio.wait([waiting], timeout=0.2)
    assert not done
    await asyncio.to_thread(register, ledger, 2)
    await waiting
    ledger.close()


async def test_nobody_waits_for_what_was_retired_before_the_ledger_began(path: Path) -> None:
    Ledger.open(path).close()
    reader = LedgerReader(path, log_start=lambda tp: 7)
    await reader.reached({PARTNERS: 7}, 0.0)
    with pytest.raises(LedgerBehind):
        await reader.reached({PARTNERS: 8}, 0.0)
    reader.close()


def test_a_reader_that_is_closed_answers_no_more(path: Path) -> None:
    Ledger.open(path).close()
    reader = LedgerReader(path)
    assert names(reader) == []
    reader.close()
    with pytest.raises(StorageUnusable):
        reader.partners()
