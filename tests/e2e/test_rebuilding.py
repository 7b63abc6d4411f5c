"""`rescind ledger rebuild`: the ledger of a real service, made anew from its log, knows the same byte for byte."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson

from rescind.launching import Launch, ServiceProcess
from streams.embedded.log import EmbeddedLog
from streams.records import Record, TopicPartition
from streams.topics import ALL, TOGGLES
from tests.e2e.test_lifecycle import one_line, rescind, toggle
from tests.e2e.world import PATIENCE, Cast, World, world


async def run(*words: str) -> str:
    finished = await asyncio.to_thread(rescind, *words)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def reach(exported: str) -> dict[TopicPartition, int]:
    """How much of the log an export is of."""
    rows = [line["row"] for line in map(orjson.loads, exported.splitlines()) if line["table"] == "offsets"]
    return {TopicPartition(row["topic"], row["partition"]): row["next"] for row in rows}


async def ends(data: Path) -> dict[TopicPartition, int]:
    log = EmbeddedLog(f"sqlite://{data}/log.sqlite")
    found = [await log.end_offsets(topic.name) for topic in ALL]
    log.close()
    return {tp: end for each in found for tp, end in each.items() if end}


async def all_read(here: World) -> str:
    """The export, once it is of all that is in the log."""
    async with asyncio.timeout(PATIENCE):
        while reach(exported := await run("ledger", "export", "--data", str(here.data_dir))) != await ends(
            here.data_dir
        ):
            await asyncio.sleep(0.1)
    return exported


async def test_a_rebuilt_ledger_exports_the_same_and_the_service_goes_on_with_it(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path))
    async with world(tmp_path) as here:
        await here.register({"p": Cast(("ai",)), "q": Cast(("ai",))})
        with here.platform() as client:
            await asyncio.to_thread(client.post_toggles, [toggle(number) for number in range(30)])
        await here.until(lambda lag: lag["totals"]["acknowledged"] == 60)
        # What cannot be decoded is set aside, and must not stop who reads it again.
        log = EmbeddedLog(f"sqlite://{tmp_path}/log.sqlite")
        await log.append([Record(TOGGLES.name, b"user:1", b"no JSON")])
        log.close()
        await here.until(lambda lag: lag["totals"]["poisoned"] == 1)
        before = await all_read(here)
        assert "is the ledger of the data directory" in one_line(
            await asyncio.to_thread(rescind, "ledger", "rebuild", *data)
        )
    (tmp_path / "ledger.sqlite.new").write_bytes(b"left by a rebuild that was killed")
    assert await run("ledger", "rebuild", *data) == f"rebuilt {tmp_path}/ledger.sqlite\n"
    assert await run("ledger", "export", *data) == before
    assert not list(tmp_path.glob("ledger.sqlite.new*"))
    again = await ServiceProcess.start(Launch(tmp_path))
    assert await again.stop() == 0
    assert await run("ledger", "export", *data) == before


async def test_a_damaged_ledger_is_rebuilt(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.register({"p": Cast(("ai",))})
        before = await all_read(here)
    (tmp_path / "ledger.sqlite").write_bytes(b"SQLite format 3\0" + bytes(5_000))
    await run("ledger", "rebuild", "--data", str(tmp_path))
    assert await run("ledger", "export", "--data", str(tmp_path)) == before
