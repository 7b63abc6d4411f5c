"""TERM ends a command as Ctrl-C does, so that progress and child processes are left in order; so does HUP,
which comes when a terminal is closed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def ending() -> tuple[signal.Signals, ...]:
    """The signals that ask us to end. Under `nohup` HUP is ignored, and stays so."""
    hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    return (signal.SIGTERM, *hangup)


@contextmanager
def interruptible() -> Iterator[None]:
    before = {number: signal.signal(number, _interrupt) for number in ending()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
