"""What a command shows, shown again and again until Ctrl-C: a table that stays in its place on a terminal, and whatever
is new as lines elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rescind.client import ApiError, Unreachable
from rescind.output import one_line, out, say, show

#: A part of what is shown.
Part = Table | str
Found = dict[str, Any]


def watch(
    ask: Callable[[], Found],
    parts: Callable[[Found], Iterable[Part]],
    gist: Callable[[Found], object],
    *,
    every: float,
    as_json: bool,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Ask every so many seconds. `gist` is what makes an answer another one: where lines are printed, mere ages do not.

    Raises what `ask` does the first time; later a service that is away is waited for, and said to be away.
    """
    answers = _answers(ask, every, pause)
    try:
        if as_json or not out.is_terminal or out.is_dumb_terminal:
            _as_lines(answers, parts, gist, as_json=as_json)
        else:
            _in_place(answers, parts)
    except KeyboardInterrupt:
        return


def _answers(
    ask: Callable[[], Found], every: float, pause: Callable[[float], None]
) -> Iterator[tuple[Found, str | None]]:
    """What is known, and why it is not known to be so any more."""
    found = ask()
    problem = None
    while True:
        yield found, problem
        pause(every)
        try:
            found, problem = ask(), None
        except Unreachable as error:
            problem = str(error)
        except ApiError as error:
            if error.status < 500:  # it will not be another one next time
                raise
            problem = str(error)


def _as_lines(
    answers: Iterator[tuple[Found, str | None]],
    parts: Callable[[Found], Iterable[Part]],
    gist: Callable[[Found], object],
    *,
    as_json: bool,
) -> None:
    last: object = None
    for found, problem in answers:
        now = (gist(found), problem)
        if now == last:
            continue
        last = now
        if as_json:
            say(json.dumps(found if problem is None else {"problem": problem}))
            continue
        say(_when(problem))
        if problem is None:
            show(parts(found))


def _in_place(answers: Iterator[tuple[Found, str | None]], parts: Callable[[Found], Iterable[Part]]) -> None:
    # Not our usual console, which lets lines be longer than the terminal: they could not be redrawn.
    console = Console(highlight=False, markup=False, emoji=False)
    with Live(console=console, auto_refresh=False) as live:
        for found, problem in answers:
            lines = [part if isinstance(part, Table) else Text(one_line(part)) for part in parts(found)]
            style = "dim" if problem is None else "red"
            live.update(Group(*lines, Text(one_line(_when(problem)), style)), refresh=True)


def _when(problem: str | None) -> str:
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}"
    return now if problem is None else f"{now}: {problem}"
