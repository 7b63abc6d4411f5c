"""The consent table at scale: its own speed, the agent's speed in isolation, memory, and how long a restart and
a rebuild take. Prints figures with their conditions; asserts nothing, for no two machines are alike.

    python -m benchmarks.consent [--subjects 1000000 10000000] [--toggles 100000]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvloop

from agents.app import GROUP
from agents.consent import add_consent
from benchmarks.backbone import memory
from rescind.launching import Launch, ServiceProcess
from rescind.running.collecting import tune_collector
from streams.clock import utc_now
from streams.cloudevents import Envelope
from streams.embedded.log import EmbeddedLog
from streams.events import ConsentToggled
from streams.kinds import Choice
from streams.log import Log
from streams.records import TopicPartition, record
from streams.states import Reach, StateFile
from streams.topics import TOGGLES

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BATCH = 500
PURPOSE = "ai-training"


def subject(number: int) -> str:
    return f"user:{number:010d}"


def states(subjects: int) -> Iterator[tuple[str, str]]:
    for number in range(subjects):
        yield f"{PURPOSE} {subject(number)}", f"1 erase - 2026-01-01T12:00:00Z {number:08x}-0000-4000-8000-0123456789ab"


def prepare(path: Path, subjects: int) -> None:
    """A table of so many subjects, in order of the keys, past everything that makes it safe."""
    StateFile(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO states VALUES (?, ?)", states(subjects))
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")


def toggle(number: int, chosen: int) -> Envelope:
    choice = Choice.OPT_OUT if number % 3 else Choice.OPT_IN
    when = NOON + timedelta(seconds=number + 1)
    data = ConsentToggled(subject=subject(chosen), purpose=PURPOSE, choice=choice, occurred_at=when)
    return Envelope(f"{number:08x}-1111-4111-8111-0123456789ab", NOON, data)


async def fill(log: Log, toggles: int, subjects: int) -> None:
    chance = random.Random(1)
    for start in range(0, toggles, 2000):
        numbers = range(start, min(start + 2000, toggles))
        await log.append([record(TOGGLES.name, toggle(number, chance.randrange(subjects))) for number in numbers])


async def table_alone(directory: Path, subjects: int, rounds: int) -> float:
    """Batches of random subjects read and written, a transaction for every 20 of them; changes a second."""
    chance = random.Random(2)
    with closing(StateFile(directory / "consent.sqlite")) as file:
        began = time.perf_counter()
        for number in range(rounds):
            changes: dict[bytes, bytes | None] = {}
            for _ in range(20):
                keys = [f"{PURPOSE} {subject(chance.randrange(subjects))}".encode() for _ in range(BATCH)]
                found = await file.read(keys)
                changes |= {key: found[key] for key in keys}
            await file.write(changes, {0: Reach(number, None)})
        return rounds * 20 * BATCH / (time.perf_counter() - began)


async def agent_alone(directory: Path, toggles: int) -> tuple[float, float]:
    """From a log full of toggles until all are committed: toggles a second, and seconds to ready."""
    log = EmbeddedLog(f"sqlite://{directory / 'log.sqlite'}")
    app = log.new_app(GROUP, directory)
    add_consent(app, log, utc_now)
    app.finalize()
    began = time.perf_counter()
    await app.start()
    await app.tables.recovery.completed.wait()
    while app.tables.behind:
        await asyncio.sleep(0.002)
    tune_collector()  # as the service does when it is ready
    ready = time.perf_counter()
    while committed(directory) < toggles:
        await asyncio.sleep(0.02)
    took = time.perf_counter() - ready
    await app.stop()
    log.close()
    return toggles / took, ready - began


def committed(directory: Path) -> int:
    with closing(sqlite3.connect(directory / "log.sqlite")) as connection:
        sql = "SELECT COALESCE(SUM(offset), 0) FROM commits JOIN topics ON topics.id = tp >> 16 WHERE name = ?"
        return int(connection.execute(sql, (TOGGLES.name,)).fetchone()[0])


async def child(step: str, directory: Path, number: int) -> None:
    """One measurement in a process of its own, so that its peak of memory is its own."""
    if step == "table":
        print(f"  {'table alone, random subjects':<46}{await table_alone(directory, number, 10):>10.0f} /s")
    elif step == "agent":
        speed, ready = await agent_alone(directory, number)
        print(f"  {'consent agent alone, random subjects':<46}{speed:>10.0f} /s")
        print(f"  {'  its start, recovery included':<46}{ready:>10.2f} s")
    else:
        _, ready = await agent_alone(directory, number)
        print(f"  {'taken again before the start is over':<46}{number / ready:>10.0f} /s")
    print(f"  {'  memory of the process, peak':<46}{memory(os.getpid())['VmHWM']:>10.0f} MiB")


async def in_child(*words: Any) -> None:
    command = [sys.executable, "-m", "benchmarks.consent", "--child", *map(str, words)]
    process = await asyncio.create_subprocess_exec(*command)
    await process.wait()


async def measure(subjects: int, toggles: int) -> None:
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as name:
        directory = Path(name)
        began = time.perf_counter()
        prepare(directory / "consent.sqlite", subjects)
        size = (directory / "consent.sqlite").stat().st_size / subjects
        print(f"{subjects} subjects ({size:.0f} bytes each; made in {time.perf_counter() - began:.0f} s)")
        await in_child("table", directory, subjects)
        log = EmbeddedLog(f"sqlite://{directory / 'log.sqlite'}")
        await fill(log, toggles, subjects)
        log.close()
        await in_child("agent", directory, toggles)
        for words in ("service, first start to ready", "service, restart to ready"):
            began = time.perf_counter()
            service = await ServiceProcess.start(Launch(directory))
            print(f"  {words:<46}{time.perf_counter() - began:>10.2f} s")
            print(f"  {'  memory of the service then':<46}{memory(service.pid)['VmRSS']:>10.0f} MiB")
            await service.kill()


async def measure_rebuild(toggles: int) -> None:
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as name:
        directory = Path(name)
        log = EmbeddedLog(f"sqlite://{directory / 'log.sqlite'}")
        await fill(log, toggles, toggles)
        ends = await log.end_offsets(TOGGLES.name)
        await log._store.commit(GROUP, {TopicPartition(*tp): end for tp, end in ends.items()})
        log.close()
        print(f"a deleted table, {toggles} toggles to take again")
        await in_child("rebuild", directory, toggles)


async def run(subjects: Sequence[int], toggles: int) -> None:
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{toggles} toggles of random subjects; 8 partitions; the embedded log on the same disk\n")
    for number in subjects:
        await measure(number, toggles)
    await measure_rebuild(toggles)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--toggles", type=int, default=100_000)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        step, directory, number = chosen.child
        # The service's loop.
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(child(step, Path(directory), int(number)))
    else:
        asyncio.run(run(chosen.subjects, chosen.toggles))


if __name__ == "__main__":
    main()
