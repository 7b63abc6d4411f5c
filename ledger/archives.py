"""The monthly archives beside a ledger: SQLite files of what its own file no longer holds.

Each holds blocks of a few notices, with their acknowledgements and marks as the ledger had them, and statements, all
compressed. Blocks are numbered and never change once the ledger points to them, so whoever reads the ledger as of some
moment finds what it points to. What stands behind the last number that the ledger knows was left by a writer that was
stopped, and is written anew.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import orjson

from streams.durable import sync
from streams.errors import StorageUnusable

#: Columns of what is folded, in the order in which it is kept; of a notice's own without its id.
ACKNOWLEDGEMENT = (
    "id", "place", "partner", "subject", "status", "outcome", "reason", "detail", "expected_by", "occurred_at", "at",
    "evidence", "via", "statement", "vocabulary", "code", "verdict", "amends",
)  # fmt: skip
MARK = ("deadline", "step", "event_id", "at")
STATEMENT = ("id", "partner", "webhook_id", "webhook_timestamp", "webhook_signature", "body", "at")
#: Notices a block. More compress little better, and all of them are read for one.
TOGETHER = 16
#: A row of one of the above.
Row = Sequence[Any]
T = TypeVar("T")

_VERSION = 1
_BODY = STATEMENT.index("body")
_TABLES = """BEGIN;
    CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
    CREATE TABLE blocks (number INTEGER PRIMARY KEY, body BLOB NOT NULL);
    CREATE TABLE statements (number INTEGER PRIMARY KEY, body BLOB NOT NULL);"""
#: Seconds to wait for a lock: to read, for a writer's commit; to write, for whoever reads the file whole, which may
#: take long, and the projection waits.
_PATIENCE, _IMPATIENCE = 30.0, 0.5


class Kept(NamedTuple):
    """What is folded of one notice."""

    notice: str
    acknowledgements: Sequence[Row]
    marks: Sequence[Row]


class Last(NamedTuple):
    """The last numbers that the ledger knows of a month, 0 for none."""

    block: int = 0
    statement: int = 0


class Archives:
    """The archives of one ledger, by month (202601 is January 2026). Files stay open until it is left; for one thread
    at a time. Whatever is wrong with a file raises `StorageUnusable`, which names it and the month.

    `name` is the ledger file's own: one that was made anew has another, and does not touch what an older one folded.
    """

    def __init__(self, ledger: Path, name: str) -> None:
        self.directory = directory_of(ledger) / name
        self._name = name
        self._open: dict[int, sqlite3.Connection] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def path(self, month: int) -> Path:
        return self.directory / f"{words(month)}.sqlite"

    def append(self, month: int, last: Last, blocks: Sequence[bytes], statements: Sequence[bytes]) -> None:
        """Durable on return: blocks and statements, numbered on from the last ones that the ledger knows."""
        path = self.path(month)
        self._forget(month)
        try:
            if last == Last():
                self._make(path)
            with contextlib.closing(self._connect(month, _IMPATIENCE)) as connection, _told(month, path):
                # A power cut must not bring back the journal of what was committed: the ledger forgets right after.
                connection.execute("PRAGMA synchronous=EXTRA")
                if last == Last() and connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone() == (0,):
                    connection.executescript(_TABLES)
                    marks = (("archives", self._name), ("month", month))
                    connection.executemany("INSERT INTO meta VALUES (?, ?)", marks)
                    connection.execute(f"PRAGMA user_version={_VERSION}")
                else:
                    self._check(connection, month, path)
                    connection.execute("BEGIN IMMEDIATE")
                for table, rows, known in (("blocks", blocks, last.block), ("statements", statements, last.statement)):
                    connection.execute(f"DELETE FROM {table} WHERE number > ?", (known,))
                    numbered = list(enumerate(rows, known + 1))
                    connection.executemany(f"INSERT INTO {table} VALUES (?, ?)", numbered)
                connection.execute("COMMIT")
        except OSError as error:
            raise StorageUnusable(f"{_archive(month, path)} cannot be written: {error}") from None

    def block(self, month: int, number: int) -> dict[str, Kept]:
        """Notices by id."""
        return self._read(month, "blocks", number, unpacked)

    def statement(self, month: int, number: int) -> tuple[Any, ...]:
        return self._read(month, "statements", number, unpacked_statement)

    def lacking(self, month: int, notice: str) -> str:
        """What to say where the ledger points to what is not there."""
        return f"{_archive(month, self.path(month))} does not have notice {notice}, which was folded into it{_REMEDY}"

    def damage(self, month: int) -> list[str]:
        """What SQLite finds wrong with a file; it reads all of it."""
        path = self.path(month)
        connection = self._reading(month)
        with _told(month, path, _REMEDY):
            lines = [line for (line,) in connection.execute("PRAGMA integrity_check(10)").fetchall() if line != "ok"]
        return [f"{_archive(month, path)}: {line}" for line in lines]

    def _read(self, month: int, table: str, number: int, made: Callable[[bytes], T]) -> T:
        path = self.path(month)
        connection = self._reading(month)
        with _told(month, path, _REMEDY):
            row = connection.execute(f"SELECT body FROM {table} WHERE number = ?", (number,)).fetchone()
        if row is None:
            raise StorageUnusable(f"{_archive(month, path)} does not have number {number} of its {table}{_REMEDY}")
        try:
            return made(row[0])
        except (zlib.error, ValueError, TypeError):
            raise StorageUnusable(
                f"{_archive(month, path)} is damaged: number {number} of its {table} cannot be read{_REMEDY}"
            ) from None

    def _reading(self, month: int) -> sqlite3.Connection:
        if month not in self._open:
            path = self.path(month)
            connection = self._connect(month)
            try:
                with _told(month, path, _REMEDY):
                    connection.execute("PRAGMA query_only=ON")
                    self._check(connection, month, path)
            except StorageUnusable:
                connection.close()
                raise
            self._open[month] = connection
        return self._open[month]

    def _connect(self, month: int, patience: float = _PATIENCE) -> sqlite3.Connection:
        path = self.path(month)
        # Writable if it may be, also to read: what a writer left that was killed is rolled back by whoever comes next.
        try:
            return sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw",
                uri=True, timeout=patience, isolation_level=None, check_same_thread=False,
            )  # fmt: skip
        except sqlite3.Error as error:
            raise StorageUnusable(f"{_archive(month, path)} {_why_not(path, error)}{_REMEDY}") from None

    def _check(self, connection: sqlite3.Connection, month: int, path: Path) -> None:
        if connection.execute("PRAGMA user_version").fetchone() != (_VERSION,):
            raise StorageUnusable(f"{_archive(month, path)} is none, or another version of Rescind made it{_REMEDY}")
        found = dict(connection.execute("SELECT name, value FROM meta").fetchall())
        if found.get("archives") != self._name:
            raise StorageUnusable(f"{_archive(month, path)} belongs to another ledger{_REMEDY}")
        if found.get("month") != month:
            raise StorageUnusable(f"{_archive(month, path)} is of another month{_REMEDY}")

    def _forget(self, month: int) -> None:
        if month in self._open:
            self._open.pop(month).close()

    def _make(self, path: Path) -> None:
        for directory in (self.directory.parent, self.directory):
            directory.mkdir(mode=0o700, exist_ok=True)
            sync(directory.parent)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        sync(self.directory)


_REMEDY = (
    ": put back the one that belongs to this ledger; or, as far as the log still has what it held, make the ledger anew"
    " with `rescind ledger rebuild`"
)


def directory_of(ledger: Path) -> Path:
    """Where a ledger's archives are, each ledger file's in a directory of its own."""
    return ledger.with_name(f"{ledger.stem}-archives")


def words(month: int) -> str:
    """As in `2026-01`."""
    return f"{month // 100:04}-{month % 100:02}"


def packed(notices: Sequence[Kept]) -> bytes:
    return zlib.compress(orjson.dumps([tuple(each) for each in notices]), 6)


def unpacked(block: bytes) -> dict[str, Kept]:
    found = [Kept(*each) for each in orjson.loads(zlib.decompress(block))]
    return {each.notice: each for each in found}


def packed_statement(row: Row) -> bytes:
    """The body is bytes, and no JSON: it stands behind the rest."""
    rest = [value for place, value in enumerate(row) if place != _BODY]
    return zlib.compress(orjson.dumps(rest) + b"\n" + row[_BODY], 6)


def unpacked_statement(data: bytes) -> tuple[Any, ...]:
    rest, _, body = zlib.decompress(data).partition(b"\n")
    row = orjson.loads(rest)
    return (*row[:_BODY], body, *row[_BODY:])


def named(columns: Sequence[str], row: Row) -> Mapping[str, Any]:
    return dict(zip(columns, row, strict=True))


@contextlib.contextmanager
def _told(month: int, path: Path, remedy: str = "") -> Iterator[None]:
    """What SQLite says, in words that name the file."""
    try:
        yield
    except sqlite3.Error as error:
        raise StorageUnusable(f"{_archive(month, path)} cannot be used: {error}{remedy}") from None


def _why_not(path: Path, error: sqlite3.Error) -> str:
    """SQLite does not say why it cannot open a file."""
    try:
        path.stat()
    except FileNotFoundError:
        return "is missing"
    except OSError as denied:
        return f"cannot be opened: {denied.strerror}"
    return f"cannot be opened: {error}"


def _archive(month: int, path: Path) -> str:
    return f"the ledger's archive of {words(month)}, {path},"
