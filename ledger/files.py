"""How the ledger's SQLite files are opened."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from sqlite_utils import Database

from streams.errors import StorageUnusable


def open_database(path: Path, *, writable: bool = True) -> Database:
    """Open a file, made with mode 0600 if it is new. Raises `StorageUnusable`."""
    try:
        if writable:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        if not writable:
            connection.execute("PRAGMA query_only=ON")
    except (OSError, sqlite3.Error) as error:
        raise StorageUnusable(f"cannot use {path}: {error}") from None
    return Database(connection)
