"""A writer killed over and over, at any moment: what was acknowledged is there, once and in its place."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from streams.embedded.schema import SHIFT
from streams.inspecting import damage
from tests.crashing import GROUP, KEYED

ROOT = Path(__file__).parents[2]
Place = tuple[str, int]


class Nursery:
    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-m", "tests.crashing", str(path)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def life(self, seconds: float) -> list[list[str]]:
        """What a writer said that was killed after so long."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        said: list[list[str]] = []
        # The child may speak before its parent tells its name.
        while not said or said[-1][0] != "pid":
            said.append(self._line())
        time.sleep(seconds)  # the moment of the kill is the test's whole point
        os.kill(int(said[-1][1]), signal.SIGKILL)
        while said[-1][0] != "dead":
            said.append(self._line())
        return said

    def close(self) -> None:
        self._process.communicate(timeout=20)

    def _line(self) -> list[str]:
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode().split()


class Checker:
    """What was acknowledged in all lives, against what the file says."""

    def __init__(self, path: Path) -> None:
        self._path = path
        #: Key and value by offset.
        self.acknowledged: dict[Place, dict[int, tuple[str, str]]] = defaultdict(dict)
        #: How many of them have gone since, rightly.
        self.gone: dict[Place, int] = {}
        self.committed: dict[Place, int] = {}
        self._ends: dict[Place, int] = {}

    def hear(self, said: list[list[str]]) -> None:
        for kind, *words in said:
            if kind == "appended":
                topic, partition, offset, key, value = words
                place = self.acknowledged[topic, int(partition)]
                assert int(offset) not in place, "an offset was given twice"
                place[int(offset)] = (key, value)
            elif kind == "committed":
                topic, partition, at = words
                self.committed[topic, int(partition)] = int(at)

    def check(self) -> None:
        with contextlib.closing(sqlite3.connect(self._path)) as file:
            topics = {name: identity for identity, name in file.execute("SELECT id, name FROM topics")}
            starts = dict(file.execute("SELECT tp, start FROM upkeep"))
            commits = dict(file.execute("SELECT tp, offset FROM commits WHERE consumer_group = ?", (GROUP,)))
            for place, acknowledged in self.acknowledged.items():
                tp = topics[place[0]] << SHIFT | place[1]
                rows = file.execute("SELECT offset, key, value FROM records WHERE tp = ? ORDER BY offset", (tp,))
                found = {offset: (key.decode(), value[: len(value) // 10].decode()) for offset, key, value in rows}
                start = starts.get(tp, 0)
                end = max(found, default=start - 1) + 1
                assert end >= max(acknowledged) + 1
                assert end >= self._ends.get(place, 0), "offsets went back"
                self._ends[place] = end
                at = commits.get(tp, 0)
                assert self.committed.get(place, 0) <= at <= end
                self._check_records(place, acknowledged, found, start, at)

    def _check_records(
        self,
        place: Place,
        acknowledged: dict[int, tuple[str, str]],
        found: dict[int, tuple[str, str]],
        start: int,
        at: int,
    ) -> None:
        for offset, pair in found.items():
            assert acknowledged.get(offset, pair) == pair, "another record stands where one was acknowledged"
        missing = {offset: pair for offset, pair in acknowledged.items() if offset not in found}
        self.gone[place] = len(missing)
        if place[0] == KEYED.name:
            newest = {key: offset for offset, (key, _) in sorted(found.items())}
            assert all(newest[key] > offset for offset, (key, _) in missing.items()), "the newest of a key is gone"
        else:
            assert list(found) == list(range(min(found, default=start), max(found, default=start - 1) + 1))
            assert all(offset < start for offset in missing)
        assert start <= at, "something went that the group had not committed"


def kill_so_often(path: Path, times: int, seed: int) -> Checker:
    chance = random.Random(seed)
    nursery, checker = Nursery(path), Checker(path)
    try:
        for number in range(times):
            # Some die while they open the file.
            checker.hear(nursery.life(chance.choice([0.0, 0.01, 0.03, 0.03, 0.05]) * chance.uniform(0.5, 1.5)))
            if path.exists() and checker.acknowledged:
                checker.check()
            if number % 20 == 19:
                assert damage(path) == ()
    finally:
        nursery.close()
    return checker


def test_what_is_acknowledged_survives_200_kills(tmp_path: Path) -> None:
    checker = kill_so_often(tmp_path / "log.sqlite", 200, seed=1)
    assert sum(map(len, checker.acknowledged.values())) > 1_000
    assert min(checker.committed.values()) > 0
    gone = {place: number for place, number in checker.gone.items() if number}
    assert set(gone) == {("aged", 0), ("keyed", 0)}, "upkeep ran, and spared what is kept for ever"
