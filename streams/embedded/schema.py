"""The tables of the embedded log, and its statements."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

#: Partitions of a topic share one integer space with the topics: `topic << SHIFT | partition`.
SHIFT = 16

#: A change here needs a new `versions.VERSION`.
TABLES = (
    """CREATE TABLE IF NOT EXISTS topics (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    partitions INTEGER NOT NULL,
    cleanup TEXT NOT NULL
)""",
    """CREATE TABLE IF NOT EXISTS records (
    tp INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    timestamp INTEGER NOT NULL, -- milliseconds since the epoch, when appended
    key BLOB,
    value BLOB,
    headers BLOB,
    PRIMARY KEY (tp, offset)
) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS commits (
    consumer_group TEXT NOT NULL,
    tp INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    note TEXT NOT NULL DEFAULT '', -- see `streams.records.Commit`
    PRIMARY KEY (consumer_group, tp)
) WITHOUT ROWID""",
    # Groups that read a topic: what one of them has not committed yet is kept for it.
    """CREATE TABLE IF NOT EXISTS subscriptions (
    consumer_group TEXT NOT NULL,
    topic INTEGER NOT NULL,
    PRIMARY KEY (consumer_group, topic)
) WITHOUT ROWID""",
    # What upkeep knows of a partition; see `streams.embedded.compaction` for all but `start`.
    """CREATE TABLE IF NOT EXISTS upkeep (
    tp INTEGER PRIMARY KEY,
    start INTEGER NOT NULL DEFAULT 0, -- log start: everything below was retired
    cleaned INTEGER NOT NULL DEFAULT 0,
    kept INTEGER NOT NULL DEFAULT 0,
    horizon INTEGER NOT NULL DEFAULT 0,
    horizon_at INTEGER NOT NULL DEFAULT 0, -- milliseconds since the epoch
    tombstones INTEGER NOT NULL DEFAULT 0
)""",
)

INSERT = "INSERT INTO records (tp, offset, timestamp, key, value, headers) VALUES (?, ?, ?, ?, ?, ?)"
#: Below SQLite's limit of variables in a statement, 32,766 since 3.32.
ROWS_AT_ONCE = 250
INSERT_MANY = INSERT + ", (?, ?, ?, ?, ?, ?)" * (ROWS_AT_ONCE - 1)
FETCH = (
    "SELECT offset, timestamp, key, value, headers FROM records WHERE tp = ? AND offset >= ? ORDER BY offset LIMIT ?"
)
TOPICS = "SELECT id, name, partitions FROM topics"
ALL_TOPICS = "SELECT name, id, partitions, cleanup FROM topics ORDER BY id"
ADD_TOPIC = (
    "INSERT INTO topics (name, partitions, cleanup) VALUES (?, ?, ?)"
    " ON CONFLICT (name) DO UPDATE SET partitions = MAX(partitions, excluded.partitions)"
)
SUBSCRIPTIONS = "SELECT consumer_group, topic FROM subscriptions WHERE consumer_group = ?"
SUBSCRIBE = "INSERT OR IGNORE INTO subscriptions (consumer_group, topic) VALUES (?, ?)"
END = "SELECT MAX(offset) + 1 FROM records WHERE tp = ?"
EARLIEST = "SELECT MIN(offset) FROM records WHERE tp = ?"
STARTS = "SELECT tp, start FROM upkeep WHERE start > 0"
# A commit never goes back. Faust's own come later than those of steps, and have no notes.
COMMIT_OFFSET = (
    "INSERT INTO commits (consumer_group, tp, offset) VALUES (?, ?, ?) ON CONFLICT (consumer_group, tp)"
    " DO UPDATE SET offset = excluded.offset, note = '' WHERE excluded.offset > commits.offset"
)
COMMIT_STEP = (
    "INSERT INTO commits (consumer_group, tp, offset, note) VALUES (?, ?, ?, ?) ON CONFLICT (consumer_group, tp)"
    " DO UPDATE SET offset = excluded.offset, note = excluded.note WHERE excluded.offset >= commits.offset"
)
COMMITTED = "SELECT tp, offset, note FROM commits WHERE consumer_group = ?"


class StoredRecord(NamedTuple):
    """A record as it stands in the log. `timestamp` is in milliseconds since the epoch."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: bytes | None


def read_starts(connection: sqlite3.Connection) -> dict[int, int]:
    """The log start of every partition whose first records were retired."""
    return dict(connection.execute(STARTS).fetchall())


def read_ends(connection: sqlite3.Connection) -> dict[int, int]:
    """The next offset of every partition that holds records, or did.

    One look-up a partition: `GROUP BY tp` would read the whole log, values and all.
    """
    # A partition that retention has emptied ends where it starts.
    ends = read_starts(connection)
    for identity, _, partitions in connection.execute(TOPICS).fetchall():
        for tp in range(identity << SHIFT, (identity << SHIFT) + partitions):
            end = connection.execute(END, (tp,)).fetchone()[0]
            if end is not None:
                ends[tp] = end
    return ends
