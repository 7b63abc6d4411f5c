"""`rescind import`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rescind.bars import bar
from rescind.client import Client
from rescind.importing import Import, Options, Summary
from rescind.options import Json, Key, Url
from rescind.output import complain, print_json, say


class OnError(StrEnum):
    SKIP = "skip"
    STOP = "stop"


def import_file(
    file: Annotated[Path, typer.Argument(help="CSV, or NDJSON (.ndjson, .jsonl).")],
    on_error: Annotated[OnError, typer.Option(help="What a bad line does.")] = OnError.SKIP,
    batch: Annotated[int, typer.Option(help="Toggles a request.", min=1, max=1000)] = 500,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew instead of where it was interrupted.")] = False,
    retry_for: Annotated[float, typer.Option(help="Seconds to go on trying while the service is away.", min=0)] = 60.0,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Import a file of toggles, in its own order. Importing it again changes nothing.

    Columns: subject,purpose,choice,occurred_at and optionally id,version,retroactive,source.
    An interrupted import goes on where it was if it is repeated; FILE.rescind-progress remembers.
    Exit code 1 if lines were skipped.
    """
    with Client(url or "", key) as client, bar(file) as progress:
        options = Options(batch, stop_on_error=on_error is OnError.STOP, retry_for=retry_for, destination=client.url)
        running = Import(file, client, options, on_progress=progress, on_warning=complain)
        try:
            summary = running.run(restart=restart)
        finally:
            _report_bad(running.summary)
    if as_json:
        print_json({"accepted": summary.accepted, "skipped": summary.skipped})
    else:
        say(f"{summary.accepted} toggles accepted, {summary.skipped} lines skipped")
    if summary.skipped:
        raise typer.Exit(1)


def _report_bad(summary: Summary) -> None:
    for bad in sorted(summary.bad, key=lambda bad: bad.number):
        complain(f"line {bad.number}: {bad.reason}")
    more = summary.skipped - len(summary.bad)
    if more > 0:
        complain(f"and {more} more bad lines")
