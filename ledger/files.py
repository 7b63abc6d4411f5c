"""How the ledger's SQLite files are opened."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from sqlite_utils import Database

from streams.durable import sync
from streams.errors import StorageUnusable

#: Seconds to wait for a lock where a person or a program waits for the answer.
PATIENCE = 5.0


def open_database(path: Path, *, writable: bool = True, patience: float = 30.0, shrinks: bool = False) -> Database:
    """Open a file, made with mode 0600 if it is new and to be written. `patience` is how many seconds to
    wait for a lock, and a new file that `shrinks` can give back in small steps what is free in it. Raises
    `StorageUnusable`."""
    try:
        if writable:
            _make(path)
        address = f"{path.absolute().as_uri()}?mode={'rw' if writable else 'ro'}"
        connection = sqlite3.connect(address, uri=True, timeout=patience, isolation_level=None, check_same_thread=False)
        if writable and shrinks:
            # Only a file without anything takes it, hence before its journal's mode is written.
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        if writable:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
    except (OSError, sqlite3.Error) as error:
        raise StorageUnusable(f"cannot use {path}: {error}") from None
    return Database(connection)


def take_place(new: Path, old: Path) -> None:
    """Put a closed database in the place of another one, which nobody writes. Whoever reads that one reads on, and
    finds the new one when it opens it next. A crash leaves one or the other. Raises `StorageUnusable`."""
    try:
        if old.exists():
            # What its WAL still holds must be in the file before the WAL goes: else a crash would leave a file that
            # is older than what its readers have seen. A damaged one has nothing to keep.
            with (
                contextlib.suppress(sqlite3.DatabaseError),
                contextlib.closing(sqlite3.connect(old, timeout=PATIENCE)) as connection,
            ):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for suffix in ("-wal", "-shm"):
            old.with_name(old.name + suffix).unlink(missing_ok=True)
        new.replace(old)
        sync(old.parent)
    except OSError as error:
        raise StorageUnusable(f"cannot put {new} in the place of {old}: {error}") from None


def _make(path: Path) -> None:
    """Only where there is nothing yet. To open a file that is there, and close it, would give up every lock that
    this process has on it (https://www.sqlite.org/howtocorrupt.html, 2.2): another process, thinking itself
    alone, would then remove the WAL under our connections, and what they write would be lost."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
