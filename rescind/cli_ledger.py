"""`rescind ledger`: the process that writes the ledger, and what can be done with the file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from rescind import cli_running
from rescind.options import settings
from rescind.output import complain, pass_on, say, whole
from streams.clock import utc_now

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
    content: compare `rescind ledger export` before and after.
    """
    chosen = settings(data_dir=data)
    from rescind.running.rebuilding import rebuild as rebuilt  # noqa: PLC0415 - Faust is slow to import

    asyncio.run(rebuilt(chosen, utc_now, lambda topic, count: complain(f"{topic}: {count:,}"), forget=forget_retired))
    say(f"rebuilt {chosen.ledger_path}")


@app.command()
def export(
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="A file; standard output by default.")] = None,
) -> None:
    """All that the ledger knows, a line of JSON a row, as of one moment; also while the service runs.

    Two ledgers that have read the same of the log have the same export, byte for byte. What is sealed stays sealed.
    """
    chosen = settings(data_dir=data)
    from ledger import LedgerReader  # noqa: PLC0415
    from rescind.running.credentials import veils_of  # noqa: PLC0415

    reader = LedgerReader(chosen.ledger_path, veils=veils_of(chosen, make=False))
    try:
        if out is None:
            pass_on(reader.export())
        else:
            with whole(out) as file:
                file.writelines(reader.export())
            say(f"written to {out}")
    finally:
        reader.close()
