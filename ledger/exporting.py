"""All that a ledger knows, as lines of JSON: the same lines for every ledger that has read the same of the log,
whichever partition it read first. Read through one connection."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import orjson
from sqlite_utils import Database

#: Not what is known of the log: the file's own name, what is the same in every file, and how it came about.
_OWN = frozenset({"meta", "lag_buckets", "lag_ends", "lag_changes"})
#: Rows that say nothing: a counter that has come back to zero.
_EMPTY = {"counts": "n <> 0"}


def export(database: Database) -> Iterator[bytes]:
    """A line a row, `{"table": ..., "row": {...}}`: tables by name, rows by primary key. `offsets` among them say how
    much of the log it is."""
    for table in sorted(set(database.table_names()) - _OWN):
        columns = database[table].columns
        keys = [column.name for column in sorted(columns, key=lambda column: column.is_pk) if column.is_pk]
        where = f" WHERE {_EMPTY[table]}" if table in _EMPTY else ""
        rows = database.execute(f"SELECT * FROM {table}{where} ORDER BY {', '.join(keys)}")
        names = [column[0] for column in rows.description]
        for row in rows:
            line = {"table": table, "row": dict(zip(names, row, strict=True))}
            yield orjson.dumps(line, default=_in_base64) + b"\n"


def _in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
