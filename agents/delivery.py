"""The courier takes what stands in lanes to partners, until they have it.

A lane's committed offset is the partner's progress. A partner that is down does not advance, and nobody else waits
for it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from agents import reports
from agents.breaking import Breaker
from agents.consuming import append_until_durable
from agents.directory import Directory
from agents.judging import Verdict, judge
from agents.limiting import Bucket
from agents.parcels import Batch, Parcel
from agents.retrying import Attempt, Backoff, next_delay
from agents.tracing import attempt
from agents.webhooks import Answer, Payload, Sender
from streams.clock import Clock
from streams.events import Partner, PartnerStatus
from streams.keyring import live_secrets
from streams.records import Appender, Record
from streams.sealing import SealBroken, Sealer
from streams.tracing import OFF, Tracing

log = logging.getLogger(__name__)

#: Seconds that a partner's change may take to reach a lane that is being delivered.
_DIRECTORY_AGE = 0.1


@dataclass(slots=True)
class _Standing:
    """What all lanes of a partner know together."""

    breaker: Breaker = field(default_factory=Breaker)
    #: By lane: lanes may be at different workers, so each has its share of the rate.
    buckets: dict[int, Bucket] = field(default_factory=dict)
    in_flight: int = 0
    #: Notices that it refused since it last took one.
    refused: int = 0
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    def move(self) -> None:
        self.moved.set()
        self.moved = asyncio.Event()


#: The ids of those notices of a batch that a later one reverses, as far as the lane knows now.
ReversedByNow = Callable[[], frozenset[str]]


def _nothing() -> frozenset[str]:
    return frozenset()


def _some(*parcels: Parcel) -> list[Parcel]:
    return [parcel for parcel in parcels if parcel.count]


class Courier:
    """Takes batches to their partners."""

    def __init__(
        self,
        appender: Appender,
        directory: Directory,
        sender: Sender,
        sealer: Sealer,
        clock: Clock,
        backoff: Backoff,
        tracing: Tracing = OFF,
    ) -> None:
        self._appender = appender
        self._directory = directory
        self._sender = sender
        self._sealer = sealer
        self._clock = clock
        self._backoff = backoff
        self._tracing = tracing
        self._standings: dict[str, _Standing] = {}

    def partner(self, identity: str) -> Partner | None:
        """As it is known right now."""
        return self._directory.get(identity)

    async def deliver(self, batch: Batch, reversed_by_now: ReversedByNow = _nothing) -> list[Record]:
        """Return when the partner has taken the batch, or has refused what it did not take, or is removed: with what
        must be durable before the batch counts as done. What is reversed before an attempt is left out."""
        partner = await self._addressee(batch.partner)
        if partner is None:
            return self._dropped(batch)
        left = deque(batch.parcels(partner.batch_size))
        not_taken: list[str] = []
        last: tuple[Answer, int] | None = None
        records: list[Record] = []
        while left:
            # What is to follow may take hours, if the partner goes down meanwhile.
            await self._keep(records)
            records = []
            parcel = left.popleft()
            settled = await self._settle(parcel, reversed_by_now)
            if settled is None:
                return self._dropped(batch)
            now = self._clock()
            if isinstance(settled, frozenset):
                not_taken += settled
                records = [reports.superseded(batch, settled, now)]
                left.extendleft(_some(parcel.without(settled)))
                continue
            verdict, answer, attempt = settled
            if verdict is Verdict.HALVE:
                left.extendleft(_some(*reversed(parcel.halves())))
            elif verdict is Verdict.REFUSED:
                not_taken += [notice.id for notice in parcel.notices]
                records = [reports.undeliverable(parcel, answer, now)]
            else:
                last = (answer, attempt)
                records = reports.acknowledged(parcel, answer.items, now)
        if last is not None:
            records.insert(0, reports.delivered(batch, *last, not_taken, self._clock()))
        return records

    async def _keep(self, records: Sequence[Record]) -> None:
        if records:
            await append_until_durable(self._appender, records)

    async def _settle(
        self, parcel: Parcel, reversed_by_now: ReversedByNow
    ) -> tuple[Verdict, Answer, int] | frozenset[str] | None:
        """Try until there is a verdict that ends it, or some of it is to be left out: which. None if the partner is
        removed."""
        number = 0
        payload: tuple[Partner, Payload] | None = None
        while (partner := await self._addressee(parcel.batch.partner)) is not None:
            standing = self._standings.setdefault(partner.id, _Standing())
            if payload is None or payload[0] is not partner:
                payload = (partner, self._payload(partner, parcel))
                if len(payload[1].body) > partner.max_body_bytes and parcel.count > 1:
                    return Verdict.HALVE, Answer(Attempt(None, "larger than the partner takes"), 0.0), number
            if not (await self._turn(partner, standing) and await self._token(partner, standing, parcel.batch.lane)):
                continue
            gone = reversed_by_now().intersection(notice.id for notice in parcel.notices)
            if gone:
                return gone
            number += 1
            answer = await self._attempt(partner, standing, parcel, payload[1], number)
            verdict = judge(answer.attempt, parcel.count, standing.refused)
            if verdict is Verdict.RETRY:
                await self._failed(partner, standing, parcel, answer, number)
                continue
            standing.breaker.answered()
            standing.move()
            reports.tell(parcel, answer, number, verdict, None)
            if verdict is Verdict.SUSPEND:
                await self._suspend(partner, standing, parcel, answer, number)
                continue
            standing.refused = standing.refused + 1 if verdict is Verdict.REFUSED else 0
            return verdict, answer, number
        return None

    def _payload(self, partner: Partner, parcel: Parcel) -> Payload:
        single = partner.batch_size == 1 and parcel.count == 1
        return self._sender.payload(parcel.notices, single=single, gzip=partner.gzip)

    async def _attempt(
        self, partner: Partner, standing: _Standing, parcel: Parcel, payload: Payload, number: int
    ) -> Answer:
        try:
            secrets = live_secrets(partner, self._sealer, self._clock())
        except SealBroken as error:
            # This partner's trouble alone: its lane waits, as for any failure, until it gets a new secret.
            return Answer(Attempt(None, str(error)), 0.0)
        standing.breaker.begin()
        standing.in_flight += 1
        ended = False
        try:
            with attempt(self._tracing, parcel, number) as attempted:
                payload = attempted.onto(payload)
                answer = await self._sender.send(partner.url, secrets, parcel.webhook_id, payload, self._clock())
                attempted.answered(answer)
            ended = True
        finally:
            standing.in_flight -= 1
            if not ended:  # the lane goes to another worker
                standing.breaker.abandoned()
            standing.move()
        return answer

    async def _failed(self, partner: Partner, standing: _Standing, parcel: Parcel, answer: Answer, number: int) -> None:
        now = self._clock()
        jitter = random.random()  # noqa: S311 - jitter needs no cryptography
        failures = max(number, standing.breaker.failures + 1)
        delay = next_delay(answer.attempt, failures, self._backoff, jitter, now)
        deadline = _monotonic() + delay
        standing.breaker.failed(deadline)
        standing.move()
        again = now + timedelta(seconds=delay)
        reports.tell(parcel, answer, number, Verdict.RETRY, again)
        await append_until_durable(self._appender, [reports.failed(parcel, answer, number, now, again)])
        await self._wait(partner, deadline)

    async def _suspend(
        self, partner: Partner, standing: _Standing, parcel: Parcel, answer: Answer, number: int
    ) -> None:
        now = self._clock()
        gone = standing.refused == 0
        words = answer.attempt.error or "no reason given"
        reason = words if gone else f"it refused {standing.refused + 1} notices in a row, at last with: {words}"
        log.error("partner %s is suspended: %s", partner.id, reports.discreet(reason, parcel))
        standing.refused = 0
        records = [
            reports.failed(parcel, answer, number, now, None),
            reports.suspended(partner, answer, reason, now),
        ]
        await append_until_durable(self._appender, records)
        await self._directory.caught_up()

    async def _addressee(self, partner_id: str) -> Partner | None:
        """The partner, once it may be sent to; None if it is removed."""
        await self._directory.caught_up(_DIRECTORY_AGE)
        while True:
            partner = self._directory.get(partner_id)
            if partner is None or partner.status is PartnerStatus.REMOVED:
                return None
            if partner.status is PartnerStatus.ACTIVE:
                return partner
            await self._directory.changed()

    async def _turn(self, partner: Partner, standing: _Standing) -> bool:
        """Wait until an attempt may begin. False if the partner has changed meanwhile."""
        while True:
            if self._directory.get(partner.id) is not partner:
                return False
            wait = standing.breaker.wait(_monotonic())
            full = partner.max_in_flight is not None and standing.in_flight >= partner.max_in_flight
            if wait is None or full:
                await self._either(standing)
            elif wait > 0:
                await self._pause(self._either(standing), wait)
            else:
                return True

    async def _token(self, partner: Partner, standing: _Standing, lane: int) -> bool:
        """Wait as long as the partner's rate asks. False if the partner has changed meanwhile."""
        if partner.max_requests_per_second is None:
            return True
        share = partner.max_requests_per_second / len(partner.lanes)
        bucket = standing.buckets.get(lane)
        if bucket is None or bucket.rate != share:
            bucket = standing.buckets[lane] = Bucket(share)
        return await self._wait(partner, _monotonic() + bucket.take(_monotonic()))

    async def _wait(self, partner: Partner, deadline: float) -> bool:
        """Wait until then. False, and at once, if the partner has changed meanwhile."""
        while self._directory.get(partner.id) is partner:
            left = deadline - _monotonic()
            if left <= 0:
                return True
            await self._pause(self._directory.changed(), left)
        return False

    async def _either(self, standing: _Standing) -> None:
        """Wait for news of the partner, or from another of its lanes."""
        waiting = [asyncio.ensure_future(each) for each in (standing.moved.wait(), self._directory.changed())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    async def _pause(self, news: Any, most: float) -> None:
        """Wait for news, but not for ever."""
        try:
            async with asyncio.timeout(most):
                await news
        except TimeoutError:
            return

    def _dropped(self, batch: Batch) -> list[Record]:
        log.warning("lane %d@%d is dropped: partner %s is removed or unknown", batch.lane, batch.first, batch.partner)
        return []


def _monotonic() -> float:
    return asyncio.get_running_loop().time()
