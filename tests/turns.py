"""Tests that must have the machine to themselves, where several processes run tests side by side.

What is marked `alone` measures time or processor: it waits until all other processes are between two tests, and they
wait until it is done. Without pytest-xdist there is nobody to wait for.
"""

from __future__ import annotations

import fcntl
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class Turns:
    """A pytest plugin. `directory` is the same for all processes of a run."""

    def __init__(self, directory: Path) -> None:
        self._door, self._room = directory / "door", directory / "room"

    # Around all else, so that waiting does not count against a test's time-out.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        how = fcntl.LOCK_SH if item.get_closest_marker("alone") is None else fcntl.LOCK_EX
        # Whoever waits for the room stands in the door: else others would come and go for ever.
        with held(self._door, fcntl.LOCK_EX) as door, held(self._room, how):
            fcntl.flock(door, fcntl.LOCK_UN)
            return (yield)


@contextmanager
def held(path: Path, how: int) -> Iterator[int]:
    with path.open("a") as file:
        fcntl.flock(file, how)
        try:
            yield file.fileno()
        finally:
            # By name: a process that a test forked may still have the file open.
            fcntl.flock(file, fcntl.LOCK_UN)
