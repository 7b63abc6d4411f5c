"""What the gateway works with; everything is passed in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fastapi import Request

from ledger import KeyStore, Ledger
from streams.clock import Clock
from streams.errors import LedgerBehind
from streams.records import Appender, Position, TopicPartition
from streams.sealing import Sealer
from streams.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the service does its work, and if not, why."""

    ready: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Context:
    settings: Settings
    ledger: Ledger
    keys: KeyStore
    appender: Appender
    sealer: Sealer
    clock: Clock
    new_id: Callable[[], str]
    ready: Callable[[], Readiness]
    #: By topic, how many records of the log outlive their retention, since somebody has not read them yet.
    held_records: Callable[[], Mapping[str, int]] = dict
    #: Registrations decide by what is registered already, so they go one at a time.
    registering: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: Seconds to wait for the ledger to show what is in the log.
    catch_up: float = 5.0

    async def caught_up(self, topic: str) -> None:
        """Wait until the ledger shows everything that is in a topic now. Raises `LedgerBehind`."""
        await self.ledger.reached(await self.appender.end_offsets(topic), self.catch_up)

    async def shown(self, positions: list[Position]) -> None:
        """Wait for the ledger to show records that were just written, but not for ever: they are durable,
        so a ledger that is behind takes nothing back."""
        wanted: dict[TopicPartition, int] = {}
        for position in positions:
            tp = TopicPartition(position.topic, position.partition)
            wanted[tp] = max(wanted.get(tp, 0), position.offset + 1)
        try:
            await self.ledger.reached(wanted, self.catch_up)
        except LedgerBehind:
            log.warning("the ledger does not show yet what was written at %s", positions)


def context_of(request: Request) -> Context:
    context: Context = request.app.state.context
    return context
