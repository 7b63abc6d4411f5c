"""A lane with the agents as the service runs them: what its holder settles holds for whoever takes over, and one notice
that a partner does not take holds up no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agents.app import Parts, acting_app
from agents.retrying import Attempt, Backoff
from agents.webhooks import Answer, Payload
from streams.cloudevents import Envelope
from streams.errors import LogUnavailable
from streams.events import (
    Actor,
    Again,
    BatchDelivered,
    BatchFailed,
    Failing,
    Notice,
    NoticeParked,
    NoticesIssued,
    NoticesSuperseded,
    NoticeUndeliverable,
    PartnerTried,
)
from streams.kinds import Action, Choice
from streams.ranks import rank_of
from streams.records import record
from streams.topics import DELIVERIES, NOTICES, PARTNERS, SUBJECT_PARTITIONS, UNDELIVERABLE
from tests.conformance.harness import running, until
from tests.unit.fakes import NOON, OK, FakeClock, notice
from tests.unit.test_agents_running import HangingSender, Scene

E, R = Action.ERASE, Action.RESUME
REFUSED, ERROR, BUSY = (Answer(Attempt(status, f"HTTP {status}"), 1.0) for status in (422, 500, 503))
SLOW = Backoff(base=36_000.0, cap=36_000.0)
BY = Actor(key="k", role="operator")


class Partner(HangingSender):
    """Answers as `says` says, and remembers what it was sent and what it took."""

    def __init__(self) -> None:
        super().__init__()
        self.says: Callable[[Sequence[str]], Answer] = lambda ids: OK
        self.heard: list[list[str]] = []
        self.took: list[str] = []

    async def send(self, url: str, secrets: Sequence[str], webhook_id: str, payload: Payload, now: Any) -> Answer:
        ids = [each.id for each in self.payloads[payload.body]]
        self.heard.append(ids)
        await asyncio.sleep(0)
        answer = self.says(ids)
        if answer.attempt.accepted:
            self.took += [each for each in ids if each not in self.took]
        return answer

    def without(self, *bad: str, answer: Answer = REFUSED) -> Callable[[Sequence[str]], Answer]:
        return lambda ids: answer if set(bad) & set(ids) else OK


class Lane(Scene):
    """Lane 0, of partner p."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.sender: Partner = Partner()
        self.clock = FakeClock()
        self._made = 0

    def app(self, backoff: Backoff = Backoff(0.01, 0.01)) -> Any:  # noqa: B008 - it is frozen
        parts = acting_parts(self, backoff)
        return acting_app(parts)

    async def issue_packs(self, *packs: Collection[tuple[int, Action] | tuple[int, Action, str]]) -> None:
        for pack in packs:
            await self.put(NoticesIssued(partner="p", lane=0, notices=tuple(said(*each) for each in pack)))

    async def put(self, pack: NoticesIssued) -> None:
        self._made += 1
        await self.engine.log.append([record(NOTICES.name, Envelope(f"pack-{self._made}", NOON, pack), partition=0)])

    @asynccontextmanager
    async def crashing(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        """From the moment that `crash` is called on, nothing comes to the log any more; in the end the app is gone."""
        log, crashed = self.engine.log, asyncio.Event()
        step, append = log.step, log.append

        def unless_crashed(work: Any) -> Any:
            async def outer(*args: Any, **named: Any) -> Any:
                if crashed.is_set():
                    raise LogUnavailable("told to fail")
                return await work(*args, **named)

            return outer

        with monkeypatch.context() as patched:
            patched.setattr(log, "step", unless_crashed(step))
            patched.setattr(log, "append", unless_crashed(append))
            async with running(self.app()):
                yield crashed

    def told(self, *kinds: type) -> list[Any]:
        found = self.events(DELIVERIES.name, SUBJECT_PARTITIONS) + self.events(UNDELIVERABLE.name, 1)
        return [event.data for event in found if isinstance(event.data, kinds)]

    def left_out(self) -> list[str]:
        return [each for data in self.told(NoticesSuperseded) for each in data.superseded]

    def parked(self) -> list[str]:
        return [data.notice_id for data in self.told(NoticeParked)]


def acting_parts(scene: Lane, backoff: Backoff) -> Parts:
    from agents.disclosing import following  # noqa: PLC0415 - beside its one use

    index = scene._directory / f"index-{next(scene._numbers)}"
    disclosures = scene._stack.enter_context(following(scene.engine.log, index, scene.clock))
    return Parts(scene.engine.log, scene._sealer, scene.sender, scene.clock, backoff, scene._directory, disclosures)


def said(number: int, action: Action, about: str = "") -> Notice:
    """The one of the choice that came after so many others."""
    choice = Choice.OPT_IN if action is R else Choice.OPT_OUT
    rank = rank_of(number, NOON, choice, retroactive=action is E)
    subject = about or f"user:{number}"
    return notice(number, action).model_copy(update={"subject": subject, "rank": rank})


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Lane]:
    made = Lane(tmp_path)
    yield made
    made.close()
    made.engine.close()


# -- what was settled stays settled, whoever takes over


async def test_what_was_left_out_stays_left_out(scene: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    """The partner took an erasure, was away for a resume, and took the next erasure; then the service was killed before
    that was written. The resume must not come now: the partner knows the erasure's id, and would drop it."""
    await scene.register("p", 0)
    async with scene.crashing(monkeypatch) as crashed:
        await scene.issue_packs([(1, E, "user:1")])
        await until(lambda: scene.delivered(0) == 1)
        scene.sender.says = lambda ids: BUSY
        await scene.issue_packs([(2, R, "user:1")])
        await until(lambda: ["n2"] in scene.sender.heard)

        def take_and_crash(ids: Sequence[str]) -> Answer:
            crashed.set()
            return OK

        await scene.issue_packs([(3, E, "user:1")])
        await until(lambda: scene.left_out() == ["n2"])
        scene.sender.says = take_and_crash
        await until(lambda: "n3" in scene.sender.took)
    assert scene.delivered(0) < 3
    scene.sender.says = lambda ids: OK
    heard = len(scene.sender.heard)
    async with running(scene.app()):
        await until(lambda: scene.delivered(0) == 3)
    assert scene.sender.heard[heard:] == [["n3"]]
    assert scene.sender.took == ["n1", "n3"]


async def test_of_a_batch_that_is_taken_in_parts_the_rest_alone_comes_after_a_crash(
    scene: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.register("p", 0, batch_size=10)
    scene.sender.says = scene.sender.without("n3")
    async with scene.crashing(monkeypatch) as crashed:

        def crash_at_last(ids: Sequence[str]) -> Answer:
            if "n4" in ids and "n3" not in ids:
                crashed.set()
            return scene.sender.without("n3")(ids)

        scene.sender.says = crash_at_last
        await scene.issue_packs([(number, E) for number in range(6)])
        await until(crashed.is_set)
    settled = {each for data in scene.told(BatchDelivered) for each in every(6) if each not in data.undelivered}
    heard = len(scene.sender.heard)
    scene.sender.says = scene.sender.without("n3")
    async with running(scene.app()):
        await until(lambda: scene.delivered(0) == 1)
    after = {each for ids in scene.sender.heard[heard:] for each in ids}
    assert settled
    assert not after & settled
    assert set(scene.sender.took) == set(every(6)) - {"n3"}
    assert scene.parked() == ["n3"]


async def test_what_nobody_has_settled_comes_again_in_order(scene: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.register("p", 0)
    scene.sender.says = lambda ids: BUSY
    await scene.issue_packs([(1, E, "user:1")], [(2, R, "user:1")])
    async with scene.crashing(monkeypatch) as crashed:

        def take_and_crash(ids: Sequence[str]) -> Answer:
            crashed.set()
            return OK

        scene.sender.says = take_and_crash
        await until(lambda: "n1" in scene.sender.took)
    scene.sender.says = lambda ids: OK
    async with running(scene.app()):
        await until(lambda: scene.delivered(0) == 2)
    assert scene.sender.took == ["n1", "n2"]
    assert scene.left_out() == []


@pytest.mark.parametrize(
    ("checked", "reversed_"),
    # The resume stands at 1. Whoever issued the erasure again did not see it, or did.
    [(0, True), (1, True), (2, False)],
)
async def test_what_was_reversed_is_not_issued_again(scene: Lane, checked: int, reversed_: bool) -> None:
    await scene.register("p", 0)
    erasure = said(1, E, "user:1")
    await scene.issue_packs([(0, E)], [(2, R, "user:1")])
    await scene.put(
        NoticesIssued(partner="p", lane=0, notices=(erasure,), again=Again(how="redrive", by=BY), checked=checked)
    )
    async with running(scene.app()):
        await until(lambda: scene.delivered(0) == 3)
    assert scene.left_out() == (["n1"] if reversed_ else [])
    assert ("n1" in scene.sender.took) is not reversed_


# -- refusals


def every(count: int) -> list[str]:
    return [f"n{number}" for number in range(count)]


@pytest.mark.parametrize("answer", [REFUSED, ERROR])
@pytest.mark.parametrize("size", [1, 4])
async def test_an_endpoint_that_takes_nothing_parks_nothing(scene: Lane, answer: Answer, size: int) -> None:
    await scene.register("p", 0, batch_size=size)
    scene.sender.says = lambda ids: answer
    await scene.issue_packs(*([(number, E)] for number in range(8)))
    async with running(scene.app()):
        await until(lambda: len(scene.told(BatchFailed)) >= 20)
        assert scene.told(NoticeParked, NoticeUndeliverable, BatchDelivered) == []
        assert scene.delivered(0) == 0
        scene.sender.says = lambda ids: OK
        await until(lambda: scene.delivered(0) == 8)
    assert sorted(scene.sender.took) == every(8)
    assert scene.parked() == []


@pytest.mark.parametrize("answer", [REFUSED, ERROR, Answer(Attempt(404, "HTTP 404"), 1.0)])
@pytest.mark.parametrize("size", [1, 10])
async def test_one_notice_that_is_not_taken_holds_up_no_other(scene: Lane, answer: Answer, size: int) -> None:
    await scene.register("p", 0, batch_size=size)
    scene.sender.says = scene.sender.without("n2", answer=answer)
    await scene.issue_packs([(number, E) for number in range(8)], [(8, E)], [(9, E)])
    async with running(scene.app()):
        await until(lambda: scene.delivered(0) == 3)
    assert sorted(scene.sender.took) == sorted(set(every(10)) - {"n2"})
    (parked,) = scene.told(NoticeParked)
    assert (parked.notice_id, parked.lane, parked.offset) == ("n2", 0, 0)
    assert (parked.failing.offset, parked.failing.others_taken) == (0, True)
    assert scene.told(NoticeUndeliverable) == []
    # Some dozen requests, and not one for each.
    assert len(scene.sender.heard) < 30


async def test_what_arrives_during_a_long_wait_goes_at_once_and_frees_the_lane(scene: Lane) -> None:
    await scene.register("p", 0)
    scene.sender.says = scene.sender.without("n1")
    async with running(scene.app(SLOW)):
        await scene.issue_packs([(1, E)])
        await until(lambda: scene.sender.heard == [["n1"]])
        await scene.issue_packs([(2, E)])
        await until(lambda: scene.delivered(0) == 2)
    assert scene.sender.heard == [["n1"], ["n2"], ["n1"]]
    assert scene.parked() == ["n1"]


async def test_what_arrives_for_the_same_subject_waits_for_its_turn(scene: Lane) -> None:
    await scene.register("p", 0)
    scene.sender.says = scene.sender.without("n1")
    async with running(scene.app(SLOW)):
        await scene.issue_packs([(1, E, "user:1")])
        await until(lambda: scene.sender.heard == [["n1"]])
        await scene.issue_packs([(2, E, "user:1")], [(3, E, "user:3")])
        await until(lambda: scene.delivered(0) == 3)
    assert scene.sender.heard == [["n1"], ["n3"], ["n1"], ["n2"]]


@pytest.mark.parametrize("how", ["tried", "another address"])
async def test_a_long_wait_ends_when_somebody_wants_it(scene: Lane, how: str) -> None:
    await scene.register("p", 0)
    scene.sender.says = lambda ids: BUSY
    async with running(scene.app(SLOW)):
        await scene.issue_packs([(1, E)])
        await until(lambda: scene.sender.heard == [["n1"]])
        scene.sender.says = lambda ids: OK
        if how == "tried":
            tried = PartnerTried(partner="p", tried_at=NOON)
            await scene.engine.log.append([record(PARTNERS.name, Envelope("tried", NOON, tried))])
        else:
            await scene.register("p", 0, url="https://new.example/", revision=2)
        await until(lambda: scene.delivered(0) == 1)


async def test_another_address_is_tried_with_the_whole_batch_and_old_refusals_tell_nothing(scene: Lane) -> None:
    await scene.register("p", 0, batch_size=10)
    scene.sender.says = lambda ids: REFUSED
    async with running(scene.app(SLOW)):
        await scene.issue_packs([(1, E), (2, E)])
        await until(lambda: scene.sender.heard == [["n1", "n2"], ["n1"]])
        scene.sender.says = lambda ids: OK
        await scene.register("p", 0, batch_size=10, url="https://new.example/", revision=2)
        await until(lambda: scene.delivered(0) == 1)
    assert scene.sender.heard[2:] == [["n1", "n2"]]


# -- parked notices


def retry(number: int, failing: Failing) -> NoticesIssued:
    again = Again(how="retry", by=BY)
    return NoticesIssued(partner="p", lane=0, notices=(said(number, E),), again=again, checked=0, failing=failing)


def failing(refusals: int, minutes: float, *, others_taken: bool = True) -> Failing:
    first = NOON - timedelta(minutes=minutes)
    return Failing(
        lane=0, offset=0, failures=refusals, refusals=refusals, first_refused_at=first, others_taken=others_taken
    )


@pytest.mark.parametrize(
    ("before", "kind"),
    [
        (failing(1, 1), NoticeParked),
        (failing(2, 14), NoticeParked),
        (failing(2, 15), NoticeUndeliverable),
        (failing(2, 900, others_taken=False), NoticeParked),
    ],
)
async def test_a_parked_notice_that_is_refused_again_is_parked_or_in_the_end_undeliverable(
    scene: Lane, before: Failing, kind: type
) -> None:
    await scene.register("p", 0, updated_at=NOON - timedelta(days=1))
    scene.sender.says = scene.sender.without("n5")
    await scene.put(retry(5, before))
    await scene.issue_packs([(6, E)])
    async with running(scene.app()):
        await until(lambda: scene.delivered(0) == 2)
    (told,) = scene.told(NoticeParked, NoticeUndeliverable)
    assert (type(told), told.notice_id, told.offset) == (kind, "n5", 0)
    if isinstance(told, NoticeParked):
        assert (told.failing.failures, told.failing.refusals) == (before.failures + 1, before.refusals + 1)
    # It says nothing of the partner.
    assert scene.told(BatchFailed) == []


async def test_a_parked_notice_goes_alone_and_waits_for_an_endpoint_that_is_away(scene: Lane) -> None:
    await scene.register("p", 0, batch_size=10)
    answers = [Answer(Attempt(None, "connection refused"), 1.0), Answer(Attempt(503, "HTTP 503", "0"), 1.0)]
    scene.sender.says = lambda ids: answers.pop(0) if answers else OK
    await scene.issue_packs([(1, E)])
    await scene.put(retry(5, failing(1, 1)))
    await scene.issue_packs([(6, E)])
    async with running(scene.app()):
        await until(lambda: scene.delivered(0) == 3)
    assert scene.sender.took == ["n1", "n5", "n6"]
    assert all("n5" not in ids or ids == ["n5"] for ids in scene.sender.heard)
    assert scene.parked() == []
