"""The command line."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from rescind import cli_doctor, cli_keys, cli_partners
from rescind.client import Client
from rescind.failing import run
from rescind.importing import Import, Options, Summary
from rescind.launching import LAST_LINE
from rescind.options import Json, Key, Url, settings
from rescind.output import complain, err, local, one_line, print_json, say, seconds, show_table, state, table
from streams.events import Choice

app = typer.Typer(
    name="rescind",
    help="Carry opt-outs to data partners, track every acknowledgement, and prove it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cli_partners.app, name="partners")
app.add_typer(cli_keys.app, name="keys")
app.command()(cli_doctor.doctor)


class OnError(StrEnum):
    SKIP = "skip"
    STOP = "stop"


@app.command()
def up(
    data: Annotated[Path | None, typer.Option(help="Where the log, the ledger and the keys live.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes any.", min=0, max=65535)] = None,
    allow_private_partners: Annotated[
        bool | None, typer.Option("--allow-private-partners", help="Development: http:// and private addresses.")
    ] = None,
    until_stdin_ends: Annotated[
        bool, typer.Option("--until-stdin-ends", help="Stop also when standard input ends.", hidden=True)
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what happens inside.")] = False,
) -> None:
    """Run the service until Ctrl-C. Everything it needs is in one process and one directory."""
    chosen = settings(data_dir=data, host=host, port=port, allow_private_partners=allow_private_partners)
    import uvloop  # noqa: PLC0415

    from rescind.service import Started, serve  # noqa: PLC0415 - Faust is slow to import

    _log_to_stderr(verbose=verbose)

    def announce(started: Started) -> None:
        say(f"Rescind is ready at {started.url}")
        say(f"Dashboard: {started.dashboard_url} (any user name; the operator key is the password)")
        if started.operator_key is not None:
            say(f"Operator key: {started.operator_key}")
            say(f"Platform key: {started.platform_key}")
            say("These keys are shown only now. Make others with `rescind keys create`.")
        say(LAST_LINE)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(chosen, announce=announce, until_stdin_ends=until_stdin_ends))
    say("Stopped. The next start goes on where this one ended.")


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
) -> None:
    """Emit one toggle. When this returns, it is durable.

    Example: rescind toggle blog:staff.example.com ai-training opt_out
    """
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
) -> None:
    """Import a file of toggles, in its own order. Importing it again changes nothing.

    Columns: subject,purpose,choice,occurred_at and optionally id,version,retroactive,source.
    An interrupted import goes on where it was if it is repeated; FILE.rescind-progress remembers.
    Exit code 1 if lines were skipped.
    """
    with Client(url or "", key) as client, _progress(file) as progress:
        options = Options(batch, stop_on_error=on_error is OnError.STOP, retry_for=retry_for, destination=client.url)
        running = Import(file, client, options, on_progress=progress, on_warning=complain)
        try:
            summary = running.run(restart=restart)
        finally:
            _report_bad(running.summary)
    say(f"{summary.accepted} toggles accepted, {summary.skipped} lines skipped")
    if summary.skipped:
        raise typer.Exit(1)


@app.command()
def status(url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Each partner: what is open, how old, what is overdue. Exit code 1 if anything is STALL or STOP."""
    with Client(url or "", key) as client:
        lag = client.lag()
    if as_json:
        print_json(lag)
    else:
        _show_status(lag)
    if any(row["state"] in ("STALL", "STOP") for row in lag["partners"]):
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


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line. Every failure that we can explain is one line and exit code 2."""
    sys.exit(run(app, arguments))


def _log_to_stderr(*, verbose: bool) -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    if not verbose:
        # Faust's timers and flushes warn of a busy moment as of a fault.
        for noisy in ("mode", "faust"):
            logging.getLogger(noisy).setLevel(logging.ERROR)


@contextlib.contextmanager
def _progress(file: Path) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, nothing elsewhere; what is yielded takes the bytes that are done."""
    size = file.stat().st_size if file.is_file() else None
    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal) as progress:
        task = progress.add_task(one_line(file.name), total=size)
        yield lambda done: progress.update(task, completed=done)


def _report_bad(summary: Summary) -> None:
    for bad in sorted(summary.bad, key=lambda bad: bad.number):
        complain(f"line {bad.number}: {bad.reason}")
    more = summary.skipped - len(summary.bad)
    if more > 0:
        complain(f"and {more} more bad lines")


def _show_status(lag: dict[str, Any]) -> None:
    columns = ["state", "partner", "open", "oldest", "overdue", "backlog", "acknowledged", "lag p50", "lag p99"]
    rows = [
        [
            state(row["state"]),
            row["partner"],
            str(row["open"]),
            seconds(row["oldest_open_seconds"]),
            str(row["overdue"]),
            str(row["backlog"]),
            str(row["acknowledged"]),
            seconds(row["complete_lag"]["p50"]),
            seconds(row["complete_lag"]["p99"]),
        ]
        for row in lag["partners"]
    ]
    if rows:
        show_table(table(columns, rows, right=columns[2:]))
    else:
        say("no partner is registered")
    totals = lag["totals"]
    if totals:
        say(
            f"{totals['opted_out']} standing opt-outs, {totals['notices']} notices,"
            f" {totals['acknowledged']} acknowledged, {totals['open']} open"
        )
