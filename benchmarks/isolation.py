"""What one partner of twenty that hangs costs the others: from when a toggle is durable until its webhook is there,
in rounds of none hung and one hung in turn, so that whatever else the machine does meets both alike. Beside the time
on the wall stands the processor's time of this process in between, which other processes do not disturb. Prints
figures with their conditions; asserts nothing.

    python -m benchmarks.isolation [--rounds 20] [--toggles 50]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import uvloop

from agents.retrying import Backoff
from benchmarks.receiving import receiving
from benchmarks.stage import Stage, stage

PARTNERS = 20
#: Seconds of one attempt: short, so that attempts also fail in a round, and are tried again.
TIMEOUT = 0.3
#: Seconds in which nothing is to do, between one toggle and the next.
REST = 0.005


def clocks() -> tuple[float, float]:
    """Seconds on the wall, and of the processor."""
    return time.perf_counter(), time.process_time()


@dataclass(slots=True)
class Sink:
    """A partner that notes when it first heard of each subject, and answers unless it hangs."""

    heard: dict[str, tuple[float, float]] = field(default_factory=dict)
    hung: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, body: bytes) -> bool:
        now = clocks()
        if not self.hung:
            events = orjson.loads(body)
            for event in events if isinstance(events, list) else [events]:
                self.heard.setdefault(event["subject"], now)
            self.news.set()
        return not self.hung

    async def hears(self, subject: str) -> None:
        while subject not in self.heard:
            self.news.clear()
            await self.news.wait()


@dataclass(frozen=True, slots=True)
class Round:
    """Of all deliveries to the partners that never hang, in seconds, sorted."""

    wall: Sequence[float]
    cpu: Sequence[float]


def percentile(latencies: Sequence[float], share: float) -> float:
    return latencies[int(len(latencies) * share)]


async def rounds(directory: Path, count: int, toggles: int) -> list[tuple[Round, Round]]:
    """So many pairs of rounds, none hung and then one hung, of so many toggles each."""
    sinks = [Sink() for _ in range(PARTNERS)]
    async with AsyncExitStack() as stack:
        servers = await receiving([sink.take for sink in sinks])
        for server, _ in servers:
            stack.callback(server.close)
        scene = await stack.enter_async_context(stage(directory, TIMEOUT, Backoff(0.1, 0.2)))
        for lane, (_, url) in enumerate(servers):
            # No lingering: what is measured is what one partner costs the others, not a wait of their own choice.
            await scene.register(f"p{lane}", lane, url, linger_ms=0)
        await _round(scene, sinks, "warm", toggles)
        found = []
        for number in range(count):
            none = await _round(scene, sinks, f"none{number}", toggles)
            sinks[-1].hung = True
            hung = await _round(scene, sinks, f"hung{number}", toggles)
            sinks[-1].hung = False
            await sinks[-1].hears(f"user:hung{number}-{toggles - 1}")
            found.append((none, hung))
    return found


async def _round(scene: Stage, sinks: Sequence[Sink], name: str, toggles: int) -> Round:
    wall, cpu = [], []
    for number in range(toggles):
        subject = f"user:{name}-{number}"
        await scene.opt_out(subject)
        accepted = clocks()
        await asyncio.gather(*(sink.hears(subject) for sink in sinks if not sink.hung))
        for sink in sinks[:-1]:
            wall.append(max(0.0, sink.heard[subject][0] - accepted[0]))
            cpu.append(max(0.0, sink.heard[subject][1] - accepted[1]))
        await asyncio.sleep(REST)
    return Round(sorted(wall), sorted(cpu))


def ratio(pairs: Sequence[tuple[Sequence[float], Sequence[float]]], share: float) -> float:
    """Of one hung to none hung: the median over the pairs, so that a noise of a moment spoils one of them."""
    return statistics.median(percentile(hung, share) / percentile(none, share) for none, hung in pairs)


async def measure(count: int, toggles: int) -> None:
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(
        f"{PARTNERS} partners and the agents in one process; {count} pairs of rounds of {toggles} toggles, one by one"
    )
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as directory:
        found = await rounds(Path(directory), count, toggles)
    for words, pairs in (
        ("wall", [(none.wall, hung.wall) for none, hung in found]),
        ("processor", [(none.cpu, hung.cpu) for none, hung in found]),
    ):
        for share in (0.5, 0.99):
            none, hung = (statistics.median(percentile(pair[side], share) for pair in pairs) * 1000 for side in (0, 1))
            print(f"toggle to webhook, the other {PARTNERS - 1}, {words}, p{share * 100:.0f}: ", end="")
            print(f"none hung {none:.1f} ms, one hung {hung:.1f} ms, ratio of neighbours {ratio(pairs, share):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--toggles", type=int, default=50)
    chosen = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(chosen.rounds, chosen.toggles))


if __name__ == "__main__":
    main()
