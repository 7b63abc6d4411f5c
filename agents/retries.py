"""The retries agent: what was parked is issued again, into the lane that its partner has now.

It runs where a ledger is, since only a ledger knows what is parked and what came of it. Ledgers are replicas, and each
runs this: the pack's id follows from the event that parked the notice, so that whoever repeats it repeats the id. A
notice that was issued again is not parked any more, until its partner does not take it once more.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from agents.consuming import append_until_durable
from agents.looking import STANDING, caught_up, look_for_ever
from ledger import LedgerReader
from ledger.retries import Due
from streams.clock import Clock
from streams.events import Actor, Again
from streams.packs import packed_alone
from streams.records import Appender, Record

log = logging.getLogger(__name__)

#: Seconds between two looks at most: what somebody does by hand is to show at once.
EVERY = 1.0
#: Notices that a look issues again at most.
MOST = 500
_COMPLAINT = "parked notices could not be tried again"
_AGAIN = Again(how="retry", by=Actor(key="retries", role="service", label="Rescind"))


class Retries:
    """Looks at one ledger."""

    def __init__(self, appender: Appender, ledger: LedgerReader, clock: Clock) -> None:
        self._appender = appender
        self._ledger = ledger
        self._clock = clock
        #: The partner with which the last look ended, so that the next one goes on behind it.
        self._after = ""

    async def look(self) -> int:
        """Issue again what is due, at most `MOST` notices. How many it was. Raises `RescindError`."""
        if not await asyncio.to_thread(self._ledger.any_retry, self._clock()):
            return 0
        # What was issued again by the last look, or by another ledger, is not parked any more.
        await caught_up(self._appender, self._ledger, STANDING)
        now = self._clock()
        due = await asyncio.to_thread(self._ledger.retries, now, self._after, MOST)
        self._after = due.next or ""
        if due.retries:
            await append_until_durable(self._appender, self._records(due))
        return len(due.retries)

    def _records(self, due: Due) -> list[Record]:
        now = self._clock()
        return [
            packed_alone(each.partner, each.notice, due.checked, _AGAIN, each.parked, each.failing, now).record
            for each in due.retries
        ]


def add_retries(app: Any, retries: Retries, every: float) -> None:
    """Let a Faust app look every so many seconds, and every `EVERY` at least."""

    @app.task
    async def try_again() -> None:
        await look_for_ever(retries.look, min(every, EVERY), log, _COMPLAINT)
