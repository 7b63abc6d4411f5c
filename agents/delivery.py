"""The delivery agent: one actor a lane posts what stands there until the partner takes it.

The lane's committed offset is the partner's progress. A partner that is down does not advance, and
nobody else waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from agents.consuming import append_until_durable, consume
from agents.directory import Directory
from agents.poison import Intake
from agents.retrying import Attempt, Backoff, next_delay
from agents.webhooks import Answer, ReplyItem, Sender
from streams import ids
from streams.clock import Clock
from streams.cloudevents import Envelope
from streams.events import (
    Acknowledged,
    AckStatus,
    Action,
    BatchDelivered,
    BatchFailed,
    Notice,
    NoticesIssued,
    Outcome,
    Partner,
    PartnerStatus,
    RefusalReason,
)
from streams.log import LANE_BUFFER, events_topic
from streams.records import Appender, Record, record
from streams.sealing import SealBroken, Sealer
from streams.topics import ACKNOWLEDGEMENTS, DELIVERIES, NOTICES

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one request carries: one message of a lane. Its id follows from where it stands, so every
    retry has the same id, also after a crash."""

    lane: int
    offset: int
    partner: str
    notices: tuple[Notice, ...]

    @property
    def webhook_id(self) -> str:
        return ids.webhook_id(self.lane, self.offset)


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
    ) -> None:
        self._appender = appender
        self._directory = directory
        self._sender = sender
        self._sealer = sealer
        self._clock = clock
        self._backoff = backoff

    async def deliver(self, batch: Batch) -> None:
        """Return when the partner has taken the batch, or is removed."""
        number = 0
        while (partner := await self._addressee(batch.partner)) is not None:
            number += 1
            answer = await self._attempt(partner, batch)
            now = self._clock()
            if answer.attempt.accepted:
                await append_until_durable(self._appender, _taken(batch, answer, number, now))
                return
            jitter = random.random()  # noqa: S311 - jitter needs no cryptography
            delay = next_delay(answer.attempt, number, self._backoff, jitter, now)
            failed = _failed(batch, answer, number, now, now + timedelta(seconds=delay))
            await append_until_durable(self._appender, [failed])
            await self._pause(partner, delay)
        log.warning("lane %d@%d is dropped: partner %s is removed or unknown", batch.lane, batch.offset, batch.partner)

    async def _attempt(self, partner: Partner, batch: Batch) -> Answer:
        try:
            secret = self._sealer.open(partner.sealed_secret)
        except SealBroken as error:
            # This partner's trouble alone: its lane waits, as for any failure, until it gets a new secret.
            return Answer(Attempt(None, str(error)), 0.0)
        return await self._sender.send(
            partner.url,
            secret,
            batch.webhook_id,
            batch.notices,
            single=partner.batch_size == 1 and len(batch.notices) == 1,
            now=self._clock(),
        )

    async def _addressee(self, partner_id: str) -> Partner | None:
        """The partner, once it may be sent to; None if it is removed."""
        await self._directory.caught_up()
        while True:
            partner = self._directory.get(partner_id)
            if partner is None or partner.status is PartnerStatus.REMOVED:
                return None
            if partner.status is PartnerStatus.ACTIVE:
                return partner
            await self._directory.changed()

    async def _pause(self, partner: Partner, delay: float) -> None:
        """Wait out the delay; a change of this partner (a new address, say) ends it early."""
        deadline = asyncio.get_running_loop().time() + delay
        try:
            async with asyncio.timeout_at(deadline):
                while self._directory.get(partner.id) is partner:
                    await self._directory.changed()
        except TimeoutError:
            return


def _taken(batch: Batch, answer: Answer, number: int, now: datetime) -> list[Record]:
    delivered = BatchDelivered(
        partner=batch.partner,
        lane=batch.lane,
        first_offset=batch.offset,
        last_offset=batch.offset,
        notices=len(batch.notices),
        webhook_id=batch.webhook_id,
        attempt=number,
        status_code=answer.attempt.status or 0,
        duration_ms=round(answer.duration_ms, 3),
        delivered_at=now,
    )
    identity = ids.derive("delivered", batch.webhook_id)
    records = [record(DELIVERIES.name, Envelope(identity, now, delivered))]
    records += _acknowledged(batch, answer.items, now)
    return records


def _acknowledged(batch: Batch, items: Sequence[ReplyItem], now: datetime) -> list[Record]:
    sent = {notice.id: notice for notice in batch.notices}
    records: dict[str, Record] = {}
    foreign = 0
    for item in items:
        notice = sent.get(item.id)
        if notice is None:
            # A reply speaks for its own batch only; anything else comes by the API, where it is checked.
            foreign += 1
            continue
        outcome, reason = _meaning(item, notice.action)
        data = Acknowledged(
            notice_id=item.id,
            partner=batch.partner,
            subject=notice.subject,
            status=item.status,
            outcome=outcome,
            reason=reason,
            detail=item.detail,
            occurred_at=now,
            via="reply",
        )
        content = (item.status, outcome or "", reason or "", item.detail or "", "")
        identity = ids.acknowledgement_id(item.id, batch.partner, *content)
        records[identity] = record(ACKNOWLEDGEMENTS.name, Envelope(identity, now, data))
    if foreign:
        log.warning("partner %s acknowledged %d notices that were not in the batch", batch.partner, foreign)
    return list(records.values())


#: What `completed` says by itself: what the notice asked for is done.
_DONE = {
    Action.ERASE: Outcome.DELETED,
    Action.STOP: Outcome.SUPPRESSED,
    Action.RESUME: Outcome.RESUMED,
}


def _meaning(item: ReplyItem, action: Action) -> tuple[Outcome | None, RefusalReason | None]:
    """The outcome and the reason that a reply means. Its short forms, `completed` and `refused` alone, are
    answers; and an outcome of what is not completed, or a reason of what is not refused, says nothing."""
    if item.status is AckStatus.COMPLETED:
        return item.outcome or _DONE[action], None
    if item.status is AckStatus.REFUSED:
        return None, item.reason or RefusalReason.OTHER
    return None, None


def _failed(batch: Batch, answer: Answer, number: int, now: datetime, again: datetime) -> Record:
    attempt: Attempt = answer.attempt
    data = BatchFailed(
        partner=batch.partner,
        lane=batch.lane,
        first_offset=batch.offset,
        last_offset=batch.offset,
        notices=len(batch.notices),
        webhook_id=batch.webhook_id,
        attempt=number,
        status_code=attempt.status,
        error=(attempt.error or "no reason given")[:1000],
        duration_ms=round(answer.duration_ms, 3),
        failed_at=now,
        next_attempt_at=again,
    )
    identity = ids.derive("failed", batch.webhook_id, str(number), now.isoformat())
    return record(DELIVERIES.name, Envelope(identity, now, data))


def add_delivery(app: Any, appender: Appender, courier: Courier, clock: Clock) -> None:
    """Add the agent to a Faust app."""
    intake = Intake(appender, clock, NoticesIssued)

    async def handle(batch: Sequence[Any]) -> None:
        for item in await intake.read(batch):
            issued = item.envelope.data
            if isinstance(issued, NoticesIssued):
                await courier.deliver(Batch(item.partition, item.offset, issued.partner, issued.notices))

    @app.agent(events_topic(app, NOTICES.name, buffer=LANE_BUFFER), name="delivery", isolated_partitions=True)
    async def delivery(stream: Any) -> None:
        # One at a time: what is delivered counts as done before the next is begun.
        await consume(app, stream, 1, handle)
