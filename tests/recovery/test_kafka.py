"""The consent table on Kafka, where partitions come and go: what several workers decide together is what one would."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from streams.cloudevents import decode
from streams.errors import StorageUnusable
from streams.kafka.log import KafkaLog
from streams.partitioning import partition_of
from streams.records import Position
from streams.settings import KafkaSettings
from streams.tables import SourcedTable
from streams.topics import DECISIONS, TOGGLES
from tests.conformance.harness import started, until
from tests.conformance.kafka import Kafka
from tests.kafka.broker import Broker
from tests.recovery.model import Flip, flips, model_of
from tests.recovery.world import GROUP, PATIENCE, consent_app, fill, in_order, states

PARTITIONS = range(TOGGLES.partitions)


@pytest.fixture
def chance() -> random.Random:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # shown by pytest if the test fails
    return random.Random(seed)


@pytest.fixture
async def engine(kafka: Broker, tmp_path: Path) -> AsyncIterator[Kafka]:
    async with Kafka(kafka, tmp_path, whole=(TOGGLES, DECISIONS)) as engine:
        yield engine


@pytest.fixture(autouse=True)
def moved(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """aiokafka is not safe for threads: where a consumer reads is moved by its own thread alone, or a poll that is
    giving out records there finds them gone."""
    seek, alone = AIOKafkaConsumer.seek, []

    def watched(self: AIOKafkaConsumer, partition: Any, offset: int) -> None:
        alone.append(asyncio.get_running_loop() is self._loop)
        seek(self, partition, offset)

    monkeypatch.setattr(AIOKafkaConsumer, "seek", watched)
    yield
    assert alone
    assert all(alone)


class Worker:
    """The consent agent with a disk and a log of its own."""

    def __init__(self, log: KafkaLog, directory: Path) -> None:
        self.directory = directory
        self.app = consent_app(log, directory)
        # What a rebalance waits for.
        self.app.conf.broker_heartbeat_interval = 0.3

    @property
    def partitions(self) -> set[int]:
        return {tp.partition for tp in self.app.consumer.assignment()}


@asynccontextmanager
async def starting(address: str, directory: Path) -> AsyncIterator[Worker]:
    directory.mkdir(exist_ok=True)
    log = KafkaLog(f"kafka://{address}", KafkaSettings())
    await log.start()
    try:
        worker = Worker(log, directory)
        async with started(worker.app):
            yield worker
    finally:
        await log.stop()


@asynccontextmanager
async def working(address: str, directory: Path) -> AsyncIterator[Worker]:
    async with starting(address, directory) as worker:
        await until(worker.app.tables.recovery.completed.is_set)
        yield worker


def done(engine: Kafka, number: int) -> bool:
    """Whether so many toggles are committed, in all."""
    return sum(engine.committed(GROUP).values()) == number


def kept(engine: Kafka, *workers: Worker) -> bool:
    """Whether the workers' disks have all that is committed: a step commits before the table is changed."""
    committed = engine.committed(GROUP)
    return all(
        (reach := worker.app.tables["consent"]._file.reach(tp.partition)) is not None and reach.next >= at
        for worker in workers
        for tp, at in committed.items()
        if tp.partition in worker.partitions
    )


def told(engine: Kafka) -> int:
    return sum(len(engine.stored(DECISIONS.name, partition)) for partition in PARTITIONS)


def check(engine: Kafka, taken: list[Flip], owners: dict[int, Path]) -> None:
    """What is in the log, and on the disks of those who have the partitions, is what the model says."""
    model = model_of(taken)
    values = [record.value for partition in PARTITIONS for record in engine.stored(DECISIONS.name, partition)]
    assert in_order(value for value in values if value) == {key: told for key, told in model.decided.items() if told}
    # A step is one: whatever came in between, nothing was told twice.
    ids = [decode(value).id for value in values if value]
    assert len(ids) == len(set(ids))
    files = {directory: states(directory) for directory in set(owners.values())}
    found = {
        key: files[owners[partition_of(flip.subject.encode(), TOGGLES.partitions)]].get(key)
        for key, flip in model.states.items()
    }
    assert found == {key: flip.line for key, flip in model.states.items()}


async def test_a_worker_that_lost_its_disk_takes_its_partitions_again(
    engine: Kafka, tmp_path: Path, chance: random.Random, caplog: pytest.LogCaptureFixture
) -> None:
    taken = flips(1500, 60, chance)
    await fill(engine.log, taken[:1000])
    async with working(engine.broker.address, tmp_path / "one"):
        await until(lambda: done(engine, 1000))
    before = told(engine)
    (tmp_path / "one" / "consent.sqlite").unlink()
    async with working(engine.broker.address, tmp_path / "one") as worker:
        await until(lambda: not worker.app.tables.behind)
        assert told(engine) == before
        await fill(engine.log, taken[1000:])
        await until(lambda: done(engine, 1500))
    assert "again" in caplog.text
    check(engine, taken, dict.fromkeys(PARTITIONS, tmp_path / "one"))


async def test_a_partition_that_comes_back_knows_what_another_worker_did_meanwhile(
    engine: Kafka, tmp_path: Path, chance: random.Random
) -> None:
    taken = flips(2000, 60, chance)
    await fill(engine.log, taken[:500])
    async with working(engine.broker.address, tmp_path / "one") as one:
        await until(lambda: done(engine, 500))
        async with working(engine.broker.address, tmp_path / "two") as two:
            # While the partitions move.
            await fill(engine.log, taken[500:1000])
            await until(lambda: len(one.partitions) == len(two.partitions) == 4 and done(engine, 1000))
            await fill(engine.log, taken[1000:1500])
            await until(lambda: done(engine, 1500) and kept(engine, one, two))
            owners = {partition: worker.directory for worker in (one, two) for partition in worker.partitions}
            check(engine, taken[:1500], owners)
            await fill(engine.log, taken[1500:1700])
        await fill(engine.log, taken[1700:])
        await until(lambda: done(engine, 2000))
    check(engine, taken, dict.fromkeys(PARTITIONS, tmp_path / "one"))


def sleeper(address: str, directory: str, late: bool) -> None:
    """A worker that stops itself, as by a long pause of its machine, the first time after there is a file `armed`: when
    it has told decisions and not kept them, and if `late` is false when it has told them and not committed that. It
    goes on when it was given partitions again, or at once, when it does not know yet that it has none."""
    step, commit, keep = KafkaLog.step, AIOKafkaProducer.commit_transaction, SourcedTable.keep
    armed = Path(directory) / "armed"

    async def step_and_sleep(self: KafkaLog, app: Any, *args: Any, **kwargs: Any) -> list[Position]:
        positions = await step(self, app, *args, **kwargs)
        if late and armed.exists():
            armed.unlink()
            before = app.rebalancing_count
            os.kill(os.getpid(), signal.SIGSTOP)
            try:
                await until(lambda: app.rebalancing_count > before and not app.rebalancing)
            except asyncio.CancelledError:
                # Who has missed an assignment begins anew, and does not come to change the table.
                (Path(directory) / "refused").touch()
                raise
        return positions

    async def sleep_and_commit(self: AIOKafkaProducer) -> None:
        if not late and armed.exists():
            armed.unlink()
            os.kill(os.getpid(), signal.SIGSTOP)
            (Path(directory) / "refused").touch()
        await commit(self)

    def keep_and_tell(self: SourcedTable, *args: Any) -> bool:
        kept = keep(self, *args)
        if not kept:
            (Path(directory) / "refused").touch()
        return kept

    KafkaLog.step = step_and_sleep  # type: ignore[method-assign]
    AIOKafkaProducer.commit_transaction = sleep_and_commit
    SourcedTable.keep = keep_and_tell  # type: ignore[method-assign, assignment]
    asyncio.run(_work(address, Path(directory)))


async def _work(address: str, directory: Path) -> None:
    async with working(address, directory):
        await until(lambda: (directory / "end").exists(), patience=120)


@pytest.mark.parametrize("late", [True, False])
async def test_a_worker_that_was_taken_for_dead_decides_anew(
    engine: Kafka, tmp_path: Path, chance: random.Random, late: bool
) -> None:
    taken = flips(2000, 40, chance)
    directory = tmp_path / "sleeper"
    directory.mkdir()
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.recovery.world"])
    process: BaseProcess = processes.Process(target=sleeper, args=(engine.broker.address, str(directory), late))
    process.start()
    assert process.pid is not None
    seen = psutil.Process(process.pid)
    try:
        await fill(engine.log, taken[:500])
        await until(lambda: done(engine, 500))
        (directory / "armed").touch()
        await fill(engine.log, taken[500:700])
        await until(lambda: seen.status() == psutil.STATUS_STOPPED)
        async with working(engine.broker.address, tmp_path / "other") as other:
            # When the sleeper's session is over.
            await until(lambda: other.partitions == set(PARTITIONS))
            await fill(engine.log, taken[700:1500])
            await until(lambda: done(engine, 1500) and kept(engine, other))
            check(engine, taken[:1500], dict.fromkeys(PARTITIONS, tmp_path / "other"))
        seen.resume()
        await fill(engine.log, taken[1500:])
        await until(lambda: done(engine, 2000))
        (directory / "end").touch()
        await asyncio.to_thread(process.join, 30)
    finally:
        process.kill()
    assert process.exitcode == 0
    assert (directory / "refused").exists()
    check(engine, taken, dict.fromkeys(PARTITIONS, directory))


async def test_a_table_that_is_ahead_of_its_log_is_refused(
    engine: Kafka, tmp_path: Path, chance: random.Random
) -> None:
    taken = flips(200, 20, chance)
    await fill(engine.log, taken)
    async with working(engine.broker.address, tmp_path / "one"):
        await until(lambda: done(engine, 200))
    engine.broker.wipe()
    async with (
        Kafka(engine.broker, tmp_path, whole=(TOGGLES, DECISIONS)),
        starting(engine.broker.address, tmp_path / "one") as worker,
        asyncio.timeout(PATIENCE),
    ):
        await worker.app.wait_until_stopped()
    assert isinstance(worker.app.crash_reason, StorageUnusable)
    assert "is ahead of the log at rescind.toggles" in str(worker.app.crash_reason)
