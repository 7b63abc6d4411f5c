"""Bars that show how much of a file is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from rescind.output import err, one_line


@contextmanager
def bar(source: Path | None) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, nothing elsewhere; what is yielded takes the bytes that are done. None is standard input."""
    size = source.stat().st_size if source is not None and source.is_file() else None
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal) as progress:
        task = progress.add_task(one_line(source.name) if source is not None else "standard input", total=size)
        yield lambda done: progress.update(task, completed=done)
