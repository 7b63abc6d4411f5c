"""Opting back in before delivery, with the agents as the service runs them: what a partner hears, and what is said of
the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agents import lanes
from agents.webhooks import Answer, Payload
from streams.cloudevents import Envelope
from streams.events import BatchDelivered, Notice, NoticesIssued, NoticesSuperseded, PartnerStatus
from streams.kinds import Action, Choice
from streams.ranks import rank_of
from streams.records import record
from streams.topics import DELIVERIES, NOTICES, SUBJECT_PARTITIONS
from tests.conformance.harness import running, until
from tests.unit.fakes import DOWN, NOON, notice
from tests.unit.test_agents_running import HangingSender, Scene

URL = "https://p.example/"
E, R = Action.ERASE, Action.RESUME


class Moody(HangingSender):
    """Nobody is there while it is `away`."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.tried = 0
        self.heard: list[str] = []
        self.ids: list[str] = []

    async def send(self, url: str, secrets: Sequence[str], webhook_id: str, payload: Payload, now: Any) -> Answer:
        self.tried += 1
        if self.away:
            return DOWN
        self.heard += [each.id for each in self.payloads[payload.body]]
        self.ids.append(webhook_id)
        return await super().send(url, secrets, webhook_id, payload, now)


def said(number: int, action: Action, about: str = "user:1") -> Notice:
    """The one that was issued after so many others."""
    issued_at = NOON + timedelta(milliseconds=number)
    choice = Choice.OPT_IN if action is R else Choice.OPT_OUT
    rank = rank_of(None, issued_at, choice, retroactive=action is E)
    return notice(number, action).model_copy(update={"subject": about, "issued_at": issued_at, "rank": rank})


class Lane0(Scene):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.sender: Moody = Moody()

    async def say(self, *words: tuple[int, Action], about: str = "user:1") -> None:
        """Packs of one notice each, `n<number>`."""
        for number, action in words:
            asked = said(number, action, about)
            pack = Envelope(f"pack-{number}", NOON, NoticesIssued(partner="p", lane=0, notices=(asked,)))
            await self.engine.log.append([record(NOTICES.name, pack, partition=0)])

    def left_out(self) -> list[str]:
        found = [event.data for event in self.events(DELIVERIES.name, SUBJECT_PARTITIONS)]
        said = [each for data in found if isinstance(data, NoticesSuperseded) for each in data.superseded]
        undelivered = {each for data in found if isinstance(data, BatchDelivered) for each in data.undelivered}
        assert undelivered <= set(said)
        return said


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Lane0]:
    made = Lane0(tmp_path)
    yield made
    made.engine.close()


async def test_what_a_partner_that_is_down_has_not_taken_is_not_asked_any_more(scene: Lane0) -> None:
    await scene.register("p", 0)
    scene.sender.away = True
    async with running(scene.app()):
        await scene.say((1, E))
        await until(lambda: scene.sender.tried >= 2)
        await scene.say((2, R))
        await until(lambda: scene.left_out() == ["n1"])
        scene.sender.away = False
        await until(lambda: scene.delivered(0) == 2)
    assert scene.sender.heard == ["n2"]


async def test_what_waits_for_a_paused_partner_is_not_asked_any_more(scene: Lane0) -> None:
    await scene.register("p", 0, batch_size=10)
    async with running(scene.app()):
        await scene.say((1, E))
        await until(lambda: scene.delivered(0) == 1)
        await scene.register("p", 0, batch_size=10, revision=2, status=PartnerStatus.PAUSED)
        await scene.say((2, R), (3, E), (4, R))
        await scene.say((5, E), about="user:2")
        await scene.register("p", 0, batch_size=10, revision=3, status=PartnerStatus.ACTIVE)
        await until(lambda: scene.delivered(0) == 5)
    # It had deleted already: that stands, and it hears of the last word only.
    assert sorted(scene.sender.heard) == ["n1", "n4", "n5"]
    assert sorted(scene.left_out()) == ["n2", "n3"]


async def test_what_was_delivered_stands(scene: Lane0) -> None:
    await scene.register("p", 0)
    async with running(scene.app()):
        await scene.say((1, E))
        await until(lambda: scene.delivered(0) == 1)
        await scene.say((2, R))
        await until(lambda: scene.delivered(0) == 2)
    assert scene.sender.heard == ["n1", "n2"]
    assert scene.left_out() == []


async def test_what_a_worker_finds_in_a_lane_goes_out_in_order(scene: Lane0) -> None:
    """The one before it may have delivered the first, and died before that was written."""
    await scene.register("p", 0, batch_size=10)
    await scene.say((1, E), (2, R))
    async with running(scene.app()):
        await until(lambda: scene.delivered(0) == 2)
    assert scene.sender.heard == ["n1", "n2"]
    assert scene.left_out() == []


@pytest.mark.parametrize(("most", "heard"), [(1, ["n1", "n2", "n3"]), (2, ["n2", "n3"])])
async def test_a_lane_looks_ahead_as_far_as_memory_allows_and_what_is_behind_comes_in_order(
    scene: Lane0, monkeypatch: pytest.MonkeyPatch, most: int, heard: list[str]
) -> None:
    monkeypatch.setattr(lanes, "_MOST_AHEAD", most)
    await scene.register("p", 0)
    scene.sender.away = True
    async with running(scene.app()):
        await scene.say((1, E))
        await until(lambda: scene.sender.tried >= 1)
        await scene.say((2, E), about="user:2")
        await scene.say((3, R))
        tried = scene.sender.tried
        if "n1" in heard:
            await until(lambda: scene.sender.tried >= tried + 20)
        else:
            await until(lambda: scene.left_out() == ["n1"])
        scene.sender.away = False
        await until(lambda: scene.delivered(0) == 3)
    assert scene.sender.heard == heard


async def test_a_request_that_carries_less_than_before_has_another_id(scene: Lane0) -> None:
    await scene.register("p", 0, batch_size=10)
    scene.sender.away = True
    async with running(scene.app()):
        await scene.say((1, E))
        await until(lambda: scene.sender.tried >= 1)
        asked = (said(2, E, "user:0"), said(3, E))
        pack = Envelope("pack", NOON, NoticesIssued(partner="p", lane=0, notices=asked))
        await scene.engine.log.append([record(NOTICES.name, pack, partition=0)])
        await scene.say((4, R), about="user:3")
        await scene.say((5, R))
        await until(lambda: "n1" in scene.left_out())
        scene.sender.away = False
        await until(lambda: scene.delivered(0) == 4)
    assert sorted(scene.sender.heard) == ["n2", "n4", "n5"]
    assert len(set(scene.sender.ids)) == len(scene.sender.ids)
