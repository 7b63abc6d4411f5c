"""The tables of the embedded log, and how its file is opened."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import NamedTuple

from streams.errors import StorageUnusable

#: Partitions of a topic share one integer space with the topics: `topic << SHIFT | partition`.
SHIFT = 16

SCHEMA = """
CREATE TABLE IF NOT EXISTS topics (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    partitions INTEGER NOT NULL,
    cleanup TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS records (
    tp INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    timestamp INTEGER NOT NULL, -- milliseconds since the epoch, when appended
    key BLOB,
    value BLOB,
    headers BLOB,
    PRIMARY KEY (tp, offset)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS commits (
    consumer_group TEXT NOT NULL,
    tp INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    PRIMARY KEY (consumer_group, tp)
) WITHOUT ROWID;
"""

INSERT = "INSERT INTO records (tp, offset, timestamp, key, value, headers) VALUES (?, ?, ?, ?, ?, ?)"
#: Below SQLite's limit of variables in a statement, 32,766 since 3.32.
ROWS_AT_ONCE = 250
INSERT_MANY = INSERT + ", (?, ?, ?, ?, ?, ?)" * (ROWS_AT_ONCE - 1)
FETCH = (
    "SELECT offset, timestamp, key, value, headers FROM records WHERE tp = ? AND offset >= ? ORDER BY offset LIMIT ?"
)
TOPICS = "SELECT id, name, partitions FROM topics"
END = "SELECT MAX(offset) + 1 FROM records WHERE tp = ?"
EARLIEST = "SELECT MIN(offset) FROM records WHERE tp = ?"
COMMIT_OFFSET = (
    "INSERT INTO commits (consumer_group, tp, offset) VALUES (?, ?, ?)"
    " ON CONFLICT (consumer_group, tp) DO UPDATE SET offset = excluded.offset"
)
COMMITTED = "SELECT tp, offset FROM commits WHERE consumer_group = ?"


class StoredRecord(NamedTuple):
    """A record as it stands in the log. `timestamp` is in milliseconds since the epoch."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: bytes | None


def connect(path: Path, *, writable: bool) -> sqlite3.Connection:
    """Open the log's file. A writer creates it. Raises `StorageUnusable`.

    WAL with `synchronous=FULL` syncs the WAL at every commit: what is committed survives a power cut.
    """
    try:
        if writable:
            # SQLite gives the WAL beside it the same mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA busy_timeout=30000")
        if writable:
            connection.execute("PRAGMA journal_size_limit=67108864")
            connection.executescript(SCHEMA)
        else:
            connection.execute("PRAGMA query_only=ON")
    except (OSError, sqlite3.Error) as error:
        raise StorageUnusable(f"cannot use the log {path}: {error}") from None
    return connection


def read_ends(connection: sqlite3.Connection) -> dict[int, int]:
    """The next offset of every partition that holds records.

    One look-up a partition: `GROUP BY tp` would read the whole log, values and all.
    """
    ends = {}
    for identity, _, partitions in connection.execute(TOPICS).fetchall():
        for tp in range(identity << SHIFT, (identity << SHIFT) + partitions):
            end = connection.execute(END, (tp,)).fetchone()[0]
            if end is not None:
                ends[tp] = end
    return ends
