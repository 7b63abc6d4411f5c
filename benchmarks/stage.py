"""The agents as the service runs them, on the embedded log and with the real sender, in this process."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet

from agents.app import GROUP, Parts, acting_app
from agents.disclosing import following
from agents.retrying import Backoff
from agents.webhooks import HttpSender
from streams import signing
from streams.clock import utc_now
from streams.cloudevents import Envelope
from streams.embedded.log import EmbeddedLog
from streams.events import ConsentToggled, PartnerRegistered
from streams.kinds import Choice
from streams.records import TopicPartition, record
from streams.sealing import Sealer
from streams.topics import LANES, NOTICES, PARTNERS, TOGGLES

SPRING = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Stage:
    log: EmbeddedLog
    sealer: Sealer

    async def register(self, name: str, lane: int, url: str, **fields: Any) -> None:
        sealed = self.sealer.seal(signing.new_secret())
        known = {"id": name, "name": name, "url": url, "purposes": ("ai",), "lane": lane, "sealed_secret": sealed}
        whom = PartnerRegistered.model_validate(known | {"created_at": SPRING, "updated_at": SPRING} | fields)
        await self.log.append([record(PARTNERS.name, Envelope(f"r-{name}", SPRING, whom))])

    async def opt_out(self, subject: str) -> None:
        """Return when it is durable, as the gateway does."""
        toggle = ConsentToggled(subject=subject, purpose="ai", choice=Choice.OPT_OUT, occurred_at=SPRING)
        await self.log.append([record(TOGGLES.name, Envelope(subject, SPRING, toggle))])

    async def taken(self) -> list[int]:
        """By lane, how many of its packs its partner has taken, or refused for good."""
        ends = await self.log.end_offsets(NOTICES.name)
        left = await self.log.backlog(GROUP, NOTICES.name)
        lanes = [TopicPartition(NOTICES.name, lane) for lane in range(LANES)]
        return [ends.get(lane, 0) - left.get(lane, 0) for lane in lanes]


@asynccontextmanager
async def stage(directory: Path, timeout: float, backoff: Backoff) -> AsyncIterator[Stage]:
    """`timeout` is how many seconds a delivery attempt may take."""
    log = EmbeddedLog(f"sqlite://{directory / 'log.sqlite'}")
    sealer = Sealer(Fernet.generate_key().decode())
    sender = HttpSender(timeout, allow_private=True)
    try:
        with following(log, directory / "disclosures.sqlite", utc_now) as disclosures:
            app = acting_app(Parts(log, sealer, sender, utc_now, backoff, directory, disclosures))
            async with performing(app):
                yield Stage(log, sealer)
    finally:
        await sender.close()
        log.close()


@asynccontextmanager
async def performing(app: Any) -> AsyncIterator[None]:
    """A Faust app that is ready, with the collector as the service has it."""
    app.finalize()
    before = asyncio.all_tasks()
    thresholds = gc.get_threshold()
    await app.start()
    try:
        await app.tables.recovery.completed.wait()
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        await app.stop()
        # As at the end of a process: what Faust leaves behind of lanes that still wait.
        left = asyncio.all_tasks() - before - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
