"""What was left out stays left out, and what was taken stays taken, whoever goes on after a kill: the smallest case,
and a campaign. The receivers know nothing of ranks, so they do just what comes, in the order in which it comes.

A campaign is as long as its kills: `CAMPAIGN_KILLS` says how many (`make soak` wants 146), and `CAMPAIGN_SEED` repeats
the choices and habits of one that failed.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.campaign import Load, Part, cast, kill, opened, outcome, settled
from tests.e2e.choices import Chosen, Users
from tests.e2e.log_file import toggles
from tests.e2e.parts import on_kafka
from tests.e2e.receivers import Conduct, Receiver, Word, honest
from tests.e2e.world import PATIENCE, World, all_acknowledged, all_settled, world
from tests.kafka.broker import Broker

KILLS = int(os.environ.get("CAMPAIGN_KILLS", "6"))
#: Seconds between kills: shorter where there are few.
EVERY = (2.0, 8.0) if KILLS > 10 else (1.0, 4.0)
#: What a partner did not take alone is issued again within a second or two.
QUICK = {"RESCIND_DEADLINE_INTERVAL": "0.5"}
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
    """It answers the first opt-out, and says 503 until the second one comes. That it takes; but by then it has sent
    the service, `pid`, a signal, and closes the connection."""

    def __init__(self, pid: Callable[[], int], number: signal.Signals) -> None:
        self.turned_away = asyncio.Event()
        self.ended = asyncio.Event()
        self._pid = pid
        self._number = number

    def __call__(self, words: Sequence[Word]) -> Conduct:
        if any(word.toggle == "v3" for word in words):
            if not self.ended.is_set():
                os.kill(self._pid(), self._number)
            self.ended.set()
            return Conduct(status=None)
        if any(word.toggle == "v2" for word in words):
            self.turned_away.set()
            return Conduct(takes=False, status=503)
        return Conduct()


async def stays_left_out(
    here: World, batch_size: int, turning: Turning, restart: Callable[[], Awaitable[None]]
) -> None:
    """The user opts out, in and out again; the service ends as the partner takes the last word, and comes back."""
    receiver = Receiver(turning)
    async with opened(here, {"p": Part(receiver, batch_size)}):
        with here.platform() as client:
            await asyncio.to_thread(client.post_toggles, [choice(1, "opt_out")])
            await here.until(all_acknowledged(Counter(p=1)))
            await asyncio.to_thread(client.post_toggles, [choice(2, "opt_in")])
            await asyncio.wait_for(turning.turned_away.wait(), PATIENCE)
            await asyncio.to_thread(client.post_toggles, [choice(3, "opt_out")])
        await asyncio.wait_for(turning.ended.wait(), PATIENCE)
        receiver.habit = honest
        await restart()
        await here.until(all_settled(Counter(p=3)))
        with here.operator() as client:
            notices = (await asyncio.to_thread(client.notices, {"partner": "p"}))["notices"]
    story = "\n".join(receiver.received.story(ABOUT))
    assert [word.toggle for word in receiver.received.taken.values()] == ["v1", "v3"], story
    assert receiver.received.held[ABOUT].action == "erase"
    toggle_of = {word.id: word.toggle for word in receiver.received.seen.values()}
    assert {toggle_of[notice["id"]]: notice["status"] for notice in notices} == {
        "v1": "completed",
        "v2": "cancelled",
        "v3": "completed",
    }
    # What was under way when it was killed, and nothing that was answered.
    assert receiver.received.repeats == 0, story


@pytest.mark.parametrize(
    ("batch_size", "number"),
    [(1, signal.SIGKILL), (100, signal.SIGKILL), (100, signal.SIGTERM)],
    ids=["single", "batch", "in good order"],
)
async def test_what_was_left_out_stays_left_out(tmp_path: Path, batch_size: int, number: signal.Signals) -> None:
    async with world(tmp_path) as here:

        async def restart() -> None:
            await here.service.ended()
            await here.start()

        await stays_left_out(here, batch_size, Turning(lambda: here.service.pid, number), restart)


async def test_what_was_left_out_stays_left_out_on_kafka(tmp_path: Path, kafka: Broker) -> None:
    async with on_kafka(tmp_path, kafka.address) as here:
        await here.start_parts("worker", "ledger", "gateway")

        async def restart() -> None:
            await here.running["worker"].ended()
            await here.start_part("worker")

        await stays_left_out(here, 100, Turning(lambda: here.running["worker"].pid, signal.SIGKILL), restart)


def test_users_change_their_minds_and_their_words_come_out_of_order() -> None:
    users = Users(1)
    said = [toggle["id"] for post in itertools.islice(users.posts(), 300) for toggle in post]
    asked = users.words(said)
    assert len(said) == len(set(said)) > 1000
    assert {action for _, action in asked} == {"erase", "stop", "resume"}
    in_order = users.words(sorted(said, key=lambda each: users.chosen[each].version))
    assert len(in_order) > len(asked), "some came too late to count"
    kinds = Counter(chosen.about[0].partition(":")[0] for chosen in users.of(said).values())
    assert set(kinds) == {"user", "blog", "site"}
    assert sum(chosen.out for chosen in users.of(said).values()) not in (0, kinds.total())


@pytest.mark.parametrize(
    ("versions", "late"), [((), ()), ((1, 2, 3), ()), ((1, 3, 2), (2,)), ((3, 1, 2, 4), (1, 2)), ((2, 4, 3, 5), (3,))]
)
def test_the_model_sees_who_is_turned_around(versions: Sequence[int], late: Sequence[int]) -> None:
    users = Users(0)
    for version in versions:
        users.chosen[f"v{version}"] = Chosen(ABOUT, version, out=version % 2 == 1, retroactive=True)
    words = [Word(f"n{version}", f"v{version}", *ABOUT, "erase", f"{version}") for version in versions]
    other = Word("n0", "v0", "user:2", ABOUT[1], "erase", "0")
    users.chosen["v0"] = Chosen(other.about, 0, out=True, retroactive=True)
    assert [word.toggle for word in users.turned_around([*words, other])] == [f"v{version}" for version in late]
    assert users.misranked([*words, other]) == []
    # Of equal ranks, or without any, nobody can tell which is newer.
    assert len(users.misranked([replace(word, rank="5") for word in words])) == max(0, len(words) - 1)
    assert len(users.misranked([replace(word, rank=None) for word in words])) == len(words)


@pytest.mark.timeout(300 + 60 * KILLS)
async def test_a_campaign_turns_nobody_around(tmp_path: Path) -> None:
    seed = int(os.environ.get("CAMPAIGN_SEED", random.randrange(2**32)))
    print(f"CAMPAIGN_SEED={seed} CAMPAIGN_KILLS={KILLS}")  # shown by pytest if the test fails
    chance = random.Random(seed)
    users, parts = Users(seed), cast(random.Random(seed))
    async with world(tmp_path, environment=QUICK) as here, opened(here, parts) as among:
        async with Load(here, users) as load:
            await kill(here, KILLS, chance, EVERY, list(among.values()))
        in_the_end = await settled(here, len(parts) * len(users.words(toggles(tmp_path / "log.sqlite"))))
        assert await here.service.stop() == 0
    found = outcome(tmp_path, users, load, KILLS, parts)
    print(found)
    assert found.cancelled > 0, "nobody was so quick that something was left out"
    assert not found.faults, str(found)
    assert in_the_end, str(found)
