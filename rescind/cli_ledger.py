"""`rescind ledger`: the process that writes the ledger, and what can be done with the file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ledger import LedgerReader
from ledger.shelf import Shelf
from rescind import cli_running
from rescind.options import Json, settings
from rescind.output import complain, pass_on, print_json, say, show_table, table, whole
from streams.clock import utc_now
from streams.settings import Settings

T = TypeVar("T")
app = typer.Typer(invoke_without_command=True)
app.callback()(cli_running.ledger)
Data = Annotated[Path | None, typer.Option(help="The service's data directory.")]


@app.command()
def rebuild(
    data: Data = None,
    forget_retired: Annotated[
        bool, typer.Option("--forget-retired", help="Also if the log has not the beginning any more.")
    ] = False,
) -> None:
    """Make ledger.sqlite anew from the log, beside the old one, and then put it in its place.

    The service that writes it must be stopped; gateways answer from the old one meanwhile. It comes to the same
    content: compare `rescind ledger export` before and after. Archives of the old one stay where they are; the new one
    has all that the log still tells, and does not read them.
    """
    chosen = settings(data_dir=data)
    from rescind.running.rebuilding import rebuild as rebuilt  # noqa: PLC0415 - Faust is slow to import

    asyncio.run(rebuilt(chosen, utc_now, lambda topic, count: complain(f"{topic}: {count:,}"), forget=forget_retired))
    say(f"rebuilt {chosen.ledger_path}")
    left = _asking(chosen, LedgerReader.shelf).left
    if left:
        say(f"archives of older ledgers are left in {left[0].parent}; nothing reads them any more: see the README")


@app.command()
def export(
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="A file; standard output by default.")] = None,
) -> None:
    """All that the ledger knows, a line of JSON a row, as of one moment; also while the service runs.

    Two ledgers that have read the same of the log have the same export, byte for byte. What is sealed stays sealed.
    """

    def exported(reader: LedgerReader) -> None:
        if out is None:
            pass_on(reader.export())
            return
        with whole(out) as file:
            file.writelines(reader.export())
        say(f"written to {out}")

    _asking(settings(data_dir=data), exported)


@app.command()
def archives(
    data: Data = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read every archive whole.")] = False,
    as_json: Json = False,
) -> None:
    """The monthly archives that history was folded into, see RESCIND_LEDGER_ARCHIVE_AFTER_DAYS; also while the service
    runs.

    Exit code 1 if --verify finds that anything is missing or damaged.
    """
    chosen = settings(data_dir=data)
    shelf = _asking(chosen, LedgerReader.shelf)
    wrong = _asking(chosen, LedgerReader.wrong_with_archives) if verify else None
    if as_json:
        found: dict[str, Any] = {"archives": list(map(asdict, shelf.archives)), "left": list(map(str, shelf.left))}
        print_json(found if wrong is None else found | {"wrong": wrong})
    else:
        _show(shelf, wrong)
    if wrong:
        raise typer.Exit(1)


def _show(shelf: Shelf, wrong: list[str] | None) -> None:
    rows = [
        [
            each.month,
            f"{each.notices:,}",
            f"{each.statements:,}",
            "missing" if each.bytes is None else f"{each.bytes:,}",
        ]
        for each in shelf.archives
    ]
    if rows:
        columns = ["month", "notices", "statements", "bytes"]
        show_table(table(columns, rows, right=columns[1:]))
    else:
        say("nothing was folded into archives")
    for directory in shelf.left:
        say(f"left by an older ledger, which nothing reads any more: {directory}")
    for line in wrong or ():
        complain(line)
    if rows and wrong == []:
        say("every archive is whole: all that was folded is found in them")


def _asking(chosen: Settings, question: Callable[[LedgerReader], T]) -> T:
    from rescind.running.credentials import veils_of  # noqa: PLC0415

    reader = LedgerReader(chosen.ledger_path, veils=veils_of(chosen, make=False))
    try:
        return question(reader)
    finally:
        reader.close()
