"""How the ledger's SQLite files are opened."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from sqlite_utils import Database

from streams.errors import StorageUnusable

#: Seconds to wait for a lock where a person or a program waits for the answer.
PATIENCE = 5.0


def open_database(path: Path, *, writable: bool = True, patience: float = 30.0) -> Database:
    """Open a file, made with mode 0600 if it is new and to be written. `patience` is how many seconds to
    wait for a lock. Raises `StorageUnusable`."""
    try:
        # A reader must not make an empty file where somebody took the file away.
        os.close(os.open(path, os.O_RDWR | (os.O_CREAT if writable else 0), 0o600))
        connection = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        if not writable:
            connection.execute("PRAGMA query_only=ON")
    except (OSError, sqlite3.Error) as error:
        raise StorageUnusable(f"cannot use {path}: {error}") from None
    return Database(connection)
