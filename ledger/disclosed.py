"""Who was given whom, for who only asks: the index of disclosures, which another process may be writing.

It is a file of its own, beside the ledger's: what it holds is kept longer, and read by who has no ledger. Whoever needs
it follows the log; deleted, it is made again from there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson
from sqlite_utils import Database

from ledger.files import PATIENCE, open_database
from ledger.times import maybe_moment, micros, moment
from streams.blocks import decode_block, holds
from streams.errors import StorageUnusable
from streams.exports import Output, Regime, Rows, Watermark
from streams.records import TopicPartition
from streams.topics import DISCLOSURES

#: Counts the changes of the schema that an older file does not follow. Such a file is made anew.
VERSION = 1


class ExportStatus(StrEnum):
    OPEN = "open"
    CLOSED = "closed"  #: handed over; who had chosen otherwise by then is being looked up
    SETTLED = "settled"  #: that is known, and the manifest is signed


@dataclass(frozen=True, slots=True)
class Export:
    """An export as it stands. What is None is not known before it is closed, or settled; an import never has rows and
    an output. `withdrawn` counts those who had chosen otherwise before it was handed over, and `requested_at` is when
    the partner had been asked for all of them."""

    id: str
    dataset: str
    version: str
    partner: str
    purpose: str
    status: ExportStatus
    regime: Regime
    imported: bool
    exported_at: datetime | None
    opened_at: datetime
    closed_at: datetime | None
    settled_at: datetime | None
    requested_at: datetime | None
    watermark: Watermark | None
    rows: Rows | None
    output: Output | None
    subjects: int | None
    withdrawn: int | None

    @property
    def disclosed_at(self) -> datetime | None:
        """When the partner had it; None while it is open."""
        return None if self.closed_at is None else self.exported_at or self.closed_at


@dataclass(frozen=True, slots=True)
class Disclosure:
    """A subject in an export that was handed over; `withdrawn` if the subject had chosen otherwise by then."""

    export: Export
    withdrawn: bool


_EXPORTS = "SELECT * FROM exports"
_NEWEST = "ORDER BY opened_at DESC, id DESC LIMIT :most"
# The one leaf of each export that may hold the subject.
_MAY_HOLD = """SELECT export.*, (SELECT data FROM leaves WHERE leaves.export = export.n AND first <= :subject
        ORDER BY first DESC LIMIT 1) AS data
    FROM exports AS export WHERE closed_at IS NOT NULL AND (:purpose IS NULL OR purpose = :purpose)
    ORDER BY disclosed_at DESC, id"""


class Disclosures:
    """Questions to the index, from any thread. Each raises `StorageUnusable` while the file is not there, or cannot be
    read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def path(self) -> Path:
        return self._path

    def offsets(self) -> dict[TopicPartition, int]:
        """The next offset expected of each partition that was read."""
        with self._reading() as database:
            rows = database.execute("SELECT partition, next FROM offsets").fetchall()
        return {TopicPartition(DISCLOSURES.name, partition): following for partition, following in rows}

    def export(self, identity: str) -> Export | None:
        with self._reading() as database:
            return next(map(_export, database.query(f"{_EXPORTS} WHERE id = ?", [identity])), None)

    def exports(
        self, most: int, before: tuple[int, str] | None = None, partner: str | None = None, dataset: str | None = None
    ) -> list[Export]:
        """The newest first; `before` is where a page ended, see `place`."""
        wanted: dict[str, Any] = {"most": most, "partner": partner, "dataset": dataset}
        conditions = [f"{name} = :{name}" for name in ("partner", "dataset") if wanted[name] is not None]
        if before is not None:
            conditions.append("(opened_at, id) < (:opened_at, :id)")
            wanted |= {"opened_at": before[0], "id": before[1]}
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        with self._reading() as database:
            return list(map(_export, database.query(f"{_EXPORTS} {where} {_NEWEST}", wanted)))

    def manifest(self, export: str) -> bytes | None:
        """As it was signed; None until the export is settled."""
        with self._reading() as database:
            row = database.execute("SELECT manifest FROM exports WHERE id = ?", [export]).fetchone()
        return None if row is None or row[0] is None else row[0].encode()

    def unfinished(self) -> list[Export]:
        """What is handed over, and not settled, or settled and not asked for. The oldest first."""
        sql = f"{_EXPORTS} WHERE closed_at IS NOT NULL AND requested_at IS NULL ORDER BY n"
        with self._reading() as database:
            return list(map(_export, database.query(sql)))

    def unfit(self, export: str, blocks: int, subjects: int) -> str | None:
        """Why an export cannot be closed with so much in it; None if it can."""
        with self._reading() as database:
            return unfit(database, export, blocks, subjects)

    def block(self, export: str, number: int) -> tuple[str, str, int] | None:
        """The first and the last subject of a block, and how many it has."""
        sql = """SELECT first, last, subjects FROM blocks WHERE number = ? AND
            export = (SELECT n FROM exports WHERE id = ?)"""
        with self._reading() as database:
            row = database.execute(sql, [number, export]).fetchone()
        return None if row is None else (row[0], row[1], row[2])

    def leaves(self, export: str) -> Iterator[tuple[str, bytes]]:
        """The leaves of an export with the first subject of each, in order. Keep to one thread."""
        sql = "SELECT first, data FROM leaves WHERE export = (SELECT n FROM exports WHERE id = ?) ORDER BY first"
        with self._reading() as database:
            yield from database.execute(sql, [export])

    def withdrawals(self, export: str) -> Iterator[list[str]]:
        """Who is withdrawn from a settled export, in order, some at a time. Keep to one thread."""
        sql = """SELECT block FROM withdrawals JOIN exports ON exports.n = withdrawals.export
            AND exports.withdrawal = withdrawals.withdrawal WHERE exports.id = ? ORDER BY number"""
        with self._reading() as database:
            for (block,) in database.execute(sql, [export]):
                yield decode_block(block)

    def of(self, subject: str) -> list[Disclosure]:
        """What was handed over with the subject in it, the newest first."""
        with self._reading() as database:
            rows = list(_holding(database, subject, None))
            return [Disclosure(_export(row), _is_withdrawn(database, row, subject)) for row in rows]

    def holders(self, subjects: Iterable[tuple[str, str]]) -> dict[tuple[str, str], dict[str, list[tuple[str, str]]]]:
        """For each subject and purpose, who was given the subject for that purpose, and in which datasets and versions,
        the newest first."""
        found: dict[tuple[str, str], dict[str, list[tuple[str, str]]]] = {}
        with self._reading() as database:
            for subject, purpose in subjects:
                by_partner: dict[str, list[tuple[str, str]]] = {}
                for row in _holding(database, subject, purpose):
                    by_partner.setdefault(row["partner"], []).append((row["dataset"], row["version"]))
                found[subject, purpose] = by_partner
        return found

    @contextmanager
    def _reading(self) -> Iterator[Database]:
        # A connection costs a third of a millisecond, and the file may be another one by now.
        database = open_database(self._path, writable=False, patience=PATIENCE)
        try:
            if database.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                raise StorageUnusable(f"the index of disclosures {self._path} is only being made")
            database.conn.execute("BEGIN")
            yield database
        except sqlite3.Error as error:
            raise StorageUnusable(f"the index of disclosures cannot be read: {error}") from None
        finally:
            database.close()


def place(export: Export) -> tuple[int, str]:
    """Where a page of exports ended."""
    return micros(export.opened_at), export.id


def unfit(database: Database, export: str, blocks: int, subjects: int) -> str | None:
    """See `Disclosures.unfit`."""
    sql = """SELECT number, first, last, subjects FROM blocks WHERE number < ? AND
        export = (SELECT n FROM exports WHERE id = ?) ORDER BY number"""
    last_one, counted, expected = "", 0, 0
    for number, first, last, count in database.execute(sql, [blocks, export]):
        if number != expected:
            break
        if first <= last_one:
            return f"block {number} begins before block {number - 1} ends"
        last_one, counted, expected = last, counted + count, expected + 1
    if expected < blocks:
        return f"block {expected} of {blocks} is missing"
    if counted != subjects:
        return f"the {blocks} blocks hold {counted} subjects, not {subjects}"
    return None


def _holding(database: Database, subject: str, purpose: str | None) -> Iterator[dict[str, Any]]:
    for row in database.query(_MAY_HOLD, {"subject": subject, "purpose": purpose}):
        if row["data"] is not None and holds(row["data"], subject):
            yield row


def _is_withdrawn(database: Database, row: Mapping[str, Any], subject: str) -> bool:
    if not row["withdrawn"]:
        return False
    sql = "SELECT block FROM withdrawals WHERE export = ? AND withdrawal = ? ORDER BY number"
    blocks: Collection[tuple[bytes]] = database.execute(sql, [row["n"], row["withdrawal"]]).fetchall()
    return any(subject in decode_block(block) for (block,) in blocks)


def _export(row: Mapping[str, Any]) -> Export:
    return Export(
        id=row["id"],
        dataset=row["dataset"],
        version=row["version"],
        partner=row["partner"],
        purpose=row["purpose"],
        status=_status(row),
        regime=row["regime"],
        imported=bool(row["imported"]),
        exported_at=maybe_moment(row["exported_at"]),
        opened_at=moment(row["opened_at"]),
        closed_at=maybe_moment(row["closed_at"]),
        settled_at=maybe_moment(row["settled_at"]),
        requested_at=maybe_moment(row["requested_at"]),
        watermark=None if row["watermark"] is None else orjson.loads(row["watermark"]),
        rows=None if row["rows"] is None else Rows.model_validate_json(row["rows"]),
        output=None if row["output"] is None else Output.model_validate_json(row["output"]),
        subjects=row["subjects"],
        withdrawn=row["withdrawn"],
    )


def _status(row: Mapping[str, Any]) -> ExportStatus:
    if row["settled_at"] is not None:
        return ExportStatus.SETTLED
    return ExportStatus.OPEN if row["closed_at"] is None else ExportStatus.CLOSED
