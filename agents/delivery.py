"""The courier takes what stands in lanes to partners, until they have it.

A lane's committed offset is the partner's progress. A partner that is down does not advance, and nobody else waits
for it. One notice that its partner does not take holds up nobody either: it is parked, see `agents.bisection`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Collection, Coroutine, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from agents import reports
from agents.attempts import Attempts, LeftOut, Oversized, Removed, Tried, monotonic
from agents.bisection import Bisection, Then, bisection_of
from agents.channels import endpoint_of
from agents.consuming import append_until_durable
from agents.judging import ALIKE, AttemptVerdict, blames, is_undeliverable, parked_wait
from agents.parcels import Batch, Parcel, Place
from streams.events import Failing, Partner
from streams.kinds import Action
from streams.records import Appender, Record

log = logging.getLogger(__name__)

#: Seconds from an attempt to one at a notice that has just arrived, at most.
_MOST_BETWEEN_ARRIVALS = 60.0


class Hold(Protocol):
    """What a lane does for the delivery of one of its batches."""

    def reversed(self, parcel: Parcel) -> Collection[str]:
        """The ids of those notices of a parcel that are not worth sending any more, as far as the lane knows now."""
        ...

    def ahead(self, start: int = 0) -> Iterable[Parcel]:
        """Notices further on in the lane, from offset `start` on, in order, each alone."""
        ...

    def end(self) -> int:
        """The offset from which on nothing has come into the lane yet, as far as it knows."""
        ...

    async def arrival(self) -> None:
        """Wait until something comes into the lane."""
        ...

    async def keep(self, records: Sequence[Record], settled: Collection[Place]) -> None:
        """Return when the records are durable, and with them that nothing is to be sent any more of these places:
        whoever holds the lane next sends nothing of them either."""
        ...


class Alone:
    """A hold where nothing is known of the rest of a lane."""

    def __init__(self, appender: Appender) -> None:
        self._appender = appender

    def reversed(self, parcel: Parcel) -> Collection[str]:
        return ()

    def ahead(self, start: int = 0) -> Iterable[Parcel]:
        return ()

    def end(self) -> int:
        return 0

    async def arrival(self) -> None:
        await asyncio.Event().wait()

    async def keep(self, records: Sequence[Record], settled: Collection[Place]) -> None:
        await append_until_durable(self._appender, records)


class Courier:
    """Takes batches to their partners."""

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts

    def partner(self, identity: str) -> Partner | None:
        """As it is known right now."""
        return self._attempts.directory.get(identity)

    async def deliver(self, batch: Batch, hold: Hold) -> list[Record]:
        """Return when each notice of the batch was taken, is left out or parked, or the partner is removed: with what
        must be durable before the batch counts as done."""
        return await _or_drop(batch, _Delivery(self._attempts, batch, hold).deliver())

    async def retry(self, batch: Batch, failing: Failing, hold: Hold) -> list[Record]:
        """The same for one notice that was parked. It holds up nobody: what fails for its own fault is parked again."""
        return await _or_drop(batch, _Delivery(self._attempts, batch, hold).retry(failing))


async def _or_drop(batch: Batch, delivery: Coroutine[Any, Any, list[Record]]) -> list[Record]:
    try:
        return await delivery
    except Removed:
        log.warning("lane %d@%d is dropped: partner %s is removed or unknown", batch.lane, batch.first, batch.partner)
        return []


class _Pause(NamedTuple):
    """The wait after an attempt that failed."""

    partner: Partner
    #: When the next attempt may follow, in the event loop's seconds.
    until: float
    #: May a notice that has just arrived be tried before? Not where the partner asked for time, or cannot be reached.
    for_arrivals: bool = True


class _Delivery:
    """A batch on its way. What was settled is kept before the next attempt, which may take hours."""

    def __init__(self, attempts: Attempts, batch: Batch, hold: Hold) -> None:
        self._attempts = attempts
        self._batch = batch
        self._hold = hold
        #: What is not begun yet, in order.
        self._todo: deque[Parcel] = deque()
        self._records: list[Record] = []
        self._settled: list[Parcel] = []
        #: Is there anything among these that nobody may decide otherwise, once something behind it was sent?
        self._decided = False
        #: Notices that arrived while others waited, and were tried in vain.
        self._arrived = 0

    async def deliver(self) -> list[Record]:
        partner = await self._attempts.addressee(self._batch.partner)
        self._todo.extend(self._batch.parcels(partner.batch_size))
        while self._todo:
            await self._whole(self._todo.popleft())
        if self._decided:
            await self._keep()
        return self._records

    async def retry(self, failing: Failing) -> list[Record]:
        (parcel,) = self._batch.parcels(1)
        number = 0
        while True:
            tried = await self._attempts.once(parcel, number + 1, self._hold.reversed)
            if isinstance(tried, LeftOut):
                self._leave_out(self._batch, tried.ids)
                break
            assert isinstance(tried, Tried)  # noqa: S101 - one notice cannot be halved
            number = tried.number
            if tried.verdict is AttemptVerdict.ACCEPTED:
                self._took(tried)
                break
            if blames(tried.verdict):
                self._park(tried, self._failed_again(tried, failing))
                await self._keep()
                await self._spare(tried)
                break
            await self._attempts.wait(tried.partner, await self._attempts.failed(tried))
        if self._decided:
            await self._keep()
        return self._records

    async def _spare(self, tried: Tried) -> None:
        """Many parked notices in a row may fail since their endpoint does. They are no reason for any other notice to
        wait; but where none waits, the next one of them comes no sooner than a first retry does."""
        lane, channel = self._batch.lane, self._attempts.channel(tried.partner.id)
        in_vain = channel.retries_in_vain[lane] = channel.retries_in_vain.get(lane, 0) + 1
        if in_vain >= ALIKE and next(iter(self._hold.ahead()), None) is None:
            await self._attempts.wait(tried.partner, monotonic() + self._attempts.backoff.base, self._hold.arrival)

    async def _whole(self, parcel: Parcel) -> None:
        """All of a parcel in one request, for as long as nothing says that one of its notices may be at fault."""
        number, alike, last = 0, 0, None
        while parcel.count:
            await self._keep()
            tried = await self._attempts.once(parcel, number + 1, self._hold.reversed)
            if isinstance(tried, LeftOut):
                self._leave_out(self._batch, tried.ids)
                parcel = parcel.without(tried.ids)
                continue
            if isinstance(tried, Oversized):
                self._todo.extendleft(reversed(parcel.split(tried.most)))
                return
            number = tried.number
            if tried.verdict is AttemptVerdict.ACCEPTED:
                self._took(tried)
                return
            attempt = tried.answer.attempt
            how = (endpoint_of(tried.partner), tried.verdict, attempt.status, attempt.fault)
            alike, last = (alike + 1 if how == last else 1), how
            refused = tried.verdict is AttemptVerdict.REFUSED
            if refused or (tried.verdict is AttemptVerdict.FAILED and alike >= ALIKE):
                await self._in_parts(tried, alike)
                return
            await self._attempts.wait(tried.partner, await self._attempts.failed(tried))

    async def _in_parts(self, tried: Tried, failures: int) -> None:
        """What failed as a whole, `failures` times in the same way."""
        self._arrived = 0
        bisection, endpoint = bisection_of(tried.parcel, self._todo), endpoint_of(tried.partner)
        self._todo.clear()
        then = Then.GO_ON if tried.parcel.count > 1 else bisection.failed(tried.parcel, tried.verdict, self._now())
        for suspect in bisection.suspects.values():
            suspect.failures = failures
        until = await self._attempts.failed(tried, at_once=then is Then.GO_ON)
        pause: _Pause | None = _Pause(tried.partner, until)
        while not bisection.over:
            await self._keep()
            arrived = None if pause is None else await self._rest(bisection, pause)
            partner = await self._attempts.addressee(self._batch.partner)
            if endpoint_of(partner) != endpoint:
                # What another endpoint did tells nothing of this one.
                self._todo.extend(bisection.left().split(partner.batch_size))
                return
            if self._drop_reversed(bisection):
                continue  # it must be durable before anything behind it is sent
            parcel = arrived or bisection.next(self._hold.ahead())
            if parcel is None:
                bisection.begin_round()
                parcel = bisection.next(self._hold.ahead())
            if parcel is not None:
                due = pause.until if pause is not None and arrived is not None else None
                pause = await self._try_part(bisection, endpoint, parcel, due)
        self._todo.extend(bisection.segments)

    async def _try_part(
        self, bisection: Bisection, endpoint: tuple[str, ...], parcel: Parcel, due: float | None
    ) -> _Pause | None:
        """The wait for the next attempt, if there is one. A notice that has just arrived goes before another attempt is
        `due`, and puts that off for nobody."""
        suspect = bisection.suspects.get(parcel.notices[0].id) if parcel.count == 1 else None
        number = 1 if suspect is None else suspect.failures + 1
        tried = await self._attempts.once(parcel, number, self._hold.reversed, urgent=due is not None)
        if isinstance(tried, LeftOut):
            self._leave_out(parcel.batch, tried.ids)
            bisection.remove(tried.ids)
        elif isinstance(tried, Oversized):
            bisection.split(parcel, tried.most)
        elif tried.verdict is AttemptVerdict.ACCEPTED:
            self._took(tried)
            self._arrived = 0
            bisection.took(parcel)
        elif not blames(tried.verdict) or endpoint_of(tried.partner) != endpoint:
            return _Pause(tried.partner, await self._attempts.failed(tried), for_arrivals=False)
        else:
            then = bisection.failed(parcel, tried.verdict, self._now())
            if then is not Then.PARK:
                by = float("inf") if due is None else due
                return _Pause(tried.partner, await self._attempts.failed(tried, at_once=then is Then.GO_ON, by=by))
            parked = bisection.suspects[parcel.notices[0].id]
            self._park(tried, parked.failing())
            bisection.remove([parked.notice.id])
        return None

    async def _rest(self, bisection: Bisection, pause: _Pause) -> Parcel | None:
        """Wait until the time of the next attempt. A notice that arrives meanwhile goes at once; if many of them come,
        and none is taken, at most one a minute in the end."""
        partner, until = pause.partner, pause.until
        news = self._hold.arrival if pause.for_arrivals else None
        looked = end = self._hold.end()
        soonest = min(until, monotonic() + min(self._arrived**2, _MOST_BETWEEN_ARRIVALS))
        if not await self._attempts.wait(partner, soonest):
            return None
        while monotonic() < until:
            # Hundreds may come at once, and a lane looks ahead only so far.
            if news is not None and self._hold.end() != looked:
                looked = self._hold.end()
                arrived = bisection.arrived(self._hold.ahead(end))
                if arrived is not None:
                    self._arrived += 1
                    return arrived
                if self._hold.reversed(bisection.left()):
                    return None
            if not await self._attempts.wait(partner, until, news):
                return None
        return None

    def _drop_reversed(self, bisection: Bisection) -> bool:
        gone = self._hold.reversed(bisection.left())
        if gone:
            self._leave_out(self._batch, gone)
            bisection.remove(gone)
        return bool(gone)

    def _took(self, tried: Tried) -> None:
        now = self._now()
        self._records.append(reports.delivered(tried.parcel, tried.answer, tried.number, now, tried.reply))
        self._records += reports.acknowledged(tried.parcel, tried.reply.items, now)
        self._settled.append(tried.parcel)
        self._decided |= tried.parcel.batch is not self._batch

    def _leave_out(self, batch: Batch, ids: Collection[str]) -> None:
        self._records.append(reports.superseded(batch, ids, self._now()))
        self._settled.append(batch.parcel_of(ids))
        self._decided = True

    def _park(self, tried: Tried, failing: Failing) -> None:
        """The lane goes on without this notice."""
        self._attempts.disregarded(tried)
        now = self._now()
        if is_undeliverable(failing, now):
            self._records.append(reports.undeliverable(tried.parcel, tried.answer, now))
        else:
            retry_at = now + timedelta(seconds=parked_wait(failing, self._attempts.backoff))
            self._records.append(reports.parked(tried.parcel, tried.answer, failing, now, retry_at))
        self._settled.append(tried.parcel)
        self._decided = True

    def _failed_again(self, tried: Tried, before: Failing) -> Failing:
        """What came of a parked notice, with this attempt."""
        refused = tried.verdict is AttemptVerdict.REFUSED
        now = self._now()
        since = before.first_refused_at or (now if refused else None)
        action = Action(tried.parcel.notices[0].action)
        lane, channel = tried.parcel.batch.lane, self._attempts.channel(tried.partner.id)
        taken = since is not None and channel.took_since(tried.partner, lane, action, since)
        # A partner that was changed since may have another endpoint, which has to show for itself what it takes.
        unchanged = since is None or tried.partner.updated_at <= since
        return Failing(
            lane=before.lane,
            offset=before.offset,
            failures=before.failures + 1,
            refusals=before.refusals + refused,
            first_refused_at=since,
            others_taken=(before.others_taken and unchanged) or taken,
        )

    async def _keep(self) -> None:
        if self._records:
            places = frozenset[Place]().union(*(parcel.places() for parcel in self._settled))
            await self._hold.keep(self._records, places)
            self._records, self._settled, self._decided = [], [], False

    def _now(self) -> datetime:
        return self._attempts.clock()
