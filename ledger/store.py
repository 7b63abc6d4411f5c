"""The ledger's file as its one writer has it, which projects in exact transactions."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib import resources
from pathlib import Path
from uuid import uuid4

from sqlite_utils import Database

from ledger import queries
from ledger.files import PATIENCE, open_database
from ledger.folding import Folding, Step
from ledger.lag import EVER_ENDS, UPPER_MICROS
from ledger.projecting import Projector
from ledger.reading import SCHEMA_VERSION, LedgerReader, LogStart
from ledger.times import micros
from ledger.veiling import PLAIN, Veil
from ledger.views import Entry
from streams.errors import LedgerBehind, RescindError, StorageUnusable
from streams.records import TopicPartition
from streams.topics import COMPACTED

log = logging.getLogger(__name__)

_SCHEMA = resources.files("ledger").joinpath("schema.sql").read_text()
#: Ids are random, so a transaction touches pages everywhere: most of them must be at hand, and be written back to
#: the file once for many transactions. A quarter of the time of acknowledgements goes with SQLite's own 2 MiB, 1,000.
_CACHE_KIB, _WAL_PAGES = 32 * 1024, 8192
#: Pages that stay free, at least, and as one part of so many.
_FREE_PAGES, _FREE_PART = 256, 64
_SET_OFFSET = "INSERT INTO offsets VALUES (?, ?, ?) ON CONFLICT (topic, partition) DO UPDATE SET next = excluded.next"


class LedgerGap(RescindError):
    """Records are missing between what the ledger holds and what came: its file is older than its
    consumer group's commits, as after a restored backup."""


class Ledger(LedgerReader):
    """Open it with `Ledger.open`. `apply` is for one thread at a time; everything else for any."""

    def __init__(
        self,
        path: Path,
        writer: Database,
        *,
        patience: float = PATIENCE,
        log_start: LogStart = lambda _: 0,
        ledger_id: str | None = None,
        veils: Sequence[Veil] = (PLAIN,),
    ) -> None:
        super().__init__(path, patience=patience, log_start=log_start, veils=veils)
        self._writer = writer
        self._connection: sqlite3.Connection = writer.conn
        self._connection.execute(f"PRAGMA cache_size={-_CACHE_KIB}")
        self._connection.execute(f"PRAGMA wal_autocheckpoint={_WAL_PAGES}")
        self._create()
        self._connection.execute("INSERT OR IGNORE INTO meta VALUES ('ledger_id', ?)", (ledger_id or uuid4().hex[:12],))
        self.ledger_id: str = self._connection.execute("SELECT value FROM meta WHERE name = 'ledger_id'").fetchone()[0]
        self._connection.execute("INSERT OR IGNORE INTO meta VALUES ('subjects', ?)", (veils[0].name,))
        self._folding = Folding(self._connection, path)
        self._projector = Projector(self._connection, self._veil_of(writer), self._folding)
        self._next = queries.offsets(writer)
        self._waiters: list[tuple[Mapping[TopicPartition, int], asyncio.Future[None]]] = []

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        patience: float = PATIENCE,
        log_start: LogStart = lambda _: 0,
        ledger_id: str | None = None,
        veils: Sequence[Veil] = (PLAIN,),
    ) -> Ledger:
        """Create or open the file. `patience` is how long a reader waits for a lock, `log_start` tells from
        which offset on the log has a partition's records, `ledger_id` names a new one, `veils` are how it may say
        whom it is about, a new one as the first of them. Raises `StorageUnusable`."""
        database = open_database(path, shrinks=True)
        try:
            return cls(path, database, patience=patience, log_start=log_start, ledger_id=ledger_id, veils=veils)
        except StorageUnusable:
            database.close()
            raise
        except sqlite3.Error as error:
            database.close()
            raise StorageUnusable(f"cannot use the ledger {path}: {error}") from None

    def close(self) -> None:
        super().close()
        self._writer.close()

    # -- the one writer

    def apply(self, entries: Sequence[Entry]) -> None:
        """Project entries and store the offsets they cover, in one transaction.

        What was projected before is skipped. Raises `StorageUnusable` if nothing of it was stored (the
        same entries may be applied again), and `LedgerGap` if entries are missing in between.
        """
        ahead: dict[TopicPartition, int] = {}
        fresh: list[Entry] = []
        try:
            with self._transaction():
                for entry in entries:
                    tp = TopicPartition(entry.topic, entry.partition)
                    expected = ahead.get(tp, self._next.get(tp))
                    if expected is not None and entry.offset < expected:
                        continue
                    first = entry.offset if entry.since is None else entry.since
                    if expected is not None and first > expected:
                        self._judge_gap(tp, expected, first)
                    fresh.append(entry)
                    ahead[tp] = entry.offset + 1
                self._projector.project(fresh)
                self._connection.executemany(_SET_OFFSET, [(*tp, offset) for tp, offset in ahead.items()])
        except sqlite3.Error as error:
            raise StorageUnusable(f"the ledger did not take the entries: {error}") from None
        self._next.update(ahead)
        self._wake()

    def fold(self, before: datetime, most: int) -> Step:
        """Take what was closed before a time into archives, at most so many notices; see `ledger.folding`. Like
        `apply` it is for one thread at a time, the same. Raises `StorageUnusable` if nothing of it was."""
        try:
            prepared = self._folding.prepare(micros(before), most)
            with self._transaction():
                return self._folding.record(prepared)
        except sqlite3.Error as error:
            raise StorageUnusable(f"the ledger cannot be folded: {error}") from None

    def give_back(self, most: int) -> int:
        """Make the file shorter by at most so many of its free pages. How many it has left, without those that it is
        better off with, since it grows again. For the thread of `apply`. Raises `StorageUnusable`."""
        try:
            ((free,),) = self._connection.execute("PRAGMA freelist_count").fetchall()
            ((pages,),) = self._connection.execute("PRAGMA page_count").fetchall()
            spare: int = max(0, free - max(_FREE_PAGES, pages // _FREE_PART))
            if spare:
                # It comes with a row a page, of no columns: only a script is stepped over all of them.
                self._connection.executescript(f"PRAGMA incremental_vacuum({min(most, spare)})")
        except sqlite3.Error as error:
            raise StorageUnusable(f"the ledger cannot be made shorter: {error}") from None
        return max(0, spare - most)

    def _judge_gap(self, tp: TopicPartition, expected: int, came: int) -> None:
        """A gap is right where records were compacted away, or retired before this ledger could read them.
        Anything else the log still has, and its absence here means that the two files do not belong together.
        """
        if tp.topic in COMPACTED:
            return
        if max(expected, self._log_start(tp)) < came:
            raise LedgerGap(
                f"the ledger {self._path} ends at {tp.topic}[{tp.partition}]@{expected}, but "
                f"{came} came: delete it, and it is rebuilt from the log"
            )
        log.warning("%s[%d]@%d to %d were retired from the log before the ledger read them", *tp, expected, came - 1)

    # -- what the writer knows without asking the file

    def offsets(self) -> dict[TopicPartition, int]:
        return dict(self._next)

    async def reached(self, wanted: Mapping[TopicPartition, int], timeout: float) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._covers(self._next, wanted):
                return
            self._waiters.append((wanted, done))
        try:
            async with asyncio.timeout(timeout):
                await done
        except TimeoutError:
            raise LedgerBehind("the ledger has not caught up with the log yet") from None
        finally:
            with self._lock:
                self._waiters = [waiter for waiter in self._waiters if waiter[1] is not done]

    # -- inside

    def _create(self) -> None:
        empty = self._connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0] == 0
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if not empty and version != SCHEMA_VERSION:
            raise StorageUnusable(
                f"the ledger {self._path} was made by another version of Rescind:"
                " delete it, and it is rebuilt from the log"
            )
        buckets = ", ".join(f"({upper}, {bucket})" for bucket, upper in enumerate((*UPPER_MICROS, 2**63 - 1)))
        ends = ", ".join(f"({end})" for end in EVER_ENDS)
        # Whole or not at all: a file with half of its tables would pass for a ledger.
        self._connection.executescript(
            f"BEGIN; {_SCHEMA}; INSERT OR IGNORE INTO lag_buckets VALUES {buckets};"
            f" INSERT OR IGNORE INTO lag_ends VALUES {ends}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _wake(self) -> None:
        with self._lock:
            for wanted, done in self._waiters:
                if self._covers(self._next, wanted):
                    done.get_loop().call_soon_threadsafe(_finish, done)


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
