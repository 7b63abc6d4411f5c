"""What the gateway works with; everything is passed in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from fastapi import Request

from ledger import KeyStore, Ledger
from streams.clock import Clock
from streams.records import Appender, Position, TopicPartition
from streams.sealing import Sealer
from streams.settings import Settings

#: Seconds to wait for the ledger to show what was just written.
CATCH_UP = 5.0


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
    #: Registrations decide by what is registered already, so they go one at a time.
    registering: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def visible(self, positions: list[Position]) -> None:
        """Wait until the ledger shows records that were just written. Raises `LedgerBehind`."""
        wanted: dict[TopicPartition, int] = {}
        for position in positions:
            tp = TopicPartition(position.topic, position.partition)
            wanted[tp] = max(wanted.get(tp, 0), position.offset + 1)
        await self.ledger.reached(wanted, CATCH_UP)


def context_of(request: Request) -> Context:
    context: Context = request.app.state.context
    return context
