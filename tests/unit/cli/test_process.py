"""The command line as a process of its own: pipes, signals, and what an import of it drags in."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event

import pytest

import rescind
from tests.unit.cli.fakes import Answer, Asked, FakeService

ROOT = Path(rescind.__file__).parents[1]
NOON = "2026-01-01T12:00:00Z"


def environment(**more: str) -> dict[str, str]:
    # Unbuffered, Python itself passes over what a pipe did not take.
    ours = ("RESCIND_", "PYTHONUNBUFFERED")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **more}


def start(*arguments: str, **more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "error", "-m", "rescind", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(**more))


def shell(line: str, *, python: str = "-W error", **more: str) -> subprocess.CompletedProcess[str]:
    line = line.replace("rescind", f"{sys.executable} {python} -m rescind")
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment(**more), check=False)


@pytest.fixture
def many_partners(service: FakeService) -> FakeService:
    partner = {"id": "acme", "status": "active", "lane": 1, "purposes": ["ai"], "url": "https://acme.example"}
    service.answers["GET", "/v1/partners"] = Answer(200, {"partners": [partner] * 5000})
    return service


@pytest.mark.parametrize("flag", ["", "--json"])
def test_a_reader_that_goes_away_is_no_error(many_partners: FakeService, flag: str) -> None:
    ran = shell(f"rescind partners list {flag} | head -n 1; echo ${{PIPESTATUS[0]}}", RESCIND_URL=many_partners.url)
    assert ran.stderr == ""
    assert ran.stdout.splitlines()[1:] == ["141"]


def test_a_reader_that_was_never_there_is_no_error(many_partners: FakeService) -> None:
    ran = shell("rescind partners list >&-", RESCIND_URL=many_partners.url)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_full_disk_under_the_output_is_one_line(many_partners: FakeService) -> None:
    ran = shell("rescind partners list > /dev/full", RESCIND_URL=many_partners.url)
    assert (ran.returncode, ran.stderr) == (2, "rescind: [Errno 28] No space left on device\n")


def test_json_in_a_pipe_is_json(many_partners: FakeService) -> None:
    ran = shell("rescind partners list --json | cat", RESCIND_URL=many_partners.url)
    assert len(json.loads(ran.stdout)) == 5000


def test_bytes_that_are_no_text_are_shown_as_they_are() -> None:
    ran = shell("rescind keys revoke $'\\xff' --data $'/\\xfe'")
    assert ran.returncode == 2
    assert ran.stderr == "rescind: the data directory /\\udcfe does not exist; `rescind up` makes it\n"


@pytest.mark.parametrize("line", ["rescind up --data FILE", "RESCIND_DATA_DIR=FILE rescind up"])
@pytest.mark.parametrize("name", ["FILE", "FILE/below", "/proc/nowhere"])
def test_the_service_on_an_impossible_data_directory_is_one_line(tmp_path: Path, line: str, name: str) -> None:
    (tmp_path / "file").touch()
    directory = name.replace("FILE", str(tmp_path / "file"))
    # Faust warns while it is imported.
    ran = shell(line.replace("FILE", directory), python="")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"rescind: cannot write to the data directory {directory}: ")
    assert ran.stderr.count("\n") == 1


def test_the_service_on_a_port_that_is_taken_is_one_line(service: FakeService, tmp_path: Path) -> None:
    port = service.url.rpartition(":")[2]
    ran = shell(f"rescind up --data {tmp_path} --port {port}", python="")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"rescind: cannot listen on 127.0.0.1:{port}: Address already in use")
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_import_that_is_interrupted_keeps_its_progress(
    service: FakeService, tmp_path: Path, number: signal.Signals
) -> None:
    path = tmp_path / "file.csv"
    rows = [f"user:{row},ai,opt_out,{NOON}" for row in range(6)]
    path.write_text("\n".join(["subject,purpose,choice,occurred_at", *rows]) + "\n")
    running: list[subprocess.Popen[bytes]] = []
    started = Event()

    def interrupt_the_second(asked: Asked) -> None:
        if len(service.asked) == 2:
            service.next.append(Answer(0))
            started.wait(60)
            running[0].send_signal(number)
            # Unanswered until the process has ended: it is interrupted while it waits.
            running[0].wait(60)

    service.on_request = interrupt_the_second
    arguments = ["import", str(path), "--batch", "2", "--url", service.url]
    running.append(start(*arguments))
    started.set()
    out, err = running[0].communicate(timeout=60)
    assert (running[0].returncode, out, err) == (130, b"", b"rescind: interrupted\n")
    mark = json.loads((tmp_path / "file.csv.rescind-progress").read_bytes())
    assert mark["accepted"] == 2
    service.taken.clear()
    again = start(*arguments)
    out, err = again.communicate(timeout=60)
    assert (again.returncode, out, err) == (0, b"6 toggles accepted, 0 lines skipped\n", b"")
    assert [toggle["subject"] for toggle in service.taken] == [f"user:{row}" for row in range(2, 6)]
    assert list(tmp_path.iterdir()) == [path]


def test_an_import_on_a_terminal_shows_a_bar_with_the_name_as_it_is(service: FakeService, tmp_path: Path) -> None:
    path = tmp_path / "[x] :dog:.csv"
    path.write_text(f"subject,purpose,choice,occurred_at\nuser:1,ai,opt_out,{NOON}\n")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-W", "error", "-m", "rescind", "import", str(path), "--url", service.url]
    variables = environment(TERM="xterm", COLUMNS="100")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=variables) as running:
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
        assert running.stdout is not None
        assert running.stdout.read() == b"1 toggles accepted, 0 lines skipped\n"
    os.close(ours)
    assert b"[x] :dog:.csv" in shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:
        # Linux says so when nobody has the other end any more.
        return b""


BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if {{name, name.partition(".")[0]}} & set({blocked}):
            raise ImportError("blocked: " + name)

sys.meta_path.insert(0, Blocker())
import {module}
"""
SERVICE_ONLY = ("faust", "mode", "fastapi", "starlette", "aiohttp", "uvicorn", "kafka", "agents", "gateway", "ledger")


@pytest.mark.parametrize(
    ("module", "blocked"),
    [
        ("rescind.client", (*SERVICE_ONLY, "sqlite_utils", "typer", "rich")),
        ("rescind.partner", (*SERVICE_ONLY, "sqlite_utils", "typer", "rich", "httpx", "pydantic")),
        ("rescind.importing", (*SERVICE_ONLY, "sqlite_utils", "typer", "rich")),
        # A command starts at once, whatever others need.
        ("rescind.cli", (*SERVICE_ONLY, "sqlite_utils", "pydantic_settings", "streams.events")),
        ("rescind.cli_toggle", (*SERVICE_ONLY, "sqlite_utils", "pydantic_settings", "streams.events")),
        ("rescind.cli_partners", (*SERVICE_ONLY, "sqlite_utils", "pydantic_settings", "streams.events")),
        ("rescind.cli_status", (*SERVICE_ONLY, "sqlite_utils", "pydantic_settings", "streams.events")),
    ],
)
def test_what_others_import_needs_nothing_of_the_service(module: str, blocked: tuple[str, ...]) -> None:
    code = BLOCKED.format(blocked=blocked, module=module)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
