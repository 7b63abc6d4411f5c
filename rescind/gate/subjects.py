"""Whose rows went out: every subject once, in order, however many there are.

They are gathered in memory up to a bound, and then written as a sorted *run*; at the end the runs are merged. A run is
a file with a subject a line, and stays as it is once it is written, so that an interrupted gate can go on with those
that it had.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from streams.errors import StorageUnusable

#: Subjects in memory at most; fifty megabytes or so.
_MOST = 400_000
#: So many runs are merged into one, so that there are never more than some files to read at once.
_RUNS = 32
#: Bytes of a run that are read at a time.
_TOGETHER = 128 * 1024


class Subjects:
    """Gathers subjects in a directory. `runs` names what is there already, `number` the next run."""

    def __init__(self, directory: Path, runs: Sequence[str] = (), number: int = 0, *, most: int = _MOST) -> None:
        self._directory = directory
        self._most = most
        self._some: set[str] = set()
        self.runs = list(runs)
        self.number = number

    def add(self, subjects: Collection[str]) -> None:
        """Raises `StorageUnusable`."""
        self._some.update(subjects)
        if len(self._some) >= self._most:
            self.flush()

    def flush(self) -> None:
        """Write what is in memory. Runs that `runs` does not name any more stay, until `tidy` is called: who saves the
        names may not have done so yet. Raises `StorageUnusable`."""
        if self._some:
            self._write([sorted(self._some)])
            self._some = set()
        if len(self.runs) >= _RUNS:
            merged, self.runs = self.runs, []
            self._write(_merged([self._directory / name for name in merged]))

    def tidy(self) -> None:
        """Remove the runs that are not named."""
        for path in self._directory.glob("run-*"):
            if path.name not in self.runs:
                path.unlink(missing_ok=True)

    def sorted(self) -> Iterator[str]:
        """Each once, in order. Raises `StorageUnusable`."""
        self.flush()
        return chain.from_iterable(_merged([self._directory / name for name in self.runs]))

    def _write(self, parts: Iterable[list[str]]) -> None:
        name = f"run-{self.number:06d}"
        try:
            with (self._directory / name).open("wb") as file:
                for part in parts:
                    file.write(("\n".join(part) + "\n").encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageUnusable(f"cannot write to {self._directory}: {error.strerror}") from None
        self.number += 1
        self.runs.append(name)


class _Run:
    """A run that is being read: the subjects that come next."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.next: list[str] = []
        self.more()

    def more(self) -> bool:
        """Read on, if nothing is left of what was read. Whether there is something now."""
        if not self.next:
            data = self._file.read(_TOGETHER)
            self.next = (data + self._file.readline()).decode().split("\n")[:-1] if data else []
        return bool(self.next)

    def up_to(self, last: str) -> list[str]:
        cut = bisect_right(self.next, last)
        taken, self.next = self.next[:cut], self.next[cut:]
        return taken


def _merged(paths: Sequence[Path]) -> Iterator[list[str]]:
    """The subjects of several runs, some at a time: all that are not behind the first of the last ones that were read
    of each run. Sorting what is sorted in parts is merging it, and done in C."""
    try:
        with ExitStack() as stack:
            runs = [_Run(stack.enter_context(path.open("rb"))) for path in paths]
            while runs := [run for run in runs if run.more()]:
                last = min(run.next[-1] for run in runs)
                some = [subject for run in runs for subject in run.up_to(last)]
                some.sort()
                yield list(dict.fromkeys(some))
    except OSError as error:
        raise StorageUnusable(f"cannot read what was kept of subjects: {error.strerror}") from None
