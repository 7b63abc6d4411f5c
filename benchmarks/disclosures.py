"""One large export, from its subjects to its settlement: what it costs in time, in the log, and in the index. Prints
figures with their conditions; asserts nothing, for no two machines are alike.

    python -m benchmarks.disclosures [--subjects 10000000]

Each block is checked and appended as the gateway does it, on the embedded log, while the index follows; without HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography.fernet import Fernet

from agents.disclosing import Follower, following
from agents.settling import Settlement
from ledger import Entry, Ledger
from streams.blocks import cut, decode_block, encode_block
from streams.clock import utc_now
from streams.cloudevents import Envelope
from streams.embedded.log import EmbeddedLog
from streams.events import ConsentChanged, Data
from streams.exports import ExportClosed, ExportOpened, SubjectsDisclosed, export_id
from streams.kinds import Choice
from streams.records import record
from streams.topics import DECISIONS, DISCLOSURES
from streams.witness import Witness

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ID = export_id("posts", "1", "acme", "ai")
OPTED_OUT = 1_000
LOOKED_UP = 1_000


def users(count: int) -> Iterator[str]:
    """One of two, as if the others had no posts."""
    return (f"user:{number:010}" for number in range(0, 2 * count, 2))


async def say(log: EmbeddedLog, identity: str, data: Data) -> None:
    await log.append([record(DISCLOSURES.name, Envelope(identity, NOON, data))])


async def disclosed(log: EmbeddedLog, blocks: list[bytes]) -> int:
    """As `PUT /v1/exports/{id}/subjects/{block}` does, one after the other."""
    subjects = 0
    for number, block in enumerate(blocks):
        count = len(await asyncio.to_thread(decode_block, block))
        text = base64.b64encode(block).decode()
        data = SubjectsDisclosed(export=ID, dataset="posts", number=number, subjects=count, block=text)
        await say(log, f"block-{number}", data)
        subjects += count
    return subjects


def opted_out(ledger: Ledger, count: int) -> None:
    """Some of the subjects, evenly, each with a decision that the ledger has read."""
    step = max(1, count // OPTED_OUT)
    entries = []
    for offset, subject in enumerate(list(users(count))[::step][:OPTED_OUT]):
        data = ConsentChanged(
            subject=subject, purpose="ai", choice=Choice.OPT_OUT, retroactive=True, toggle_id="t", occurred_at=NOON,
            accepted_at=NOON,
        )  # fmt: skip
        entries.append(Entry(DECISIONS.name, 0, offset, NOON, Envelope(f"d-{offset}", NOON, data)))
    ledger.apply(entries)


def looked_up(follower: Follower, count: int) -> float:
    """Milliseconds that one takes."""
    wanted = [(subject, "ai") for subject in list(users(count))[:: max(1, count // LOOKED_UP)]]
    began = time.perf_counter()
    found = follower.index.holders(wanted)
    assert all(found.values())
    return (time.perf_counter() - began) / len(wanted) * 1000


def bytes_of(directory: Path, name: str) -> float:
    return sum(path.stat().st_size for path in directory.glob(f"{name}*")) / 1e6


async def measure(directory: Path, count: int) -> None:
    log = EmbeddedLog(f"sqlite://{directory / 'log.sqlite'}")
    ledger = Ledger.open(directory / "ledger.sqlite")
    opted_out(ledger, count)
    began, worked = time.perf_counter(), time.process_time()
    blocks = [encode_block(some) for some in cut(users(count))]
    encoded = time.perf_counter() - began
    empty = bytes_of(directory, "log")
    with following(log, directory / "disclosures.sqlite", utc_now) as follower:
        task = asyncio.ensure_future(follower.run(log))
        began = time.perf_counter()
        opened = ExportOpened(
            export=ID, dataset="posts", version="1", partner="acme", purpose="ai", regime="opt-out", opened_at=NOON
        )
        await say(log, "opened", opened)
        subjects = await disclosed(log, blocks)
        closed = ExportClosed(
            export=ID, dataset="posts", watermark={}, blocks=len(blocks), subjects=subjects, closed_at=NOON
        )
        await say(log, "closed", closed)
        await follower.caught_up()
        taken = time.perf_counter() - began
        began = time.perf_counter()
        await Settlement(log, ledger, follower, Witness(Fernet.generate_key().decode()), utc_now).look()
        settled = time.perf_counter() - began
        log_size, index_size = bytes_of(directory, "log") - empty, bytes_of(directory, "disclosures")
        export = follower.index.export(ID)
        assert export is not None
        print(f"{subjects:,} subjects in {len(blocks):,} blocks, {sum(map(len, blocks)) / 1e6:.1f} MB")
        print(f"coded in {encoded:.1f} s, checked, appended and indexed in {taken:.1f} s, settled in {settled:.1f} s")
        print(f"of the processors' time all of that took {time.process_time() - worked:.1f} s")
        print(f"{export.withdrawn:,} are withdrawn; a subject is looked up in {looked_up(follower, count):.2f} ms")
        print(f"the log grew by {log_size:.1f} MB, the index is {index_size:.1f} MB")
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    ledger.close()
    log.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--subjects", type=int, default=10_000_000)
    count = parser.parse_args().subjects
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(measure(Path(directory), count))


if __name__ == "__main__":
    main()
