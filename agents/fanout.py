"""The fan-out agent: a decision in, notices for every partner in scope out, each in its partner's lane."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from agents.consuming import append_until_durable, consume
from agents.directory import Directory
from agents.disclosing import Follower
from agents.packing import Given, pack
from agents.poison import Intake
from agents.tracing import issued
from streams.clock import Clock
from streams.cloudevents import Envelope
from streams.events import ConsentChanged, DeletionRequested, NoticesIssued
from streams.log import events_topic
from streams.records import Appender, record
from streams.topics import DECISIONS, NOTICES
from streams.tracing import OFF, Tracing

BATCH = 500


def add_fanout(
    app: Any,
    appender: Appender,
    directory: Directory,
    clock: Clock,
    disclosures: Follower,
    *,
    disclosed: bool,
    tracing: Tracing = OFF,
) -> None:
    """Add the agent to a Faust app. `disclosed`: deletion is asked of those who were given something."""
    intake = Intake(appender, clock, ConsentChanged, DeletionRequested)

    async def handle(batch: Sequence[Any]) -> None:
        decisions = [item.envelope for item in await intake.read(batch)]
        await directory.caught_up()
        given = await holders(decisions, disclosures)
        records = []
        packs = pack(decisions, list(directory.all()), given, disclosed=disclosed)
        for envelope in issued(tracing, decisions, packs):
            assert isinstance(envelope.data, NoticesIssued)  # noqa: S101 - `pack` makes nothing else
            records.append(record(NOTICES.name, envelope, partition=envelope.data.lane))
        if records:
            await append_until_durable(appender, records)

    @app.agent(events_topic(app, DECISIONS.name), name="fanout")
    async def fanout(stream: Any) -> None:
        await consume(app, stream, BATCH, handle)


async def holders(decisions: Sequence[Envelope], disclosures: Follower) -> Given:
    """Who was given whom of those that partners must delete, as of now or later: what was handed over before a decision
    was made is known here before the decision goes out. What is handed over later is settled."""
    wanted = [
        (decision.data.subject, decision.data.purpose)
        for decision in decisions
        if isinstance(decision.data, DeletionRequested) and decision.data.partner is None
    ]
    if not wanted:
        return {}
    await disclosures.caught_up()
    return await asyncio.to_thread(disclosures.index.holders, wanted) if disclosures.index.any else {}
