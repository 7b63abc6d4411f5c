"""What commands print. What came from elsewhere is shown as it is: neither markup nor escape codes act."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any, NoReturn

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text


class OutputClosed(Exception):
    """Whoever read our output has gone."""


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        # Rich would exit with 1, which is the answer of commands that ran well.
        raise OutputClosed


out = _Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
err = _Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)

STYLES = {"OK": "green", "WARN": "yellow", "STALL": "dark_orange", "STOP": "red"}
_GAP = "  "


def say(line: str) -> None:
    """A line on standard output, at once."""
    _write(one_line(line) + "\n")


def complain(line: str) -> None:
    """A line on standard error, above a progress bar if there is one."""
    err.print(one_line(line))


def one_line(text: str) -> str:
    """Line ends become spaces, and other control characters are spelt out: neither a file nor a service
    may move our reader's cursor."""
    words = " ".join(text.split())
    return "".join(char if char.isprintable() or _is_surrogate(char) else ascii(char)[1:-1] for char in words)


def print_json(value: Any) -> None:
    unicode = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    _write(json.dumps(value, indent=2, ensure_ascii=not unicode) + "\n")


def pass_on(pieces: Iterable[bytes]) -> None:
    """What is made elsewhere, to standard output as it is."""
    for piece in pieces:
        try:
            # Standard output that was closed by whoever started us is text in memory, see `rescind.failing`.
            if not isinstance(sys.stdout, io.StringIO):
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise OutputClosed from None


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that is there once it is whole: half a report must not pass for one."""
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            yield file.file
        except BaseException:
            Path(file.name).unlink()
            raise
        Path(file.name).replace(path)


def table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]], *, right: Sequence[str] = ()) -> Table:
    """A table without lines and without wrapping."""
    made = Table(box=None, pad_edge=False, header_style="dim" if out.is_terminal else "", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    for row in rows:
        made.add_row(*(Text(one_line(str(cell)), cell.style if isinstance(cell, Text) else "") for cell in row))
    return made


def show_table(made: Table) -> None:
    """In a pipe a row is never cut to a terminal's width, and nothing is padded behind its last column."""
    if out.is_terminal:
        out.print(made)
        return
    columns = [[str(column.header), *map(str, column.cells)] for column in made.columns]
    widths = [max(map(cell_len, cells)) for cells in columns]
    for row in zip(*columns, strict=True):
        cells = [
            _pad(cell, width, column.justify == "right")
            for cell, width, column in zip(row, widths, made.columns, strict=True)
        ]
        _write(_GAP.join(cells).rstrip() + "\n")


def show(parts: Iterable[Table | str]) -> None:
    """Tables, and lines between them."""
    for part in parts:
        if isinstance(part, Table):
            show_table(part)
        else:
            say(part)


def seconds(value: float | None) -> str:
    """A span for people, `-` for none."""
    if value is None:
        return "-"
    if round(value, 1) < 60:
        return f"{value:.1f} s"
    whole = round(value)
    for size, unit, smaller, small_unit in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller} {small_unit}"
    return f"{whole} s"


def state(name: str) -> Text:
    return Text(name, STYLES.get(name, ""))


def local(time: str | None) -> str:
    """A time as the service sends it, to the second, in UTC. What is no time is shown as it came."""
    if time is None:
        return "-"
    try:
        return datetime.fromisoformat(time).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError):
        return time


def _is_surrogate(char: str) -> bool:
    # A byte of an argument that is no UTF-8; how it is shown is the stream's affair.
    return "\ud800" <= char <= "\udfff"


def _pad(cell: str, width: int, right: bool) -> str:
    space = " " * (width - cell_len(cell))
    return space + cell if right else cell + space


def _write(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise OutputClosed from None
