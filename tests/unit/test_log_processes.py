"""Several processes on one log: what one appends the others notice, and a group has one owner."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.embedded.log import EmbeddedLog
from streams.embedded.owning import Owner, lock_path
from streams.embedded.store import LogStore
from streams.errors import LogInUse
from streams.records import Record, TopicPartition
from streams.topics import TopicSpec

TP = TopicPartition("t", 0)


class Other:
    """Another process with the same log open. It does one thing a line, and says when it was done."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _OTHER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._said() == "ready"

    def ask(self, line: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._said()

    def close(self) -> None:
        self._process.communicate(timeout=20)

    def _said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


_OTHER = """
import sys, time
from pathlib import Path
from streams.embedded.store import LogStore
from streams.errors import LogInUse
from streams.records import Record, TopicPartition
from streams.topics import TopicSpec
store = LogStore(Path(sys.argv[1]))
print("ready", flush=True)
for line in sys.stdin:
    word, argument = line.split()
    if word == "append":
        store.append_nowait([(TopicPartition("t", 0), Record("t", None, argument.encode()))]).result(20)
    elif word == "create":
        store.create_topics([TopicSpec(argument, 3)])
    else:
        try:
            store.own_group(argument)
        except LogInUse as error:
            print(error, flush=True)
            continue
    print(time.time(), flush=True)
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LogStore]:
    made = LogStore.shared(tmp_path / "log.sqlite")
    made.create_topics([TopicSpec("t", 1)])
    yield made
    made.release()


@pytest.fixture
def other(store: LogStore) -> Iterator[Other]:
    process = Other(store.path)
    yield process
    process.close()


@pytest.mark.alone
async def test_what_another_process_appends_is_noticed_within_50_ms(store: LogStore, other: Other) -> None:
    appended = asyncio.Event()
    store.add_waiter(appended)
    took = []
    for number in range(20):
        appended.clear()
        asking = asyncio.ensure_future(asyncio.to_thread(other.ask, f"append {number}"))
        await asyncio.wait_for(appended.wait(), 30)
        noticed = time.time()
        assert store.end(TP) == number + 1
        assert (await store.end_offsets("t"))[TP] == number + 1
        took.append(noticed - float(await asking))
        assert [row.value for row in (await store.fetch([(TP, number, 9)]))[0]] == [b"%d" % number]
    store.remove_waiter(appended)
    # One that the machine was busy with something else for proves nothing.
    assert statistics.median(took) < 0.05


async def test_offsets_go_on_behind_what_the_other_appended(store: LogStore, other: Other) -> None:
    for number in range(0, 20, 2):
        assert (await store.append([Record("t", None, b"mine", 0)]))[0].offset == number
        await asyncio.to_thread(other.ask, "append theirs")
    assert (await store.append([Record("t", None, b"last", 0)]))[0].offset == 20


async def test_a_topic_that_another_process_makes_is_known(store: LogStore, other: Other) -> None:
    other.ask("create elsewhere")
    async with asyncio.timeout(30):
        while store.partitions("elsewhere") is None:
            await asyncio.sleep(0.005)
    assert store.partitions("elsewhere") == 3


def test_a_group_has_one_owner_and_the_second_is_told_which_and_where(store: LogStore, other: Other) -> None:
    store.own_group("g")
    store.own_group("g")
    said = other.ask("own g")
    assert str(store.path) in said
    assert "as group g" in said
    assert "(process " in said
    assert float(other.ask("own h")) > 0
    with pytest.raises(LogInUse, match="as group h"):
        store.own_group("h")
    # It is the process that owns, and it owns no longer than it lives.
    other.close()
    store.own_group("h")


def test_a_group_may_be_named_like_a_path(tmp_path: Path) -> None:
    owner = Owner(tmp_path / "log.sqlite")
    owner.own("../a b")
    owner.own("")
    owner.release()
    assert lock_path(tmp_path / "log.sqlite", "../a b").parent == tmp_path


def test_a_log_that_closes_gives_its_groups_up(tmp_path: Path) -> None:
    log = EmbeddedLog(f"sqlite://{tmp_path}/log.sqlite")
    log.new_app("g", tmp_path)
    second = Owner(tmp_path / "log.sqlite")
    with pytest.raises(LogInUse):
        second.own("g")
    log.close()
    second.own("g")
    second.release()
