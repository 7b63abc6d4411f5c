"""Partners that misbehave, beside others, with the agents as the service runs them: each costs its own lane only."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
import uvloop

from agents.judging import AttemptVerdict
from agents.retrying import Backoff
from benchmarks.isolation import Sink, ratio, rounds
from benchmarks.receiving import receiving
from benchmarks.stage import Stage, stage
from streams.topics import LANES
from tests.misbehaviours import MISBEHAVIOURS, Misbehaviour

R = TypeVar("R")
WELL = 3
#: Those that one attempt brings out, and that need neither our certificates nor our names; a status alone is no feat.
KINDS = [
    kind
    for kind in MISBEHAVIOURS
    if kind.private and not kind.tls and kind.host == "127.0.0.1" and kind.attempts == 1
    if not kind.name.startswith("says ")
]
#: As many at a time as there are lanes for.
GROUPS = [KINDS[start : start + LANES - WELL] for start in range(0, len(KINDS), LANES - WELL)]
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def urls() -> Iterator[Mapping[str, str]]:
    """Where the misbehaving ones are: in a process of their own, so that what they cost us is ours."""
    command = [sys.executable, "-m", "tests.misbehaviours"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.communicate()


def as_served(work: Coroutine[Any, Any, R]) -> R:
    """On the event loop that the service has: it reads a flood by other rules than asyncio's own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


@asynccontextmanager
async def well_behaved(scene: Stage) -> AsyncIterator[Sequence[Sink]]:
    sinks = [Sink() for _ in range(WELL)]
    servers = await receiving([sink.take for sink in sinks])
    for lane, (_, url) in enumerate(servers):
        await scene.register(f"well-{lane}", lane, url)
    yield sinks
    for server, _ in servers:
        server.close()


class Watch:
    """The most that this process held in memory, and the longest that its event loop stood still."""

    def __init__(self) -> None:
        self.memory, self.stall = 0, 0.0

    async def run(self) -> None:
        process = psutil.Process()
        while True:
            began = time.process_time()
            await asyncio.sleep(0.01)
            self.stall = max(self.stall, time.process_time() - began)
            self.memory = max(self.memory, process.memory_info().rss)


@pytest.mark.parametrize("kinds", GROUPS, ids=lambda kinds: f"{kinds[0].name} to {kinds[-1].name}")
def test_each_costs_its_own_lane_only(kinds: Sequence[Misbehaviour], urls: Mapping[str, str], tmp_path: Path) -> None:
    as_served(beside(kinds, urls, tmp_path))


async def beside(kinds: Sequence[Misbehaviour], urls: Mapping[str, str], directory: Path) -> None:
    async with stage(directory, 0.4, Backoff(0.2, 0.4)) as scene, well_behaved(scene) as sinks:
        await scene.opt_out("user:before")
        await asyncio.gather(*(sink.hears("user:before") for sink in sinks))
        for lane, kind in enumerate(kinds, WELL):
            await scene.register(f"bad-{lane}", lane, urls[kind.name])
        watch, before = Watch(), psutil.Process().memory_info().rss
        watching = asyncio.ensure_future(watch.run())
        began, cpu = time.monotonic(), time.process_time()
        for number in range(30):
            await scene.opt_out(f"user:{number}")
            await asyncio.gather(*(sink.hears(f"user:{number}") for sink in sinks))
            await asyncio.sleep(0.05)
        took, cpu = time.monotonic() - began, time.process_time() - cpu
        watching.cancel()
        taken = await scene.taken()
    assert watch.memory - before < 64 * MIB
    assert watch.stall < 0.5
    assert took < 60
    assert cpu < 15
    well = AttemptVerdict.ACCEPTED
    wrong = [kind.name for lane, kind in enumerate(kinds, WELL) if (taken[lane] > 0) != (kind.verdict is well)]
    assert wrong == []


@pytest.mark.alone
def test_one_of_twenty_hangs_and_the_others_go_on_as_before(tmp_path: Path) -> None:
    """By the processor's time of this process, which nothing else on the machine disturbs: no more work stands before
    a webhook. And by the wall, so coarsely that a busy machine does not matter: a wait for the one that hangs, whose
    attempts take 300 ms, would show ten times over."""
    found = as_served(rounds(tmp_path, 6, 20))
    cpu = [(none.cpu, hung.cpu) for none, hung in found]
    wall = [(none.wall, hung.wall) for none, hung in found]
    assert ratio(cpu, 0.5) < 1.1
    assert ratio(cpu, 0.99) < 1.3
    assert ratio(wall, 0.5) < 3
