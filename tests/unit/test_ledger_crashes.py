"""A ledger's writer killed over and over, in any transaction: in the end the file knows the same, byte for byte."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from ledger import Ledger
from streams.inspecting import damage
from tests import projecting

ROOT = Path(__file__).parents[2]


def lives(path: Path, seed: int) -> int:
    """How many writers were killed until one came to the end."""
    chance = random.Random(seed)
    command = [sys.executable, "-m", "tests.projecting", str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as nursery:
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        killed = 0
        while True:
            nursery.stdin.write("\n")
            nursery.stdin.flush()
            # The child may speak before its parent tells its name.
            said: list[str] = []
            while not said or not said[-1].startswith("pid"):
                said.append(nursery.stdout.readline())
            time.sleep(chance.uniform(0.0, 0.08))  # the moment of the kill is the test's whole point
            os.kill(int(said[-1].split()[1]), signal.SIGKILL)
            while said[-1] != "dead\n":
                said.append(nursery.stdout.readline())
            if "finished\n" in said:
                nursery.stdin.close()
                return killed
            killed += 1


def test_a_ledger_survives_kills_in_any_transaction(tmp_path: Path) -> None:
    killed = lives(tmp_path / "killed.sqlite", seed=1)
    assert killed > 5
    assert damage(tmp_path / "killed.sqlite") == ()
    undisturbed = Ledger.open(tmp_path / "undisturbed.sqlite")
    for batch in projecting.month().read(random.Random(2)):
        undisturbed.apply(batch)
    survivor = Ledger.open(tmp_path / "killed.sqlite")
    for one, other in zip(survivor.export(), undisturbed.export(), strict=True):
        assert one == other
    survivor.close()
    undisturbed.close()
