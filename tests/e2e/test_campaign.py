"""What was left out stays left out, and what was taken stays taken, whoever goes on after a kill: the smallest case,
and a campaign. The receivers know nothing of ranks, so they do just what comes, in the order in which it comes.

A campaign is as long as its kills: `CAMPAIGN_KILLS` says how many (`make soak` wants 146), and `CAMPAIGN_SEED` repeats
the choices and habits of one that failed.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.campaign import Load, Part, cast, kill, opened, outcome, settled
from tests.e2e.choices import Users
from tests.e2e.log_file import toggles
from tests.e2e.parts import on_kafka
from tests.e2e.receivers import Conduct, Receiver, Word, honest
from tests.e2e.world import PATIENCE, World, all_acknowledged, all_settled, world
from tests.kafka.broker import Broker

KILLS = int(os.environ.get("CAMPAIGN_KILLS", "6"))
#: Seconds between kills: shorter where there are few.
EVERY = (2.0, 8.0) if KILLS > 10 else (1.0, 4.0)
ABOUT = ("user:1", "ai-training")


def choice(version: int, said: str) -> dict[str, Any]:
    return {
        "id": f"v{version}",
        "subject": ABOUT[0],
        "purpose": ABOUT[1],
        "choice": said,
        "version": version,
        "occurred_at": "2026-01-01T12:00:00Z",
    }


class Turning:
    """It answers the first opt-out, then says 503 until the second one comes, which it takes; and the service is dead
    before it can hear that."""

    def __init__(self, pid: Callable[[], int]) -> None:
        self.turned_away = asyncio.Event()
        self.killed = asyncio.Event()
        self._pid = pid

    def __call__(self, words: Sequence[Word]) -> Conduct:
        if any(word.toggle == "v3" for word in words):
            os.kill(self._pid(), signal.SIGKILL)
            self.killed.set()
            return Conduct(status=None)
        if any(word.toggle == "v2" for word in words):
            self.turned_away.set()
            return Conduct(takes=False, status=503)
        return Conduct()


async def stays_left_out(
    here: World, batch_size: int, pid: Callable[[], int], restart: Callable[[], Awaitable[None]]
) -> None:
    """The user opts out, in and out again; the service dies as the partner takes the last word, and comes back."""
    turning = Turning(pid)
    receiver = Receiver(turning)
    async with opened(here, {"p": Part(receiver, batch_size)}):
        with here.platform() as client:
            await asyncio.to_thread(client.post_toggles, [choice(1, "opt_out")])
            await here.until(all_acknowledged(Counter(p=1)))
            await asyncio.to_thread(client.post_toggles, [choice(2, "opt_in")])
            await asyncio.wait_for(turning.turned_away.wait(), PATIENCE)
            await asyncio.to_thread(client.post_toggles, [choice(3, "opt_out")])
        await asyncio.wait_for(turning.killed.wait(), PATIENCE)
        receiver.habit = honest
        await restart()
        await here.until(all_settled(Counter(p=3)))
        with here.operator() as client:
            notices = (await asyncio.to_thread(client.notices, {"partner": "p"}))["notices"]
    story = "\n".join(receiver.received.story(ABOUT))
    assert [word.toggle for word in receiver.received.taken.values()] == ["v1", "v3"], story
    assert receiver.received.held[ABOUT].action == "erase"
    assert {notice["toggle_id"]: notice["status"] for notice in notices} == {
        "v1": "completed",
        "v2": "cancelled",
        "v3": "completed",
    }
    # What was under way when it was killed, and nothing that was answered.
    assert receiver.received.repeats == 0, story


@pytest.mark.parametrize("batch_size", [1, 100])
async def test_what_was_left_out_stays_left_out(tmp_path: Path, batch_size: int) -> None:
    async with world(tmp_path) as here:

        async def restart() -> None:
            await here.service.kill()
            await here.start()

        await stays_left_out(here, batch_size, lambda: here.service.pid, restart)


async def test_what_was_left_out_stays_left_out_on_kafka(tmp_path: Path, kafka: Broker) -> None:
    async with on_kafka(tmp_path, kafka.address) as here:
        await here.start_parts("worker", "ledger", "gateway")

        async def restart() -> None:
            await here.kill_part("worker")
            await here.start_part("worker")

        await stays_left_out(here, 100, lambda: here.running["worker"].pid, restart)


@pytest.mark.timeout(300 + 60 * KILLS)
async def test_a_campaign_turns_nobody_around(tmp_path: Path) -> None:
    seed = int(os.environ.get("CAMPAIGN_SEED", random.randrange(2**32)))
    print(f"CAMPAIGN_SEED={seed} CAMPAIGN_KILLS={KILLS}")  # shown by pytest if the test fails
    chance = random.Random(seed)
    users, parts = Users(seed), cast(random.Random(seed))
    async with world(tmp_path) as here, opened(here, parts):
        async with Load(here, users) as load:
            await kill(here, KILLS, chance, EVERY)
        await settled(here, len(parts) * len(users.words(toggles(tmp_path / "log.sqlite"))))
        assert await here.service.stop() == 0
    found = outcome(tmp_path, users, load, KILLS, parts)
    print(found)
    assert found.cancelled > 0, "nobody was so quick that something was left out"
    assert not found.faults, str(found)
