"""The deadlines agents: what comes near its deadline, or passes it, is told to the log, to partners and to operators.

They run where a ledger is, since only a ledger knows what is open. Ledgers are replicas, and each runs them; so what
must not happen twice is claimed on the log first. All that is said of a partner stands in one partition, hence every
ledger agrees on whose claim is the first, and that one alone acts:

- that a notice is at risk or breached may be said by several; it counts once;
- a reminder is sent by who was the first to say that it is due;
- operators are told by who was the first to claim that.

Who dies between a claim and its act leaves it undone, and nobody does it twice. A step that is not told of is found by
the next look, of this ledger or another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from agents.alerting import Alerts
from agents.consuming import append_until_durable
from agents.escalating import Operators, shown
from agents.looking import STANDING, caught_up, look_for_ever
from ledger import LedgerReader
from ledger.watching import Reached
from streams import ids
from streams.clock import Clock
from streams.cloudevents import Envelope
from streams.deadlines import REMINDERS, DeadlineReached
from streams.escalations import Rule
from streams.events import Actor, Again, PartnerStatus
from streams.packs import packed_again
from streams.records import Appender, Position, record
from streams.topics import DEADLINES

log = logging.getLogger(__name__)

#: Answers are stamped before they stand in the log; what was told in time is there so much later.
GRACE = timedelta(seconds=10)
_PAGE, _TOGETHER = 5_000, 1_000
_COMPLAINT = "deadlines could not be looked at"
_BY = Actor(key="deadlines", role="service", label="Rescind")


class Deadlines:
    """Looks at one ledger. `new_id` never gives the same twice, whoever asks."""

    def __init__(
        self, appender: Appender, ledger: LedgerReader, clock: Clock, new_id: Callable[[], str], alerts: Alerts
    ) -> None:
        self._appender = appender
        self._ledger = ledger
        self._clock = clock
        self._new_id = new_id
        self._operators = Operators(appender, ledger, clock, new_id, alerts)

    async def look(self) -> None:
        """Tell the log of every step that was reached, and remind partners. Raises `RescindError`."""
        now = self._clock() - GRACE
        await caught_up(self._appender, self._ledger, STANDING)
        after: tuple[int, int] | None = None
        while True:
            page = await asyncio.to_thread(self._ledger.due, now, after, _PAGE)
            for (partner, step), notices in page.reached.items():
                for start in range(0, len(notices), _TOGETHER):
                    await self._tell(partner, step, notices[start : start + _TOGETHER])
            if page.next is None:
                return
            after = page.next

    async def escalate(self, rules: Sequence[Rule], interval: int) -> None:
        """Tell operators what they want to know. Raises `RescindError`."""
        await caught_up(self._appender, self._ledger, (DEADLINES,))
        await self._operators.tell(rules, interval)

    async def _tell(self, partner: str, reached: Reached, notices: Sequence[str]) -> None:
        now = self._clock()
        data = DeadlineReached(
            partner=partner, deadline=reached.deadline, step=reached.step, notices=tuple(notices), reached_at=now
        )
        # A reminder is for whose word was the first, so words must differ.
        mine = [self._new_id()] if reached.step in REMINDERS else []
        identity = ids.derive("deadline", reached.deadline, reached.step, *notices, *mine)
        positions = await append_until_durable(self._appender, [record(DEADLINES.name, Envelope(identity, now, data))])
        if mine:
            await self._remind(partner, reached, notices, identity, positions)

    async def _remind(
        self, partner: str, reached: Reached, notices: Sequence[str], identity: str, said: Sequence[Position]
    ) -> None:
        await shown(self._ledger, said)
        whom = await asyncio.to_thread(self._ledger.partner, partner)
        if whom is None or whom.status is not PartnerStatus.ACTIVE:
            return  # its lane waits; nothing that it did not hear of the first time
        wanted = await asyncio.to_thread(self._ledger.to_remind, notices, reached, identity)
        number = REMINDERS.index(reached.step) + 1
        pending, checked = [notice.model_copy(update={"reminder": number}) for notice in wanted.notices], wanted.checked
        again = Again(how="reminder", by=_BY)
        while pending:
            packs = packed_again(whom, pending, checked, again, identity, self._clock())
            positions = await append_until_durable(self._appender, [pack.record for pack in packs])
            # The user may have chosen otherwise meanwhile: then the new word is said once more, behind the old one.
            await shown(self._ledger, positions)
            pending, checked = await asyncio.to_thread(self._ledger.overtaking, [notice.id for notice in pending])


def add_deadlines(app: Any, deadlines: Deadlines, rules: Sequence[Rule], every: float, interval: int) -> None:
    """Let a Faust app look every so many seconds; `interval` is how often operators are told the same at most."""

    @app.task
    async def look_at_deadlines() -> None:
        await look_for_ever(deadlines.look, every, log, _COMPLAINT)

    @app.task
    async def tell_operators() -> None:
        await look_for_ever(lambda: deadlines.escalate(rules, interval), every, log, _COMPLAINT)
