"""The thread behind an emitter: takes from the line, has it carried, and tries again where that may help."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from typing import Protocol

from rescind.emitter.errors import Trouble
from rescind.emitter.line import Line, Pending, fail

log = logging.getLogger("rescind.emitter")

#: Seconds between two attempts: doubled from the first to the last, and jittered.
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
#: Seconds that somebody else may make us wait for the next attempt.
LONGEST_ASKED = 60.0


class Carrier(Protocol):
    """Carries toggles to where they become durable. One thread calls it, but for `stop`."""

    #: Toggles at a time.
    most: int

    def carry(self, batch: Sequence[Pending]) -> None:
        """Settle each, in order. Raises `Trouble` where those not settled may be carried again."""
        ...

    def stop(self) -> None:
        """Make a `carry` that is under way end soon."""
        ...

    def close(self) -> None: ...


class Worker:
    """One line and its carrier, until the line is closed and empty."""

    def __init__(self, line: Line, carrier: Carrier) -> None:
        self._line = line
        self._carrier = carrier
        self._attempts = 0
        self._again = 0.0
        self._reason = "there was no time"

    def run(self) -> None:
        try:
            while self._line.waits():
                fail(self._line.expired(), f"given up at the deadline: {self._reason}")
                if self._again > time.monotonic():
                    self._line.pause(self._again)
                else:
                    self._carry(self._line.take(self._carrier.most))
        finally:
            self._carrier.close()

    def _carry(self, batch: Sequence[Pending]) -> None:
        if not batch:
            return  # the deadlines of all have passed
        try:
            self._carrier.carry(batch)
            self._attempts = 0
        except Trouble as trouble:
            self._attempts += 1
            # An attempt that a deadline cut short says less than the one before it.
            if self._attempts == 1 or any(pending.left for pending in batch):
                self._reason = str(trouble)
            self._again = time.monotonic() + _pause(trouble, self._attempts)
            self._line.put_back(pending for pending in batch if not pending.future.done())
        except Exception as error:
            # The thread must not die of what nobody foresaw: then all would wait in vain.
            log.exception("the emitter failed")
            fail(batch, f"the emitter failed: {error!r}")


def _pause(trouble: Trouble, attempts: int) -> float:
    if trouble.after is not None:
        return min(trouble.after, LONGEST_ASKED)
    longest = min(FIRST_PAUSE * 2 ** min(attempts - 1, 10), LONGEST_PAUSE)
    return random.uniform(longest / 2, longest)  # noqa: S311 - no secret
