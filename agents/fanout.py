"""The fan-out agent: a decision in, notices for every partner in scope out, each in its partner's lane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.consuming import append_until_durable, consume
from agents.directory import Directory
from agents.packing import pack
from agents.poison import Intake
from streams.clock import Clock
from streams.events import ConsentChanged, DeletionRequested, NoticesIssued
from streams.log import events_topic
from streams.records import Appender, record
from streams.topics import DECISIONS, NOTICES

BATCH = 500


def add_fanout(app: Any, appender: Appender, directory: Directory, clock: Clock) -> None:
    """Add the agent to a Faust app."""
    intake = Intake(appender, clock, ConsentChanged, DeletionRequested)

    async def handle(batch: Sequence[Any]) -> None:
        decisions = [item.envelope for item in await intake.read(batch)]
        await directory.caught_up()
        records = []
        for envelope in pack(decisions, list(directory.all())):
            assert isinstance(envelope.data, NoticesIssued)  # noqa: S101 - `pack` makes nothing else
            records.append(record(NOTICES.name, envelope, partition=envelope.data.lane))
        if records:
            await append_until_durable(appender, records)

    @app.agent(events_topic(app, DECISIONS.name), name="fanout")
    async def fanout(stream: Any) -> None:
        await consume(app, stream, BATCH, handle)
