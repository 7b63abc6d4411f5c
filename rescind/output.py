"""What commands print, and how they fail."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

STYLES = {"OK": "green", "WARN": "yellow", "STALL": "dark_orange", "STOP": "red"}


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]], *, right: Sequence[str] = ()) -> Table:
    """A table that stays readable in a pipe: no lines, no wrapping."""
    made = Table(box=None, pad_edge=False, header_style="dim" if out.is_terminal else "", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    for row in rows:
        made.add_row(*row)
    return made


def show_table(made: Table) -> None:
    """In a pipe a row is never cut to a terminal's width."""
    if out.is_terminal:
        out.print(made)
    else:
        Console(file=sys.stdout, width=10_000, highlight=False).print(made)


def seconds(value: float | None) -> str:
    """A span for people, `-` for none."""
    if value is None:
        return "-"
    if value < 60:
        return f"{value:.1f} s"
    whole = int(value)
    for size, unit, smaller, small_unit in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller} {small_unit}"
    return f"{whole} s"


def state(name: str) -> Text:
    return Text(name, STYLES.get(name, ""))


def local(time: str | None) -> str:
    """A time as the service sends it, to the second, in UTC."""
    return "-" if time is None else datetime.fromisoformat(time).strftime("%Y-%m-%d %H:%M:%SZ")
