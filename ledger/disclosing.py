"""The index of disclosures as its one writer has it: each transaction also stores the offsets that it covers."""

from __future__ import annotations

import base64
import binascii
import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import orjson
from sqlite_utils import Database

from ledger.disclosed import VERSION, Disclosures, unfit
from ledger.files import open_database
from ledger.times import maybe_micros, micros
from streams import exports
from streams.blocks import decode_block, decode_leaf, first_of, leaves
from streams.cloudevents import decode
from streams.errors import StorageUnusable, Undecodable
from streams.records import Message, TopicPartition
from streams.topics import DISCLOSURES

log = logging.getLogger(__name__)

_SCHEMA = resources.files("ledger").joinpath("disclosures.sql").read_text()
_OPEN = """INSERT OR IGNORE INTO exports
    (id, dataset, version, partner, purpose, regime, imported, exported_at, opened_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_STANDING = "SELECT n, dataset, closed_at IS NOT NULL, settled_at IS NOT NULL FROM exports WHERE id = ?"
_DROP_BLOCKS = (
    "DELETE FROM blocks WHERE export = ? AND number {}",
    "DELETE FROM leaves WHERE export = ? AND number {}",
)
_CLOSE = "UPDATE exports SET closed_at = ?, watermark = ?, rows = ?, output = ?, subjects = ? WHERE n = ?"
_SETTLE = "UPDATE exports SET settled_at = ?, withdrawn = ?, withdrawal = ?, manifest = ? WHERE n = ?"
_WITHDRAWN = (
    "SELECT COUNT(*), COALESCE(SUM(subjects), 0) FROM withdrawals WHERE export = ? AND withdrawal = ? AND number < ?"
)
_SET_OFFSET = "INSERT INTO offsets VALUES (?, ?) ON CONFLICT (partition) DO UPDATE SET next = excluded.next"


class DisclosureIndex(Disclosures):
    """Open it with `DisclosureIndex.open`. `apply` is for one thread at a time; questions for any."""

    def __init__(self, path: Path, writer: Database) -> None:
        super().__init__(path)
        self._writer: sqlite3.Connection = writer.conn
        self._database = writer
        self._turn = threading.Lock()
        self._next = super().offsets()
        #: Was anything ever handed over?
        self.any = self._any()
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            exports.ExportOpened: self._opened,
            exports.SubjectsDisclosed: self._disclosed,
            exports.ExportClosed: self._closed,
            exports.SubjectsWithdrawn: self._withdrawn,
            exports.ExportSettled: self._settled,
            exports.WithdrawalsRequested: self._requested,
        }

    @classmethod
    def open(cls, path: Path) -> DisclosureIndex:
        """Create or open the file; one of another version is made anew. Raises `StorageUnusable`."""
        database = open_database(path)
        try:
            # A power cut may take the last transactions, whole, and their offsets with them: they are read again.
            database.execute("PRAGMA synchronous=NORMAL")
            _create(database)
            return cls(path, database)
        except (sqlite3.Error, StorageUnusable) as error:
            database.close()
            raise StorageUnusable(
                f"cannot use the index of disclosures {path}: {error}; delete it, and it is made again from the log"
            ) from None

    def close(self) -> None:
        """Waits for a transaction that is under way."""
        with self._turn:
            self._database.close()

    def offsets(self) -> dict[TopicPartition, int]:
        return dict(self._next)

    def forget(self) -> None:
        """Be as if nothing had been read."""
        with self._turn:
            _create(self._database, anew=True)
            self._next, self.any = {}, False

    def apply(
        self, messages: Sequence[Message], positions: Mapping[TopicPartition, int]
    ) -> list[tuple[Message, Undecodable]]:
        """Take records in the order of the log, and where the next ones will be. What is no event of ours is passed
        over and returned. Raises `StorageUnusable` if nothing was stored; the same may be applied again."""
        bad = []
        try:
            with self._turn, self._writer:
                self._writer.execute("BEGIN IMMEDIATE")
                for message in messages:
                    if message.offset >= self._next.get(TopicPartition(message.topic, message.partition), 0):
                        try:
                            self._take(message)
                        except Undecodable as error:
                            bad.append((message, error))
                self._writer.executemany(_SET_OFFSET, [(tp.partition, offset) for tp, offset in positions.items()])
        except sqlite3.Error as error:
            raise StorageUnusable(f"the index of disclosures did not take the records: {error}") from None
        self._next.update(positions)
        self.any = self.any or self._any()
        return bad

    # -- what each event does

    def _take(self, message: Message) -> None:
        data = decode(message.value, message.headers).data
        handle = self._handlers.get(type(data))
        if handle is None:
            raise Undecodable(f"{data.TYPE} does not belong into {DISCLOSURES.name}")
        handle(data)

    def _opened(self, data: exports.ExportOpened) -> None:
        self._writer.execute(
            _OPEN,
            (
                data.export,
                data.dataset,
                data.version,
                data.partner,
                data.purpose,
                data.regime,
                data.imported is True,
                maybe_micros(data.exported_at),
                micros(data.opened_at),
            ),
        )

    def _disclosed(self, data: exports.SubjectsDisclosed) -> None:
        standing = self._standing(data)
        if standing is None or standing[1]:
            return  # not opened, or handed over already: what the partner has does not change
        export = standing[0]
        rows = [(export, data.number, first_of(leaf), leaf) for leaf in leaves(_raw(data.block))]
        last = decode_leaf(rows[-1][3])[-1]
        self._drop_blocks(export, "= ?", data.number)
        block = (export, data.number, rows[0][2], last, data.subjects)
        self._writer.execute("INSERT INTO blocks VALUES (?, ?, ?, ?, ?)", block)
        self._writer.executemany("INSERT INTO leaves VALUES (?, ?, ?, ?)", rows)

    def _closed(self, data: exports.ExportClosed) -> None:
        standing = self._standing(data)
        if standing is None or standing[1]:
            return
        reason = unfit(self._database, data.export, data.blocks, data.subjects)
        if reason is not None:
            # Two at once hand over the same export, and the other one changed it in between.
            log.warning("export %s is not closed after all: %s", data.export, reason)
            return
        self._drop_blocks(standing[0], ">= ?", data.blocks)
        rows, output = (None if part is None else part.model_dump_json() for part in (data.rows, data.output))
        watermark = orjson.dumps(data.watermark).decode()
        self._writer.execute(_CLOSE, (micros(data.closed_at), watermark, rows, output, data.subjects, standing[0]))

    def _withdrawn(self, data: exports.SubjectsWithdrawn) -> None:
        standing = self._standing(data)
        if standing is None or not standing[1] or standing[2]:
            return
        block = _raw(data.block)
        if len(decode_block(block)) != data.subjects:
            raise Undecodable("the block holds another number of subjects")
        row = (standing[0], data.withdrawal, data.number, data.subjects, block)
        self._writer.execute("INSERT OR IGNORE INTO withdrawals VALUES (?, ?, ?, ?, ?)", row)

    def _settled(self, data: exports.ExportSettled) -> None:
        standing = self._standing(data)
        if standing is None or not standing[1] or standing[2]:
            return
        export, withdrawal = standing[0], data.withdrawn.sha256
        found = self._writer.execute(_WITHDRAWN, (export, withdrawal, data.blocks)).fetchone()
        if tuple(found) != (data.blocks, data.withdrawn.count):
            log.warning("export %s is not settled after all: of who is withdrawn not all is there", data.export)
            return
        self._writer.execute("DELETE FROM withdrawals WHERE export = ? AND withdrawal <> ?", (export, withdrawal))
        self._writer.execute(
            _SETTLE, (micros(data.settled_at), data.withdrawn.count, withdrawal, data.manifest, export)
        )

    def _requested(self, data: exports.WithdrawalsRequested) -> None:
        standing = self._standing(data)
        if standing is not None and standing[2]:
            self._writer.execute(
                "UPDATE exports SET requested_at = COALESCE(requested_at, ?) WHERE n = ?",
                (micros(data.requested_at), standing[0]),
            )

    def _standing(self, data: Any) -> tuple[int, bool, bool] | None:
        """An export's number, and whether it is closed, and settled. None if it was never opened, of this dataset."""
        row = self._writer.execute(_STANDING, (data.export,)).fetchone()
        return None if row is None or row[1] != data.dataset else (row[0], bool(row[2]), bool(row[3]))

    def _any(self) -> bool:
        sql = "SELECT EXISTS (SELECT 1 FROM exports WHERE closed_at IS NOT NULL)"
        return bool(self._writer.execute(sql).fetchone()[0])

    def _drop_blocks(self, export: int, which: str, number: int) -> None:
        for statement in _DROP_BLOCKS:
            self._writer.execute(statement.format(which), (export, number))


def _create(database: Database, *, anew: bool = False) -> None:
    version = database.execute("PRAGMA user_version").fetchone()[0]
    tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()]
    anew = anew or (bool(tables) and version != VERSION)
    dropped = "".join(f"DROP TABLE {name};" for name in tables) if anew else ""
    # Whole or not at all: a file with half of its tables would pass for an index.
    database.conn.executescript(f"BEGIN; {dropped} {_SCHEMA}; PRAGMA user_version = {VERSION}; COMMIT;")


def _raw(block: str) -> bytes:
    try:
        return base64.b64decode(block, validate=True)
    except (ValueError, binascii.Error):
        raise Undecodable("the block is not base64") from None
