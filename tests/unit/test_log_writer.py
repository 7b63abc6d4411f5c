"""The writer of the embedded log, where even the commit fails."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from streams.embedded.opening import connect
from streams.embedded.writer import GroupWriter
from streams.errors import LogUnavailable


class LastMoment:
    """A connection whose next commits fail, as on a disk that fills up under the write-ahead log."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.failures = 0

    def execute(self, sql: str, *parameters: Any) -> Any:
        if sql == "COMMIT" and self.failures:
            self.failures -= 1
            raise sqlite3.OperationalError("database or disk is full")
        return self._connection.execute(sql, *parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def test_nobody_sees_what_was_not_committed(tmp_path: Path) -> None:
    connection = LastMoment(connect(tmp_path / "log.sqlite", writable=True))
    ends: dict[int, int] = {}
    woken: list[dict[int, int]] = []
    writer = GroupWriter(connection, ends, lambda: woken.append(dict(ends)))  # type: ignore[arg-type]
    connection.failures = 1
    with pytest.raises(LogUnavailable, match="full"):
        writer.append([(1, None, b"lost", None)]).result(10)
    assert (ends, woken) == ({}, [])
    assert [offset for offset, _ in writer.append([(1, None, b"kept", None)]).result(10)] == [0]
    writer.close()
    assert (ends, woken) == ({1: 1}, [{1: 1}])
    with sqlite3.connect(tmp_path / "log.sqlite") as other:
        assert other.execute("SELECT tp, offset, value FROM records").fetchall() == [(1, 0, b"kept")]
    other.close()
