"""How commands end: one line and exit code 2 for every failure that we can explain, never a traceback."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

import typer

from rescind.client import ApiError
from rescind.output import OutputClosed, complain
from rescind.signals import interruptible
from streams.errors import RescindError

_NAME = "rescind"
#: Typer carries Click under names that change with its version; this one is Click's `UsageError`.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]
#: What a shell expects of a command that Ctrl-C ended, 128 + SIGINT; TERM ends ours in the same way.
_INTERRUPTED = 130


def run(app: typer.Typer, arguments: Sequence[str] | None) -> int:
    """Run a command line, and say in one line what went wrong with it. The exit code."""
    _prepare_streams()
    try:
        with interruptible():
            answer = app(arguments, prog_name=_NAME, standalone_mode=False)
        sys.stdout.flush()
    except _UsageError as error:
        return _explain_usage(error)
    except ApiError as error:
        hint = " (keys are given with --key or RESCIND_KEY)" if error.status == 401 else ""
        return _fail(f"{error}{hint}")
    except RescindError as error:
        return _fail(str(error))
    except (KeyboardInterrupt, typer.Abort):
        answer = _INTERRUPTED
    except (OutputClosed, BrokenPipeError):
        _drop_output()
        return 141
    except OSError as error:
        # A disk that is full under standard output, a directory that may not be entered.
        _drop_output()
        return _fail(str(error))
    if answer == _INTERRUPTED:
        _fail("interrupted")
    return answer if isinstance(answer, int) else 0


def _explain_usage(error: Any) -> int:
    # Asked for nothing, a command shows its help; Rich has printed it already.
    if type(error).__name__ == "NoArgsIsHelpError":
        return 2
    path = error.ctx.command_path if error.ctx is not None else _NAME
    return _fail(f"{error.format_message()} (see {path} --help)")


def _fail(reason: str) -> int:
    with contextlib.suppress(OSError, OutputClosed):
        complain(f"rescind: {reason}")
    return 2


def _prepare_streams() -> None:
    """Whatever can be named can be printed, even if the terminal has no such character."""
    if sys.stdout is None:
        # Closed by whoever started us, `rescind ... >&-`.
        sys.stdout = io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Keep Python from complaining at exit of what it can no longer write."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
