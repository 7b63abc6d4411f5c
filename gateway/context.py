"""What the gateway works with; everything is passed in."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime

from fastapi import Request
from pydantic import BaseModel, ConfigDict

from ledger import Disclosures, KeyStore, LedgerReader
from streams.clock import Clock
from streams.errors import LedgerBehind, StorageUnusable
from streams.events import Partner
from streams.records import Appender, Position, TopicPartition, behind
from streams.sealing import Sealer
from streams.settings import Settings
from streams.tracing import OFF, Tracing
from streams.witness import PublicKey

log = logging.getLogger(__name__)


async def _writable() -> None:
    return


async def _nothing() -> dict[TopicPartition, int]:
    return {}


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a process does its work, and if not, why. `notes` are what operators should know even so."""

    ready: bool
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Freshness:
    """As of when the ledger is known to show every choice; see `gateway.freshness`."""

    proved: datetime | None = None


class Trial(BaseModel):
    """What came of a test event. `ok` says that a notice would have been taken; `outcome` what happened, for programs,
    and `explanation` the same and what to do, for people. `verdict` is how delivery judges such an answer: `accepted`,
    `refused`, `failed` (a single notice may be at fault), `retry` (whatever it is, it passes) or `suspend`. `address`
    is whom the request went to, if it came that far; `acknowledgements` how many things the reply acknowledges,
    `reply_problem` what of it delivery would not understand, and `reply` how it begins, where it is text."""

    model_config = ConfigDict(frozen=True)
    ok: bool
    outcome: str
    verdict: str
    explanation: tuple[str, ...]
    webhook_id: str
    status: int | None
    duration_ms: float
    address: str | None
    acknowledgements: int
    reply_problem: str | None
    reply: str | None


@dataclass(frozen=True)
class Context:
    settings: Settings
    ledger: LedgerReader
    disclosures: Disclosures
    keys: KeyStore
    appender: Appender
    sealer: Sealer
    clock: Clock
    new_id: Callable[[], str]
    ready: Callable[[], Readiness]
    #: Registrations decide by what is registered already, so they go one at a time.
    registering: AbstractAsyncContextManager[None]
    #: Sends a partner an event that asks for nothing, under this `webhook-id`, and explains the answer.
    try_partner: Callable[[Partner, str], Awaitable[Trial]]
    #: What checks manifests: the key that signs now, and those before it.
    public_keys: tuple[PublicKey, ...]
    #: By topic, how many records of the log outlive their retention, since somebody has not read them yet.
    held_records: Callable[[], Mapping[str, int]] = dict
    #: Records spans, if tracing is on.
    tracing: Tracing = OFF
    #: How many toggles of each partition have not been decided yet.
    undecided: Callable[[], Awaitable[Mapping[TopicPartition, int]]] = _nothing
    #: Raises `LogUnavailable` where the log would take nothing, as on a full disk.
    check_log: Callable[[], Awaitable[None]] = _writable
    #: When the ledger was last seen to show all that had been accepted.
    freshness: Freshness = field(default_factory=Freshness)
    #: Seconds to wait for the ledger to show what is in the log.
    catch_up: float = 5.0
    #: Seconds that whoever closes an export waits for it to be settled.
    settle: float = 30.0
    #: Who is being tested right now.
    trying: set[str] = field(default_factory=set)

    async def caught_up(self, topic: str) -> dict[TopicPartition, int]:
        """Wait until the ledger shows everything that is in a topic now. Its end offsets. Raises `LedgerBehind`."""
        ends = await self.appender.end_offsets(topic)
        await self.ledger.reached(ends, self.catch_up)
        return ends

    async def shown(self, positions: list[Position]) -> None:
        """Wait for the ledger to show records that were just written, but not for ever: they are durable,
        so a ledger that is behind takes nothing back."""
        try:
            await self.ledger.reached(behind(positions), self.catch_up)
        except (LedgerBehind, StorageUnusable):
            log.warning("the ledger does not show yet what was written at %s", positions)


def context_of(request: Request) -> Context:
    context: Context = request.app.state.context
    return context
