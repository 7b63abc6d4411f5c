"""A writer of a ledger to be killed, and the nursery that bears one after another without a new interpreter for each.

    python -m tests.projecting LEDGER [folding]

With `folding` it folds all along what is settled, and gives its room back. Each line on stdin makes a child that goes
on with the same month where the file ends; stdout carries `pid N`, `applied` after each transaction, `finished` when
all is projected, and `dead` at its end.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
from datetime import timedelta
from pathlib import Path

from ledger import Ledger
from tests.month import END, Month, simulated

#: When all that is settled may be folded.
LATER = END + timedelta(days=365)


def month() -> Month:
    return simulated(3, partners=20, subjects=300, toggles=600)


def main(path: Path, *, folding: bool) -> None:
    whole = month()
    for born in itertools.count():
        if not sys.stdin.readline():
            return
        pid = os.fork()
        if pid == 0:
            # The parent's end of stdin is none of the child's business.
            os.close(0)
            project(path, whole, random.Random(born), folding=folding)
        say(f"pid {pid}")
        os.waitpid(pid, 0)
        say("dead")


def project(path: Path, whole: Month, chance: random.Random, *, folding: bool) -> None:
    ledger = Ledger.open(path)
    for batch in whole.read(chance, 40, ledger.offsets()):
        ledger.apply(batch)
        if folding:
            ledger.fold(LATER, chance.randint(1, 40))
            ledger.give_back(chance.randint(1, 10))
        say("applied")
    ledger.close()
    say("finished")
    signal.pause()  # and be killed like the others


def say(line: str) -> None:
    # Short enough for a pipe to take it whole.
    os.write(1, line.encode() + b"\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), folding=sys.argv[2:] == ["folding"])
