"""The projection by itself, alone and beside a thread that is as busy as the service's event loop. Prints
figures with their conditions; asserts nothing, for no two machines are alike.

    python -m benchmarks.ledger [--notices 20000]
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ledger import Entry, Ledger
from streams.cloudevents import Envelope
from streams.events import Acknowledged, AckStatus, BatchDelivered, Data, Notice, NoticesIssued, Outcome
from streams.kinds import Action

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PACK = 100


def entry(topic: str, offset: int, identity: str, data: Data) -> Entry:
    return Entry(f"rescind.{topic}", 0, offset, NOON, Envelope(identity, NOON, data))


def notice(number: int) -> Notice:
    return Notice(
        id=f"notice-{number}",
        cause_id=f"cause-{number}",
        toggle_id=f"toggle-{number}",
        action=Action.ERASE,
        subject=f"user:{number}",
        purpose="ai",
        occurred_at=NOON,
        issued_at=NOON,
        receive_by=NOON,
        complete_by=NOON,
    )


def issued(offset: int) -> Entry:
    notices = tuple(notice(number) for number in range(offset * PACK, (offset + 1) * PACK))
    return entry("notices", offset, f"pack-{offset}", NoticesIssued(partner="p", lane=0, notices=notices))


def delivered(offset: int) -> Entry:
    data = BatchDelivered(
        partner="p",
        lane=0,
        first_offset=offset,
        last_offset=offset,
        notices=PACK,
        webhook_id=f"msg_{offset}",
        attempt=1,
        status_code=200,
        duration_ms=1.0,
        delivered_at=NOON,
    )
    return entry("deliveries", offset, f"delivered-{offset}", data)


def acknowledged(number: int) -> Entry:
    data = Acknowledged(
        notice_id=f"notice-{number}",
        partner="p",
        subject=f"user:{number}",
        status=AckStatus.COMPLETED,
        outcome=Outcome.DELETED,
        occurred_at=NOON,
        via="reply",
    )
    return entry("acknowledgements", number, f"acknowledged-{number}", data)


@contextmanager
def busy(beside: bool) -> Iterator[None]:
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            sum(range(50))

    thread = threading.Thread(target=spin)
    if beside:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if beside:
            thread.join()


def measure(count: int, *, beside: bool) -> None:
    packs = count // PACK
    works = {
        "notices, in packs of 100": ([issued(offset) for offset in range(packs)], PACK, 5),
        "notices delivered, in batches of 100": ([delivered(offset) for offset in range(packs)], PACK, 5),
        "acknowledgements, 500 a transaction": ([acknowledged(number) for number in range(count)], 1, 500),
    }
    print("beside a busy thread:" if beside else "alone:")
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as directory:
        ledger = Ledger.open(Path(directory) / "ledger.sqlite")
        for words, (entries, each, size) in works.items():
            with busy(beside):
                began = time.perf_counter()
                for start in range(0, len(entries), size):
                    ledger.apply(entries[start : start + size])
                seconds = time.perf_counter() - began
            print(f"  {words:<40}{len(entries) * each / seconds:>10,.0f} /s")
        ledger.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notices", type=int, default=20_000)
    count = parser.parse_args().notices
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {versions}; {count:,} notices")
    measure(count, beside=False)
    measure(count, beside=True)


if __name__ == "__main__":
    main()
