"""Files that are looked into from outside."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from streams.errors import StorageUnusable
from streams.inspecting import damage, reading

#: Dies in the middle of a change, as a service may that is killed right after its very first start: the file has no WAL
#: yet, and some of the change is in it.
DYING = """
import os, signal, sqlite3, sys

file = sqlite3.connect(sys.argv[1], isolation_level=None)
file.execute("PRAGMA cache_size = 5")
file.execute("CREATE TABLE t (a)")
file.execute("BEGIN")
for _ in range(1000):
    file.execute("INSERT INTO t VALUES (?)", ["x" * 2000])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_change_that_was_cut_off_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    died = subprocess.run([sys.executable, "-c", DYING, str(path)], timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL
    assert path.with_name("log.sqlite-journal").exists()
    assert damage(path) == ()
    with pytest.raises(StorageUnusable, match="the next start takes back"), reading(path) as file:
        file.execute("SELECT * FROM t").fetchall()
    with contextlib.closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT COUNT(*) FROM t").fetchone() == (0,)
    assert damage(path) == ()
    with reading(path) as file:
        assert file.execute("SELECT COUNT(*) FROM t").fetchone() == (0,)
