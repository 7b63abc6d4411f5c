"""The embedded log by itself, beside a bare `sqlite3` append of the same rows as the limit. Prints figures
with their conditions; asserts nothing, for no two machines are alike.

    python -m benchmarks.log [--records 60000]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import sqlite3
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from agents.consent import add_consent
from agents.consuming import consume
from rescind.running.collecting import tune_collector
from streams.cloudevents import Envelope
from streams.embedded import schema
from streams.embedded.log import EmbeddedLog
from streams.embedded.opening import connect
from streams.events import ConsentToggled
from streams.kinds import Choice
from streams.log import events_topic
from streams.records import Record, record
from streams.topics import DECISIONS, NOTICES, POISONED, TOGGLES

BATCH = 1_000
LANES = 8
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def toggle(number: int) -> Record:
    data = ConsentToggled(subject=f"user:{number}", purpose="ai", choice=Choice.OPT_OUT, occurred_at=NOON)
    return record(TOGGLES.name, Envelope(f"toggle-{number}", NOON, data))


def show(words: str, count: int, seconds: float) -> float:
    print(f"{words:<58}{count / seconds:>10,.0f} /s")
    return count / seconds


def bare(directory: Path, records: list[Record]) -> float:
    """The same rows, in the same table, in transactions of the same size, by the standard library alone."""
    connection = connect(directory / "bare.sqlite", writable=True)
    rows = [(1, offset, 1, item.key, item.value, b"headers") for offset, item in enumerate(records)]
    began = time.perf_counter()
    for start in range(0, len(rows), BATCH):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(schema.INSERT, rows[start : start + BATCH])
        connection.execute("COMMIT")
    seconds = time.perf_counter() - began
    connection.close()
    return seconds


async def appends(journal: EmbeddedLog, records: list[Record]) -> float:
    """Four callers, each waiting for one batch before it sends the next."""
    batches = iter([records[start : start + BATCH] for start in range(0, len(records), BATCH)])

    async def caller() -> None:
        for batch in batches:
            await journal.append(batch)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(4)))
    return time.perf_counter() - began


async def sends(app: Any, records: list[Record]) -> float:
    """Through Faust's producer, one by one, each future awaited at the end."""
    began = time.perf_counter()
    sent = [await app.producer.send(item.topic, item.key, item.value, None, None, item.headers) for item in records]
    await asyncio.gather(*sent)
    return time.perf_counter() - began


@contextlib.asynccontextmanager
async def running(app: Any) -> AsyncIterator[None]:
    app.finalize()
    await app.start()
    await app.tables.recovery.completed.wait()
    tune_collector()  # as the service does when it is ready
    try:
        yield
    finally:
        await app.stop()


async def _nothing(stream: Any) -> None:
    async for _ in stream:
        pass


async def until(reached: Callable[[], bool]) -> float:
    began = time.perf_counter()
    while not reached():
        await asyncio.sleep(0.002)
    return time.perf_counter() - began


async def consent(journal: EmbeddedLog, directory: Path, count: int) -> float:
    """Toggles that lie in the log, through the consent agent: its table and its decisions."""
    app = journal.new_app("bench-consent", directory)
    add_consent(app, journal, lambda: NOON)
    async with running(app):
        began = time.perf_counter()
        # Each is a first opt-out: a change, and a deletion.
        while sum((await journal.end_offsets(DECISIONS.name)).values()) < 2 * count:
            await asyncio.sleep(0.002)
        return time.perf_counter() - began


async def lanes(journal: EmbeddedLog, directory: Path, count: int) -> float:
    """Messages that lie in eight lanes, each lane read by an actor of its own."""
    app = journal.new_app("bench-lanes", directory)
    seen = 0

    async def handle(batch: Any) -> None:
        nonlocal seen
        seen += len(batch)

    @app.agent(events_topic(app, NOTICES.name), name="lanes", isolated_partitions=True)
    async def read(stream: Any) -> None:
        await consume(app, stream, 500, handle)

    async with running(app):
        return await until(lambda: seen >= count)


async def latencies(journal: EmbeddedLog, directory: Path, count: int = 200) -> list[float]:
    """From a send's acknowledgement to the agent, one at a time, in milliseconds."""
    app = journal.new_app("bench-latency", directory)
    arrived = asyncio.Event()

    @app.agent(events_topic(app, NOTICES.name), name="idle", isolated_partitions=True)
    async def read(stream: Any) -> None:
        async for _ in stream:
            arrived.set()

    found = []
    async with running(app):
        for number in range(count + 20):
            arrived.clear()
            await journal.append([Record(NOTICES.name, None, b"x", partition=number % LANES)])
            began = time.perf_counter()
            await arrived.wait()
            found.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(0.005)
    return sorted(found[20:])


async def measure(count: int) -> None:
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {versions}; {count:,} toggles\n")
    records = [toggle(number) for number in range(count)]
    size = statistics.mean(len(item.value or b"") for item in records)
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as name:
        directory = Path(name)
        limit = show(f"bare sqlite3, {size:.0f} bytes a row, {BATCH} a commit", count, bare(directory, records))
        journal = EmbeddedLog(f"sqlite://{directory}/latency.sqlite")
        quiet = await latencies(journal, directory)
        journal.close()
        journal = EmbeddedLog(f"sqlite://{directory}/log.sqlite")
        rate = show(f"durable appends, {BATCH} a batch, four callers", count, await appends(journal, records))
        print(f"{'  of the bare append':<58}{rate / limit:>10.0%}")
        app = journal.new_app("bench-send", directory)
        app.agent(events_topic(app, POISONED.name), name="none")(_nothing)  # without an agent no app gets ready
        async with running(app):
            quarter = records[: count // 4]
            show("durable sends through Faust's producer, one by one", len(quarter), await sends(app, quarter))
        show("toggles through the consent agent and its table", count, await consent(journal, directory, count))
        packs = [Record(NOTICES.name, None, b"x" * 300, partition=number % LANES) for number in range(count)]
        await appends(journal, packs)
        show(f"messages read by {LANES} lanes", count, await lanes(journal, directory, count))
        journal.close()
    p50, p99 = quiet[len(quiet) // 2], quiet[len(quiet) * 99 // 100]
    print(f"{'acknowledged send to agent, idle: p50, p99':<58}{p50:>6.1f}, {p99:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=60_000)
    chosen = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(chosen.records))


if __name__ == "__main__":
    main()
