"""One attempt at a time: when a partner may be tried, what is sent, and what is told of it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, NamedTuple

from agents import reports
from agents.channels import PartnerChannel
from agents.connectivity import Connectivity
from agents.consuming import append_until_durable
from agents.directory import Directory
from agents.judging import AttemptVerdict, judge
from agents.parcels import Parcel
from agents.replies import SILENT, Reply, read
from agents.reply_budget import ReplyBudget, Reservation, reply_cap
from agents.retrying import Attempt, Backoff, next_delay
from agents.tracing import attempt
from agents.webhooks import Answer, Payload, Sender
from streams.clock import Clock
from streams.events import Partner, PartnerStatus
from streams.keyring import live_secrets
from streams.kinds import Action
from streams.records import Appender
from streams.sealing import SealBroken, Sealer
from streams.tracing import OFF, Tracing

log = logging.getLogger(__name__)

#: Seconds that a partner's change may take to reach a lane that is being delivered.
_DIRECTORY_AGE = 0.1
#: Seconds until an attempt that failed by our own fault is made again, at most.
_MOST_OUT_OF_ORDER = 30.0
#: Bytes of the longest reply that is read in the event loop, where others wait.
READ_AT_ONCE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt that was made: the `number`th at this parcel."""

    partner: Partner
    parcel: Parcel
    answer: Answer
    verdict: AttemptVerdict
    number: int
    #: Of `Directory.tried`, when it began.
    tries: int = 0
    #: What the answer says, if it took the parcel.
    reply: Reply = SILENT


class Removed(Exception):
    """The partner is removed or unknown: what waits for it goes nowhere."""


class Oversized(NamedTuple):
    """Nothing was sent: the partner takes no body of this size, or not so many notices, and the parcel can be split."""

    most: int


class LeftOut(NamedTuple):
    """Nothing was sent: the ids of those notices of the parcel that are not to be sent any more."""

    ids: Collection[str]


#: What may come before the time of an attempt.
News = Callable[[], Awaitable[object]]
#: The ids of those notices of a parcel that are not to be sent any more, as far as is known now.
Reversed = Callable[[Parcel], Collection[str]]


class Attempts:
    """Makes attempts, for all lanes of a process."""

    def __init__(
        self,
        appender: Appender,
        directory: Directory,
        sender: Sender,
        sealer: Sealer,
        clock: Clock,
        backoff: Backoff,
        tracing: Tracing = OFF,
        connectivity: Connectivity | None = None,
        budget: ReplyBudget | None = None,
    ) -> None:
        self._appender = appender
        self.directory = directory
        self._sender = sender
        self._sealer = sealer
        self.clock = clock
        self.backoff = backoff
        self._tracing = tracing
        #: Shared by all lanes of the process.
        self.connectivity = connectivity or Connectivity()
        self._budget = budget or ReplyBudget()
        self._channels: dict[str, PartnerChannel] = {}
        self._long_reply = asyncio.Lock()

    def channel(self, partner: str) -> PartnerChannel:
        return self._channels.setdefault(partner, PartnerChannel())

    async def once(
        self, parcel: Parcel, number: int, reversed_: Reversed, *, urgent: bool = False
    ) -> Tried | LeftOut | Oversized:
        """Wait until the partner may be tried, and try it. Whatever came in between is asked for right before. An
        `urgent` attempt does not wait for the time of the next one. Raises `Removed`."""
        payload: tuple[Partner, Payload] | None = None
        in_vain = 0
        while True:
            partner = await self.addressee(parcel.batch.partner)
            channel = self.channel(partner.id)
            if payload is None or payload[0] is not partner:
                if parcel.count > partner.batch_size:
                    return Oversized(partner.batch_size)
                payload = (partner, self._payload(partner, parcel))
                if len(payload[1].body) > partner.max_body_bytes and parcel.count > 1:
                    return Oversized((parcel.count + 1) // 2)
            reservation = await self._may_begin(partner, channel, parcel, urgent=urgent)
            if reservation is None:
                continue
            # Until the reply is read and understood; what it says goes to the log soon.
            with reservation:
                gone = reversed_(parcel)
                if gone:
                    return LeftOut(gone)
                tries = self.directory.tried(partner.id)
                answer, reply = await self._attempt(partner, channel, parcel, payload[1], number)
            ours = self.connectivity.ended(partner.id, answer, monotonic())
            if ours is not None:
                in_vain += 1
                await self._out_of_order(partner, ours, in_vain)
                continue
            in_vain = 0
            verdict = judge(answer.attempt, reached=answer.reached)
            tried = Tried(partner, parcel, answer, verdict, number, tries, reply)
            if tried.verdict is AttemptVerdict.ACCEPTED:
                actions = {notice.action for notice in parcel.notices}
                channel.took(partner, parcel.batch.lane, map(Action, actions), self.clock())
                self._complain(channel, parcel, reply)
                self.answered(tried)
            elif tried.verdict is AttemptVerdict.SUSPEND:
                self.answered(tried)
                await self._suspend(tried)
                number += 1
                continue
            return tried

    async def _out_of_order(self, partner: Partner, reason: str, in_vain: int) -> None:
        """Something is wrong on our side, so this was no attempt at all: nothing is told of the partner."""
        log.debug("an attempt at partner %s came to nothing: %s", partner.id, reason)
        self._abandon(partner)
        delay = min(self.backoff.delay(in_vain, random.random()), _MOST_OUT_OF_ORDER)  # noqa: S311
        await self.wait(partner, monotonic() + delay)

    def answered(self, tried: Tried) -> None:
        """The partner's endpoint answered: lanes that wait for that may go on."""
        channel = self.channel(tried.partner.id)
        channel.breaker.answered()
        channel.move()
        reports.tell(tried.parcel, tried.answer, tried.number, tried.verdict, None, tried.reply)

    def _complain(self, channel: PartnerChannel, parcel: Parcel, reply: Reply) -> None:
        count = 0 if reply.problem is None else channel.complaints.due(monotonic())
        if count:
            reports.complain(parcel, reply, count)

    async def failed(self, tried: Tried, *, at_once: bool = False, by: float = float("inf")) -> float:
        """Count and tell an attempt that failed. When the next one may follow, in the event loop's seconds: after the
        usual wait, and `by` then at the latest; or `at_once`, as where somebody asked for one while this one was under
        way."""
        now, channel = self.clock(), self.channel(tried.partner.id)
        jitter = random.random()  # noqa: S311 - jitter needs no cryptography
        failures = max(tried.number, channel.breaker.failures + 1)
        at_once = at_once or self.directory.tried(tried.partner.id) != tried.tries
        delay = 0.0 if at_once else next_delay(tried.answer.attempt, failures, self.backoff, jitter, now)
        delay = min(delay, max(0.0, by - monotonic()))
        deadline = monotonic() + delay
        channel.breaker.failed(deadline)
        channel.move()
        again = now + timedelta(seconds=delay)
        reports.tell(tried.parcel, tried.answer, tried.number, tried.verdict, again)
        record = reports.failed(tried.parcel, tried.answer, tried.number, now, again)
        await append_until_durable(self._appender, [record])
        return deadline

    def disregarded(self, tried: Tried) -> None:
        """It failed for a notice that is at fault itself, and says nothing of the partner."""
        self._abandon(tried.partner)
        reports.tell(tried.parcel, tried.answer, tried.number, tried.verdict, None)

    def _abandon(self, partner: Partner) -> None:
        channel = self.channel(partner.id)
        channel.breaker.abandoned()
        channel.move()

    async def wait(self, partner: Partner, deadline: float, news: News | None = None) -> bool:
        """Wait until then. False, and at once, if the partner has changed meanwhile, or somebody asked for it to be
        tried. With `news` also return when that comes; then the time is not over."""
        tries = self.directory.tried(partner.id)
        while self.directory.get(partner.id) is partner and self.directory.tried(partner.id) == tries:
            left = deadline - monotonic()
            if left <= 0:
                return True
            if await _first(left, self.directory.changed(), *(() if news is None else (news(),))):
                return True
        self.channel(partner.id).breaker.tried_now()
        return False

    async def addressee(self, partner_id: str) -> Partner:
        """The partner, once it may be sent to. Raises `Removed`."""
        await self.directory.caught_up(_DIRECTORY_AGE)
        while True:
            partner = self.directory.get(partner_id)
            if partner is None or partner.status is PartnerStatus.REMOVED:
                self.connectivity.forget(partner_id)
                raise Removed
            if partner.status is PartnerStatus.ACTIVE:
                return partner
            await self.directory.changed()

    def _payload(self, partner: Partner, parcel: Parcel) -> Payload:
        single = partner.batch_size == 1 and parcel.count == 1
        return self._sender.payload(parcel.notices, single=single, gzip=partner.gzip)

    async def _attempt(
        self, partner: Partner, channel: PartnerChannel, parcel: Parcel, payload: Payload, number: int
    ) -> tuple[Answer, Reply]:
        try:
            secrets = live_secrets(partner, self._sealer, self.clock())
        except SealBroken as error:
            # This partner's trouble alone: its lane waits, as for any failure, until it gets a new secret.
            return Answer(Attempt(None, str(error)), 0.0), SILENT
        channel.breaker.begin()
        channel.in_flight += 1
        ended = False
        try:
            with attempt(self._tracing, parcel, number) as attempted:
                payload = attempted.onto(payload)
                answer = await self._sender.send(partner.url, secrets, parcel.webhook_id, payload, self.clock())
                reply = await self._read(answer, parcel)
                attempted.answered(answer, reply)
            ended = True
        finally:
            channel.in_flight -= 1
            if not ended:  # the lane goes to another worker
                channel.breaker.abandoned()
            channel.move()
        # What the reply says is read; the body may be large, and the parcel may wait for the log.
        return replace(answer, reply=b""), reply

    async def _read(self, answer: Answer, parcel: Parcel) -> Reply:
        """What the reply says, if the partner took the parcel. Most say nothing, and cost nothing then."""
        if not answer.attempt.accepted or (not answer.reply and answer.unread is None):
            return SILENT
        asked = [notice.id for notice in parcel.notices]
        actions = {notice.id: Action(notice.action) for notice in parcel.notices}
        if len(answer.reply) <= READ_AT_ONCE:
            return read(answer.reply, asked, answer.unread, actions)
        # One at a time: what is made of a long reply takes far more memory than the reply.
        async with self._long_reply:
            return await asyncio.to_thread(read, answer.reply, asked, answer.unread, actions)

    async def _suspend(self, tried: Tried) -> None:
        now, parcel, answer = self.clock(), tried.parcel, tried.answer
        reason = answer.attempt.error or "no reason given"
        log.error("partner %s is suspended: %s", tried.partner.id, reports.discreet(reason, parcel))
        records = [
            reports.failed(parcel, answer, tried.number, now, None),
            reports.suspended(tried.partner, answer, reason, now),
        ]
        await append_until_durable(self._appender, records)
        await self.directory.caught_up()

    async def _may_begin(
        self, partner: Partner, channel: PartnerChannel, parcel: Parcel, *, urgent: bool
    ) -> Reservation | None:
        """Wait until an attempt may begin, with what its reply may take of the budget. None if the partner has changed
        meanwhile. While this waits as the rate asks, or for the budget, other lanes may begin theirs."""
        if not (await self._turn(partner, channel, urgent=urgent) and await self._token(partner, channel, parcel)):
            return None
        while await self._turn(partner, channel, urgent=urgent):
            reservation = self._budget.ask(partner.id, reply_cap(parcel.count))
            if reservation.granted.is_set() or await self._granted(partner, channel, reservation, urgent=urgent):
                return reservation
        return None

    async def _granted(
        self, partner: Partner, channel: PartnerChannel, reservation: Reservation, *, urgent: bool
    ) -> bool:
        """Wait for the budget. False, and the reservation is ended, if an attempt may not begin any more by then."""
        may_begin = False
        try:
            while not reservation.granted.is_set() and self.directory.get(partner.id) is partner:
                await _first(None, reservation.granted.wait(), self.directory.changed())
            may_begin = self.directory.get(partner.id) is partner and self._left(partner, channel, urgent=urgent) == 0
        finally:
            if not may_begin:
                reservation.end()
        return may_begin

    async def _turn(self, partner: Partner, channel: PartnerChannel, *, urgent: bool) -> bool:
        """Wait until other lanes' attempts allow one. False if the partner has changed meanwhile."""
        tries = self.directory.tried(partner.id)
        while True:
            if self.directory.get(partner.id) is not partner:
                channel.breaker.tried_now()
                return False
            if self.directory.tried(partner.id) != tries:
                tries = self.directory.tried(partner.id)
                channel.breaker.tried_now()
            wait = self._left(partner, channel, urgent=urgent)
            if wait == 0:
                return True
            await _first(wait, channel.moved.wait(), self.directory.changed())

    def _left(self, partner: Partner, channel: PartnerChannel, *, urgent: bool) -> float | None:
        """Seconds until other lanes' attempts allow one; None until one of them ends."""
        wait = channel.breaker.wait(monotonic())
        full = partner.max_in_flight is not None and channel.in_flight >= partner.max_in_flight
        if wait is None or full:
            return None
        return 0.0 if urgent else wait

    async def _token(self, partner: Partner, channel: PartnerChannel, parcel: Parcel) -> bool:
        """Wait as long as the partner's rate asks. False if the partner has changed meanwhile."""
        wait = channel.token_wait(partner, parcel.batch.lane, monotonic())
        return wait <= 0 or await self.wait(partner, monotonic() + wait)


async def _first(most: float | None, *news: Awaitable[Any]) -> bool:
    """Wait for the first of them, or for so many seconds. True if the last of several has come."""
    waiting = [asyncio.ensure_future(each) for each in news]
    try:
        await asyncio.wait(waiting, timeout=most, return_when=asyncio.FIRST_COMPLETED)
        return len(waiting) > 1 and waiting[-1].done()
    finally:
        for task in waiting:
            task.cancel()


def monotonic() -> float:
    return asyncio.get_running_loop().time()
