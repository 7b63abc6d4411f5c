"""A ledger's writer killed over and over, in any transaction: in the end the file knows the same, byte for byte."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from ledger import Ledger
from ledger.archives import directory_of
from streams.inspecting import damage
from tests import projecting
from tests.folding import History, fold_all

ROOT = Path(__file__).parents[2]

#: Transactions of a writer until it is killed, at most.
_TRANSACTIONS = 20


def lives(path: Path, seed: int, *more: str) -> int:
    """How many writers were killed until one came to the end. Each is killed some transactions after its birth,
    wherever it is by then: as many die on a fast machine as on a slow one."""
    chance = random.Random(seed)
    command = [sys.executable, "-m", "tests.projecting", str(path), *more]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as nursery:
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        killed = 0
        while True:
            nursery.stdin.write("\n")
            nursery.stdin.flush()
            # The child may speak before its parent tells its name.
            said: list[str] = []
            wanted = chance.randint(1, _TRANSACTIONS)
            while not any(line.startswith("pid") for line in said) or not (
                "finished\n" in said or said.count("applied\n") >= wanted
            ):
                said.append(nursery.stdout.readline())
            time.sleep(chance.uniform(0.0, 0.01))  # the moment of the kill is the test's whole point
            pid = next(line for line in said if line.startswith("pid"))
            os.kill(int(pid.split()[1]), signal.SIGKILL)
            while said[-1] != "dead\n":
                said.append(nursery.stdout.readline())
            if "finished\n" in said:
                nursery.stdin.close()
                return killed
            killed += 1


def test_a_ledger_survives_kills_in_any_transaction(tmp_path: Path) -> None:
    assert lives(tmp_path / "killed.sqlite", 1) > 5
    assert damage(tmp_path / "killed.sqlite") == ()
    undisturbed = Ledger.open(tmp_path / "undisturbed.sqlite")
    for batch in projecting.month().read(random.Random(2)):
        undisturbed.apply(batch)
    survivor = Ledger.open(tmp_path / "killed.sqlite")
    for one, other in zip(survivor.export(), undisturbed.export(), strict=True):
        assert one == other
    survivor.close()
    undisturbed.close()


def test_so_does_one_that_folds(tmp_path: Path) -> None:
    path = tmp_path / "killed.sqlite"
    assert lives(path, 1, "folding") > 5
    assert damage(path) == ()
    with (
        closing(Ledger.open(tmp_path / "undisturbed.sqlite")) as undisturbed,
        closing(Ledger.open(path)) as survivor,
    ):
        for batch in projecting.month().read(random.Random(2)):
            undisturbed.apply(batch)
        assert sum(each.notices for each in survivor.shelf().archives) > 100
        assert survivor.wrong_with_archives() == []
        assert len(list(directory_of(path).iterdir())) == 1
        for one, other in zip(survivor.export(), undisturbed.export(), strict=True):
            assert one == other
        fold_all(survivor, projecting.LATER)
        for one, other in zip(survivor.export(), undisturbed.export(), strict=True):
            assert one == other
        assert survivor.wrong_with_archives() == []


def test_what_a_writer_of_an_archive_left_half_done_is_undone_by_whoever_reads_next(tmp_path: Path) -> None:
    history = History()
    history.issued(1)
    history.answered(1)
    with closing(Ledger.open(tmp_path / "ledger.sqlite")) as ledger:
        ledger.apply(history.entries)
        before = list(ledger.export())
        fold_all(ledger)
        (archive,) = directory_of(ledger.path).rglob("*.sqlite")
        child = os.fork()
        if child == 0:
            writer = sqlite3.connect(archive, isolation_level=None)
            # So that pages reach the file long before the commit.
            writer.execute("PRAGMA cache_size=1")
            writer.execute("BEGIN IMMEDIATE")
            writer.execute("DELETE FROM blocks")
            writer.executemany("INSERT INTO blocks VALUES (?, ?)", [(n, bytes(10_000)) for n in range(1, 100)])
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        journal = archive.with_name(archive.name + "-journal")
        assert journal.stat().st_size > 0, "what it overwrote"
        assert list(ledger.export()) == before
        assert not journal.exists()
        assert ledger.wrong_with_archives() == []
