"""Upkeep of the log beside its work: retention, compaction, and free pages given back to the disk.

All of it goes in steps of some milliseconds, each a transaction of the writer's own between those of the
appends, with a pause after each. Reading is done on a connection of its own.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from streams.embedded import compaction, holding, retention
from streams.embedded.holding import HeldBack
from streams.embedded.opening import connect
from streams.embedded.schema import SHIFT
from streams.embedded.trouble import explain
from streams.errors import RescindError
from streams.topics import TopicSpec

if TYPE_CHECKING:
    from streams.embedded.store import LogStore

log = logging.getLogger(__name__)

#: Seconds between two rounds.
_ROUND = 30.0
#: After a step the upkeep rests for so many times what the step took, and so many seconds at least.
_REST, _LEAST_REST = 4.0, 0.002
#: Free pages that stay in the file for what comes next, and pages given back in one step.
_SPARE_PAGES = 256
_STEP_PAGES = 64


class Upkeep:
    """The upkeep of one log, on a thread of its own from `start` to `stop`; or a round at a time."""

    def __init__(
        self,
        store: LogStore,
        specs: Mapping[str, TopicSpec],
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        dirty: Callable[[int], int] = compaction.worthwhile,
    ) -> None:
        self._store = store
        self._specs = specs
        self._now_ms = now_ms
        self._dirty = dirty
        self._weights = retention.Weights()
        self._reader = _scratch(store.path)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-upkeep", daemon=True)
        #: What retention would drop and a group still wants, as of the last round.
        self.held: tuple[HeldBack, ...] = ()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Return when no step is under way any more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._reader.close()

    def round(self) -> None:
        """Do all that is due, without rests."""
        for _ in self.steps():
            pass

    def steps(self) -> Iterator[None]:
        """One round; every turn is a step."""
        held: list[HeldBack] = []
        for name, identity, partitions, cleanup in self._store.topics():
            spec = self._specs.get(name, TopicSpec(name, partitions, cleanup))
            for tp in range(identity << SHIFT, (identity << SHIFT) + partitions):
                end = self._store.end_of(tp)
                if cleanup == "compact":
                    tombstone_ms = round(spec.tombstone_retention * 1000)
                    yield from compaction.clean(
                        self._reader, self._store.write, tp, end, self._now_ms(), tombstone_ms, self._dirty
                    )
                elif spec.retention is not None or spec.retention_bytes is not None:
                    yield from self._retire(spec, tp, end, held)
        self.held = tuple(held)
        yield from self._give_back()

    def _retire(self, spec: TopicSpec, tp: int, end: int, held: list[HeldBack]) -> Iterator[None]:
        first = holding.first_from(self._reader, tp, 0)
        if first is None:
            return
        start = gone = first[0]
        if spec.retention is not None:
            cutoff = self._now_ms() - round(spec.retention * 1000)
            gone = holding.first_since(self._reader, tp, start, end, cutoff)
        if spec.retention_bytes is not None:
            yield from self._weights.count(self._reader, tp, start, end)
            surplus = self._weights.of(tp) - spec.retention_bytes
            gone = max(gone, retention.gone_by_size(self._reader, tp, start, end, surplus))
        holder = holding.floor(self._reader, tp)
        free = gone if holder is None else min(gone, holder[0])
        while start < free:
            upto, weight = retention.portion(self._reader, tp, start, free)
            now_at = self._store.retire(tp, upto)
            if now_at < upto:
                break  # a group came meanwhile that wants it
            start = upto
            self._weights.less(tp, weight)
            yield
        kept = holding.held_back(self._reader, spec.name, tp, gone)
        if kept is not None:
            held.append(kept)

    def _give_back(self) -> Iterator[None]:
        """Return free pages to the file system; a file from before that was possible keeps them."""
        if self._reader.execute("PRAGMA auto_vacuum").fetchone()[0] != 2:
            return
        while (surplus := self._reader.execute("PRAGMA freelist_count").fetchone()[0] - _SPARE_PAGES) > 0:
            pages = min(surplus, _STEP_PAGES)
            self._store.write(lambda c, n=pages: len(c.execute(f"PRAGMA incremental_vacuum({n})").fetchall()))  # type: ignore[misc]
            yield

    def _run(self) -> None:
        while not self._stopping.wait(_ROUND):
            try:
                for _ in self._paced():
                    pass
            except (RescindError, sqlite3.Error) as error:
                log.warning("the log's upkeep has to wait: %s", explain(error, self._store.path))

    def _paced(self) -> Iterator[None]:
        began = time.monotonic()
        for _ in self.steps():
            if self._stopping.wait(max(_LEAST_REST, _REST * (time.monotonic() - began))):
                return
            began = time.monotonic()
            yield


def _scratch(path: Path) -> sqlite3.Connection:
    """A connection for reading that may make temporary tables."""
    connection = connect(path, writable=False)
    connection.execute("PRAGMA query_only=OFF")
    return connection
