"""`rescind up`, and its parts as processes of their own: `rescind worker`, `rescind ledger`, `rescind gateway`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rescind.launching import LAST_LINE
from rescind.logs import log_to_stderr
from rescind.options import settings
from rescind.output import say
from rescind.running.collecting import collector_at_rest

if TYPE_CHECKING:
    from rescind.running.processes import Started

Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 takes any.", min=0, max=65535)]
Private = Annotated[
    bool | None, typer.Option("--allow-private-partners", help="Development: http:// and private addresses.")
]
HealthPort = Annotated[
    int | None,
    typer.Option(
        envvar="RESCIND_HEALTH_PORT",
        help="Answer /health/live and /health/ready there; 0 takes any port. Off by default.",
        min=0,
        max=65535,
    ),
]
UntilStdinEnds = Annotated[
    bool, typer.Option("--until-stdin-ends", help="Stop also when standard input ends.", hidden=True)
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say what happens inside.")]


def up(
    data: Annotated[Path | None, typer.Option(help="Where the log, the ledger and the keys live.")] = None,
    host: Host = None,
    port: Port = None,
    allow_private_partners: Private = None,
    until_stdin_ends: UntilStdinEnds = False,
    verbose: Verbose = False,
) -> None:
    """Run the service until Ctrl-C. Everything it needs is in one process and one directory."""
    chosen = settings(data_dir=data, host=host, port=port, allow_private_partners=allow_private_partners)
    _run(
        lambda processes: processes.everything(chosen),
        _announce_gateway,
        until_stdin_ends=until_stdin_ends,
        verbose=verbose,
    )


def worker(
    data: Annotated[Path | None, typer.Option(help="Where its tables live: a directory for each worker.")] = None,
    host: Annotated[str | None, typer.Option(help="Address for its health.")] = None,
    health_port: HealthPort = None,
    allow_private_partners: Private = None,
    until_stdin_ends: UntilStdinEnds = False,
    verbose: Verbose = False,
) -> None:
    """Decide, fan out and deliver, until Ctrl-C. On Kafka any number of workers share the work.

    All workers and gateways need the same RESCIND_SEALING_KEY. A worker that stops hands its partitions over, and
    one that dies loses nothing: what it had not finished comes again, under the same ids.
    """
    chosen = settings(data_dir=data, host=host, allow_private_partners=allow_private_partners)
    _run(
        lambda processes: processes.worker(chosen, health_port),
        _announce("The worker is ready."),
        until_stdin_ends=until_stdin_ends,
        verbose=verbose,
    )


def ledger(
    context: typer.Context,
    data: Annotated[Path | None, typer.Option(help="Where ledger.sqlite lives.")] = None,
    host: Annotated[str | None, typer.Option(help="Address for its health.")] = None,
    health_port: HealthPort = None,
    until_stdin_ends: UntilStdinEnds = False,
    verbose: Verbose = False,
) -> None:
    """Write what is known into ledger.sqlite, until Ctrl-C. Gateways on the same directory answer from it.

    A ledger reads the whole log, so several, each with a directory of its own, are replicas of each other.
    """
    if context.invoked_subcommand is not None:
        if data is not None or host is not None or until_stdin_ends or verbose:
            raise typer.BadParameter(f"options of {context.invoked_subcommand} stand behind it")
        return
    chosen = settings(data_dir=data, host=host)
    _run(
        lambda processes: processes.ledger(chosen, health_port),
        _announce("The ledger is ready."),
        until_stdin_ends=until_stdin_ends,
        verbose=verbose,
    )


def gateway(
    data: Annotated[Path | None, typer.Option(help="Where the keys live, and the ledger that it reads.")] = None,
    host: Host = None,
    port: Port = None,
    allow_private_partners: Private = None,
    until_stdin_ends: UntilStdinEnds = False,
    verbose: Verbose = False,
) -> None:
    """Answer HTTP until Ctrl-C: toggles, partners, acknowledgements, the dashboard. Any number of gateways may run.

    Toggles need nothing but the log. Questions are answered from the ledger that `rescind ledger` writes in the same
    directory, and with 503 while there is none.
    """
    chosen = settings(data_dir=data, host=host, port=port, allow_private_partners=allow_private_partners)
    _run(
        lambda processes: processes.gateway(chosen),
        _announce_gateway,
        until_stdin_ends=until_stdin_ends,
        verbose=verbose,
    )


def _run(
    process: Callable[[Any], AbstractAsyncContextManager[Any]],
    announce: Callable[[Started], None],
    *,
    until_stdin_ends: bool,
    verbose: bool,
) -> None:
    """`process` is given the module of all processes."""
    with collector_at_rest():
        import uvloop  # noqa: PLC0415

        from rescind.running import processes  # noqa: PLC0415 - Faust is slow to import
        from rescind.running.until import run  # noqa: PLC0415
    log_to_stderr(verbose=verbose)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(process(processes), announce=announce, until_stdin_ends=until_stdin_ends))
    say("Stopped. The next start goes on where this one ended.")


def _announce_gateway(started: Started) -> None:
    say(f"Rescind is ready at {started.url}")
    say(f"Dashboard: {started.url}/dashboard (log in with the operator key)")
    if started.operator_key is not None:
        say(f"Operator key: {started.operator_key}")
        say(f"Platform key: {started.platform_key}")
        say("These keys are shown only now. Make others with `rescind keys create`.")
    say(LAST_LINE)


def _announce(words: str) -> Callable[[Started], None]:
    def announce(started: Started) -> None:
        say(words)
        if started.url is not None:
            say(f"Health: {started.url}/health/ready")
        say(LAST_LINE)

    return announce
