"""A writer to be killed, and the nursery that bears one after another without a new interpreter for each.

    python -m tests.crashing LOG

Each line on stdin makes a child; stdout carries `pid N`, what the child did, each line whole and once it is
durable, and `dead` at its end.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from streams.embedded.maintenance import Upkeep
from streams.embedded.store import LogStore
from streams.records import Record, TopicPartition
from streams.topics import TopicSpec

PLAIN = TopicSpec("plain", 2)
AGED = TopicSpec("aged", 1, retention_bytes=20_000)
KEYED = TopicSpec("keyed", 1, "compact")
KEYS = 40
GROUP = "g"


def main(path: Path) -> None:
    for born in itertools.count():
        if not sys.stdin.readline():
            return
        pid = os.fork()
        if pid == 0:
            # The parent's end of stdin is none of the child's business.
            os.close(0)
            work(path, born)
        say(f"pid {pid}")
        os.waitpid(pid, 0)
        say("dead")


def say(line: str) -> None:
    # Short enough for a pipe to take it whole.
    os.write(1, line.encode() + b"\n")


def work(path: Path, born: int) -> None:
    """Append, commit, grow, retire and compact until killed."""
    store = LogStore(path)
    store.create_topics([TopicSpec("plain", 2 + born // 50), AGED, KEYED])
    numbers = itertools.count()

    def append(topic: str, partition: int) -> None:
        batch = [f"{born}-{next(numbers)}" for _ in range(3)]
        keys = [b"%d" % ((born * 7 + n) % KEYS) for n in range(3)]
        records = [Record(topic, key, value.encode() * 10, partition) for key, value in zip(keys, batch, strict=True)]
        placed = [(TopicPartition(topic, partition), record) for record in records]
        for (offset, _), key, value in zip(store.append_nowait(placed).result(), keys, batch, strict=True):
            say(f"appended {topic} {partition} {offset} {key.decode()} {value}")

    def commit(topic: str, partition: int) -> None:
        at = store.end(TopicPartition(topic, partition))
        store._writer.commit(GROUP, [(store._tp(topic, partition), at)]).result()
        say(f"committed {topic} {partition} {at}")
        time.sleep(0.002)

    def tidy() -> None:
        upkeep = Upkeep(store, {spec.name: spec for spec in (PLAIN, AGED, KEYED)}, dirty=lambda _: 20)
        while True:
            upkeep.round()
            time.sleep(0.001)

    def for_ever(do: Callable[[str, int], None], *places: tuple[str, int]) -> None:
        for place in itertools.cycle(places):
            do(*place)

    everywhere = [("plain", 0), ("plain", 1), ("aged", 0), ("keyed", 0)]
    threads = [threading.Thread(target=for_ever, args=(append, *everywhere[n:], *everywhere[:n])) for n in range(2)]
    threads += [threading.Thread(target=for_ever, args=(commit, *everywhere)), threading.Thread(target=tidy)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
