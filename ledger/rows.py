"""Many rows a statement, in and out.

The interpreter's lock is asked for again after every row that a statement steps over, and a busy event loop is
slow to give it. Measured beside a busy loop: 1,900 acknowledgements/s row by row; see `benchmarks.ledger`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import orjson
from pydantic import BaseModel

#: Few sizes, so that SQLite's statements are prepared once.
_SIZES = (128, 16, 1)


def insert(connection: sqlite3.Connection, sql: str, rows: Sequence[Sequence[Any]]) -> None:
    """Run a statement that has `{}` where its rows of values stand, in order."""
    start = 0
    for size in _SIZES:
        while len(rows) - start >= size:
            values = list(chain.from_iterable(rows[start : start + size]))
            connection.execute(_statement(sql, len(rows[0]), size), values)
            start += size


def select(connection: sqlite3.Connection, sql: str, *parameters: Any) -> list[list[Any]]:
    """The rows of a query that puts them all into one JSON array (`json_group_array`)."""
    rows: list[list[Any]] = orjson.loads(connection.execute(sql, parameters).fetchone()[0])
    return rows


def as_json(parts: Iterable[BaseModel] | None) -> str | None:
    """Values that are only kept, as one text."""
    return None if parts is None else orjson.dumps([part.model_dump() for part in parts]).decode()


def listed(values: Iterable[Any]) -> str:
    """Values as one parameter, for `json_each`."""
    return orjson.dumps(list(values)).decode()


@lru_cache(maxsize=64)
def _statement(sql: str, width: int, count: int) -> str:
    row = f"({', '.join('?' * width)})"
    return sql.format(", ".join([row] * count))
