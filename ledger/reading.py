"""The ledger for who only asks: any number of processes beside the one that writes its file."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from sqlite_utils import Database

from ledger import (
    again,
    alarms,
    choosing,
    closeup,
    exporting,
    history,
    lagging,
    listing,
    metering,
    queries,
    reporting,
    retries,
    shelf,
)
from ledger.contradictions import Place, contradictions
from ledger.files import PATIENCE, open_database
from ledger.folded import Folded
from ledger.lag import Window
from ledger.shelf import Shelf
from ledger.statements import statement
from ledger.timeline import timeline
from ledger.veiling import PLAIN, Veil, fitting, misfit
from ledger.views import (
    Amount,
    Consent,
    Contradiction,
    Done,
    NoticeRow,
    PartnerLag,
    Poisoned,
    Redriven,
    Refused,
    Statement,
    TimelineEntry,
    Totals,
)
from ledger.watching import Reached
from streams.deadlines import Deadline, Step
from streams.errors import LedgerBehind, StorageUnusable
from streams.escalations import Rule
from streams.events import Partner
from streams.kinds import Choice
from streams.records import TopicPartition

#: Counts the changes of the schema that an older file does not follow. Such a file is refused, not guessed at.
SCHEMA_VERSION = 12
#: Seconds between two looks at how far the writing process has come.
_LOOK_AGAIN = 0.03

#: From which offset on the log has the records of a partition.
LogStart = Callable[[TopicPartition], int]


@dataclass(slots=True)
class _Reader:
    """A thread's connection, the file that it is to, how that one says whom it is about, what is remembered of it, and
    the lock that the connection is used under."""

    database: Database
    file: tuple[int, int]
    veil: Veil
    remembered: lagging.Remembered = field(default_factory=lagging.Remembered)
    in_use: threading.Lock = field(default_factory=threading.Lock)


class LedgerReader:
    """Questions to a ledger's file, from any thread. The file need not be there yet, and may be deleted and
    rebuilt meanwhile; every question raises `StorageUnusable` while it cannot be answered.

    `patience` is how long a question waits for a lock, in seconds; `log_start` tells from which offset on the log
    has a partition's records, `veils` how the file may say whom it is about.
    """

    def __init__(
        self,
        path: Path,
        *,
        patience: float = PATIENCE,
        log_start: LogStart = lambda _: 0,
        veils: Sequence[Veil] = (PLAIN,),
    ) -> None:
        self._path = path
        self._veils = veils
        self._patience = patience
        self._log_start = log_start
        self._local = threading.local()
        self._lock = threading.Lock()
        self._readers: list[_Reader] = []
        self._closed = False

    @property
    def path(self) -> Path:
        return self._path

    def close(self) -> None:
        """Waits for questions that are under way: SQLite does not survive a close below another thread's feet."""
        with self._lock:
            self._closed = True
            readers, self._readers = self._readers, []
        for reader in readers:
            with reader.in_use:
                reader.database.close()

    # -- questions

    def check(self) -> None:
        """Return if questions can be answered."""
        with self._reading():
            return

    def partner(self, partner: str) -> Partner | None:
        with self._reading() as database:
            return queries.partner(database, partner)

    def partners(self) -> list[Partner]:
        """All, removed ones included, by id."""
        with self._reading() as database:
            return queries.partners(database)

    def consents(self, subject: str) -> list[Consent]:
        with self._reading() as database:
            return queries.consents(database, self._veiled(subject))

    def who_chose(
        self, purpose: str, choice: Choice, among: Collection[str]
    ) -> tuple[dict[TopicPartition, int], frozenset[str]]:
        """Those of some subjects whose choice is this one, and up to which decisions that is known."""
        with self._snapshot() as database:
            veiled = {self._veiled(subject): subject for subject in among}
            found = choosing.chosen(database, purpose, choice, veiled)
            return choosing.watermark(database), frozenset(veiled[each] for each in found)

    @contextmanager
    def all_who_chose(
        self, purpose: str, choice: Choice
    ) -> Iterator[tuple[dict[TopicPartition, int], Iterator[list[str]]]]:
        """Every subject whose choice is this one, some at a time, in order, and up to which decisions that is known.

        All of it is of one moment, so the ledger cannot forget what was there until this ends: be quick. Through a
        connection of its own, so that no question of this thread waits for it."""
        reader = self._open(self._file())
        try:
            with reader.in_use:
                reader.database.conn.execute("BEGIN")
                pages = choosing.pages(reader.database, purpose, choice)
                if reader.veil is not PLAIN:
                    pages = choosing.in_order(pages, reader.veil)
                yield choosing.watermark(reader.database), pages
        except sqlite3.Error as error:
            raise StorageUnusable(f"the ledger cannot be read: {error}") from None
        finally:
            self._let_go(reader)

    def opt_out_ranks(self, purpose: str, among: Collection[str]) -> dict[str, str]:
        """Of those of some subjects whose choice is to opt out: its rank."""
        with self._reading() as database:
            veiled = {self._veiled(subject): subject for subject in among}
            found = choosing.opt_out_ranks(database, purpose, veiled)
            return {veiled[each]: rank for each, rank in found.items()}

    def owed(self, partner: str, purpose: str, among: Collection[str]) -> frozenset[str]:
        """Those of some subjects whom the partner must still be asked to delete, if it was given them."""
        with self._reading() as database:
            veiled = {self._veiled(subject): subject for subject in among}
            return frozenset(veiled[each] for each in choosing.owed(database, partner, purpose, veiled))

    def notices(self, ids: Sequence[str]) -> dict[str, NoticeRow]:
        with self._reading() as database:
            return queries.notices(database, ids)

    def said_before(self, answers: Iterable[tuple[str, str]]) -> set[str]:
        """Which of these acknowledgements, each a notice's id with its own, were given already."""
        with self._reading() as database:
            return queries.said_before(database, answers)

    def traces(self, ids: Sequence[str]) -> dict[str, str]:
        """Where these notices stand in traces, see `streams.tracing`, if that is known."""
        with self._reading() as database:
            return queries.traces(database, ids)

    def listed(self, wanted: listing.Wanted, now: datetime, after: listing.Listed | None, most: int) -> listing.Page:
        """Notices by partner and time of issue, at most so many; `after` is where a page ended."""
        with self._snapshot() as database:
            if wanted.subject is not None:
                wanted = replace(wanted, subject=self._veiled(wanted.subject))
            return listing.listed(database, wanted, now, after, most)

    def report_page(
        self, span: again.Span, now: datetime, after: listing.Listed | None, most: int
    ) -> reporting.ReportPage:
        """At most so many notices of a report."""
        with self._snapshot() as database:
            return reporting.page(database, span, now, after, most)

    def report_summary(self, span: again.Span, now: datetime) -> reporting.Summary:
        with self._snapshot() as database:
            return reporting.summary(database, span, now)

    def timeline(self, subject: str) -> list[TimelineEntry]:
        """Everything that happened to a subject, causes before effects."""
        with self._snapshot() as database, self._folded(database) as folded:
            return timeline(database, folded, self._veiled(subject))

    def lag(
        self, now: datetime, window: Window = Window.DAY, windows: Sequence[Window] = (), partner: str | None = None
    ) -> list[PartnerLag]:
        """One row for each partner that is registered, or still owes something; or of one partner. The percentiles
        cover the whole hours, from a week on the whole days, that touch the window."""
        with self._snapshot() as database:
            return self._lag(database, now, window, windows, partner)

    def totals(self) -> Totals:
        with self._snapshot() as database:
            return queries.totals(database)

    def overview(
        self, now: datetime, window: Window = Window.DAY, windows: Sequence[Window] = ()
    ) -> tuple[list[PartnerLag], Totals]:
        """Lag and totals as of one moment, so that they add up."""
        with self._snapshot() as database:
            return self._lag(database, now, window, windows, None), queries.totals(database)

    def metered(self, partners: Iterable[str]) -> metering.Metered:
        """What was counted since ever, and what is due first of these partners."""
        with self._snapshot() as database:
            return metering.metered(database, partners)

    def board(self, now: datetime, hours: int) -> closeup.Board:
        """What operators look at, with what was open over so many hours."""
        with self._snapshot() as database:
            rows = self._lag(database, now, Window.DAY, (Window.DAY,), None)
            standing = {row.partner: row.open for row in rows}
            return closeup.Board(
                rows,
                queries.totals(database),
                closeup.oldest(database, standing),
                history.open_by_hour(database, standing, now, hours),
            )

    def closeup(self, partner: str, now: datetime, window: Window) -> closeup.Closeup | None:
        """One partner from near, over a window; None if there never was such a one."""
        with self._snapshot() as database:
            found = queries.partner(database, partner)
            if found is None:
                return None
            rows = self._lag(database, now, window, (window,), partner)
            standing = sum(row.open for row in rows)
            return closeup.Closeup(
                found,
                rows[0] if rows else None,
                closeup.oldest(database, [partner]).get(partner),
                closeup.funnel(database, partner),
                closeup.refusals(database, partner, now),
                closeup.attempts(database, partner),
                history.blocks(database, partner, standing, now, window),
            )

    def contradictions(self, partner: str | None, before: Place | None, most: int) -> list[Contradiction]:
        """Of a partner, or of all; the newest first, at most so many. `before` is where a page ended."""
        with self._snapshot() as database:
            return contradictions(database, partner, before, most)

    def statement(self, identity: str) -> Statement | None:
        with self._snapshot() as database, self._folded(database) as folded:
            return statement(database, folded, identity)

    # What may be asked again: see `ledger.again`.

    def issued(self, span: again.Span, after: again.Place | None, most: int) -> again.Issued:
        with self._snapshot() as database:
            return again.issued(database, span, after, most)

    def amount(self, span: again.Span, batch_size: int) -> Amount:
        with self._snapshot() as database:
            return again.amount(database, span, batch_size)

    def overtaking(self, ids: Collection[str]) -> again.Askable:
        with self._snapshot() as database:
            return again.overtaking(database, ids)

    def refused(self, partner: str | None, after: again.RefusedAt | None, most: int) -> list[Refused]:
        with self._snapshot() as database:
            return again.refused(database, partner, after, most)

    def refused_ones(self, ids: Collection[str]) -> list[Refused]:
        with self._snapshot() as database:
            return again.refused_ones(database, ids)

    def askable(self, ids: Collection[str]) -> again.Askable:
        with self._snapshot() as database:
            return again.askable(database, ids)

    def outcomes(self, places: Iterable[again.RedrivenAt]) -> list[Redriven]:
        with self._reading() as database:
            return again.outcomes(database, places)

    def retries(self, now: datetime, after: str, most: int) -> retries.Due:
        with self._snapshot() as database:
            return retries.due(database, now, after, most)

    def any_retry(self, now: datetime) -> bool:
        with self._snapshot() as database:
            return retries.any_due(database, now)

    def poisoned(self, after: again.PoisonedAt | None, most: int) -> list[Poisoned]:
        with self._reading() as database:
            return again.poisoned(database, after, most)

    def poisoned_ones(self, ids: Collection[str]) -> list[Poisoned]:
        with self._reading() as database:
            return again.poisoned_ones(database, ids)

    def reversed_since(self, choices: Iterable[tuple[str, str, bool, datetime]]) -> bool:
        with self._reading() as database:
            return again.reversed_since(database, [(self._veiled(choice[0]), *choice[1:]) for choice in choices])

    # What is to be told of deadlines: see `ledger.alarms`.

    def due(self, now: datetime, after: tuple[int, int] | None, most: int) -> alarms.Page:
        with self._reading() as database:
            return alarms.due(database, now, after, most)

    def to_remind(self, notices: Collection[str], step: Reached, event_id: str) -> again.Askable:
        with self._snapshot() as database:
            return alarms.to_remind(database, notices, step, event_id)

    def rising(self, rule: Rule, now: datetime, interval: int) -> list[alarms.Alarm]:
        with self._snapshot() as database:
            return alarms.alarms(database, rule, now, interval)

    def deadlines_told(self) -> tuple[dict[tuple[str, Deadline, Step], int], dict[str, int]]:
        """Notices by partner, clock and step, and messages to operators by what became of them; since ever."""
        with self._snapshot() as database:
            return alarms.steps_told(database), alarms.escalated(database)

    def claim_of(self, escalation: str) -> str | None:
        with self._reading() as database:
            return alarms.claim_of(database, escalation)

    def actions(self, partner: str | None, before: tuple[int, str] | None, most: int) -> list[Done]:
        """What was done by hand, the newest first, to a partner or at all; `before` is where a page ended."""
        with self._reading() as database:
            return queries.actions(database, partner, before, most)

    def export(self) -> Iterator[bytes]:
        """All that is known, as lines of JSON, as of one moment; see `ledger.exporting`. Keep to one thread."""
        with self._snapshot() as database, self._folded(database) as folded:
            yield from exporting.export(database, folded)

    def shelf(self) -> Shelf:
        """What was folded into which archives, see `ledger.folding`."""
        with self._snapshot() as database:
            return shelf.shelf(database, self._path)

    def wrong_with_archives(self) -> list[str]:
        """Reads all of them, as of one moment: the ledger's file cannot forget meanwhile what was there."""
        with self._snapshot() as database:
            return list(shelf.wrong(database, self._path))

    def offsets(self) -> dict[TopicPartition, int]:
        """The next offset expected of each partition that was read."""
        with self._reading() as database:
            return queries.offsets(database)

    def behind(
        self, ends: Mapping[TopicPartition, int], beside: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """How many records below these next offsets are still to be read, of each partition. `beside` are the next
        offsets of what an index beside the ledger reads in its place."""
        offsets = {**self.offsets(), **beside}
        return {tp: max(0, end - max(offsets.get(tp, 0), self._log_start(tp))) for tp, end in ends.items()}

    async def reached(self, wanted: Mapping[TopicPartition, int], timeout: float) -> None:
        """Wait until everything below the wanted next offsets is projected. Raises `LedgerBehind`."""

        async def has() -> bool:
            return self._covers(await asyncio.to_thread(self.offsets), wanted)

        if await has():
            return
        try:
            async with asyncio.timeout(timeout):
                while not await has():  # noqa: ASYNC110 - another process is who knows
                    await asyncio.sleep(_LOOK_AGAIN)
        except TimeoutError:
            raise LedgerBehind("the ledger has not caught up with the log yet") from None

    # -- inside

    def _lag(
        self, database: Database, now: datetime, window: Window, windows: Sequence[Window], partner: str | None
    ) -> list[PartnerLag]:
        remembered = self._local.reader.remembered
        if partner is None:
            return lagging.lag(database, queries.partners(database), now, window, windows, remembered)
        found = queries.partner(database, partner)
        return [] if found is None else lagging.lag(database, [found], now, window, windows, remembered)

    def _covers(self, offsets: Mapping[TopicPartition, int], wanted: Mapping[TopicPartition, int]) -> bool:
        # What was retired before this ledger began will never come.
        return all(max(offsets.get(tp, 0), self._log_start(tp)) >= offset for tp, offset in wanted.items())

    def _folded(self, database: Database) -> Folded:
        veil: Veil = self._local.reader.veil
        return Folded(database, self._path, veil)

    @contextmanager
    def _reading(self) -> Iterator[Database]:
        reader = self._reader()
        try:
            with reader.in_use:
                yield reader.database
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

    def _reader(self) -> _Reader:
        """This thread's connection, to the file that is there now."""
        file = self._file()
        known: _Reader | None = getattr(self._local, "reader", None)
        if known is None or known.file != file:
            if known is not None:
                self._give_up(known)
            known = self._local.reader = self._open(file)
        return known

    def _file(self) -> tuple[int, int]:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            raise StorageUnusable(f"there is no ledger {self._path} yet: `rescind ledger` makes it") from None
        except OSError as error:
            raise StorageUnusable(f"cannot use {self._path}: {error.strerror}") from None
        return found.st_dev, found.st_ino

    def _open(self, file: tuple[int, int]) -> _Reader:
        database = open_database(self._path, writable=False, patience=self._patience)
        try:
            self._check_version(database)
            veil = self._veil_of(database)
            reader = _Reader(veil.reading(database), file, veil)
            still = self._file() == file
            with self._lock:
                # An inode is given to no other file while a reader has this one open.
                for other in self._readers:
                    if still and other.file == file:
                        reader.remembered = other.remembered
                if self._closed:
                    raise StorageUnusable("the ledger is closed")
                self._readers.append(reader)
        except sqlite3.Error as error:
            database.close()
            raise StorageUnusable(f"the ledger cannot be read: {error}") from None
        except StorageUnusable:
            database.close()
            raise
        return reader

    def _check_version(self, database: Database) -> None:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            raise StorageUnusable(f"the ledger {self._path} is only being made")
        if version != SCHEMA_VERSION:
            raise StorageUnusable(f"the ledger {self._path} was made by another version of Rescind")

    def _veil_of(self, database: Database) -> Veil:
        """How the file says whom it is about."""
        for (name,) in database.execute("SELECT value FROM meta WHERE name = 'subjects'").fetchall():
            veil = fitting(self._veils, name)
            if veil is None:
                raise StorageUnusable(f"the ledger {self._path} {misfit(self._veils, name)}")
            return veil
        raise StorageUnusable(f"the ledger {self._path} is only being made")

    def _veiled(self, subject: str) -> str:
        """As this thread's file has it; inside a question."""
        veil: Veil = self._local.reader.veil
        return veil.text(subject)

    def _give_up(self, reader: _Reader) -> None:
        del self._local.reader
        self._let_go(reader)

    def _let_go(self, reader: _Reader) -> None:
        with self._lock:
            if reader not in self._readers:  # closed by who closes all
                return
            self._readers.remove(reader)
        with reader.in_use:
            reader.database.close()
