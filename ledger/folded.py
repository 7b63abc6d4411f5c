"""What was folded into archives, for whoever asks: the same rows that the ledger had. Read through one connection.

Nothing is left out silently: where an archive is needed and cannot be read, the question raises `StorageUnusable`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlite_utils import Database

from ledger.archives import ACKNOWLEDGEMENT, MARK, STATEMENT, Archives, Kept
from ledger.folding import kept_at, name_of
from ledger.veiling import Veil

#: Notices, or statements, that are read at once where all are wanted.
_TOGETHER = 256
_ALL = "SELECT id, archived, archived_block FROM notices WHERE archived > 0 {} ORDER BY id"
# Some were brought back, and stand in both.
_ALL_STATEMENTS = """SELECT month, number FROM archived_statements AS archived
    WHERE NOT EXISTS (SELECT 1 FROM statements WHERE statements.id = archived.id) ORDER BY id"""
_STATEMENT = "SELECT month, number FROM archived_statements WHERE id = ?"


@dataclass(frozen=True, slots=True)
class Past:
    """What is folded of some notices: rows as queries bring them."""

    acknowledgements: list[dict[str, Any]]
    marks: list[dict[str, Any]]


class Folded:
    """Reads what is folded as of the connection's transaction, until it is left. No archive is opened before it is
    needed."""

    def __init__(self, database: Database, ledger: Path, veil: Veil) -> None:
        self._database = database
        self._ledger = ledger
        self._veil = veil
        self._known: Archives | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._known is not None:
            self._known.close()

    def of(self, notices: Iterable[dict[str, Any]]) -> Past:
        """In plain words, of notices as their rows are; by notice, then by primary key."""
        places = [(row["id"], row["archived"], row["archived_block"]) for row in notices if row["archived"]]
        past = Past([], [])
        if places:
            for kept in sorted(kept_at(self._archives(), places)):
                past.acknowledgements.extend(self._opened(kept.notice, ACKNOWLEDGEMENT, kept.acknowledgements))
                past.marks.extend(self._opened(kept.notice, MARK, kept.marks))
        return past

    def statement(self, identity: str) -> list[dict[str, Any]]:
        """In plain words, if it was folded."""
        places = self._database.execute(_STATEMENT, [identity]).fetchall()
        rows = [self._archives().statement(month, number) for month, number in places]
        return [self._row(STATEMENT, row) for row in rows]

    # As the file has them, in the order of their primary keys.

    def all_acknowledgements(self) -> Iterator[tuple[Any, ...]]:
        for kept in self._all(""):
            yield from ((kept.notice, *row) for row in kept.acknowledgements)

    def all_marks(self) -> Iterator[tuple[Any, ...]]:
        # Most notices have none, and each costs a look into its block.
        for kept in self._all("AND marked <> 0"):
            yield from ((kept.notice, *row) for row in kept.marks)

    def all_statements(self) -> Iterator[tuple[Any, ...]]:
        places = self._database.execute(_ALL_STATEMENTS)
        for month, number in places:
            yield self._archives().statement(month, number)

    def _all(self, narrowed: str) -> Iterator[Kept]:
        places = self._database.execute(_ALL.format(narrowed))
        while some := places.fetchmany(_TOGETHER):
            yield from sorted(kept_at(self._archives(), some))

    def _archives(self) -> Archives:
        if self._known is None:
            # Where a notice points to an archive, there is a name.
            self._known = Archives(self._ledger, name_of(self._database.conn) or "")
        return self._known

    def _opened(self, notice: str, columns: tuple[str, ...], rows: Iterable[Any]) -> Iterator[dict[str, Any]]:
        for row in rows:
            yield {"notice_id": notice, **self._row(columns, row)}

    def _row(self, columns: tuple[str, ...], row: Iterable[Any]) -> dict[str, Any]:
        return {name: self._veil.opened(value) for name, value in zip(columns, row, strict=True)}
