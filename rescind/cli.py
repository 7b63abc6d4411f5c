"""The command line.

Each command's module is loaded when it is named, so that one which asks for little starts at once.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from importlib import import_module
from typing import NoReturn

import typer

from rescind.examples import teach
from rescind.failing import run

#: By a command's first word, in the order of the help, where its function is, or the commands that begin with it.
COMMANDS = {
    "up": ("cli_running", "up"),
    "worker": ("cli_running", "worker"),
    "gateway": ("cli_running", "gateway"),
    "partners": ("cli_partners", "app"),
    "dead-letters": ("cli_dead_letters", "app"),
    "keys": ("cli_keys", "app"),
    "topics": ("cli_topics", "app"),
    "ledger": ("cli_ledger", "app"),
    "manifest": ("cli_manifest", "app"),
    "exports": ("cli_exports", "app"),
    "disclosures": ("cli_disclosures", "app"),
    "actions": ("cli_actions", "actions"),
    "doctor": ("cli_doctor", "doctor"),
    "gate": ("cli_gate", "gate"),
    "lag": ("cli_lag", "lag"),
    "notices": ("cli_notices", "notices"),
    "report": ("cli_report", "report"),
    "status": ("cli_status", "status"),
    "demo": ("cli_demo", "demo"),
    "toggle": ("cli_toggle", "toggle"),
    "import": ("cli_import", "import_file"),
    "trace": ("cli_toggle", "trace"),
}


def commands(words: Collection[str] = tuple(COMMANDS)) -> typer.Typer:
    """The command line with the commands that begin with these words, by default with all."""
    app = typer.Typer(
        name="rescind",
        help="Carry opt-outs to data partners, track every acknowledgement, and prove it.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    # Without it Typer takes a single command for the whole.
    app.callback()(_nothing)
    for word in words:
        module, name = COMMANDS[word]
        found = getattr(import_module(f"rescind.{module}"), name)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=word)
        else:
            app.command(word)(found)
    teach(app)
    return app


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line. Every failure that we can explain is one line and exit code 2."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    named = [word for word in given[:1] if word in COMMANDS]
    # Anything else is a question for all of them: help, completion, a word that looks like one of theirs.
    sys.exit(run(commands(named or tuple(COMMANDS)), given))


def _nothing() -> None:
    pass
