"""Lanes whose batches are not as a partner takes them now, and partners that change while something is taken apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agents import lanes
from agents.retrying import Attempt
from agents.webhooks import Answer
from streams.cloudevents import Envelope
from streams.events import (
    Again,
    BatchDelivered,
    BatchFailed,
    NoticeParked,
    NoticesIssued,
    NoticeUndeliverable,
    PartnerTried,
)
from streams.records import Message, record
from streams.topics import PARTNERS
from tests.conformance.harness import running, until
from tests.unit.fakes import NOON, OK
from tests.unit.test_taking_over import BY, ERROR, REFUSED, SLOW, E, Lane, R, every, failing, retry, said

AWAY = Answer(Attempt(None, "connection refused"), 1.0)
LATER = Answer(Attempt(503, "HTTP 503", "3600"), 1.0)
GONE = Answer(Attempt(410, "HTTP 410"), 1.0)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Lane]:
    made = Lane(tmp_path)
    yield made
    made.close()
    made.engine.close()


# -- a pack that is larger than what the partner takes in a request


@pytest.mark.parametrize("answer", [REFUSED, ERROR])
@pytest.mark.parametrize("size", [1, 2])
async def test_one_notice_of_a_large_pack_holds_up_no_other(scene: Lane, answer: Answer, size: int) -> None:
    await scene.register("p", 0, batch_size=size)
    scene.sender.says = scene.sender.without("n0", answer=answer)
    await scene.issue_packs([(number, E) for number in range(4)])
    async with running(scene.app()):
        await until(lambda: scene.delivered(0) == 1)
    assert sorted(scene.sender.took) == every(4)[1:]
    assert scene.parked() == ["n0"]


@pytest.mark.parametrize("limit", [{"batch_size": 1}, {"batch_size": 10, "max_body_bytes": 1024}])
async def test_nothing_from_further_on_overtakes_the_rest_of_a_large_pack(scene: Lane, limit: dict[str, int]) -> None:
    await scene.register("p", 0, **limit)
    scene.sender.says = scene.sender.without("n0")
    await scene.issue_packs([(0, E), (1, E), (2, E, "user:9")], [(3, R, "user:9")])
    async with running(scene.app()):
        await until(lambda: scene.delivered(0) == 2)
    assert [each for each in scene.sender.took if each in ("n2", "n3")] == ["n2", "n3"]


async def test_a_smaller_batch_size_counts_for_what_is_waiting(scene: Lane) -> None:
    await scene.register("p", 0, batch_size=10)
    scene.sender.says = lambda ids: AWAY
    await scene.issue_packs([(number, E) for number in range(4)])
    async with running(scene.app(SLOW)):
        await until(lambda: scene.sender.heard == [every(4)])
        scene.sender.says = lambda ids: OK
        await scene.register("p", 0, batch_size=2, revision=2, url="https://new.example/")
        await until(lambda: scene.delivered(0) == 1)
    assert scene.sender.heard[1:] == [every(4)[:2], every(4)[2:]]


# -- a partner that changes while a batch is taken apart


async def test_a_new_address_after_410_is_not_judged_by_what_the_old_one_did(scene: Lane) -> None:
    await scene.register("p", 0, batch_size=10)
    going = [REFUSED, OK, GONE]
    scene.sender.says = lambda ids: going.pop(0) if going else REFUSED
    await scene.issue_packs([(1, E), (2, E)])
    async with running(scene.app()):
        await until(lambda: not going)
        await scene.register("p", 0, batch_size=10, revision=2, url="https://new.example/")
        await until(lambda: len(scene.sender.heard) > 8)
        assert scene.parked() == []
        scene.sender.says = lambda ids: OK
        await until(lambda: scene.delivered(0) == 1)
    assert scene.sender.took == ["n1", "n2"]


# -- what arrives while something waits


async def test_what_arrives_does_not_go_before_the_time_that_the_partner_asked_for(scene: Lane) -> None:
    await scene.register("p", 0, batch_size=10)
    answers = [REFUSED, LATER]
    scene.sender.says = lambda ids: answers.pop(0) if answers else OK
    async with running(scene.app(SLOW)):
        await scene.issue_packs([(1, E), (2, E)])
        await until(lambda: len(scene.told(BatchFailed)) == 2)
        await scene.issue_packs([(3, E)], [(4, E)])
        await asyncio.sleep(0.5)
        assert len(scene.sender.heard) == 2
        await scene.register("p", 0, batch_size=10, revision=2, url="https://new.example/")
        await until(lambda: scene.delivered(0) == 3)


async def test_a_choice_that_takes_back_what_waits_goes_at_once(scene: Lane) -> None:
    await scene.register("p", 0)
    scene.sender.says = scene.sender.without("n1")
    async with running(scene.app(SLOW)):
        await scene.issue_packs([(1, E, "user:1")])
        await until(lambda: scene.sender.heard == [["n1"]])
        await scene.issue_packs([(2, R, "user:1")])
        await until(lambda: scene.delivered(0) == 2)
    assert scene.sender.heard == [["n1"], ["n2"]]
    assert scene.left_out() == ["n1"]


async def test_whoever_asks_for_an_attempt_while_one_fails_gets_another(scene: Lane) -> None:
    await scene.register("p", 0)
    scene.sender.held.add("user:1")
    going = asyncio.Event()
    asked = asyncio.Event()
    send = scene.sender.send

    async def slow(*given: object) -> Answer:
        going.set()
        await asked.wait()
        return await send(*given)  # type: ignore[arg-type]

    scene.sender.send = slow  # type: ignore[assignment]
    answers = [AWAY]
    scene.sender.says = lambda ids: answers.pop(0) if answers else OK
    async with running(scene.app(SLOW)):
        await scene.issue_packs([(1, E)])
        await going.wait()
        tried = PartnerTried(partner="p", tried_at=NOON)
        await scene.engine.log.append([record(PARTNERS.name, Envelope("tried", NOON, tried))])
        await asyncio.sleep(0.2)
        asked.set()
        await until(lambda: scene.delivered(0) == 1)


async def test_a_pack_that_holds_a_notice_twice_delivers_it(scene: Lane) -> None:
    await scene.register("p", 0, batch_size=1)
    await scene.issue_packs([(1, E), (1, E)])
    async with running(scene.app()):
        await until(lambda: scene.delivered(0) == 1)
    assert all(not each.undelivered for each in scene.told(BatchDelivered))
    assert scene.told(NoticeParked) == []


# -- what was issued again


async def test_many_that_were_issued_again_read_the_lane_once(scene: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them was looked for up to the same place. The resume of one of them came in between."""
    await scene.register("p", 0, batch_size=1)
    await scene.issue_packs([(500, E)], [(501, R, "user:3")])
    for number in range(40):
        again = Again(how="replay", by=BY)
        await scene.put(NoticesIssued(partner="p", lane=0, notices=(said(number, E),), again=again, checked=1))
    read = scene.engine.log.read
    seen: list[int] = []

    async def counted(*where: Any) -> AsyncIterator[Sequence[Message]]:
        async for messages in read(*where):
            seen.extend(message.offset for message in messages)
            yield messages

    monkeypatch.setattr(scene.engine.log, "read", counted)
    async with running(scene.app()):
        await until(lambda: scene.delivered(0) == 42)
    assert scene.left_out() == ["n3"]
    assert sorted(seen) == sorted(set(seen))


async def test_a_partner_that_was_changed_shows_anew_what_it_takes_before_a_notice_is_undeliverable(
    scene: Lane,
) -> None:
    """What its former endpoint took says nothing of the one that it has now, which may take nothing."""
    await scene.register("p", 0, updated_at=NOON - timedelta(minutes=1))
    scene.sender.says = lambda ids: REFUSED
    await scene.put(retry(5, failing(2, 15)))
    async with running(scene.app()):
        await until(lambda: scene.delivered(0) == 1)
    (told,) = scene.told(NoticeParked, NoticeUndeliverable)
    assert isinstance(told, NoticeParked)
    assert not told.failing.others_taken


# -- what is given once more


@pytest.mark.parametrize("size", [1, 3, 10])
async def test_what_a_rebalance_gives_once_more_to_who_keeps_the_lane_is_not_sent_again(
    scene: Lane, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    take = lanes.Lane.take

    async def take_twice(lane: lanes.Lane, event: Any) -> None:
        await take(lane, event)
        await take(lane, event)

    monkeypatch.setattr(lanes.Lane, "take", take_twice)
    await scene.register("p", 0, batch_size=size)
    await scene.issue_packs(*([(number, E)] for number in range(7)))
    async with running(scene.app()):
        await until(lambda: scene.delivered(0) == 7)
    assert [each for ids in scene.sender.heard for each in ids] == every(7)


# -- parked notices, many in a row


async def test_many_parked_notices_do_not_hammer_an_endpoint_that_is_broken_and_hold_up_nobody(scene: Lane) -> None:
    await scene.register("p", 0)
    scene.sender.says = scene.sender.without(*every(6), answer=ERROR)
    for number in range(6):
        await scene.put(retry(number, failing(1, 1)))
    async with running(scene.app(SLOW)):
        await until(lambda: len(scene.sender.heard) == 3)
        await asyncio.sleep(0.3)
        assert len(scene.sender.heard) == 3
        await scene.issue_packs([(9, E)])
        await until(lambda: scene.sender.took == ["n9"])
    assert sorted(scene.parked()) == every(6)
