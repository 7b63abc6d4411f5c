"""What processes are put together from: how they end, and what a first start makes once, whoever starts."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from ledger import KeyStore
from rescind.running.credentials import api_keys, first_keys, sealer_of
from rescind.running.places import WORKER, data_directory, lock_path, log_file
from rescind.running.processes import Running, Started
from rescind.running.until import run
from streams.clock import utc_now
from streams.errors import LogInUse, RescindError, StorageUnusable
from streams.sealing import Sealer
from streams.settings import Settings

KAFKA = "kafka://127.0.0.1:9092"


def settings(directory: Path, log: str = "", key: str = "") -> Settings:
    return Settings(data_dir=directory, log=log, sealing_key=key)


# -- the sealing key


def test_a_key_is_made_where_the_log_is_this_machine_s(tmp_path: Path) -> None:
    sealed = sealer_of(settings(tmp_path)).seal("secret")
    assert sealer_of(settings(tmp_path)).open(sealed) == "secret"
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600


def test_no_key_is_made_where_others_share_the_log(tmp_path: Path) -> None:
    with pytest.raises(StorageUnusable) as refused:
        sealer_of(settings(tmp_path, KAFKA))
    assert "set RESCIND_SEALING_KEY" in str(refused.value)
    assert f"copy another's secret.key to {tmp_path}/secret.key" in str(refused.value)
    assert not list(tmp_path.iterdir())
    # What it says makes a key.
    command = str(refused.value).split("`")[1]
    key = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout.strip()
    sealed = sealer_of(settings(tmp_path, KAFKA, key)).seal("secret")
    # And it is the same from a file.
    (tmp_path / "secret.key").write_text(key + "\n")
    assert sealer_of(settings(tmp_path, KAFKA)).open(sealed) == "secret"


def test_a_key_that_is_given_comes_before_the_file_s(tmp_path: Path) -> None:
    sealer_of(settings(tmp_path))
    key = Sealer.from_file(tmp_path / "other.key").seal("x")
    given = (tmp_path / "other.key").read_text().strip()
    assert sealer_of(settings(tmp_path, key=given)).open(key) == "x"


def test_where_a_log_lies(tmp_path: Path) -> None:
    assert log_file(settings(tmp_path)) == tmp_path / "log.sqlite"
    assert log_file(settings(tmp_path, "sqlite:///else/where.sqlite")) == Path("/else/where.sqlite")
    assert log_file(settings(tmp_path, KAFKA)) is None


# -- first starts

_START = """
import sys
from pathlib import Path
from rescind.running.credentials import api_keys, first_keys, sealer_of
from streams.clock import utc_now
from streams.settings import Settings
settings = Settings(data_dir=Path(sys.argv[1]), log="", sealing_key="")
print("ready", flush=True)
sys.stdin.readline()
sealed = sealer_of(settings).seal("secret")
with api_keys(settings) as keys:
    print(sealed, *first_keys(settings, keys, utc_now))
"""


def test_of_many_first_starts_at_once_one_makes_the_keys(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _START, str(tmp_path)]
    starting = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    for process in starting:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in starting:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[0].split() for process in starting]
    assert [process.returncode for process in starting] == [0] * 6
    sealer = sealer_of(settings(tmp_path))
    assert [sealer.open(sealed) for sealed, *_ in said] == ["secret"] * 6
    (shown,) = [keys for _, *keys in said if keys != ["None", "None"]]
    with api_keys(settings(tmp_path)) as keys:
        assert len(keys.list()) == 2
        assert all(keys.authenticate(key) for key in shown)


def test_keys_are_not_made_a_second_time(tmp_path: Path) -> None:
    with api_keys(settings(tmp_path)) as keys:
        first = first_keys(settings(tmp_path), keys, utc_now)
        assert None not in first
        assert first_keys(settings(tmp_path), keys, utc_now) == (None, None)
    store = KeyStore.open(tmp_path / "keys.sqlite")
    for key in store.list():
        store.revoke(key.id, utc_now())
    # An operator who revoked them all wants no others.
    assert first_keys(settings(tmp_path), store, utc_now) == (None, None)
    store.close()


# -- places


def test_a_role_is_one_s_own_until_it_is_given_up(tmp_path: Path) -> None:
    with data_directory(settings(tmp_path), WORKER):
        # Any number may share the directory without a role.
        with data_directory(settings(tmp_path)):
            pass
        with pytest.raises(LogInUse, match=f"process {os.getpid()}"):
            data_directory(settings(tmp_path), WORKER).__enter__()
    with data_directory(settings(tmp_path), WORKER):
        pass


async def test_who_looks_at_a_lock_for_an_instant_keeps_nobody_from_starting(tmp_path: Path) -> None:
    looking = FileLock(lock_path(tmp_path, WORKER))
    looking.acquire()
    asyncio.get_running_loop().call_later(0.05, looking.release)

    def start() -> None:
        with data_directory(settings(tmp_path), WORKER):
            pass

    await asyncio.to_thread(start)


# -- ending


class Process:
    """One that remembers how far it came."""

    def __init__(self, *, starting: float = 0.0) -> None:
        self.story: list[str] = []
        self.failure: asyncio.Future[None] | None = None
        self._starting = starting

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Running]:
        self.failure = asyncio.get_running_loop().create_future()
        try:
            await asyncio.sleep(self._starting)
            yield Started("http://here"), self.failure
        finally:
            await asyncio.sleep(0.01)
            self.story.append("stopped")
            self.failure.cancel()

    def announce(self, started: Started) -> None:
        self.story.append(f"ready at {started.url}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_stops_a_process_in_order(number: signal.Signals) -> None:
    process = Process()

    def announce(started: Started) -> None:
        process.announce(started)
        os.kill(os.getpid(), number)

    await run(process.running(), announce=announce)
    assert process.story == ["ready at http://here", "stopped"]


async def test_a_signal_gives_up_a_start_that_is_under_way() -> None:
    process = Process(starting=60)
    for after in (0.1, 0.105):  # the second changes nothing
        asyncio.get_running_loop().call_later(after, os.kill, os.getpid(), signal.SIGTERM)
    began = time.monotonic()
    await run(process.running(), announce=process.announce)
    assert process.story == ["stopped"]
    assert time.monotonic() - began < 10


async def test_a_part_that_fails_ends_the_process() -> None:
    process = Process()

    def announce(started: Started) -> None:
        process.announce(started)
        assert process.failure is not None
        process.failure.set_exception(RescindError("a part failed"))

    with pytest.raises(RescindError, match="a part failed"):
        await run(process.running(), announce=announce)
    assert process.story == ["ready at http://here", "stopped"]
