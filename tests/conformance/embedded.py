"""The embedded engine, as the conformance suite sees it."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streams.embedded.log import EmbeddedLog
from streams.embedded.maintenance import Upkeep
from streams.embedded.schema import SHIFT
from streams.embedded.store import LogStore, unpack_headers
from streams.log import Log
from streams.records import Appender, TopicPartition
from streams.topics import TopicSpec
from tests.conformance.harness import Stored


class Embedded:
    """One file in a directory of the case's own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / "log.sqlite"
        self._topics: tuple[TopicSpec, ...] = ()
        self._open()

    def _open(self) -> None:
        self._log = EmbeddedLog(f"sqlite://{self._path}")
        self.log: Log = self._log

    @property
    def appender(self) -> Appender:
        return self.log

    def create(self, *topics: TopicSpec) -> None:
        self._topics = (*self._topics, *topics)
        LogStore.borrowed(self._path).create_topics(topics)

    def app(self, group: str) -> Any:
        return self.log.new_app(group, self._directory)

    def stored(self, topic: str, partition: int) -> list[Stored]:
        with self._connection() as other:
            tp = self._topic_id(other, topic) << SHIFT | partition
            rows = other.execute(
                "SELECT offset, key, value, headers, timestamp FROM records WHERE tp = ? ORDER BY offset", (tp,)
            ).fetchall()
        return [
            Stored(offset, key, value, tuple(unpack_headers(headers)), stamp / 1000)
            for offset, key, value, headers, stamp in rows
        ]

    def committed(self, group: str) -> dict[TopicPartition, int]:
        with self._connection() as other:
            rows = other.execute(
                "SELECT name, tp, offset FROM commits JOIN topics ON topics.id = tp >> ? WHERE consumer_group = ?",
                (SHIFT, group),
            ).fetchall()
        return {TopicPartition(name, tp & (1 << SHIFT) - 1): offset for name, tp, offset in rows}

    @contextlib.contextmanager
    def refusing(self, topic: str | None) -> Iterator[None]:
        with self._connection() as other:
            if topic is None:
                what = "ON commits WHEN true"
            else:
                what = f"ON records WHEN new.tp >> {SHIFT} = {self._topic_id(other, topic)}"
            other.execute(f"CREATE TRIGGER refusal BEFORE INSERT {what} BEGIN SELECT RAISE(ABORT, 'refused'); END")
        try:
            yield
        finally:
            with self._connection() as other:
                other.execute("DROP TRIGGER refusal")

    async def upkeep(self, later: float = 0.0) -> None:
        store = LogStore.borrowed(self._path)
        specs = {spec.name: spec for spec in self._topics}
        upkeep = Upkeep(store, specs, lambda: round((time.time() + later) * 1000), dirty=lambda _: 1)
        upkeep.round()
        upkeep.stop()

    async def restart(self) -> None:
        self._log.close()
        assert LogStore._shared.get(self._path) is None
        self._open()

    def close(self) -> None:
        self._log.close()

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self._path, timeout=10, isolation_level=None)) as connection:
            yield connection

    @staticmethod
    def _topic_id(connection: sqlite3.Connection, topic: str) -> int:
        (identity,) = connection.execute("SELECT id FROM topics WHERE name = ?", (topic,)).fetchone()
        return int(identity)
