"""What a partner does not take, as the service runs it: a worker and two ledgers on a real log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from agents.retrying import Attempt
from agents.webhooks import Answer
from ledger import Ledger, NoticeRow, NoticeStatus
from streams.cloudevents import Envelope
from streams.events import NoticesIssued, PartnerTried
from streams.kinds import Action
from streams.records import record
from streams.topics import NOTICES, PARTNERS
from tests.conformance.harness import until
from tests.unit.fakes import NOON, OK, notice, partner
from tests.unit.test_deadlines_running import Service, Taking
from tests.unit.test_ledger import ranked

REFUSED = Answer(Attempt(422, "HTTP 422: who is that?"), 1.0)


class Picky(Taking):
    """It answers 422 to every request that has one of these notices in it."""

    def __init__(self, *refuses: str) -> None:
        super().__init__()
        self.refuses = set(refuses)

    async def send(self, *given: object, **named: object) -> Answer:
        before = len(self.taken)
        await super().send(*given, **named)  # type: ignore[arg-type]
        if self.refuses.isdisjoint(identity for identity, _ in self.taken[before:]):
            return OK
        del self.taken[before:]
        return REFUSED


@asynccontextmanager
async def parked(directory: Path) -> AsyncIterator[tuple[Service, Picky, list[Ledger]]]:
    """A service whose partner takes the second notice, and not the first."""
    service = Service(directory, "http://127.0.0.1:1")
    service.sender = sender = Picky("n1")
    secrets = [{"scheme": "v1", "sealed": service.sealer.seal("secret")}]
    whom = partner("p", secrets=secrets, batch_size=10)
    await service.engine.log.append([record(PARTNERS.name, Envelope("r", NOON, whom))])
    await issue(service, 1, 2)
    async with service.started() as ledgers:
        await shown(ledgers, lambda ledger: row(ledger).parked)
        yield service, sender, ledgers
    service.engine.close()


async def issue(service: Service, *numbers: int, action: Action = Action.ERASE, rank: int = 1, about: int = 0) -> None:
    changes = {"receive_by": NOON + timedelta(days=1), "complete_by": NOON + timedelta(days=30), "rank": ranked(rank)}
    notices = [notice(number, action).model_copy(update=changes) for number in numbers]
    if about:
        notices = [each.model_copy(update={"subject": f"user:{about}"}) for each in notices]
    pack = NoticesIssued(partner="p", lane=0, notices=tuple(notices))
    name = f"pack-{numbers[0]}"
    await service.engine.log.append([record(NOTICES.name, Envelope(name, service.clock.now, pack), partition=0)])


def row(ledger: Ledger, name: str = "n1") -> NoticeRow:
    return ledger.notices([name])[name]


async def shown(ledgers: list[Ledger], what: Callable[[Ledger], bool]) -> None:
    await until(lambda: all(ledger.notices(["n1"]) and what(ledger) for ledger in ledgers))


def parked_again(since: datetime, ledger: Ledger) -> bool:
    found = row(ledger)
    return found.parked and found.retry_at is not None and found.retry_at > since


async def test_what_alone_is_refused_is_tried_again_until_it_is_undeliverable_and_stays_open(tmp_path: Path) -> None:
    async with parked(tmp_path) as (service, sender, ledgers):
        assert sender.taken == [("n2", None)]
        for _ in range(2):
            service.clock.pass_by(1)
            since = service.clock.now
            await shown(ledgers, partial(parked_again, since))
        # A refusal counts for good where the endpoint takes others, over a quarter of an hour.
        service.clock.pass_by(16 * 60)
        await shown(ledgers, lambda ledger: row(ledger).status is NoticeStatus.UNDELIVERABLE)
        for ledger in ledgers:
            (found,) = ledger.lag(service.clock.now)
            assert (found.open, found.undeliverable) == (2, 1)
            assert row(ledger).last_words == "HTTP 422: who is that?"
    assert sender.taken == [("n2", None)]


@pytest.mark.parametrize("by_hand", [False, True])
async def test_what_is_taken_at_last_is_delivered(tmp_path: Path, by_hand: bool) -> None:
    async with parked(tmp_path) as (service, sender, ledgers):
        sender.refuses.clear()
        await asyncio.sleep(0.3)
        assert sender.taken == [("n2", None)], "not before its time"
        if by_hand:
            service.clock.pass_by(0.001)
            tried = PartnerTried(partner="p", tried_at=service.clock.now)
            await service.engine.log.append([record(PARTNERS.name, Envelope("t", service.clock.now, tried))])
        else:
            service.clock.pass_by(1)
        await shown(ledgers, lambda ledger: row(ledger).status is NoticeStatus.DELIVERED)
        kinds = [entry.kind for entry in ledgers[0].timeline("user:1")]
        assert kinds == ["notice_issued", "parked", "retried", "delivered"]
    assert set(sender.taken) == {("n1", None), ("n2", None)}


async def test_what_the_user_takes_back_is_never_tried_again(tmp_path: Path) -> None:
    async with parked(tmp_path) as (service, sender, ledgers):
        sender.refuses.clear()
        await issue(service, 3, action=Action.RESUME, rank=2, about=1)
        await shown(ledgers, lambda ledger: row(ledger).status is NoticeStatus.CANCELLED)
        service.clock.pass_by(3600)
        await until(lambda: ("n3", None) in sender.taken)
        await asyncio.sleep(0.3)  # several looks of each ledger
        assert [name for name, _ in sender.taken] == ["n2", "n3"]
