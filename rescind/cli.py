"""The command line."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from rescind import (
    cli_actions,
    cli_dead_letters,
    cli_disclosures,
    cli_doctor,
    cli_exports,
    cli_gate,
    cli_hand,
    cli_keys,
    cli_lag,
    cli_ledger,
    cli_manifest,
    cli_notices,
    cli_partners,
    cli_report,
    cli_running,
    cli_status,
    cli_topics,
)
from rescind.bars import bar
from rescind.client import Client
from rescind.examples import teach
from rescind.failing import run
from rescind.importing import Import, Options, Summary
from rescind.options import Json, Key, Url
from rescind.output import complain, local, print_json, say, show_table, table
from streams.events import Choice

app = typer.Typer(
    name="rescind",
    help="Carry opt-outs to data partners, track every acknowledgement, and prove it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _process in (cli_running.up, cli_running.worker, cli_running.gateway):
    app.command()(_process)
cli_hand.add_to(cli_partners.app)
app.add_typer(cli_partners.app, name="partners")
app.add_typer(cli_dead_letters.app, name="dead-letters")
app.add_typer(cli_keys.app, name="keys")
app.add_typer(cli_topics.app, name="topics")
app.add_typer(cli_ledger.app, name="ledger")
app.add_typer(cli_manifest.app, name="manifest")
app.add_typer(cli_exports.app, name="exports")
app.add_typer(cli_disclosures.app, name="disclosures")
app.command()(cli_actions.actions)
app.command()(cli_doctor.doctor)
app.command()(cli_gate.gate)
app.command()(cli_lag.lag)
app.command()(cli_notices.notices)
app.command()(cli_report.report)
app.command()(cli_status.status)


class OnError(StrEnum):
    SKIP = "skip"
    STOP = "stop"


@app.command()
def demo(
    file: Annotated[Path | None, typer.Option(help="A CSV of crawler choices; by default real ones.")] = None,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes any.", min=0, max=65535)] = 0,
    stay: Annotated[bool, typer.Option("--stay", help="Leave it running at the end, to look around.")] = False,
    time_limit: Annotated[float, typer.Option(help="Seconds after which to give up.", min=1)] = 180.0,
) -> None:
    """Watch real opt-outs travel to four simulated partners, in about a minute."""
    from rescind.demo import run_demo  # noqa: PLC0415 - aiohttp is slow to import

    asyncio.run(run_demo(file, time_limit, stay=stay, port=port))


@app.command()
def toggle(
    subject: Annotated[str, typer.Argument(help="kind:id, for instance blog:staff.example.com")],
    purpose: Annotated[str, typer.Argument(help="A slug, for instance ai-training")],
    choice: Annotated[Choice, typer.Argument()],
    at: Annotated[str | None, typer.Option(help="When, RFC 3339; now by default.")] = None,
    version: Annotated[int | None, typer.Option(help="The platform's own counter.", min=0)] = None,
    retroactive: Annotated[bool, typer.Option(help="Ask for deletion of what partners hold.")] = True,
    event_id: Annotated[str | None, typer.Option("--id", help="The event's id; repeating it changes nothing.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Emit one toggle. When this returns, it is durable."""
    emitted: dict[str, Any] = {
        "id": event_id,
        "subject": subject,
        "purpose": purpose,
        "choice": choice.value,
        "occurred_at": at or datetime.now(UTC).isoformat(),
        "version": version,
        "retroactive": retroactive,
        "source": "command line",
    }
    with Client(url or "", key) as client:
        (accepted,) = client.post_toggles([{name: value for name, value in emitted.items() if value is not None}])
    if as_json:
        print_json({"accepted": 1, "ids": [accepted]})
    else:
        say(f"accepted {accepted}")


@app.command("import")
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


@app.command()
def trace(
    subject: Annotated[str, typer.Argument(help="kind:id")], url: Url = None, key: Key = None, as_json: Json = False
) -> None:
    """Everything that happened to a subject, across partners, in order."""
    with Client(url or "", key) as client:
        entries = client.timeline(subject)
    if as_json:
        print_json(entries)
    elif not entries:
        say(f"nothing is known of {subject}")
    else:
        rows = [[local(entry["at"]), entry["kind"], entry["summary"]] for entry in entries]
        show_table(table(["time", "event", "what happened"], rows))


teach(app)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line. Every failure that we can explain is one line and exit code 2."""
    sys.exit(run(app, arguments))


def _report_bad(summary: Summary) -> None:
    for bad in sorted(summary.bad, key=lambda bad: bad.number):
        complain(f"line {bad.number}: {bad.reason}")
    more = summary.skipped - len(summary.bad)
    if more > 0:
        complain(f"and {more} more bad lines")
