"""The retries agent over real ledgers, a log in memory and a time that the test owns."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agents import retries
from agents.retries import Retries
from ledger import Ledger, NoticeStatus
from streams import ids
from streams.cloudevents import Envelope
from streams.errors import LedgerBehind
from streams.events import (
    Acknowledged,
    AckStatus,
    Act,
    Actor,
    BatchDelivered,
    Failing,
    Notice,
    NoticeParked,
    NoticesIssued,
    NoticeUndeliverable,
    OperatorActed,
    Outcome,
    PartnerChanged,
    PartnerTried,
)
from streams.kinds import Action
from streams.records import TopicPartition, record
from streams.topics import ACKNOWLEDGEMENTS, ACTIONS, DELIVERIES, NOTICES, PARTNERS, UNDELIVERABLE
from tests.unit.fakes import partner
from tests.unit.gateway.harness import NOON, MemoryLog, TestClock, at
from tests.unit.test_ledger import dump, ranked

FAILING = Failing(lane=0, offset=0, failures=2, refusals=1, first_refused_at=NOON, others_taken=True)


class Scene:
    """Two ledgers of one log, and a partner that gets one notice a request."""

    def __init__(self, directory: Path) -> None:
        self.clock = TestClock()
        self.log = MemoryLog(self.clock)
        self.numbers = itertools.count(1)
        self.ledgers = [Ledger.open(directory / f"{name}.sqlite") for name in ("a", "b")]
        for ledger in self.ledgers:
            self.log.project_into(ledger)
        self.agents = [Retries(self.log, ledger, self.clock) for ledger in self.ledgers]
        self.changed("p")

    def close(self) -> None:
        for ledger in self.ledgers:
            ledger.close()

    def happened(self, topic: str, data: Any, partition: int | None = None, identity: str | None = None) -> None:
        event = Envelope(identity or f"e-{next(self.numbers)}", self.clock.now, data)
        self.log.put([record(topic, event, partition)])

    def changed(self, name: str, revision: int = 1, **changes: Any) -> None:
        fields = {"status": "active", "revision": revision, "updated_at": self.clock.now, **changes}
        self.happened(PARTNERS.name, PartnerChanged.model_validate(partner(name).model_dump() | fields))

    def issued(
        self, number: int, *, action: Action = Action.ERASE, rank: int = 1, subject: int = 1, name: str = "p"
    ) -> None:
        notice = Notice(
            id=f"n{number}", cause_id="c", toggle_id="t", action=action, subject=f"user:{subject}", purpose="ai",
            occurred_at=NOON, issued_at=NOON, receive_by=at(100), complete_by=at(1000), rank=ranked(rank),
        )  # fmt: skip
        self.happened(NOTICES.name, NoticesIssued(partner=name, lane=0, notices=(notice,)), 0)

    def parked(self, number: int, offset: int, retry: float = 5, name: str = "p", subject: int = 1) -> None:
        """It is tried again in so many minutes."""
        now = self.clock.now
        data = NoticeParked(
            partner=name, lane=0, offset=offset, notice_id=f"n{number}", subject=f"user:{subject}", status_code=500,
            detail="HTTP 500", failing=FAILING, parked_at=now, retry_at=now + (at(retry) - at(0)),
        )  # fmt: skip
        self.happened(UNDELIVERABLE.name, data, identity=f"parked-{number}-{offset}")

    async def look(self, minutes: float, which: int = 0) -> int:
        self.clock.now = at(minutes)
        return await self.agents[which].look()

    def again(self) -> list[tuple[str, NoticesIssued]]:
        """What was issued again, with the ids of the events."""
        events = [(event.id, event.data) for event in self.log.events(NOTICES.name)]
        return [(name, data) for name, data in events if isinstance(data, NoticesIssued) and data.again is not None]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    made.clock.now = at(1)
    yield made
    made.close()


async def test_a_parked_notice_is_issued_again_when_its_time_has_come(scene: Scene) -> None:
    scene.issued(1)
    scene.parked(1, 0)
    assert await scene.look(5.9) == 0
    assert await scene.look(6) == 1
    ((identity, pack),) = scene.again()
    assert identity == ids.derive("retry", "parked-1-0")
    assert [notice.id for notice in pack.notices] == ["n1"]
    assert pack.notices[0].rank == ranked(1)
    assert (pack.partner, pack.lane, pack.checked, pack.failing) == ("p", 0, 1, FAILING)
    assert pack.again is not None
    assert (pack.again.how, pack.again.by.role) == ("retry", "service")
    assert await scene.look(60) == 0, "it stands in its lane now"
    scene.parked(1, 1, retry=10)
    assert [await scene.look(minutes) for minutes in (69, 70, 71)] == [0, 1, 0]
    assert scene.again()[1][0] == ids.derive("retry", "parked-1-1")


async def test_two_ledgers_do_it_once_and_what_is_repeated_repeats_its_id(scene: Scene, tmp_path: Path) -> None:
    scene.issued(1)
    scene.parked(1, 0)
    assert [await scene.look(6, which) for which in (0, 1)] == [1, 0]
    scene.parked(1, 1, retry=5)
    scene.clock.now = at(20)
    ready = asyncio.Barrier(2)

    def both(find: Callable[..., Any]) -> Callable[..., Any]:
        loop = asyncio.get_running_loop()

        def wait(*given: Any) -> Any:
            found = find(*given)
            asyncio.run_coroutine_threadsafe(_wait(ready), loop).result()
            return found

        return wait

    for ledger in scene.ledgers:
        ledger.retries = both(ledger.retries)  # type: ignore[method-assign]
    assert await asyncio.gather(*(agent.look() for agent in scene.agents)) == [1, 1]
    assert [name for name, _ in scene.again()] == [ids.derive("retry", f"parked-1-{place}") for place in (0, 1, 1)]
    for ledger in scene.ledgers:
        kinds = [entry.kind for entry in ledger.timeline("user:1")]
        assert kinds == ["notice_issued", "parked", "retried", "parked", "retried"]
    assert dump(tmp_path / "a.sqlite") == dump(tmp_path / "b.sqlite")


async def _wait(barrier: asyncio.Barrier) -> None:
    await barrier.wait()


async def test_a_crash_before_it_was_known_to_be_durable_repeats_the_id(scene: Scene) -> None:
    scene.issued(1)
    scene.parked(1, 0)
    append, lost = scene.log.append, [1]

    async def unsure(records: Any) -> Any:
        positions = await append(records)
        if lost:
            lost.clear()
            raise LedgerBehind("who knows")
        return positions

    scene.log.append = unsure  # type: ignore[method-assign]
    scene.log.projecting = False
    with pytest.raises(LedgerBehind):
        await scene.look(6)
    scene.log.projecting = True
    scene.log.project()
    assert await scene.look(7) == 0, "the ledger shows that it is durable"
    assert len(scene.again()) == 1


def answered(scene: Scene) -> None:
    data = Acknowledged(
        notice_id="n1", partner="p", subject="user:1", status=AckStatus.COMPLETED, outcome=Outcome.DELETED,
        occurred_at=scene.clock.now, via="api",
    )  # fmt: skip
    scene.happened(ACKNOWLEDGEMENTS.name, data)


def discarded(scene: Scene) -> None:
    by = Actor(key="k", role="operator")
    data = OperatorActed(act=Act.DISCARD, by=by, partner="p", notices=("n1",), reason="gone", acted_at=scene.clock.now)
    scene.happened(ACTIONS.name, data)


def refused(scene: Scene) -> None:
    scene.happened(NOTICES.name, NoticesIssued(partner="p", lane=0, notices=(_first(scene),)), 0)
    data = NoticeUndeliverable(
        partner="p", lane=0, offset=1, notice_id="n1", subject="user:1", status_code=422, detail="no",
        refused_at=scene.clock.now,
    )  # fmt: skip
    scene.happened(UNDELIVERABLE.name, data)


def _first(scene: Scene) -> Notice:
    first = scene.log.events(NOTICES.name)[0].data
    assert isinstance(first, NoticesIssued)
    return first.notices[0]


NO_RETRY: dict[str, Callable[[Scene], None]] = {
    "answered": answered,
    "discarded": discarded,
    "reversed": lambda scene: scene.issued(2, action=Action.RESUME, rank=2),
    "refused for good": refused,
    "paused": lambda scene: scene.changed("p", 2, status="paused"),
    "suspended": lambda scene: scene.changed("p", 2, status="suspended"),
    "removed": lambda scene: scene.changed("p", 2, status="removed"),
}


@pytest.mark.parametrize("happens", NO_RETRY.values(), ids=NO_RETRY)
async def test_what_is_closed_reversed_or_held_is_not_tried_again(
    scene: Scene, happens: Callable[[Scene], None]
) -> None:
    scene.issued(1)
    scene.parked(1, 0)
    happens(scene)
    assert await scene.look(60) == 0
    assert [data for _, data in scene.again() if data.again and data.again.how == "retry"] == []


async def test_an_older_word_of_the_user_stops_nothing(scene: Scene) -> None:
    scene.issued(1)
    scene.parked(1, 0)
    scene.issued(2, action=Action.RESUME, rank=0)
    assert await scene.look(60) == 1


async def test_a_reversal_that_the_ledger_has_not_read_is_left_to_the_worker(scene: Scene) -> None:
    """It stands in the lane from `checked` on, where the worker looks."""
    scene.issued(1)
    scene.parked(1, 0)
    find = scene.ledgers[0].retries

    def meanwhile(*given: Any) -> Any:
        found = find(*given)
        scene.issued(2, action=Action.RESUME, rank=2)
        return found

    scene.ledgers[0].retries = meanwhile  # type: ignore[method-assign, assignment]
    assert await scene.look(60) == 1
    ((_, pack),) = scene.again()
    assert pack.checked == 1
    end = (await scene.log.end_offsets(NOTICES.name))[TopicPartition(NOTICES.name, 0)]
    assert end == 3, "the reversal is at 1, and what was issued again behind it"


def tried(scene: Scene) -> None:
    scene.happened(PARTNERS.name, PartnerTried(partner="p", tried_at=scene.clock.now))


def resumed(scene: Scene) -> None:
    scene.changed("p", 2, status="paused")
    scene.changed("p", 3)


AT_ONCE: dict[str, Callable[[Scene], None]] = {
    "tried": tried,
    "another address": lambda scene: scene.changed("p", 2, url="https://new.example/"),
    "resumed": resumed,
}


@pytest.mark.parametrize("happens", AT_ONCE.values(), ids=AT_ONCE)
async def test_all_of_a_partner_is_tried_at_once(scene: Scene, happens: Callable[[Scene], None]) -> None:
    for number in (1, 2):
        scene.issued(number, subject=number)
        scene.parked(number, number - 1, retry=600, subject=number)
    assert await scene.look(2) == 0
    happens(scene)
    assert [await scene.look(3), await scene.look(4)] == [2, 0]
    scene.parked(1, 2, retry=600)
    assert await scene.look(5) == 0, "once"


async def test_a_notice_goes_by_the_lane_that_its_partner_has_now(scene: Scene) -> None:
    scene.issued(1)
    scene.parked(1, 0)
    scene.changed("p", 2, lane=3)
    assert await scene.look(60) == 1
    ((_, pack),) = scene.again()
    assert (pack.lane, pack.checked) == (3, 0)
    data = BatchDelivered(
        partner="p", lane=3, first_offset=0, last_offset=0, notices=1, webhook_id="m", attempt=1, status_code=200,
        duration_ms=1, delivered_at=scene.clock.now,
    )  # fmt: skip
    scene.happened(DELIVERIES.name, data)
    assert scene.ledgers[0].notices(["n1"])["n1"].status is NoticeStatus.DELIVERED


async def test_a_look_has_a_limit_and_the_next_one_goes_on(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "MOST", 3)
    for place, (number, name) in enumerate(itertools.product(range(2), ("p", "q", "r"))):
        if number == 0 and name != "p":
            scene.changed(name)
        scene.issued(place, subject=place, name=name)
        scene.parked(place, place, name=name, subject=place)
    assert [await scene.look(60) for _ in range(4)] == [3, 2, 1, 0]
    assert sorted(pack.notices[0].id for _, pack in scene.again()) == [f"n{number}" for number in range(6)]


async def test_a_ledger_that_is_behind_tries_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it does not know yet may be the reversal, or that another ledger was faster."""
    scene.issued(1)
    scene.parked(1, 0)
    monkeypatch.setattr("agents.looking._CATCH_UP", 0.05)
    scene.log.projecting = False
    scene.issued(2, action=Action.RESUME, rank=2)
    with pytest.raises(LedgerBehind):
        await scene.look(60)
    assert scene.again() == []
