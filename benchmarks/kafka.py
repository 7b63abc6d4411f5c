"""The whole way on a Kafka of one broker, with one worker and with two; and how long a worker with an empty disk
takes until its states are as new as the log's. Prints figures with their conditions; asserts nothing.

    python -m benchmarks.kafka [--toggles 10000] [--partners 5] [--subjects 1000000]

The broker is that of the tests: Java 17 and Maven are needed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

from cryptography.fernet import Fernet
from kafka.structs import OffsetAndMetadata
from kafka.structs import TopicPartition as KafkaTP

from agents.app import GROUP
from benchmarks.backbone import flow, memory, register
from benchmarks.consent import fill
from rescind.client import Client
from rescind.launching import Launch, Process, ServiceProcess
from rescind.simulated import SimulatedPartner
from streams.log import opened, provision
from streams.provisioning import Choices
from streams.settings import Settings
from streams.topics import TOGGLES
from tests.kafka.broker import Broker
from tests.kafka.distribution import fetched


class Stage:
    """A broker with all topics, and processes that use it."""

    def __init__(self, directory: Path, broker: Broker) -> None:
        self.directory = directory
        self.broker = broker
        self.log = f"kafka://{broker.address}"
        self._environment = {"RESCIND_LOG": self.log, "RESCIND_SEALING_KEY": Fernet.generate_key().decode()}
        self._running: list[ServiceProcess] = []

    async def start(self, process: Process, name: str) -> ServiceProcess:
        launch = Launch(self.directory / name, environment=self._environment, process=process)
        self._running.append(await ServiceProcess.start(launch))
        return self._running[-1]

    async def clear(self) -> None:
        """As if nothing had been."""
        await asyncio.gather(*(running.stop() for running in self._running))
        self._running = []
        self.broker.wipe()
        provision(Settings(log=self.log), Choices(), change=True)


async def measure(workers: int, toggles: int, partners: int, stage: Stage) -> None:
    print(f"\n{workers} worker{'s' if workers > 1 else ''}, a ledger, a gateway")
    site = f"site-{workers}"
    await stage.start("ledger", site)
    gateway = await stage.start("gateway", site)
    acting = [await stage.start("worker", f"{site}-worker-{number}") for number in range(workers)]
    simulated = [SimulatedPartner(f"p{number}") for number in range(partners)]
    with Client(gateway.url, gateway.operator_key or "", timeout=120) as client:
        await register(client, gateway.url, simulated)
        await flow(client, toggles, partners, simulated)
    print(f"{'memory of a worker, peak':<42}{max(memory(each.pid)['VmHWM'] for each in acting):>10.0f} MiB")
    for partner in simulated:
        await partner.close()


async def measure_recovery(subjects: int, stage: Stage) -> None:
    print(f"\n{subjects} toggles of {subjects} subjects, all committed")
    async with opened(Settings(log=stage.log)) as log:
        await fill(log, subjects, subjects)
        ends = await log.end_offsets(TOGGLES.name)
    with stage.broker.admin() as admin:
        admin.alter_group_offsets(GROUP, {KafkaTP(*tp): OffsetAndMetadata(end, "", -1) for tp, end in ends.items()})
    for words in ("a worker with an empty disk", "the same worker again"):
        began = time.perf_counter()
        worker = await stage.start("worker", "recovering")
        ready = time.perf_counter() - began
        while _behind(stage.directory / "recovering" / "consent.sqlite", sum(ends.values())):
            await asyncio.sleep(0.1)
        print(f"{f'{words}: lanes run after':<42}{ready:>10.1f} s")
        print(f"{'  its states are complete after':<42}{time.perf_counter() - began:>10.1f} s")
        print(f"{'  memory, peak':<42}{memory(worker.pid)['VmHWM']:>10.0f} MiB")
        await worker.stop()


def _behind(states: Path, wanted: int) -> bool:
    with closing(sqlite3.connect(f"file:{states}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT COALESCE(SUM(next), 0) FROM reaches").fetchone()[0]) < wanted


async def run(toggles: int, partners: int, subjects: int) -> None:
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"the broker, all processes, {partners} partners and the client share the cores")
    with (
        tempfile.TemporaryDirectory(prefix="rescind-bench-") as name,
        Broker(fetched(), Path(name) / "kafka") as broker,
    ):
        broker.start()
        stage = Stage(Path(name), broker)
        for workers in (1, 2):
            await stage.clear()
            await measure(workers, toggles, partners, stage)
        await stage.clear()
        await measure_recovery(subjects, stage)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toggles", type=int, default=10_000)
    parser.add_argument("--partners", type=int, default=5)
    parser.add_argument("--subjects", type=int, default=1_000_000)
    chosen = parser.parse_args()
    asyncio.run(run(chosen.toggles, chosen.partners, chosen.subjects))


if __name__ == "__main__":
    main()
