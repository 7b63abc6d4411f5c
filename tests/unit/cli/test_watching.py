"""`rescind status --watch`: until Ctrl-C, on a terminal and elsewhere, while the service comes and goes."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from rescind import cli_status
from rescind.watching import watch
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import Answer, FakeService, problem
from tests.unit.cli.test_commands import TOTALS, lag_of
from tests.unit.cli.test_process import environment

LAG = ("GET", "/v1/lag")


def lag(**changes: Any) -> Answer:
    return Answer(200, {"partners": [lag_of("acme", "OK") | changes], "totals": TOTALS})


class Pauses:
    """What happens between two looks, in turn; after the last one somebody presses Ctrl-C."""

    def __init__(self, *steps: Callable[[], None]) -> None:
        self._steps = list(steps)

    def __call__(self, seconds: float) -> None:
        if not self._steps:
            raise KeyboardInterrupt
        self._steps.pop(0)()


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch, run: Run, service: FakeService) -> Callable[..., Any]:
    def watched(*answers: Answer, arguments: tuple[str, ...] = ()) -> Any:
        first, *rest = answers
        service.next.append(first)
        pauses = Pauses(*(lambda answer=answer: service.next.append(answer) for answer in rest))
        monkeypatch.setattr(cli_status, "watch", lambda *a, **k: watch(*a, **k, pause=pauses))
        return run("status", "--watch", *arguments, "--url", service.url)

    return watched


def test_lines_come_when_something_but_an_age_has_changed(watching: Callable[..., Any]) -> None:
    ran = watching(
        lag(open=1), lag(open=1, oldest_open_seconds=99), lag(open=2), lag(open=2), lag(open=2, state="STOP")
    )
    assert (ran.code, ran.err) == (0, "")
    assert len(re.findall(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ$", ran.out, re.MULTILINE)) == 3
    assert re.findall(r"^(\w+) +acme +(\d)", ran.out, re.MULTILINE) == [("OK", "1"), ("OK", "2"), ("STOP", "2")]


def test_json_is_a_line_each_time(watching: Callable[..., Any]) -> None:
    ran = watching(lag(open=1), lag(open=1), lag(open=2), arguments=("--json",))
    assert [json.loads(line)["partners"][0]["open"] for line in ran.out.splitlines()] == [1, 2]
    assert (ran.code, ran.err) == (0, "")


def test_a_service_that_goes_away_is_waited_for(watching: Callable[..., Any]) -> None:
    ran = watching(lag(open=1), Answer(0), Answer(0), Answer(503, problem("there is no ledger yet")), lag(open=1))
    assert (ran.code, ran.err) == (0, "")
    problems = [line for line in ran.out.splitlines() if re.match(r"\S+ \S+Z: ", line)]
    assert len(problems) == 2
    assert "there is no ledger yet" in problems[1]
    assert len(re.findall(r"^OK +acme", ran.out, re.MULTILINE)) == 2


@pytest.mark.parametrize("answers", [(Answer(0),), (lag(), Answer(403, problem("the key is revoked")))])
def test_what_waiting_does_not_mend_ends_it(watching: Callable[..., Any], answers: tuple[Answer, ...]) -> None:
    ran = watching(*answers)
    assert ran.code == 2
    assert ran.err.startswith("rescind: ")


def test_one_partner_is_watched(watching: Callable[..., Any]) -> None:
    def one(open_: int) -> Answer:
        row = lag_of("acme", "OK") | {"windows": [], "kinds": []}
        return Answer(200, row | {"open": open_})

    ran = watching(one(1), one(1), one(2), arguments=("--partner", "acme"))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.count("acme is OK") == 2


def test_on_a_terminal_a_table_stays_in_its_place(service: FakeService) -> None:
    asked = 0

    def on_request(_: Any) -> None:
        nonlocal asked
        asked += 1
        service.answers[LAG] = lag(open=asked)

    service.on_request = on_request
    ours, theirs = pty.openpty()
    command = [sys.executable, "-W", "error", "-m", "rescind", "status", "--watch", "--every", "0.2"]
    variables = environment(TERM="xterm", COLUMNS="120", LINES="40", RESCIND_URL=service.url)
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=variables) as running:
        os.close(theirs)
        shown = b""
        while shown.count(b"acme") < 3:
            shown += os.read(ours, 4096)
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == 0
        assert running.stderr is not None
        assert running.stderr.read() == b""
    os.close(ours)
    assert b"\x1b[1A" in shown  # up again, over what was there
    assert b"\x1b[?25l" in shown  # no cursor meanwhile
