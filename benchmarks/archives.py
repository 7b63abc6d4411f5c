"""What folding gives and costs: the ledger's bytes a notice before and after, those of the archives, for how long a
step holds the ledger's writer, and how fast late words are judged. Prints figures with their conditions; asserts
nothing, for no two machines are alike.

    python -m benchmarks.archives [--notices 200000]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from ledger import Entry, Ledger
from ledger.archives import directory_of
from streams.cloudevents import Envelope
from streams.events import Acknowledged, AckStatus, BatchDelivered, Data, Notice, NoticesIssued, Outcome
from streams.kinds import Action

START = datetime(2026, 1, 1, tzinfo=UTC)
PACK, PARTNERS, MONTHS = 100, 20, 3
LATER = START + timedelta(days=365)


class Platform:
    """Notices over three months, each delivered and answered; ids are random, as they are in earnest."""

    def __init__(self, count: int, evidence: int) -> None:
        self._chance = random.Random(1)
        self._count = count
        self._evidence = evidence
        self.ids = [self._id() for _ in range(count)]

    def at(self, number: int) -> datetime:
        return START + timedelta(days=30 * MONTHS) * (number / self._count)

    def issued(self, offset: int) -> Entry:
        notices = tuple(
            Notice(
                id=self.ids[number], cause_id=self._id(), toggle_id=self._id(), action=Action.ERASE,
                subject=f"user:{self._chance.getrandbits(40)}", purpose="training", occurred_at=self.at(number),
                issued_at=self.at(number), receive_by=self.at(number) + timedelta(days=1),
                complete_by=self.at(number) + timedelta(days=30),
            )
            for number in range(offset * PACK, (offset + 1) * PACK)
        )  # fmt: skip
        partner = f"partner-{offset % PARTNERS}"
        data = NoticesIssued(partner=partner, lane=offset % PARTNERS, notices=notices)
        return self._entry("notices", offset, data, notices[0].issued_at)

    def delivered(self, offset: int) -> Entry:
        at = self.at(offset * PACK)
        data = BatchDelivered(
            partner=f"partner-{offset % PARTNERS}", lane=offset % PARTNERS, first_offset=offset, last_offset=offset,
            notices=PACK, webhook_id=f"msg_{offset}", attempt=1, status_code=200, duration_ms=1.0, delivered_at=at,
        )  # fmt: skip
        return self._entry("deliveries", offset, data, at)

    def answered(self, number: int, offset: int, outcome: Outcome = Outcome.DELETED) -> Entry:
        at = self.at(number) + timedelta(hours=1, seconds=number % 977)
        data = Acknowledged(
            notice_id=self.ids[number], partner=f"partner-{number // PACK % PARTNERS}", subject=f"user:{number}",
            status=AckStatus.COMPLETED, outcome=outcome, occurred_at=at, via="api",
            evidence=self._proof(number) if self._evidence else None,
        )  # fmt: skip
        return self._entry("acknowledgements", offset, data, at)

    def _proof(self, number: int) -> dict[str, Any]:
        proof = {
            "job": self._id(), "operator": "privacy-team@partner.example", "deleted_rows": self._chance.randrange(9999),
            "tables": ["users", "posts", "embeddings", "events_2025"], "ticket": f"PRIV-{number}", "region": "eu",
            "sha256": hashlib.sha256(str(number).encode()).hexdigest(),
            "note": "removed from the primary store and from all backups that are older than thirty days",
        }  # fmt: skip
        return proof | {"log": "row removed; " * ((self._evidence - 360) // 13)}

    def _id(self) -> str:
        return str(UUID(int=self._chance.getrandbits(128)))

    def _entry(self, topic: str, offset: int, data: Data, at: datetime) -> Entry:
        return Entry(f"rescind.{topic}", 0, offset, at, Envelope(self._id(), at, data))


def applied(ledger: Ledger, count: int, size: int, made: Callable[[int], Entry]) -> float:
    """Seconds that the ledger took for so many entries, without those to make them."""
    seconds = 0.0
    for start in range(0, count, size):
        entries = [made(number) for number in range(start, min(count, start + size))]
        began = time.perf_counter()
        ledger.apply(entries)
        seconds += time.perf_counter() - began
    return seconds


def size_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.stat().st_size


def measure(count: int, evidence: int, step: int) -> None:
    print(f"{evidence} bytes of evidence a notice:" if evidence else "no evidence:")
    platform_ = Platform(count, evidence)
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as directory:
        path = Path(directory) / "ledger.sqlite"
        with closing(Ledger.open(path)) as ledger:
            applied(ledger, count // PACK, 5, platform_.issued)
            applied(ledger, count // PACK, 5, platform_.delivered)
            seconds = applied(ledger, count, 500, lambda number: platform_.answered(number, number))
            tell("acknowledgements, a second", count / seconds)
            tell("bytes a notice before", size_of(path) / count)
            tell_export(ledger, "before")
            held = []
            while True:
                began = time.perf_counter()
                looked_at = ledger.fold(LATER, step).looked_at
                if not looked_at:
                    break
                held.append(time.perf_counter() - began)
            tell("notices folded, a second", count / sum(held))
            tell(f"ms that a step of {step} takes, median", statistics.median(held) * 1000)
            tell("ms, the longest of all", max(held) * 1000)
            freed = []
            spare = 1
            while spare:
                began = time.perf_counter()
                spare = ledger.give_back(256)
                freed.append(time.perf_counter() - began)
            tell("ms that 256 pages take to give back, median", statistics.median(freed) * 1000)
            tell("ms, the longest of all", max(freed) * 1000)
            archives = sum(each.stat().st_size for each in directory_of(path).rglob("*.sqlite"))
            tell("bytes a notice after", size_of(path) / count)
            tell("bytes a notice in archives", archives / count)
            tell_export(ledger, "after")
            late = min(5_000, count)
            chosen = random.Random(2).sample(range(count), late)
            said = lambda number: platform_.answered(chosen[number], count + number, Outcome.NOT_FOUND)  # noqa: E731
            tell("late acknowledgements of folded notices, a second", late / applied(ledger, late, 500, said))


def tell_export(ledger: Ledger, when: str) -> None:
    began = time.perf_counter()
    lines = sum(1 for _ in ledger.export())
    tell(f"lines of the export {when}, a second", lines / (time.perf_counter() - began))


def tell(words: str, figure: float) -> None:
    print(f"  {words:<56}{figure:>12,.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notices", type=int, default=200_000)
    parser.add_argument("--step", type=int, default=128)
    chosen = parser.parse_args()
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {versions}; {chosen.notices:,} notices")
    for evidence in (0, 500):
        measure(chosen.notices, evidence, chosen.step)


if __name__ == "__main__":
    main()
