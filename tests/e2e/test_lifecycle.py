"""Starting, stopping, starting again, and everything that can be wrong with a start."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from aiohttp import web

from rescind.client import ApiError, Client
from rescind.launching import Launch, NotStarted, ServiceProcess
from tests.e2e.world import PATIENCE, Cast, world

ROOT = Path(__file__).parents[2]
NOON = "2026-01-01T12:00:00Z"


def rescind(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rescind", *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=os.environ | environment,
        check=False,
    )


def one_line(finished: subprocess.CompletedProcess[str]) -> str:
    """What a failed command says: exit code 2, one line, nothing on stdout."""
    assert finished.returncode == 2, finished
    assert finished.stdout == ""
    (line,) = finished.stderr.strip().splitlines()
    assert line.startswith("rescind: ")
    return line


def toggle(number: int) -> dict[str, str]:
    return {"id": f"t{number}", "subject": f"user:{number}", "purpose": "ai", "choice": "opt_out", "occurred_at": NOON}


async def test_keys_are_shown_the_first_time_only(tmp_path: Path) -> None:
    first = await ServiceProcess.start(Launch(tmp_path))
    assert first.operator_key is not None
    assert first.platform_key is not None
    assert await first.stop() == 0
    second = await ServiceProcess.start(Launch(tmp_path))
    try:
        assert (second.operator_key, second.platform_key) == (None, None)
        with Client(second.url, first.operator_key) as client:
            assert client.partners() == []
        plain = first.operator_key.encode()
        assert not any(plain in file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
    finally:
        await second.stop()


async def test_secrets_and_data_are_for_the_owner_only(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    service = await ServiceProcess.start(Launch(directory))
    await service.stop()
    for name in ("secret.key", "keys.sqlite", "ledger.sqlite", "log.sqlite", "consent.sqlite"):
        assert stat.S_IMODE((directory / name).stat().st_mode) == 0o600, name


@asynccontextmanager
async def deaf_partner() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Takes a request and never answers it. Its address, and an event: somebody waits."""
    waiting = asyncio.Event()

    async def never(request: web.Request) -> web.Response:
        waiting.set()
        await asyncio.Event().wait()
        raise AssertionError

    application = web.Application()
    application.router.add_post("/", never)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/", waiting
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_stops_it_in_time_though_a_partner_hangs(tmp_path: Path, number: signal.Signals) -> None:
    async with deaf_partner() as (url, waiting):
        # An attempt would go on for a minute.
        service = await ServiceProcess.start(Launch(tmp_path, environment={"RESCIND_DELIVERY_TIMEOUT": "60"}))
        with Client(service.url, service.operator_key) as client:
            client.add_partner({"id": "deaf", "name": "deaf", "url": url, "purposes": ["ai"]})
            client.post_toggles([toggle(1)])
        await asyncio.wait_for(waiting.wait(), PATIENCE)
        started = time.monotonic()
        os.kill(service.pid, number)
        assert await service.stop() == 0
        assert time.monotonic() - started < 30
        assert "Traceback" not in (tmp_path / "service.log").read_text()


async def test_the_second_start_goes_on_where_the_first_stopped(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.register({"p": Cast(("ai",))})
        with here.platform() as client:
            client.post_toggles([toggle(1)])
        await here.until(lambda lag: lag["partners"][0]["acknowledged"] == 1)
        assert await here.service.stop() == 0
        await here.start()
        with here.platform() as client:
            client.post_toggles([toggle(1), toggle(2)])
        await here.until(lambda lag: lag["partners"][0]["acknowledged"] == 2)
        with here.operator() as client:
            assert client.lag()["totals"]["toggles"] == 2
            assert [row["choice"] for row in client.consents("user:1")] == ["opt_out"]
        partner = here.partners["p"]
        assert len(partner.seen.notices) == 2
        assert partner.seen.requests == 2, "what was acknowledged before the stop was sent again"


#: A program that starts a service, says its process id, and then waits.
STARTER = """
import asyncio, sys
from pathlib import Path
from rescind.launching import Launch, ServiceProcess

async def main():
    service = await ServiceProcess.start(Launch(Path(sys.argv[1])))
    print(service.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_service_does_not_outlive_the_program_that_started_it(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", STARTER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        service = psutil.Process(int(starter.stdout.readline()))
        starter.kill()  # it can do nothing about its child any more
    await asyncio.to_thread(service.wait, PATIENCE)
    assert "Traceback" not in (tmp_path / "service.log").read_text()
    again = await ServiceProcess.start(Launch(tmp_path))
    assert await again.stop() == 0


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_port_in_use_is_one_line(tmp_path: Path, taken_port: int) -> None:
    said = one_line(rescind("up", "--data", str(tmp_path), "--port", str(taken_port)))
    assert f"127.0.0.1:{taken_port}" in said
    assert "in use" in said


async def test_a_second_service_on_the_same_data_is_one_line(tmp_path: Path) -> None:
    service = await ServiceProcess.start(Launch(tmp_path))
    try:
        said = one_line(await asyncio.to_thread(rescind, "up", "--data", str(tmp_path), "--port", "0"))
        assert "another service" in said
        with Client(service.url, service.operator_key) as client:
            assert client.partners() == [], "the first one goes on"
    finally:
        await service.stop()


def test_a_data_directory_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for bad in (tmp_path / "file", tmp_path / "file" / "data", Path("/proc/data")):
        assert str(bad) in one_line(rescind("up", "--data", str(bad), "--port", "0"))


@pytest.mark.parametrize("name", ["log.sqlite", "ledger.sqlite", "keys.sqlite", "consent.sqlite", "secret.key"])
def test_a_damaged_file_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x00 this is no database, and no key \xff" * 100)
    assert str(tmp_path / name) in one_line(rescind("up", "--data", str(tmp_path), "--port", "0"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RESCIND_PORT", "abc"),
        ("RESCIND_LOG", "postgres://here/"),
        ("RESCIND_SEALING_KEY", "short"),
        ("RESCIND_RETRY_CAP", "-1"),
    ],
)
def test_a_wrong_setting_is_one_line(tmp_path: Path, name: str, value: str) -> None:
    one_line(rescind("up", "--data", str(tmp_path), **{name: value}))


async def test_a_start_that_fails_says_why(tmp_path: Path, taken_port: int) -> None:
    with pytest.raises(NotStarted, match="in use"):
        await ServiceProcess.start(Launch(tmp_path, taken_port))


async def test_a_ledger_that_was_deleted_is_rebuilt(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.register({"p": Cast(("ai",))})
        with here.platform() as client:
            client.post_toggles([toggle(number) for number in range(50)])
        before = await here.until(lambda lag: lag["partners"][0]["acknowledged"] == 50)
        await here.service.stop()
        for file in tmp_path.glob("ledger.sqlite*"):
            file.unlink()
        await here.start()
        after = await here.until(lambda lag: lag["totals"] == before["totals"])
        assert after["partners"][0]["acknowledged"] == 50
        assert len(here.partners["p"].seen.notices) == 50


async def test_a_log_that_is_older_than_the_ledger_is_one_line(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.register({"p": Cast(("ai",))})
        await here.service.stop()
        backup = {file: file.read_bytes() for file in tmp_path.glob("log.sqlite*") if file.suffix != ".lock"}
        await here.start()
        with here.platform() as client:
            client.post_toggles([toggle(1)])
        await here.until(lambda lag: lag["partners"][0]["acknowledged"] == 1)
        await here.service.stop()
        for file in tmp_path.glob("log.sqlite*"):
            file.unlink()
        for file, content in backup.items():
            file.write_bytes(content)
        words = ("up", "--data", str(tmp_path), "--port", "0")
        assert "the log is an older one" in one_line(await asyncio.to_thread(rescind, *words))
        assert (await asyncio.to_thread(rescind, "doctor", "--data", str(tmp_path))).returncode == 2
        for file in tmp_path.glob("ledger.sqlite*"):
            file.unlink()
        # The same goes for the consent table, which knows decisions that this log does not have.
        assert "consent.sqlite is ahead of the log" in one_line(await asyncio.to_thread(rescind, *words))
        for file in tmp_path.glob("consent.sqlite*"):
            file.unlink()
        await here.start()
        with here.platform() as client:
            client.post_toggles([toggle(2)])
        await here.until(lambda lag: lag["totals"]["toggles"] == 1 and lag["partners"][0]["acknowledged"] == 1)


async def test_a_bad_message_on_the_log_stops_nobody(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.register({"p": Cast(("ai",))})
        await here.service.stop()
        # Somebody who may write to the log wrote nonsense, into every topic that is read.
        connection = sqlite3.connect(tmp_path / "log.sqlite")
        topics = connection.execute("SELECT id, name FROM topics WHERE name LIKE 'rescind.%'").fetchall()
        for identity, _ in topics:
            tp = identity << 16
            end = connection.execute("SELECT COALESCE(MAX(offset) + 1, 0) FROM records WHERE tp = ?", [tp]).fetchone()[
                0
            ]
            row = (tp, end, 1_767_268_800_000, b"k", b"{nonsense", None)
            connection.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)", row)
        connection.commit()
        connection.close()
        await here.start()
        with here.platform() as client:
            client.post_toggles([toggle(number) for number in range(20)])
        lag = await here.until(lambda lag: lag["partners"][0]["acknowledged"] == 20 and lag["totals"]["poisoned"] >= 8)
        assert lag["totals"]["toggles"] == 20


async def test_health_needs_no_key_and_everything_else_does(tmp_path: Path) -> None:
    service = await ServiceProcess.start(Launch(tmp_path))
    try:
        with httpx.Client(base_url=service.url) as http:
            assert http.get("/health/live").status_code == 200
            assert http.get("/health/ready").json()["status"] == "ready"
            assert http.get("/v1/lag").status_code == 401
            assert http.get("/dashboard").status_code == 401
        with Client(service.url, service.platform_key) as client, pytest.raises(ApiError, match="operator"):
            client.partners()
    finally:
        await service.stop()


def test_make_up_runs_in_the_foreground_and_ends_with_a_signal(tmp_path: Path) -> None:
    process = subprocess.Popen(
        ["make", "--no-print-directory", "up", f"DATA={tmp_path / 'data'}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"RESCIND_PORT": "0"},
    )
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith("Ctrl-C"):
            break
    assert re.search(r"^Dashboard: http://127\.0\.0\.1:\d+/dashboard", said, re.MULTILINE)
    assert re.search(r"^Operator key: rsk_operator_\S+$", said, re.MULTILINE)
    assert re.search(r"^Platform key: rsk_platform_\S+$", said, re.MULTILINE)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal's Ctrl-C does
    out, err = process.communicate(timeout=PATIENCE)
    assert "Stopped." in out
    assert "Traceback" not in err
