"""An event loop whose time stands still until a test moves it, so that hours of retries take a moment.

What threads do for the loop (the log's writer, the ledger's) takes no time of the loop's: it is waited for. So after
each move everything that can happen by then has happened. Trio's MockClock does the same, without threads:
https://trio.readthedocs.io/en/stable/reference-testing.html#time-and-timeouts
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar

R = TypeVar("R")

#: Real seconds in which a thread that is not counted would have woken the loop.
_GRACE = 0.002
#: Real seconds between two looks for a thread that is counted.
_WAITING = 0.05
#: Seconds that each turn of the loop takes. asyncio runs timers that are due within a nanosecond; who then finds that
#: its time has not come yet, and waits for the rest, would wait for ever.
_TURN = 1e-8


class HeldTimeLoop(asyncio.SelectorEventLoop):
    """`time()` is in seconds, from 0. `settled` lets everything happen that is due."""

    def __init__(self) -> None:
        self._selected = _Selector(self._idle, self._turned)
        self._now = 0.0
        self._until = 0.0
        self._threads = 0
        self._settled: asyncio.Future[None] | None = None
        super().__init__(self._selected)

    def time(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        """All timers that are over by then become due at once."""
        self._until = self._now = self._now + seconds

    async def settled(self, seconds: float = 0.0) -> None:
        """Return when nothing is left to do until so many seconds from now, each timer in its turn."""
        self._until = max(self._until, self._now + seconds)
        self._settled = self.create_future()
        await self._settled

    def counted(self, future: Future[Any]) -> Future[Any]:
        """A thread is at work for this loop until the future is done."""
        self._threads += 1
        future.add_done_callback(lambda _: self.call_soon_threadsafe(self._over))
        return future

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        future = super().run_in_executor(executor, func, *args)
        self._threads += 1
        future.add_done_callback(lambda _: self._over())
        return future

    def _over(self) -> None:
        self._threads -= 1

    def _turned(self) -> None:
        self._now += _TURN

    def _idle(self, timeout: float | None) -> bool:
        """Nothing can run until a timer is due in so many seconds, or something comes. Whether that is changed."""
        if self._threads:
            return False
        if timeout is not None and self._now + timeout <= self._until:
            self._now += timeout
            return True
        self._now = max(self._now, self._until)
        if self._settled is not None and not self._settled.done():
            self._settled.set_result(None)
            return True
        return False


class _Selector(selectors.DefaultSelector):
    """Waits for what comes from outside, and asks when there is nothing."""

    def __init__(self, idle: Callable[[float | None], bool], turned: Callable[[], None]) -> None:
        super().__init__()
        self._idle = idle
        self._turned = turned

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._turned()
        if timeout is not None and timeout <= 0:
            return super().select(0)
        found = super().select(_GRACE)
        if found or self._idle(timeout):
            return found
        return super().select(_WAITING)


def run(work: Callable[[HeldTimeLoop], Coroutine[Any, Any, R]]) -> R:
    """Run it in a loop of its own."""
    made: list[HeldTimeLoop] = []

    def factory() -> HeldTimeLoop:
        made.append(HeldTimeLoop())
        return made[-1]

    with asyncio.Runner(loop_factory=factory) as runner, _threads_counted():
        runner.get_loop()
        return runner.run(work(made[0]))


@contextmanager
def _threads_counted() -> Iterator[None]:
    """The log's and the consent table's own threads."""
    real = asyncio.wrap_future

    def wrap(future: Any, *, loop: Any = None) -> Any:
        running = asyncio.get_running_loop()
        if isinstance(running, HeldTimeLoop) and isinstance(future, Future):
            running.counted(future)
        return real(future, loop=loop)

    asyncio.wrap_future = wrap
    try:
        yield
    finally:
        asyncio.wrap_future = real


class HeldClock:
    """The time of a loop as a date, from `start` on."""

    def __init__(self, loop: HeldTimeLoop, start: datetime) -> None:
        self._loop = loop
        self.start = start

    def __call__(self) -> datetime:
        return self.start + timedelta(seconds=round(self._loop.time(), 3))


def ladder(seconds: float, first: float = 1.0, factor: float = 1.5) -> Iterator[float]:
    """Steps that add up to so many seconds: short ones first, since waits grow with the time that has passed."""
    step = first
    while seconds > step:
        yield step
        seconds -= step
        step *= factor
    yield seconds
