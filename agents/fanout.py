"""The fan-out agent: a decision in, notices for every partner in scope out, each in its partner's lane."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from agents.consuming import consume, step_until_durable
from agents.directory import Directory
from agents.disclosing import Follower
from agents.packing import Given, pack
from agents.poison import Intake
from agents.tracing import issued
from streams.clock import Clock
from streams.cloudevents import Envelope
from streams.events import ConsentChanged, DeletionRequested, NoticesIssued
from streams.log import Log, events_topic
from streams.records import record
from streams.topics import DECISIONS, NOTICES
from streams.tracing import OFF, Tracing

BATCH = 500


def add_fanout(
    app: Any,
    log: Log,
    directory: Directory,
    clock: Clock,
    disclosures: Follower,
    *,
    disclosed: bool,
    tracing: Tracing = OFF,
) -> None:
    """Add the agent to a Faust app. `disclosed`: deletion is asked of those who were given something."""
    intake = Intake(log, clock, ConsentChanged, DeletionRequested)

    async def handle(batch: Sequence[Any]) -> None:
        good, records = intake.sort([event.message for event in batch])
        decisions = [item.envelope for item in good]
        await directory.caught_up()
        given = await holders(decisions, disclosures)
        packs = pack(decisions, list(directory.all()), given, disclosed=disclosed, now=clock())
        for envelope in issued(tracing, decisions, packs):
            assert isinstance(envelope.data, NoticesIssued)  # noqa: S101 - `pack` makes nothing else
            records.append(record(NOTICES.name, envelope, partition=envelope.data.lane))
        if records:
            await step_until_durable(app, log, records, batch)

    log.hold(app, DECISIONS.name)

    # One actor a partition, as for the consent agent: on Kafka a step's transaction is for one partition.
    @app.agent(events_topic(app, DECISIONS.name), name="fanout", isolated_partitions=True)
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
