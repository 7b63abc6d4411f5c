"""Running a process until somebody ends it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from rescind.running.collecting import tune_collector
from rescind.running.processes import Running, Started
from rescind.signals import ending


async def run(
    process: AbstractAsyncContextManager[Running],
    *,
    announce: Callable[[Started], None],
    until_stdin_ends: bool = False,
) -> None:
    """Run until SIGINT, SIGTERM or SIGHUP; for a program that started it, also until that program is gone. A start
    that is under way is given up.

    Raises a `RescindError` when it cannot start, or when a part of it fails for good.
    """
    stopping = asyncio.Event()
    ready = False

    async def whole() -> None:
        nonlocal ready
        async with process as (started, failure):
            ready = True
            tune_collector()
            announce(started)
            stopped = asyncio.ensure_future(stopping.wait())
            futures: list[asyncio.Future[Any]] = [stopped, failure]
            await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if failure.done():
                failure.result()

    task = asyncio.ensure_future(whole())

    def stop() -> None:
        if not (ready or stopping.is_set()):
            task.cancel()
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, *ending()):
        loop.add_signal_handler(number, stop)
    if until_stdin_ends:
        _at_end_of(sys.stdin.fileno(), stop)
    try:
        await task
    except asyncio.CancelledError:
        if not stopping.is_set():
            raise


def _at_end_of(pipe: int, act: Callable[[], None]) -> None:
    """Act once the other end of a pipe is closed, which the kernel does however its owner died."""
    loop = asyncio.get_running_loop()

    def look() -> None:
        if not os.read(pipe, 4096):
            loop.remove_reader(pipe)
            act()

    loop.add_reader(pipe, look)
