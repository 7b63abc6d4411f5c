"""What it costs on Kafka that a step is a transaction: the consent agent alone, over a log full of toggles and over one
toggle at a time, by transactions and by an append that is committed later. Prints figures with their conditions;
asserts nothing.

    python -m benchmarks.steps [--toggles 50000] [--single 200]

The broker is that of the tests: Java 17 and Maven are needed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition as KafkaTP

from agents.app import GROUP
from agents.consent import add_consent
from benchmarks.consent import fill, toggle
from streams.clock import utc_now
from streams.kafka.log import KafkaLog
from streams.log import provision
from streams.provisioning import Choices
from streams.records import Commit, Position, Record, TopicPartition, record
from streams.settings import KafkaSettings, Settings
from streams.topics import DECISIONS, TOGGLES
from tests.kafka.broker import Broker
from tests.kafka.distribution import fetched


class Appending(KafkaLog):
    """As it would be without transactions: the app commits later, and a crash in between repeats the records."""

    def hold(self, app: Any, *topics: str) -> None:
        """Nobody is shut out."""

    async def step(
        self,
        app: Any,
        records: Sequence[Record],
        commits: Mapping[TopicPartition, Commit],
        *,
        once: bool = True,
        generation: int | None = None,
    ) -> list[Position]:
        return await self.append(records)


@asynccontextmanager
async def agent(kind: type[KafkaLog], address: str, directory: Path) -> AsyncIterator[KafkaLog]:
    log = kind(f"kafka://{address}", KafkaSettings())
    await log.start()
    app = log.new_app(GROUP, directory)
    add_consent(app, log, utc_now)
    app.finalize()
    await app.start()
    try:
        await app.tables.recovery.completed.wait()
        yield log
    finally:
        await app.stop()
        await log.stop()


async def many(kind: type[KafkaLog], broker: Broker, directory: Path, toggles: int) -> float:
    """Toggles a second, from the first that is read to the last that is committed; rebalance included."""
    log = KafkaLog(f"kafka://{broker.address}", KafkaSettings())
    await log.start()
    await fill(log, toggles, toggles)
    began = time.perf_counter()
    async with agent(kind, broker.address, directory):
        ready = time.perf_counter()
        while sum((await log.backlog(GROUP, TOGGLES.name)).values()):
            await asyncio.sleep(0.02)
        took = time.perf_counter() - ready
    await log.stop()
    print(f"{'  the group and its partitions are ready after':<52}{ready - began:>8.2f} s")
    return toggles / took


async def single(kind: type[KafkaLog], broker: Broker, directory: Path, number: int) -> list[float]:
    """Seconds from the acceptance of a toggle until its decision can be read, one after the other."""
    async with agent(kind, broker.address, directory) as log:
        reader = AIOKafkaConsumer(
            bootstrap_servers=broker.address, isolation_level="read_committed", fetch_max_wait_ms=200
        )
        await reader.start()
        tps = [KafkaTP(DECISIONS.name, partition) for partition in range(DECISIONS.partitions)]
        reader.assign(tps)
        await reader.seek_to_end()
        for tp in tps:
            await reader.position(tp)
        took = []
        for each in range(number):
            await log.append([record(TOGGLES.name, toggle(10_000_000 + each, 10_000_000 + each))])
            began = time.perf_counter()
            while not await reader.getmany(timeout_ms=1_000):
                pass
            took.append(time.perf_counter() - began)
            while await reader.getmany(timeout_ms=50):
                pass
        await reader.stop()
        return took


async def run(toggles: int, number: int) -> None:
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}; one broker, the agent and the reader share the cores")
    with (
        tempfile.TemporaryDirectory(prefix="rescind-bench-") as name,
        Broker(fetched(), Path(name) / "kafka") as broker,
    ):
        broker.start()
        for kind, words in ((Appending, "append, commit later"), (KafkaLog, "transactions")) * 2:
            broker.wipe()
            provision(Settings(log=f"kafka://{broker.address}"), Choices(), change=True)
            with tempfile.TemporaryDirectory(prefix="rescind-bench-") as directory:
                print(f"\n{words}")
                rate = await many(kind, broker, Path(directory), toggles)
                print(f"{'  toggles a second, of ' + str(toggles):<52}{rate:>8.0f}")
                took = sorted(await single(kind, broker, Path(directory), number))
                quantiles = statistics.quantiles(took, n=100)
                print(f"{'  until a decision can be read, p50, p95':<52}{took[len(took) // 2] * 1e3:>8.1f} ms", end="")
                print(f"{quantiles[94] * 1e3:>8.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toggles", type=int, default=50_000)
    parser.add_argument("--single", type=int, default=200)
    chosen = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(chosen.toggles, chosen.single))


if __name__ == "__main__":
    main()
