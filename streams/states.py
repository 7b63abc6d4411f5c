"""The file of a table's states: keys, values, and how far into its source each of them reaches.

It is a SQLite file of its own, and knows nothing of Faust. Keys and values are UTF-8 text, so that the
`sqlite3` shell shows them. One thread writes, one reads, and neither is the event loop.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import orjson

from streams.errors import NotStored, StorageUnusable

#: `RSst`, in the file's header: what it is, for whoever finds it.
APPLICATION_ID = 0x52537374
VERSION = 1

_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE states (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE reaches (
    partition INTEGER PRIMARY KEY,
    next INTEGER NOT NULL, -- the effect of everything below this offset of the source is in `states`
    stamp INTEGER -- milliseconds since the epoch: when the record right below `next` was appended
);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
COMMIT;
"""
# Every statement takes and gives all of its rows as one JSON text. A statement that runs row by row from
# Python asks for the interpreter's lock at every row, and gets it from a busy event loop only after 5 ms:
# measured, 3.8 ms a row against 0.12.
_READ = "SELECT json_group_object(key, value) FROM states WHERE key IN (SELECT value FROM json_each(?))"
_WRITE = (
    "INSERT INTO states SELECT key, value FROM json_each(?) WHERE true"
    " ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)
_DELETE = "DELETE FROM states WHERE key IN (SELECT value FROM json_each(?))"
_REACH = (
    "INSERT INTO reaches VALUES (?, ?, ?)"
    " ON CONFLICT (partition) DO UPDATE SET next = excluded.next, stamp = excluded.stamp"
)
_PAGE = "SELECT key, value FROM states WHERE key > ? ORDER BY key LIMIT 1000"

#: KiB of SQLite's own caches. The kernel caches the file besides, and takes that back when it must.
_WRITER_CACHE, _READER_CACHE = 32_000, 8_000
#: Pages of the WAL until it is copied back: changes of the same page within these cost one write.
_CHECKPOINT_PAGES = 16_000

Changes = Mapping[bytes, bytes | None]
R = TypeVar("R")


class Reach(NamedTuple):
    """How far a partition's effect is known. `stamp` tells one log from another."""

    next: int
    stamp: int | None


class StateFile:
    """Opened by its constructor, which raises `StorageUnusable`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reach: dict[int, Reach] = {}
        self._writer = self._open()
        try:
            self._reader = self._connect(f"PRAGMA cache_size = -{_READER_CACHE}; PRAGMA query_only = ON")
            rows = self._reader.execute("SELECT partition, next, stamp FROM reaches").fetchall()
        except sqlite3.Error as error:
            self._writer.close()
            raise self.unusable(f"is damaged ({error})") from None
        self._reach.update({partition: Reach(at, stamp) for partition, at, stamp in rows})
        self._write_pool = ThreadPoolExecutor(1, thread_name_prefix="states-writer")
        self._read_pool = ThreadPoolExecutor(1, thread_name_prefix="states-reader")

    def reach(self, partition: int) -> Reach | None:
        """What is on disk of a partition; None if nothing ever was."""
        return self._reach.get(partition)

    async def read(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The values of those keys that there are."""
        return await self._in(self._read_pool, lambda: self._read(keys))

    async def write(self, changes: Changes, reaches: Mapping[int, Reach]) -> None:
        """Store new values (None deletes), and how far they reach, all or nothing.

        Raises `NotStored` if it may work another time, `StorageUnusable` if the file is damaged.
        """
        await self._in(self._write_pool, lambda: self._write(changes, reaches))

    def get(self, key: bytes) -> bytes | None:
        """One value, right now: for people who look, not for an agent under load."""
        return self._explained(lambda: self._read([key])).get(key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Everything by key, in pages, however much it is."""
        last = ""
        while page := self._explained(lambda: self._reader.execute(_PAGE, (last,)).fetchall()):  # noqa: B023
            yield from ((key.encode(), value.encode()) for key, value in page)
            last = page[-1][0]

    def close(self) -> None:
        """Waits for what is under way."""
        self._write_pool.shutdown()
        self._read_pool.shutdown()
        self._reader.close()
        self._writer.close()

    # -- inside

    def _open(self) -> sqlite3.Connection:
        try:
            # SQLite gives the WAL beside it the same mode.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise StorageUnusable(f"cannot use the table {self.path}: {error.strerror}") from None
        try:
            return self._checked(self._connect(f"PRAGMA cache_size = -{_WRITER_CACHE}"))
        except sqlite3.OperationalError as error:
            raise StorageUnusable(f"cannot use the table {self.path}: {error}") from None
        except sqlite3.Error as error:
            raise self.unusable(f"is damaged, or no table of ours ({error})") from None

    def _checked(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        identity, version, tables = (
            connection.execute(question).fetchone()[0]
            for question in ("PRAGMA application_id", "PRAGMA user_version", "SELECT COUNT(*) FROM sqlite_master")
        )
        if (identity, version, tables) == (0, 0, 0):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)
        elif identity != APPLICATION_ID:
            connection.close()
            raise self.unusable("is no table of ours")
        elif version != VERSION:
            connection.close()
            raise self.unusable(f"was written by a newer Rescind (format {version}; this one reads {VERSION})")
        # Not FULL: after a power cut the file may be older than it was, but whole, and `SourcedTable` takes
        # again what is missing.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        return connection

    def _connect(self, settings: str) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=10, isolation_level=None, check_same_thread=False)
        connection.executescript(settings)
        return connection

    def _read(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        wanted = orjson.dumps([key.decode() for key in keys]).decode()
        found = orjson.loads(self._reader.execute(_READ, (wanted,)).fetchone()[0])
        return {key.encode(): value.encode() for key, value in found.items()}

    def _write(self, changes: Changes, reaches: Mapping[int, Reach]) -> None:
        # Neighbours share pages, so in order.
        ordered = sorted(changes.items())
        kept = {key.decode(): value.decode() for key, value in ordered if value is not None}
        gone = [key.decode() for key, value in ordered if value is None]
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            if kept:
                self._writer.execute(_WRITE, (orjson.dumps(kept).decode(),))
            if gone:
                self._writer.execute(_DELETE, (orjson.dumps(gone).decode(),))
            self._writer.executemany(_REACH, [(partition, *reach) for partition, reach in reaches.items()])
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise
        self._reach.update(reaches)

    async def _in(self, pool: ThreadPoolExecutor, function: Callable[[], R]) -> R:
        try:
            future = pool.submit(self._explained, function)
        except RuntimeError:
            raise NotStored(f"the table {self.path} is closed") from None
        return await asyncio.wrap_future(future)

    def _explained(self, function: Callable[[], R]) -> R:
        try:
            return function()
        except sqlite3.OperationalError as error:
            raise NotStored(f"the table {self.path} cannot be used: {error}") from None
        except sqlite3.Error as error:
            raise self.unusable(f"is damaged ({error})") from None

    def unusable(self, what: str) -> StorageUnusable:
        """What is wrong with the file, and what to do about it."""
        return StorageUnusable(f"the table {self.path} {what}: delete it, and it is rebuilt from the log")
