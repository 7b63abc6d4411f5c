"""What both emitters have in common: the caller's side, the thread behind it, forks and the process's end."""

from __future__ import annotations

import atexit
import os
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, wait
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rescind.emitter.line import Emitted, Line, Pending, fail
from rescind.emitter.toggles import checked
from rescind.emitter.worker import Carrier, Worker
from streams.errors import InvalidInput

#: Seconds that the thread may take to end once nothing is left to do.
_ENDING = 2.0


class _Process:
    """What an emitter has in one process: nothing of it survives a fork."""

    def __init__(self, most: int) -> None:
        self.line = Line(most)
        self.starting = threading.Lock()
        self.carrier: Carrier | None = None
        self.thread: threading.Thread | None = None


class BaseEmitter:
    """The face of both emitters. Any number of threads may share one.

    A toggle is answered, or fails, within `timeout` seconds; up to `max_pending` wait for their answers.
    With one more, `emit` raises `BufferFull`: at once, since a web request must not hang where the log does,
    unless `block_for` says how many seconds a caller may wait for room. When the process exits, what waits
    still has `exit_timeout` seconds.
    """

    def __init__(
        self,
        carrier: Callable[[], Carrier],
        *,
        max_pending: int,
        block_for: float,
        timeout: float,
        exit_timeout: float,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        if max_pending < 1 or block_for < 0 or timeout <= 0 or exit_timeout < 0:
            raise InvalidInput("max_pending and timeout must be more than 0, block_for and exit_timeout not less")
        self._new_carrier = carrier
        self._max_pending = max_pending
        self._block_for = block_for
        self._timeout = timeout
        self._exit_timeout = exit_timeout
        self._clock = clock
        self._new_id = new_id
        self._here = _Process(max_pending)
        _living.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def emit(
        self,
        subject: str,
        purpose: str,
        choice: str,
        *,
        occurred_at: datetime | None = None,
        version: int | None = None,
        retroactive: bool = True,
        source: str | None = None,
        id: str | None = None,  # noqa: A002 - the field's name
    ) -> Future[Emitted]:
        """Emit a toggle; the fields are those of `ConsentToggled`. `occurred_at` is now unless given.

        The result of the future comes when the toggle is durable; it fails with `NotEmitted`, or with `Refused`
        where the service says no. Its callbacks run in the emitter's thread, so they must be short.

        Give an `id` of your own, such as that of the row that changed: a retry then repeats it, and the service
        knows the toggle again. By default every call is another event (UUIDv4).

        Raises at once `InvalidToggle`, `BufferFull` or `EmitterClosed`; then nothing is emitted.
        """
        now = self._clock()
        toggle = checked(
            id=self._new_id() if id is None else id,
            subject=subject,
            purpose=purpose,
            choice=choice,
            occurred_at=now if occurred_at is None else occurred_at,
            version=version,
            retroactive=retroactive,
            source=source,
            now=now,
        )
        here = self._here
        pending = Pending(toggle, time.monotonic() + self._timeout)
        here.line.put(pending, self._block_for)
        self._started(here)
        return pending.future

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything emitted so far has its answer, good or bad; `timeout` is in seconds.

        Raises `TimeoutError`.
        """
        if waiting := wait(self._here.line.unsettled(), timeout).not_done:
            raise TimeoutError(f"{len(waiting)} toggles have no answer yet")

    def close(self, timeout: float | None = None) -> None:
        """Take no more, wait for the answers, so many seconds at most, and let go of the connection. What has
        no answer by then fails with `NotEmitted`."""
        here = self._here
        here.line.close()
        wait(here.line.unsettled(), timeout)
        if left := here.line.end():
            fail(left, "the emitter was closed before there was an answer")
            if here.carrier is not None:
                here.carrier.stop()
        if here.thread is not None and here.thread is not threading.current_thread():
            here.thread.join(_ENDING)
        _living.discard(self)

    def _started(self, here: _Process) -> None:
        with here.starting:
            if here.thread is None:
                here.carrier = self._new_carrier()
                here.thread = threading.Thread(
                    target=Worker(here.line, here.carrier).run, name="rescind-emitter", daemon=True
                )
                here.thread.start()

    def _forked(self) -> None:
        # What waits is the parent's to carry. Its connection is not touched, not even to close it, so we keep
        # all of it for good.
        _inherited.append(self._here)
        self._here = _Process(self._max_pending)

    def _exit(self) -> None:
        self.close(self._exit_timeout)


def utcnow() -> datetime:
    return datetime.now(UTC)


def uuid4() -> str:
    return str(uuid.uuid4())


#: Those that are not closed, so that neither a fork nor the process's end overlooks one.
_living: set[BaseEmitter] = set()
_inherited: list[_Process] = []


def _after_fork() -> None:
    for emitter in _living:
        emitter._forked()


def _at_exit() -> None:
    for emitter in list(_living):
        emitter._exit()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
