"""All that a ledger knows, as lines of JSON: the same lines for every ledger that has read the same of the log,
whichever partition it read first, and whatever of it was folded. Read through one connection."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from heapq import merge
from operator import itemgetter
from typing import Any

import orjson
from sqlite_utils import Database

from ledger.folded import Folded

#: Not what is known of the log: the file's own name, what is the same in every file, and how it came about.
_OWN = frozenset({"meta", "lag_buckets", "lag_ends", "lag_changes", "archives", "archived_statements"})
_OWN_COLUMNS = {"notices": frozenset({"archived", "archived_block"})}
#: Rows that say nothing: a counter that has come back to zero.
_EMPTY = {"counts": "n <> 0"}


def export(database: Database, folded: Folded) -> Iterator[bytes]:
    """A line a row, `{"table": ..., "row": {...}}`: tables by name, rows by primary key. `offsets` among them say how
    much of the log it is."""
    elsewhere = {
        "acknowledgements": folded.all_acknowledgements,
        "deadline_marks": folded.all_marks,
        "statements": folded.all_statements,
    }
    for table in sorted(set(database.table_names()) - _OWN):
        columns = database[table].columns
        keys = [column.name for column in sorted(columns, key=lambda column: column.is_pk) if column.is_pk]
        where = f" WHERE {_EMPTY[table]}" if table in _EMPTY else ""
        rows = database.execute(f"SELECT * FROM {table}{where} ORDER BY {', '.join(keys)}")
        names = [column[0] for column in rows.description]
        every: Iterable[tuple[Any, ...]] = rows
        if table in elsewhere:
            # The keys of these are their first columns.
            every = merge(rows, elsewhere[table](), key=itemgetter(*range(len(keys))))
        own = _OWN_COLUMNS.get(table, frozenset())
        for row in every:
            known = {name: value for name, value in zip(names, row, strict=True) if name not in own}
            yield orjson.dumps({"table": table, "row": known}, default=_in_base64) + b"\n"


def _in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
