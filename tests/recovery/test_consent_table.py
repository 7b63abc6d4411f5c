"""The consent table on disk, through the real Faust app: stopped, killed, deleted, put back, exchanged."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import re
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from streams.embedded.maintenance import Upkeep
from streams.errors import StorageUnusable
from streams.topics import DECISIONS, TOGGLES
from tests.recovery.model import Flip, flips, model_of
from tests.recovery.world import (
    committed,
    decide_all,
    decided,
    ends,
    fill,
    open_log,
    query,
    states,
    victim,
)

KILLS = 25


@pytest.fixture
def chance() -> random.Random:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # shown by pytest if the test fails
    return random.Random(seed)


async def append(directory: Path, taken: list[Flip]) -> None:
    log = open_log(directory)
    await fill(log, taken)
    log.close()


def check(directory: Path, taken: list[Flip]) -> None:
    """What is on disk is what the model says."""
    model = model_of(taken)
    assert states(directory) == {key: flip.line for key, flip in model.states.items()}
    assert decided(directory) == {subject: told for subject, told in model.decided.items() if told}
    assert committed(directory) == ends(directory, TOGGLES.name) == len(taken)


async def test_a_clean_stop_leaves_nothing_to_do(
    tmp_path: Path, chance: random.Random, caplog: pytest.LogCaptureFixture
) -> None:
    taken = flips(1500, 100, chance)
    await append(tmp_path, taken)
    await decide_all(tmp_path)
    check(tmp_path, taken)
    told = ends(tmp_path, DECISIONS.name)
    before = (tmp_path / "consent.sqlite").read_bytes()
    await decide_all(tmp_path)
    assert ends(tmp_path, DECISIONS.name) == told
    assert (tmp_path / "consent.sqlite").read_bytes() == before
    assert "again" not in caplog.text
    # And no changelog was written at all.
    assert query(tmp_path / "log.sqlite", "SELECT name FROM topics WHERE name LIKE '%changelog%'") == []


async def test_it_survives_being_killed_at_any_step(tmp_path: Path, chance: random.Random) -> None:
    taken = flips(4000, 150, chance)
    await append(tmp_path, taken)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.recovery.world"])
    killed = 0
    for most in [4, 25, *[120] * (KILLS - 2)]:
        process = processes.Process(target=victim, args=(str(tmp_path), chance.randrange(2**32), most))
        process.start()
        await asyncio.to_thread(process.join, 60)
        assert process.exitcode in (0, -signal.SIGKILL)
        killed += process.exitcode == -signal.SIGKILL
    assert killed > KILLS // 2
    await decide_all(tmp_path)
    check(tmp_path, taken)


async def test_a_deleted_file_is_rebuilt_and_nobody_hears_of_it(tmp_path: Path, chance: random.Random) -> None:
    taken = flips(3500, 100, chance)
    await append(tmp_path, taken[:3000])
    await decide_all(tmp_path)
    told = ends(tmp_path, DECISIONS.name)
    (tmp_path / "consent.sqlite").unlink()
    await decide_all(tmp_path)
    check(tmp_path, taken[:3000])
    assert ends(tmp_path, DECISIONS.name) == told
    await append(tmp_path, taken[3000:])
    await decide_all(tmp_path)
    check(tmp_path, taken)


async def test_an_older_copy_catches_up(tmp_path: Path, chance: random.Random) -> None:
    taken = flips(3000, 100, chance)
    file, copy = tmp_path / "consent.sqlite", tmp_path / "copy"
    await append(tmp_path, taken[:1000])
    await decide_all(tmp_path)
    shutil.copy(file, copy)
    await append(tmp_path, taken[1000:2000])
    await decide_all(tmp_path)
    told = ends(tmp_path, DECISIONS.name)
    shutil.copy(copy, file)
    await decide_all(tmp_path)
    check(tmp_path, taken[:2000])
    assert ends(tmp_path, DECISIONS.name) == told
    # With new toggles waiting too: what was decided is taken, what was not is decided.
    await append(tmp_path, taken[2000:])
    shutil.copy(copy, file)
    await decide_all(tmp_path)
    check(tmp_path, taken)


async def test_a_file_of_another_log_is_refused(tmp_path: Path, chance: random.Random) -> None:
    taken = flips(600, 50, chance)
    one, other = tmp_path / "one", tmp_path / "other"
    for directory in (one, other):
        directory.mkdir()
        await append(directory, taken)
        await decide_all(directory)
        await asyncio.sleep(0.002)  # no two logs begin at the same millisecond
    told = ends(other, DECISIONS.name)
    shutil.copy(one / "consent.sqlite", other / "consent.sqlite")
    app = await decide_all(other, 601)
    assert isinstance(app.crash_reason, StorageUnusable)
    assert "consent.sqlite belongs to another log: delete it, and it is rebuilt" in str(app.crash_reason)
    (other / "consent.sqlite").unlink()
    await decide_all(other)
    check(other, taken)
    assert ends(other, DECISIONS.name) == told


async def test_a_file_that_is_ahead_of_its_log_is_refused_before_anything_starts(
    tmp_path: Path, chance: random.Random
) -> None:
    taken = flips(600, 50, chance)
    await append(tmp_path, taken[:300])
    await decide_all(tmp_path)
    backup = (tmp_path / "log.sqlite").read_bytes()
    await append(tmp_path, taken[300:])
    await decide_all(tmp_path)
    for file in tmp_path.glob("log.sqlite*"):
        file.unlink()
    (tmp_path / "log.sqlite").write_bytes(backup)
    with pytest.raises(StorageUnusable, match=r"consent.sqlite is ahead of the log at rescind\.toggles.*: delete it"):
        await decide_all(tmp_path)
    (tmp_path / "consent.sqlite").unlink()
    await decide_all(tmp_path)
    check(tmp_path, taken[:300])
    # What comes again after that is decided as if it came for the first time: in this log it does.
    await append(tmp_path, taken[300:])
    await decide_all(tmp_path)
    check(tmp_path, taken)


async def retire(directory: Path) -> None:
    """Let the log forget every toggle that was handled, as after a long time."""
    log = open_log(directory)
    kept_for_a_minute = replace(TOGGLES, retention=60.0)
    upkeep = Upkeep(log._store, {TOGGLES.name: kept_for_a_minute}, lambda: round((time.time() + 3600) * 1000))
    upkeep.round()
    upkeep.stop()
    log.close()


async def test_what_the_log_forgot_the_table_still_knows(
    tmp_path: Path, chance: random.Random, caplog: pytest.LogCaptureFixture
) -> None:
    taken = flips(1200, 60, chance)
    await append(tmp_path, taken[:600])
    await decide_all(tmp_path)
    await retire(tmp_path)
    assert ends(tmp_path, TOGGLES.name) == 0
    await decide_all(tmp_path)
    assert "again" not in caplog.text
    await append(tmp_path, taken[600:])
    await decide_all(tmp_path, len(taken))
    model = model_of(taken)
    assert states(tmp_path) == {key: flip.line for key, flip in model.states.items()}
    assert decided(tmp_path) == {subject: told for subject, told in model.decided.items() if told}
    # Without the table there is nothing but the log, and that is said.
    (tmp_path / "consent.sqlite").unlink()
    await decide_all(tmp_path, len(taken))
    assert "is gone" in caplog.text
    assert states(tmp_path) == {key: flip.line for key, flip in model_of(taken[600:]).states.items()}


async def test_a_file_that_is_older_than_the_log_reaches_back_is_refused(tmp_path: Path, chance: random.Random) -> None:
    taken = flips(1200, 30, chance)
    file, copy = tmp_path / "consent.sqlite", tmp_path / "copy"
    await append(tmp_path, taken[:400])
    await decide_all(tmp_path)
    shutil.copy(file, copy)
    await append(tmp_path, taken[400:])
    await decide_all(tmp_path)
    await retire(tmp_path)
    shutil.copy(copy, file)
    app = await decide_all(tmp_path)
    assert isinstance(app.crash_reason, StorageUnusable)
    assert re.search(r"ends at rescind.toggles\[\d\]@\d+, and the log begins at \d+: delete it", str(app.crash_reason))
