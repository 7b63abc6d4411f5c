"""The gate over NDJSON: ten million known subjects of whom one in a hundred opted out, beside a bare loop that only
parses the same rows with the same parser as the limit. Prints figures with their conditions; asserts nothing, for no
two machines are alike.

    python -m benchmarks.gate [--rows 2000000] [--known 10000000] [--rounds 3]

Each run is a process of its own, from opening the file of rows until it is closed, but for the service, which is one
that takes everything. `rows` is until all rows are out and durable; the hand-over after that sorts, packs and tells the
subjects. Once every row is about somebody else, and once there are ten rows a subject. Figures are of the processor,
that is of one core that does nothing else; `on the wall` also waits for the disk, and for whatever else runs.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson

from rescind.gate.deciding import Column, Consents, Layout, Regime
from rescind.gate.filtering import Filtering, Places, Task
from rescind.gate.ndjson import Ndjson
from streams import ids, manifests

LAYOUT = Layout((Column("blog"),))
WORDS = "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor".split()  # noqa: SIM905
SPRING = "2026-03-01T12:00:00Z"


class Taker:
    """A service that takes everything."""

    def __init__(self, consents: Consents) -> None:
        self._consents = consents
        self.packed = 0

    def open_export(self, wanted: dict[str, str]) -> dict[str, Any]:
        return {"id": ids.derive("export", *wanted.values()), "status": "open"}

    def consents_for(self, purpose: str) -> Consents:
        return self._consents

    def put_block(self, export: str, number: int, block: bytes) -> None:
        self.packed += len(block)

    def close_export(self, export: str, closing: dict[str, Any]) -> dict[str, Any]:
        manifest = manifests.Manifest.model_validate(
            {
                "export": export, "dataset": "posts", "version": "1", "partner": "acme", "purpose": "ai-training",
                "regime": "opt-out", "watermark": closing["watermark"], "opened_at": SPRING, "closed_at": SPRING,
                "settled_at": SPRING, "subjects": closing["subjects"], "withdrawn": manifests.withdrawn([]),
                "output": {name: closing[name] for name in ("sha256", "bytes", "format")}, "key_id": "k",
            }
        )  # fmt: skip
        return {"id": export, "manifest": orjson.loads(manifest.model_dump_json(exclude_none=True))}

    def export(self, export: str) -> dict[str, Any]:
        return {"id": export}

    def withdrawals(self, export: str) -> list[str]:
        return []


def write_rows(path: Path, count: int, known: int, each: int) -> None:
    """Rows of 230 bytes or so; `each` of them in turn are about somebody at random."""
    chance = random.Random(7)
    texts = [" ".join(chance.choices(WORDS, k=14)) for _ in range(1000)]
    subject = ""
    with path.open("wb") as file:
        for number in range(count):
            if number % each == 0:
                subject = f"user:{chance.randrange(known):010d}"
            row = {
                "id": number, "blog": subject, "visibility": "public", "published_at": "2026-01-01T12:00:00Z",
                "title": "A post", "tags": ["a", "b"], "text": texts[number % 1000],
            }  # fmt: skip
            file.write(orjson.dumps(row) + b"\n")


def bare(path: Path) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    loads = orjson.loads
    with path.open("rb") as file:
        for line in file:
            loads(line)
    return {"rows": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def gated(path: Path, known: int) -> dict[str, float]:
    exceptions = {f"user:{number:010d}" for number in random.Random(8).sample(range(known), known // 100)}
    taker = Taker(Consents("ai-training", Regime.OPT_OUT, {"rescind.decisions": {"0": known}}, exceptions))
    read = list[float]()
    filtering = Filtering(
        Task("posts", "1", "acme", "ai-training", LAYOUT, "ndjson"), Ndjson(LAYOUT), taker,
        Places.beside(Path(f"{path}.out")), on_read=lambda: read.append(time.process_time()),
    )  # fmt: skip
    wall, cpu = time.perf_counter(), time.process_time()
    with path.open("rb") as file:
        filtering.run(file)
    return {
        "rows": read[0] - cpu,
        "whole": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "dropped": filtering.summary.dropped.total(),
        "packed": taker.packed / 2**20,
    }


def alone(what: str, path: Path, known: int) -> dict[str, float]:
    """In a process of its own."""
    command = [sys.executable, "-m", "benchmarks.gate", "--alone", what, str(path), "--known", str(known)]
    found: dict[str, float] = orjson.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    for left in path.parent.glob(f"{path.name}.out*"):
        left.unlink()
    return found


def measure(count: int, known: int, rounds: int) -> None:
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{known:,} subjects known, {known // 100:,} opted out; the median of {rounds} rounds, ours and bare in turn")
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as name:
        for each in (1, 10):
            path = Path(name) / "rows.ndjson"
            write_rows(path, count, known, each)
            size = path.stat().st_size / count
            pairs = [(alone("gated", path, known), alone("bare", path, known)) for _ in range(rounds)]
            print(f"\n{count:,} rows of {size:.0f} bytes, {each} a subject; {pairs[0][0]['dropped']:,.0f} dropped")
            _show(count, *([pair[side] for pair in pairs] for side in (0, 1)))


def _show(count: int, ours: list[dict[str, float]], limit: list[dict[str, float]]) -> None:
    def middle(runs: list[dict[str, float]], name: str) -> float:
        return statistics.median(run[name] for run in runs)

    floor = middle(limit, "rows")
    print(f"{'bare loop':<22}{count / floor:>10,.0f} rows/s")
    for what, name in (("rows", "rows"), ("rows and hand-over", "whole")):
        took = middle(ours, name)
        print(f"{what:<22}{count / took:>10,.0f} rows/s, {took / floor:.2f} times the bare loop")
    print(
        f"{'on the wall':<22}{count / middle(ours, 'wall'):>10,.0f} rows/s; bare {count / middle(limit, 'wall'):,.0f}"
    )
    print(f"{'memory at most':<22}{max(run['peak'] for run in ours):>10,.0f} MiB")
    print(f"{'packed subjects':<22}{middle(ours, 'packed'):>10,.1f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--known", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.alone is None:
        measure(chosen.rows, chosen.known, chosen.rounds)
        return
    what, path = chosen.alone
    found = bare(Path(path)) if what == "bare" else gated(Path(path), chosen.known)
    sys.stdout.buffer.write(orjson.dumps(found))


if __name__ == "__main__":
    main()
