"""How the log's file is opened: checked first, changed only if it is ours."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

from streams.embedded import versions
from streams.embedded.trouble import explain
from streams.errors import InvalidInput, StorageUnusable

#: Seconds to wait for others that have the file locked.
_PATIENCE = 30.0


def path_of(url: str) -> Path:
    """The file that `sqlite:///path` names. Raises `InvalidInput`."""
    parts = urlsplit(url)
    if parts.scheme != "sqlite" or not parts.path:
        raise InvalidInput(f"RESCIND_LOG must be sqlite:///path/to/log.sqlite, not {url!r}")
    return Path("/" + unquote(parts.path).lstrip("/"))


def connect(path: Path, *, writable: bool) -> sqlite3.Connection:
    """Open the log's file. A writer creates it, or brings it up to date. Raises `StorageUnusable`.

    WAL with `synchronous=FULL` syncs the WAL at every commit: what is committed survives a power cut.
    """
    connection: sqlite3.Connection | None = None
    try:
        if writable:
            # SQLite gives the WAL beside it the same mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA busy_timeout=30000")
        versions.check(connection, path)
        if writable:
            # Works on a file without tables only; an older file keeps its size, and reuses what it frees.
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        _use_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")
        if writable:
            connection.execute("PRAGMA journal_size_limit=67108864")
            versions.create(connection)
        else:
            connection.execute("PRAGMA query_only=ON")
    except (OSError, sqlite3.Error, StorageUnusable) as error:
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()
        if isinstance(error, StorageUnusable):
            raise
        raise StorageUnusable(f"cannot use the log {path}: {explain(error, path)}") from None
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Of several that create a file at once each finds it locked, and SQLite waits for nobody here."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
