"""The agents that write the ledger: the projection, and the acknowledgements with their verdicts.

They are a consumer group of their own, named after the ledger's file: a blocked lane holds back nobody
here, and a ledger that was deleted, hence has a new name, reads the log from its beginning.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from agents.consuming import consume
from agents.poison import Intake, Received, timestamp_of
from ledger import Entry, Ledger
from streams.clock import Clock
from streams.deadlines import DeadlineReached, EscalationClaimed, EscalationEnded
from streams.errors import StorageUnusable
from streams.events import (
    Acknowledged,
    BatchDelivered,
    BatchFailed,
    ConsentChanged,
    ConsentToggled,
    Data,
    DeletionRequested,
    MessagePoisoned,
    NoticeParked,
    NoticesIssued,
    NoticesSuperseded,
    NoticeUndeliverable,
    OperatorActed,
    Partner,
    PartnerSuspended,
    PartnerTried,
    ReplyAcknowledged,
    StatementReceived,
)
from streams.log import events_topic
from streams.records import Appender
from streams.topics import (
    ACKNOWLEDGEMENTS,
    ACTIONS,
    DEADLINES,
    DECISIONS,
    DELIVERIES,
    NOTICES,
    PARTNERS,
    POISONED,
    TOGGLES,
    UNDELIVERABLE,
)

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

BATCH = 500
#: What a ledger reads beside the acknowledgements.
TOPICS = (TOGGLES, DECISIONS, PARTNERS, NOTICES, DELIVERIES, UNDELIVERABLE, POISONED, ACTIONS, DEADLINES)
_RETRY_SECONDS = 1.0

EXPECTED: tuple[type[Data], ...] = (
    ConsentToggled,
    ConsentChanged,
    DeletionRequested,
    Partner,
    PartnerSuspended,
    PartnerTried,
    NoticesIssued,
    BatchDelivered,
    BatchFailed,
    NoticesSuperseded,
    NoticeUndeliverable,
    NoticeParked,
    MessagePoisoned,
    OperatorActed,
    DeadlineReached,
    EscalationClaimed,
    EscalationEnded,
)
ANSWERS: tuple[type[Data], ...] = (Acknowledged, ReplyAcknowledged, StatementReceived)


class Recorder:
    """The ledger's one writer: batches of either agent, one transaction at a time, off the event loop."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger-writer")

    async def record(self, entries: Sequence[Entry]) -> None:
        """Return when the entries are in the ledger; a disk that is full only makes this wait."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.run_in_executor(self._thread, self._ledger.apply, entries)
            except StorageUnusable as error:
                log.error("%s; trying again in %.1f s", error, _RETRY_SECONDS)  # noqa: TRY400
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    async def run(self, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Something else that writes the ledger, in its turn."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *args, **named))

    def close(self) -> None:
        """Wait for a transaction that is under way, so that the ledger may be closed."""
        self._thread.shutdown()


def add_projection(app: Any, appender: Appender, recorder: Recorder, clock: Clock) -> None:
    """Add both agents to a Faust app."""
    events = Intake(appender, clock, *EXPECTED)
    answers = Intake(appender, clock, *ANSWERS)

    async def project(batch: Sequence[Any]) -> None:
        await recorder.record(await _entries(events, batch))

    async def acknowledge(batch: Sequence[Any]) -> None:
        await recorder.record(await _entries(answers, batch))

    @app.agent(events_topic(app, *(topic.name for topic in TOPICS)), name="projection")
    async def projection(stream: Any) -> None:
        await consume(app, stream, BATCH, project)

    @app.agent(events_topic(app, ACKNOWLEDGEMENTS.name), name="acknowledgement")
    async def acknowledgement(stream: Any) -> None:
        await consume(app, stream, BATCH, acknowledge)


async def _entries(intake: Intake, batch: Sequence[Any]) -> list[Entry]:
    return entries([event.message for event in batch], await intake.read(batch))


def entries(messages: Sequence[Any], received: Sequence[Received]) -> list[Entry]:
    """Every message, in order; what is no event of ours still moves the offset on."""
    good = {(item.topic, item.partition, item.offset): item.envelope for item in received}
    return [
        Entry(
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            timestamp=timestamp_of(message),
            envelope=good.get((message.topic, message.partition, message.offset)),
        )
        for message in messages
    ]
