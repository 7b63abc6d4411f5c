"""Memory that does not follow the number of subjects."""

from __future__ import annotations

import asyncio
import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from streams.waiting import MAX_WAITING, Store
from tests.recovery.world import consent_app, open_log

#: More than what SQLite caches, so that its caches are full at the first look already.
FEW, MANY = 400_000, 1_200_000


def measure(directory: str, answer: Connection) -> None:
    asyncio.run(_measure(Path(directory), answer))


async def _measure(directory: Path, answer: Connection) -> None:
    log = open_log(directory)
    app: Any = consent_app(log, directory)
    store: Store = app.tables["consent"].data
    found = []
    for number in range(MANY):
        store[b"ai user:%08d" % number] = b"1 erase - 2026-01-01T12:00:00Z evt-%08d" % number
        if number % 1000 == 999:
            # What an agent does before it decides; it waits for the disk if too much waits in memory.
            await store.load([b"ai user:%08d" % other for other in range(number, 0, -number // 50)])
            assert len(store._waiting) <= MAX_WAITING
        if number + 1 in (FEW, MANY):
            found.append(psutil.Process().memory_info().rss)
    log.close()
    answer.send(found)


def test_three_times_the_subjects_take_no_more_memory(tmp_path: Path) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.recovery.world"])
    here, there = processes.Pipe()
    process = processes.Process(target=measure, args=(str(tmp_path), there))
    process.start()
    assert here.poll(60)
    few, many = here.recv()
    process.join()
    # 800,000 more in a dict would be some 200 MB.
    assert many < few * 1.2, (few, many)
    assert many < 250 * 1024 * 1024
