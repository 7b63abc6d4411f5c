"""What a process writes to standard error."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable


class Seldom(logging.Filter):
    """Lets each logger below a name say one thing in so many seconds. Kafka's client repeats itself ten times a
    second while a broker is away, and an hour of that would hide everything else."""

    def __init__(self, below: str, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(below)
        self._seconds = seconds
        self._clock = clock
        self._next: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not super().filter(record):
            return True
        now = self._clock()
        if now < self._next.get(record.name, now):
            return False
        self._next[record.name] = now + self._seconds
        return True


def log_to_stderr(*, verbose: bool) -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    if not verbose:
        # Faust's timers and flushes warn of a busy moment as of a fault.
        for noisy in ("mode", "faust"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        for handler in logging.getLogger().handlers:
            handler.addFilter(Seldom("aiokafka", 10.0))
