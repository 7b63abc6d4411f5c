"""The command line."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from rescind import cli_keys, cli_partners
from rescind.client import Client
from rescind.importing import Import, Options, Summary
from rescind.launching import LAST_LINE
from rescind.options import Json, Key, Url
from rescind.output import err, local, out, print_json, seconds, show_table, state, table
from rescind.signals import interruptible
from streams.errors import InvalidInput, RescindError
from streams.events import Choice
from streams.settings import Settings

app = typer.Typer(
    name="rescind",
    help="Carry opt-outs to data partners, track every acknowledgement, and prove it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cli_partners.app, name="partners")
app.add_typer(cli_keys.app, name="keys")

_BAD_LINES_SHOWN = 20


@app.command()
def up(
    data: Annotated[Path | None, typer.Option(help="Where the log, the ledger and the keys live.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes any.", min=0, max=65535)] = None,
    allow_private_partners: Annotated[
        bool | None, typer.Option("--allow-private-partners", help="Development: http:// and private addresses.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what happens inside.")] = False,
) -> None:
    """Run the service until Ctrl-C. Everything it needs is in one process and one directory."""
    import uvloop  # noqa: PLC0415

    from rescind.service import Started, serve  # noqa: PLC0415 - Faust is slow to import

    chosen = {"data_dir": data, "host": host, "port": port, "allow_private_partners": allow_private_partners}
    settings = _settings({name: value for name, value in chosen.items() if value is not None})
    _log_to_stderr(verbose=verbose)

    def announce(started: Started) -> None:
        _say(f"Rescind is ready at {started.url}")
        _say(f"Dashboard: {started.dashboard_url} (any user name; the operator key is the password)")
        if started.operator_key is not None:
            _say(f"Operator key: {started.operator_key}")
            _say(f"Platform key: {started.platform_key}")
            _say("These keys are shown only now. Make others with `rescind keys create`.")
        _say(LAST_LINE)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, announce=announce))
    _say("Stopped. The next start goes on where this one ended.")


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
    out.print(f"accepted {accepted}")


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV, or NDJSON (.ndjson, .jsonl).")],
    on_error: Annotated[str, typer.Option(help="What a bad line does: skip or stop.")] = "skip",
    batch: Annotated[int, typer.Option(help="Toggles a request.", min=1, max=1000)] = 500,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew instead of where it was interrupted.")] = False,
    retry_for: Annotated[float, typer.Option(help="Seconds to go on trying while the service is away.")] = 60.0,
    url: Url = None,
    key: Key = None,
) -> None:
    """Import a file of toggles, in its own order. Importing it again changes nothing.

    Columns: subject,purpose,choice,occurred_at and optionally id,version,retroactive,source.
    Exit code 1 if lines were skipped.
    """
    if on_error not in ("skip", "stop"):
        raise InvalidInput("--on-error is skip or stop")
    options = Options(batch=batch, stop_on_error=on_error == "stop", retry_for=retry_for)
    with Client(url or "", key) as client, _progress(file) as (progress, task):
        running = Import(file, client, options, on_progress=lambda done: progress.update(task, completed=done))
        try:
            summary = running.run(restart=restart)
        finally:
            progress.stop()
            _report_bad(running.summary)
    out.print(f"{summary.accepted} toggles accepted, {len(summary.bad)} lines skipped")
    if summary.bad:
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
        out.print(f"nothing is known of {subject}", markup=False)
    else:
        rows = [[local(entry["at"]), entry["kind"], entry["summary"]] for entry in entries]
        show_table(table(["time", "event", "what happened"], rows))


def main() -> None:
    """Run the command line. Every failure that we can explain is one line and exit code 2."""
    try:
        with interruptible():
            app()
    except RescindError as error:
        err.print(f"rescind: {error}", markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("rescind: interrupted")
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has gone; keep Python from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _settings(chosen: dict[str, Any]) -> Settings:
    try:
        return Settings(**chosen)
    except ValueError as error:
        raise InvalidInput("; ".join(line.strip() for line in str(error).splitlines()[1:3])) from None


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


class _progress:  # noqa: N801 - used as a context manager
    def __init__(self, file: Path) -> None:
        size = file.stat().st_size if file.is_file() else None
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=err, disable=not err.is_terminal)
        self._task = self._progress.add_task(file.name, total=size)

    def __enter__(self) -> tuple[Progress, Any]:
        self._progress.start()
        return self._progress, self._task

    def __exit__(self, *error: object) -> None:
        self._progress.stop()


def _report_bad(summary: Summary) -> None:
    for bad in summary.bad[:_BAD_LINES_SHOWN]:
        err.print(f"line {bad.number}: {bad.reason}", markup=False)
    more = len(summary.bad) - _BAD_LINES_SHOWN
    if more > 0:
        err.print(f"and {more} more bad lines")


def _show_status(lag: dict[str, Any]) -> None:
    columns = ["state", "partner", "open", "oldest", "overdue", "backlog", "acknowledged", "lag p50", "lag p99"]
    rows = [
        [
            state(row["state"]),
            row["partner"],
            str(row["open"]),
            seconds(row["oldest_open_seconds"]),
            str(row["overdue_receive"] + row["overdue_complete"]),
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
        out.print("no partner is registered")
    totals = lag["totals"]
    if totals:
        out.print(
            f"{totals['opted_out']} standing opt-outs, {totals['notices']} notices,"
            f" {totals['acknowledged']} acknowledged, {totals['open']} open"
        )
