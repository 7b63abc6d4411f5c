"""The line in which toggles wait: bounded, in order, shared by any number of threads of one process."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from threading import Condition, Lock

from rescind.emitter.errors import BufferFull, EmitterClosed, NotEmitted
from rescind.emitter.toggles import Toggle

log = logging.getLogger("rescind.emitter")


@dataclass(frozen=True, slots=True)
class Emitted:
    """A toggle that is durable in the log. By HTTP the service keeps to itself where."""

    id: str
    topic: str | None = None
    partition: int | None = None
    #: None also where a broker knew a record from an earlier attempt, and not any more where it stands.
    offset: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """A toggle without an answer. `deadline` is on the monotonic clock."""

    toggle: Toggle
    deadline: float
    future: Future[Emitted] = field(default_factory=Future)

    @property
    def left(self) -> float:
        """Seconds until the deadline, 0 once it has passed."""
        return max(0.0, self.deadline - time.monotonic())

    def taken(self, emitted: Emitted) -> None:
        try:
            self.future.set_result(emitted)
        except InvalidStateError:
            log.warning("%s was taken after all, when its emitter had been closed", self.toggle.id)

    def failed(self, error: NotEmitted) -> None:
        if self.future.done():
            return  # whoever closed the emitter was first
        # Not every caller looks at its future.
        log.error("%s is not emitted: %s", self.toggle.id, error)
        with suppress(InvalidStateError):  # first by a hair
            self.future.set_exception(error)


def fail(batch: Iterable[Pending], reason: str) -> None:
    for pending in batch:
        pending.failed(NotEmitted(reason))


class Line:
    """Holds up to `most` toggles, those included that are being carried."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._work = Condition(self._lock)
        self._room = Condition(self._lock)
        self._waiting: deque[Pending] = deque()
        self._unsettled: dict[Future[Emitted], Pending] = {}
        self._closed = False
        self._ended = False

    def put(self, pending: Pending, block_for: float) -> None:
        """At the end of the line. Raises `BufferFull`, at once or after so many seconds, or `EmitterClosed`."""
        future = pending.future
        # What is emitted cannot be taken back, so the future is beyond cancelling.
        future.set_running_or_notify_cancel()
        future.add_done_callback(self._settled)
        with self._room:
            room = self._room.wait_for(lambda: self._closed or self._has_room(), block_for)
            if self._closed:
                raise EmitterClosed("the emitter is closed")
            if not room:
                raise BufferFull(f"{self._most} toggles wait for an answer already; this one was not taken")
            self._unsettled[future] = pending
            self._waiting.append(pending)
            self._work.notify()

    def waits(self) -> bool:
        """Block until somebody waits, or the line is closed: then, whether anybody still does."""
        with self._work:
            self._work.wait_for(lambda: self._waiting or self._closed)
            return bool(self._waiting)

    def expired(self) -> list[Pending]:
        """Take out those whose deadline has passed. All get the same time, so they stand in front."""
        with self._lock:
            return list(self._overdue())

    def take(self, most: int) -> list[Pending]:
        """Take out those in front."""
        with self._lock:
            return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def put_back(self, front: Iterable[Pending]) -> None:
        """To the front, in their order."""
        with self._lock:
            if not self._ended:
                self._waiting.extendleft(reversed(list(front)))

    def pause(self, until: float) -> None:
        """Wait until then, the next deadline, or the line's end. Not at all if nobody waits: who comes next has a
        deadline too."""
        with self._work:
            if self._waiting:
                until = min(until, self._waiting[0].deadline)
                self._work.wait_for(lambda: self._ended, max(0.0, until - time.monotonic()))

    def unsettled(self) -> list[Future[Emitted]]:
        with self._lock:
            return list(self._unsettled)

    def close(self) -> None:
        """Take no more."""
        with self._lock:
            self._closed = True
            self._work.notify_all()
            self._room.notify_all()

    def end(self) -> list[Pending]:
        """Give up what has no answer, and return it."""
        with self._lock:
            self._closed = self._ended = True
            self._waiting.clear()
            self._work.notify_all()
            return list(self._unsettled.values())

    def _has_room(self) -> bool:
        if len(self._unsettled) >= self._most:
            # A future wakes its caller a moment before `_settled` hears of it.
            for done in list(takewhile(Future.done, self._unsettled)):
                del self._unsettled[done]
        return len(self._unsettled) < self._most

    def _overdue(self) -> Iterator[Pending]:
        while self._waiting and not self._waiting[0].left:
            yield self._waiting.popleft()

    def _settled(self, future: Future[Emitted]) -> None:
        with self._lock:
            self._unsettled.pop(future, None)
            self._room.notify()
