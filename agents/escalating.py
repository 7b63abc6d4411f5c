"""Telling operators of deadlines: digests per partner, clock and rule, each at most once.

An escalation has an id that follows from whom, what and when it is about. Whoever wants to send it claims it on the log
and waits for the ledger to show whose claim came first; only that one sends, and it alone knows that it is that one. So
a crash before the claim leaves it to the next look, a crash after it leaves it unsent, and nothing sends it twice. A
stop waits for a message that is being sent.

What nobody got is told again in the next interval, under another id; what somebody may have got is not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any

from agents.alerting import Alerts, Message, Outcome
from agents.consuming import append_until_durable
from ledger import LedgerReader
from ledger.alarms import Alarm
from streams import ids
from streams.clock import Clock
from streams.cloudevents import Envelope, rfc3339
from streams.deadlines import Deadline, EscalationClaimed, EscalationEnded, Step, Told
from streams.errors import LedgerBehind
from streams.escalations import Rule
from streams.events import Data
from streams.records import Appender, Position, behind, record
from streams.topics import DEADLINES

log = logging.getLogger(__name__)
#: Seconds between two complaints that the ledger is behind.
_PATIENCE = 30.0
#: Seconds that a stop waits for a message that is being sent: to send it has a limit of its own.
_LAST = 10.0


class Operators:
    """Everybody who wants to be told."""

    def __init__(
        self, appender: Appender, ledger: LedgerReader, clock: Clock, new_id: Callable[[], str], alerts: Alerts
    ) -> None:
        self._appender = appender
        self._ledger = ledger
        self._clock = clock
        self._new_id = new_id
        self._alerts = alerts

    async def tell(self, rules: Sequence[Rule], interval: int) -> None:
        """What is new to each rule; `interval` seconds as in `ledger.alarms`. One server that is slow holds up nobody
        else, and one that took nothing is left in peace until the next time."""
        targets = {rule.target: [each for each in rules if each.target == rule.target] for rule in rules}
        await asyncio.gather(*(self._at(same, interval) for same in targets.values()))

    async def _at(self, rules: Sequence[Rule], interval: int) -> None:
        for rule in rules:
            for alarm in await asyncio.to_thread(self._ledger.rising, rule, self._clock(), interval):
                if await self._claimed(alarm) and (await _to_its_end(self._send(alarm))).told is not Told.SENT:
                    return

    async def _claimed(self, alarm: Alarm) -> bool:
        claim = self._new_id()
        data = EscalationClaimed(
            escalation=alarm.id,
            claim=claim,
            partner=alarm.partner,
            deadline=alarm.deadline,
            step=alarm.rule.step,
            after=alarm.rule.after,
            rule=alarm.rule.id,
            target=alarm.rule.shown[:320],
            window=alarm.window,
            up_to=alarm.up_to,
            notices=alarm.news,
            claimed_at=self._clock(),
        )
        await shown(self._ledger, await self._append(ids.derive("claim", alarm.id, claim), data))
        return await asyncio.to_thread(self._ledger.claim_of, alarm.id) == claim

    async def _send(self, alarm: Alarm) -> Outcome:
        outcome = await self._alerts.tell(alarm.rule, message_of(alarm, self._clock()))
        if outcome.told is not Told.SENT:
            words = "were not told" if outcome.told is Told.FAILED else "may not have been told"
            log.error("operators %s of %s, by %s: %s", words, alarm.partner, alarm.rule.shown, outcome.error)
        data = EscalationEnded(
            escalation=alarm.id,
            partner=alarm.partner,
            outcome=outcome.told,
            error=outcome.error,
            ended_at=self._clock(),
        )
        await self._append(ids.derive("escalated", alarm.id), data)
        return outcome

    async def _append(self, identity: str, data: Data) -> list[Position]:
        return await append_until_durable(
            self._appender, [record(DEADLINES.name, Envelope(identity, self._clock(), data))]
        )


def message_of(alarm: Alarm, now: datetime) -> Message:
    """What operators read: counts and times, and no subject."""
    by = "receive-by" if alarm.deadline is Deadline.RECEIVE else "complete-by"
    since = rfc3339(alarm.due_at)
    if alarm.rule.step is Step.AT_RISK:
        title = f"{alarm.partner}: {_notices(alarm.news)} will soon be past {by}"
        text = f"The next deadline is at {since}."
    else:
        late = f", {_hours(alarm.rule.after)} and more" if alarm.rule.after else ""
        title = f"{alarm.partner}: {_notices(alarm.late)} past {by}{late}"
        text = f"New since the last message: {alarm.news:,}. The oldest was due at {since}."
    return Message(alarm.id, title, f"{text} See `rescind status`, or the dashboard.", now)


async def _to_its_end(sending: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Nobody else will send it, so whoever stops this waits for it, but no longer than for `_LAST`."""
    task = asyncio.ensure_future(sending)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=_LAST)
        task.cancel()
        raise


async def shown(ledger: LedgerReader, positions: Sequence[Position]) -> None:
    """Wait for a ledger to show what was just written, for as long as it takes."""
    while True:
        try:
            await ledger.reached(behind(positions), _PATIENCE)
        except LedgerBehind as error:
            log.warning("%s; waiting for it", error)
        else:
            return


def _notices(count: int) -> str:
    return f"{count:,} notice" if count == 1 else f"{count:,} notices"


def _hours(seconds: int) -> str:
    return f"{seconds / 3600:g} h"
