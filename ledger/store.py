"""The ledger's file: one writer that projects in exact transactions, and any number of readers."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path
from uuid import uuid4

from sqlite_utils import Database

from ledger import queries
from ledger.files import PATIENCE, open_database
from ledger.lag import UPPER_MICROS
from ledger.projecting import Projector
from ledger.views import Consent, Entry, NoticeRow, PartnerLag, TimelineEntry, Totals
from streams.errors import LedgerBehind, RescindError, StorageUnusable
from streams.events import Partner
from streams.records import TopicPartition
from streams.topics import COMPACTED

log = logging.getLogger(__name__)

_SCHEMA = resources.files("ledger").joinpath("schema.sql").read_text()
#: Counts the changes of the schema that an older file does not follow. Such a file is refused, not guessed at.
SCHEMA_VERSION = 3
_SET_OFFSET = "INSERT INTO offsets VALUES (?, ?, ?) ON CONFLICT (topic, partition) DO UPDATE SET next = excluded.next"

#: From which offset on the log has the records of a partition.
LogStart = Callable[[TopicPartition], int]


class LedgerGap(RescindError):
    """Records are missing between what the ledger holds and what came: its file is older than its
    consumer group's commits, as after a restored backup."""


class Ledger:
    """Open it with `Ledger.open`. `apply` is for one thread at a time; everything else for any."""

    def __init__(
        self, path: Path, writer: Database, *, patience: float = PATIENCE, log_start: LogStart = lambda _: 0
    ) -> None:
        self._path = path
        self._log_start = log_start
        self._patience = patience
        self._writer = writer
        self._connection: sqlite3.Connection = writer.conn
        self._create()
        self._connection.execute("INSERT OR IGNORE INTO meta VALUES ('ledger_id', ?)", (uuid4().hex[:12],))
        self.ledger_id: str = self._connection.execute("SELECT value FROM meta WHERE name = 'ledger_id'").fetchone()[0]
        self._projector = Projector(self._connection)
        self._next = self._stored_offsets()
        self._local = threading.local()
        #: A connection for each thread that asks, and the lock it is used under.
        self._readers: list[tuple[Database, threading.Lock]] = []
        self._closed = False
        self._lock = threading.Lock()
        self._waiters: list[tuple[Mapping[TopicPartition, int], asyncio.Future[None]]] = []

    @classmethod
    def open(cls, path: Path, *, patience: float = PATIENCE, log_start: LogStart = lambda _: 0) -> Ledger:
        """Create or open the file. `patience` is how long a reader waits for a lock, `log_start` tells from
        which offset on the log has a partition's records. Raises `StorageUnusable`."""
        database = open_database(path)
        try:
            return cls(path, database, patience=patience, log_start=log_start)
        except StorageUnusable:
            database.close()
            raise
        except sqlite3.Error as error:
            database.close()
            raise StorageUnusable(f"cannot use the ledger {path}: {error}") from None

    @property
    def path(self) -> Path:
        return self._path

    def close(self) -> None:
        """Waits for questions that are under way: SQLite does not survive a close below another thread's feet."""
        with self._lock:
            self._closed = True
            readers, self._readers = self._readers, []
        for reader, in_use in readers:
            with in_use:
                reader.close()
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
                    if expected is not None and entry.offset > expected:
                        self._judge_gap(tp, expected, entry.offset)
                    fresh.append(entry)
                    ahead[tp] = entry.offset + 1
                self._projector.project(fresh)
                self._connection.executemany(_SET_OFFSET, [(*tp, offset) for tp, offset in ahead.items()])
        except sqlite3.Error as error:
            raise StorageUnusable(f"the ledger did not take the entries: {error}") from None
        self._next.update(ahead)
        self._wake()

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

    def offsets(self) -> dict[TopicPartition, int]:
        """The next offset expected of each partition that was read."""
        return dict(self._next)

    # -- readers; each raises `StorageUnusable`

    def partner(self, partner: str) -> Partner | None:
        with self._reading() as database:
            return queries.partner(database, partner)

    def partners(self) -> list[Partner]:
        """All, removed ones included, by id."""
        with self._reading() as database:
            return queries.partners(database)

    def consents(self, subject: str) -> list[Consent]:
        with self._reading() as database:
            return queries.consents(database, subject)

    def notices(self, ids: Sequence[str]) -> dict[str, NoticeRow]:
        with self._reading() as database:
            return queries.notices(database, ids)

    def timeline(self, subject: str) -> list[TimelineEntry]:
        """Everything that happened to a subject, causes before effects."""
        with self._snapshot() as database:
            return queries.timeline(database, subject)

    def lag(self, now: datetime, window: timedelta = timedelta(hours=24)) -> list[PartnerLag]:
        """One row for each partner that is registered, or still owes something. The percentiles cover
        the whole hours that touch the window."""
        with self._snapshot() as database:
            return queries.lag(database, now, window)

    def totals(self) -> Totals:
        with self._snapshot() as database:
            return queries.totals(database)

    def overview(self, now: datetime, window: timedelta = timedelta(hours=24)) -> tuple[list[PartnerLag], Totals]:
        """Lag and totals as of one moment, so that they add up."""
        with self._snapshot() as database:
            return queries.lag(database, now, window), queries.totals(database)

    async def reached(self, wanted: Mapping[TopicPartition, int], timeout: float) -> None:
        """Wait until everything below the wanted next offsets is projected. Raises `LedgerBehind`."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._has(wanted):
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
        # Whole or not at all: a file with half of its tables would pass for a ledger.
        self._connection.executescript(
            f"BEGIN; {_SCHEMA}; INSERT OR IGNORE INTO lag_buckets VALUES {buckets};"
            f" PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
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

    def _stored_offsets(self) -> dict[TopicPartition, int]:
        rows = self._connection.execute("SELECT topic, partition, next FROM offsets").fetchall()
        return {TopicPartition(topic, partition): following for topic, partition, following in rows}

    @contextmanager
    def _reading(self) -> Iterator[Database]:
        own: tuple[Database, threading.Lock] | None = getattr(self._local, "reader", None)
        if own is None:
            own = (open_database(self._path, writable=False, patience=self._patience), threading.Lock())
            with self._lock:
                if self._closed:
                    own[0].close()
                    raise StorageUnusable("the ledger is closed")
                self._readers.append(own)
            self._local.reader = own
        reader, in_use = own
        try:
            with in_use:
                yield reader
        except sqlite3.Error as error:
            raise StorageUnusable(f"the ledger cannot be read: {error}") from None

    @contextmanager
    def _snapshot(self) -> Iterator[Database]:
        """Several questions, answered as of one moment."""
        with self._reading() as database:
            database.conn.execute("BEGIN")
            try:
                yield database
            finally:
                if database.conn.in_transaction:  # a damaged file may have ended it
                    database.conn.execute("ROLLBACK")

    def _has(self, wanted: Mapping[TopicPartition, int]) -> bool:
        # What was retired before this ledger began will never come.
        return all(max(self._next.get(tp, 0), self._log_start(tp)) >= offset for tp, offset in wanted.items())

    def _wake(self) -> None:
        with self._lock:
            for wanted, done in self._waiters:
                if self._has(wanted):
                    done.get_loop().call_soon_threadsafe(_finish, done)


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
