"""Which archives a ledger has, and whether all that it points to is there. Read through one connection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sqlite_utils import Database

from ledger.archives import Archives, directory_of, words
from ledger.folding import name_of
from ledger.rows import listed
from streams.errors import StorageUnusable

_MONTHS = "SELECT month, last_block, notices, statements FROM archives ORDER BY month"
_POINTING = "SELECT archived, COUNT(*) FROM notices WHERE archived > 0 GROUP BY archived"
_FOUND = """SELECT COUNT(*) FROM notices WHERE id IN (SELECT value FROM json_each(?))
    AND archived = ? AND archived_block = ?"""
_STATEMENTS = "SELECT id, number FROM archived_statements WHERE month = ? ORDER BY number"


@dataclass(frozen=True, slots=True)
class Archived:
    """A month (`2026-01`), and of how many notices and statements its archive has the only copy. `bytes` is None where
    the file is missing."""

    month: str
    notices: int
    statements: int
    bytes: int | None
    path: str


class Shelf(NamedTuple):
    """A ledger's archives, and the directories that ledger files before it have left; nothing reads those."""

    archives: list[Archived]
    left: list[Path]


def shelf(database: Database, ledger: Path) -> Shelf:
    """Raises `StorageUnusable` if the directory cannot be read."""
    try:
        return _shelf(database, ledger, name_of(database.conn))
    except OSError as error:
        raise StorageUnusable(f"cannot read {directory_of(ledger)}: {error.strerror}") from None


def _shelf(database: Database, ledger: Path, name: str | None) -> Shelf:
    directory = directory_of(ledger)
    left = sorted(each for each in directory.iterdir() if each.name != name) if directory.is_dir() else []
    archives = Archives(ledger, name or "")
    found = []
    for month, _, notices, statements in database.execute(_MONTHS).fetchall():
        path = archives.path(month)
        size = path.stat().st_size if path.exists() else None
        found.append(Archived(words(month), notices, statements, size, str(path)))
    return Shelf(found, left)


def wrong(database: Database, ledger: Path) -> Iterator[str]:
    """Reads every archive whole. What is wrong with them, in words; nothing if every notice and every statement that
    was folded is found and can be read."""
    pointing = dict(database.execute(_POINTING).fetchall())
    months = {row[0]: row[1] for row in database.execute(_MONTHS).fetchall()}
    with Archives(ledger, name_of(database.conn) or "") as archives:
        for month in sorted({*pointing, *months}):
            try:
                yield from archives.damage(month)
                yield from _wrong_with(database, archives, month, months.get(month, 0), pointing.get(month, 0))
            except StorageUnusable as error:
                yield str(error)


def _wrong_with(database: Database, archives: Archives, month: int, last: int, pointing: int) -> Iterator[str]:
    found = 0
    for number in range(1, last + 1):
        ids = listed(archives.block(month, number))
        found += database.execute(_FOUND, [ids, month, number]).fetchone()[0]
    if found != pointing:
        yield f"{archives.path(month)}: of {pointing} notices that were folded into it, {found} are found"
    for identity, number in database.execute(_STATEMENTS, [month]).fetchall():
        if archives.statement(month, number)[0] != identity:
            yield f"{archives.path(month)}: number {number} of its statements is not {identity}"
