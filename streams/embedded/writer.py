"""Group commit: one thread appends, many wait for it, and each hears only of what is on disk."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams.embedded import schema
from streams.embedded.trouble import explain, is_full, no_room, passes
from streams.errors import LogUnavailable

#: Rows of one transaction at most: bounds both latency and the memory that waits.
MAX_BATCH = 4_000
#: Seconds between two looks at what other processes appended, while there is nothing to do.
_LISTEN = 0.03
#: Seconds between two attempts to write what waits for room on the disk.
_RETRY = 0.25

#: tp, key, value, headers
Row = tuple[int, bytes | None, bytes | None, bytes | None]
#: consumer group, tp, offset, note
GroupCommit = tuple[str, int, int, str]


@dataclass(slots=True)
class _Append:
    rows: Sequence[Row]
    done: Future[list[tuple[int, int]]]
    patient: bool
    commits: Sequence[GroupCommit] = ()


@dataclass(slots=True)
class _Commit:
    group: str
    offsets: Sequence[tuple[int, int]]
    done: Future[None]


@dataclass(slots=True)
class _Call:
    function: Callable[[sqlite3.Connection], Any]
    done: Future[Any]


_Job = _Append | _Commit | _Call


class GroupWriter:
    """Owns the one writing connection. Every method may be called from any thread.

    A failed transaction fails exactly those who waited for it; nothing of it is on disk, and the next
    one starts from the offsets that are. Patient appends alone outlive a disk without room: they wait for
    it, in their order.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        ends: dict[int, int],
        on_appended: Callable[[], None],
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        *,
        path: Path | None = None,
        reload: Callable[[sqlite3.Connection], dict[int, int]] = schema.read_ends,
    ) -> None:
        self._connection = connection
        self._ends = ends
        self._on_appended = on_appended
        self._now_ms = now_ms
        self._path = path
        #: Reads the ends anew when another process has written.
        self._reload = reload
        self._jobs: deque[_Job] = deque()
        #: Patient appends that found no room, and the moment of their next attempt.
        self._held: deque[_Job] = deque()
        self._retry_at = 0.0
        #: Why the last records found no room; None if they did.
        self._refused: str | None = None
        self._wake = threading.Condition()
        self._closing = False
        #: SQLite's count of what other connections changed; None until it is known.
        self._version: int | None = None
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def append(
        self, rows: Sequence[Row], *, patient: bool = False, commits: Sequence[GroupCommit] = ()
    ) -> Future[list[tuple[int, int]]]:
        """Append rows in order, and commit in the same transaction. The result is each row's (offset, timestamp in
        ms).

        A patient append does not fail for want of room, unless the log closes: for what nobody repeats.
        """
        job = _Append(rows, Future(), patient, commits)
        self._put(job)
        return job.done

    def commit(self, group: str, offsets: Iterable[tuple[int, int]]) -> Future[None]:
        """Store a consumer group's (tp, offset)s: the offsets it wants next."""
        job = _Commit(group, list(offsets), Future())
        self._put(job)
        return job.done

    def call(self, function: Callable[[sqlite3.Connection], Any]) -> Future[Any]:
        """Run something in a transaction of the writer's."""
        job = _Call(function, Future())
        self._put(job)
        return job.done

    def check(self) -> Future[None]:
        """Fails with `LogUnavailable` where records would not be taken. It writes a page, which changes nothing; so
        where records found no room, and there is still none, they find none now either."""

        def touch(connection: sqlite3.Connection) -> None:
            if self._refused is not None and self._path is not None and is_full(self._path):
                raise LogUnavailable(self._refused)
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            connection.execute(f"PRAGMA user_version = {version}")

        return self.call(touch)

    def close(self) -> None:
        """Write what was handed in, then stop."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        self._connection.close()

    def _put(self, job: _Job) -> None:
        with self._wake:
            if self._closing:
                job.done.set_exception(LogUnavailable("the log is closed"))
                return
            waits = self._held and _is_patient(job)
            (self._held if waits else self._jobs).append(job)
            self._wake.notify()

    def _run(self) -> None:
        try:
            while (batch := self._take()) is not None:
                # From here on nobody can cancel; who did so before is not written for.
                wanted = [job for job in batch if job.done.running() or job.done.set_running_or_notify_cancel()]
                if wanted:
                    self._write(wanted)
                elif not batch:
                    self._listen()
        finally:
            self._give_up()

    def _give_up(self) -> None:
        """The thread ends. If that was not asked for, whoever waits or comes later must hear of it."""
        with self._wake:
            self._closing = True
            left = [*self._held, *self._jobs]
            self._held.clear()
            self._jobs.clear()
        for job in left:
            if job.done.running() or job.done.set_running_or_notify_cancel():
                job.done.set_exception(LogUnavailable("the log's writer has stopped"))

    def _take(self) -> list[_Job] | None:
        """The next jobs; an empty list when it is time to listen, None at the end."""
        with self._wake:
            if not self._jobs and not self._closing:
                self._wake.wait(_LISTEN)
            if self._closing and not self._jobs and not self._held:
                return None
            batch: list[_Job] = []
            rows = 0
            if self._held and (self._closing or time.monotonic() >= self._retry_at):
                rows = _move(self._held, batch, rows)
            _move(self._jobs, batch, rows)
            return batch

    def _listen(self) -> None:
        """Take note of what other processes appended."""
        before = dict(self._ends)
        try:
            self._reload_if_changed(dict(before))
        except sqlite3.Error:
            # Whoever reads or writes next says what it is.
            return
        if self._ends != before:
            self._on_appended()

    def _hold(self, batch: Sequence[_Job]) -> list[_Job]:
        """Put aside what waits for room, in its order; the rest is what must fail now."""
        with self._wake:
            if self._closing:
                return list(batch)
            self._held.extendleft(job for job in reversed(batch) if _is_patient(job))
            if self._held:
                # What came meanwhile may not overtake them.
                self._held.extend(job for job in self._jobs if _is_patient(job))
                self._jobs = deque(job for job in self._jobs if not _is_patient(job))
                self._retry_at = time.monotonic() + _RETRY
            return [job for job in batch if not _is_patient(job)]

    def _write(self, batch: list[_Job]) -> None:
        ends = dict(self._ends)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._reload_if_changed(ends)
            results = [self._apply(job, ends) for job in batch]
            self._connection.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - whoever waits must hear of whatever it was
            self._roll_back()
            reason = f"the log did not take the records: {explain(error, self._path)}"
            if isinstance(error, LogUnavailable):
                reason = str(error)  # found out before
            elif no_room(error, self._path):
                self._refused = reason
            for job in self._hold(batch) if passes(error, self._path) else batch:
                job.done.set_exception(LogUnavailable(reason))
            return
        if any(isinstance(job, _Append) for job in batch):
            self._refused = None
        # Readers may see the records from here on, and not a moment earlier: only now are they on disk.
        self._ends.update(ends)
        for job, result in zip(batch, results, strict=True):
            job.done.set_result(result)
        self._on_appended()

    def _apply(self, job: _Job, ends: dict[int, int]) -> Any:
        if isinstance(job, _Append):
            self._connection.executemany(schema.COMMIT_STEP, job.commits)
            return self._append_rows(job.rows, ends)
        if isinstance(job, _Commit):
            rows = [(job.group, tp, offset) for tp, offset in job.offsets]
            self._connection.executemany(schema.COMMIT_OFFSET, rows)
            return None
        return job.function(self._connection)

    def _append_rows(self, rows: Sequence[Row], ends: dict[int, int]) -> list[tuple[int, int]]:
        timestamp = self._now_ms()
        positions = []
        values = []
        for tp, key, value, headers in rows:
            offset = ends.get(tp, 0)
            ends[tp] = offset + 1
            positions.append((offset, timestamp))
            values.append((tp, offset, timestamp, key, value, headers))
        self._insert(values)
        return positions

    def _insert(self, values: Sequence[tuple[Any, ...]]) -> None:
        # A statement asks for the interpreter's lock again after each row that it steps over, and a busy event
        # loop is slow to give it; hence many rows a statement. Measured beside a busy loop: 51,000 rows/s
        # instead of 17,000.
        whole = len(values) - len(values) % schema.ROWS_AT_ONCE
        for start in range(0, whole, schema.ROWS_AT_ONCE):
            rows = values[start : start + schema.ROWS_AT_ONCE]
            self._connection.execute(schema.INSERT_MANY, list(itertools.chain.from_iterable(rows)))
        self._connection.executemany(schema.INSERT, values[whole:])

    def _reload_if_changed(self, ends: dict[int, int]) -> None:
        """Another process may have appended since: its records have taken offsets that we believe free."""
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return
        ends.update(self._reload(self._connection))
        # They are on disk, whatever becomes of our own transaction.
        self._ends.update(ends)
        self._version = version

    def _roll_back(self) -> None:
        # SQLite may have rolled back by itself, and a connection that is lost has nothing to roll back.
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def _is_patient(job: _Job) -> bool:
    return isinstance(job, _Append) and job.patient


def _move(source: deque[_Job], batch: list[_Job], rows: int) -> int:
    """Move jobs into a batch until it is full."""
    while source and rows < MAX_BATCH:
        job = source.popleft()
        rows += len(job.rows) if isinstance(job, _Append) else 1
        batch.append(job)
    return rows


async def durable(future: Future[Any]) -> Any:
    """Wait in the event loop for what the writer's thread does."""
    return await asyncio.wrap_future(future)
