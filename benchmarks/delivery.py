"""Delivery alone: what lies in five lanes, through the agent and the real sender to five partners, beside a bare
client that posts the same bytes to the same partners as the limit. Prints figures with their conditions; asserts
nothing, for no two machines are alike.

    python -m benchmarks.delivery [--sizes 1 10 100 1000] [--requests 8000] [--rounds 3]

The partners are in a process of their own, parse what they get, and answer 200 with nothing. The first fifth of each
round is not counted: lanes have read ahead by then.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
import uvloop
from cryptography.fernet import Fernet

from agents.app import GROUP
from agents.attempts import Attempts
from agents.delivery import Courier
from agents.directory import Directory
from agents.lanes import add_delivery
from agents.retrying import Backoff
from agents.webhooks import HttpSender, body_of
from benchmarks.stage import SPRING, Stage, performing
from streams import ids, signing
from streams.clock import utc_now
from streams.cloudevents import Envelope, encode
from streams.embedded.log import EmbeddedLog
from streams.events import Notice, NoticesIssued
from streams.kinds import Action
from streams.records import Record
from streams.sealing import Sealer
from streams.topics import DELIVERIES, NOTICES
from streams.written import written

PARTNERS = 5
SKIPPED = 0.2
Done = Callable[[], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a number of notices, on the wall and of the processor, in seconds."""

    notices: int
    wall: float
    cpu: float


def notices(count: int) -> tuple[Notice, ...]:
    """Twenty of them were accepted at once, and each was flipped at another time."""
    return tuple(_notice(number, SPRING + timedelta(milliseconds=number // 20)) for number in range(count))


def _notice(number: int, accepted: datetime) -> Notice:
    return Notice(
        id=ids.derive("notice", str(number)),
        cause_id=ids.derive("cause", str(number)),
        toggle_id=ids.derive("toggle", str(number)),
        action=Action.ERASE,
        subject=f"user:{number:010d}",
        purpose="ai-training",
        occurred_at=SPRING - timedelta(milliseconds=7 * number),
        issued_at=accepted,
        receive_by=accepted + timedelta(days=1),
        complete_by=accepted + timedelta(days=30),
    )


async def counted(done: Done, requests: int, size: int) -> Cost:
    """From when a fifth of the requests is done until all are."""
    while await done() < requests * SKIPPED:
        await asyncio.sleep(0.002)
    first, wall, cpu = await done(), time.perf_counter(), time.process_time()
    while (last := await done()) < requests:
        await asyncio.sleep(0.002)
    return Cost((last - first) * size, time.perf_counter() - wall, time.process_time() - cpu)


async def ours(urls: Sequence[str], size: int, requests: int) -> Cost:
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as name, contextlib.ExitStack() as stack:
        log = EmbeddedLog(f"sqlite://{Path(name) / 'log.sqlite'}")
        stack.callback(log.close)
        scene = Stage(log, Sealer(Fernet.generate_key().decode()))
        await _fill(log, size, requests)
        for lane, url in enumerate(urls):
            await scene.register(f"p{lane}", lane, url, batch_size=size, status="paused")
        sender = HttpSender(15, allow_private=True)
        app = log.new_app(GROUP, Path(name))
        directory = Directory(log)
        app.task(lambda: directory.run(log))
        attempts = Attempts(log, directory, sender, scene.sealer, utc_now, Backoff())
        add_delivery(app, log, Courier(attempts), utc_now)

        async def done() -> int:
            return sum((await log.end_offsets(DELIVERIES.name)).values())

        async with performing(app):
            for lane, url in enumerate(urls):
                await scene.register(f"p{lane}", lane, url, batch_size=size, revision=2)
            cost = await counted(done, requests, size)
        await sender.close()
        return cost


async def _fill(log: EmbeddedLog, size: int, requests: int) -> None:
    packs = [
        encode(Envelope("pack", SPRING, NoticesIssued(partner=f"p{lane}", lane=lane, notices=notices(size))))
        for lane in range(PARTNERS)
    ]
    for start in range(0, requests, 100):
        lanes = [number % PARTNERS for number in range(start, min(start + 100, requests))]
        await log.append([Record(NOTICES.name, None, packs[lane], partition=lane) for lane in lanes])


async def bare(urls: Sequence[str], size: int, requests: int) -> Cost:
    body, media_type = body_of([written(notice) for notice in notices(size)], single=size == 1)
    headers = {"content-type": media_type} | signing.headers(signing.new_secret(), "msg_1", utc_now(), body)
    sent = 0

    async def done() -> int:
        return sent

    async def post(session: aiohttp.ClientSession, url: str) -> None:
        nonlocal sent
        for _ in range(requests // PARTNERS):
            async with session.post(url, data=body, headers=headers) as response:
                await response.read()
            sent += 1

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        for url in urls:
            group.create_task(post(session, url))
        return await counted(done, requests // PARTNERS * PARTNERS, size)


@asynccontextmanager
async def partners() -> AsyncIterator[list[str]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.receiving", str(PARTNERS),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    yield (await process.stdout.readline()).decode().split()
    # With nothing to send, `communicate` would not close its standard input.
    await process.communicate(b"")


async def measure(sizes: Sequence[int], most: int, rounds: int) -> None:
    print(
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, uvloop"
    )
    print(
        f"{PARTNERS} partners in another process; embedded log; the median of {rounds} rounds, ours and bare in turn\n"
    )
    print(f"{'batch':>5}{'deliveries':>14}{'bare client':>14}{'share':>8}{'CPU s / 1,000':>16}{'bare':>10}{'share':>8}")
    async with partners() as urls:
        for size in sizes:
            requests = max(100, most // max(1, size // 10))
            pairs = [(await ours(urls, size, requests), await bare(urls, size, requests)) for _ in range(rounds)]
            speed = [statistics.median(pair[side].notices / pair[side].wall for pair in pairs) for side in (0, 1)]
            cost = [statistics.median(pair[side].cpu / pair[side].notices for pair in pairs) * 1000 for side in (0, 1)]
            print(f"{size:>5}{speed[0]:>12,.0f}/s{speed[1]:>12,.0f}/s{speed[0] / speed[1]:>8.0%}", end="")
            print(f"{cost[0]:>16.4f}{cost[1]:>10.4f}{cost[1] / cost[0]:>8.0%}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--requests", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(chosen.sizes, chosen.requests, chosen.rounds))


if __name__ == "__main__":
    main()
