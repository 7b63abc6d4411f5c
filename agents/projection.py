"""The agents that write the ledger: the projection, and the acknowledgements with their verdicts.

They are a consumer group of their own, named after the ledger's file: a blocked lane holds back nobody
here, and a ledger that was deleted, hence has a new name, reads the log from its beginning.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
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
from streams.log import Log, events_topic
from streams.records import TopicPartition
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
#: Seconds between two looks at what was passed over.
_LOOK_AGAIN = 0.1

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

    def offsets(self) -> dict[TopicPartition, int]:
        """The next offset of each partition that the ledger expects."""
        return self._ledger.offsets()

    async def run(self, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Something else that writes the ledger, in its turn."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *args, **named))

    def close(self) -> None:
        """Wait for a transaction that is under way, so that the ledger may be closed."""
        self._thread.shutdown()


def add_projection(app: Any, log: Log, recorder: Recorder, clock: Clock) -> None:
    """Add both agents to a Faust app."""
    events = Intake(log, clock, *EXPECTED)
    answers = Intake(log, clock, *ANSWERS)

    async def read(intake: Intake, batch: Sequence[Any]) -> None:
        received = await intake.read(batch)
        await recorder.record(entries([event.message for event in batch], received, partial(log.since, app)))

    async def project(batch: Sequence[Any]) -> None:
        await read(events, batch)

    async def acknowledge(batch: Sequence[Any]) -> None:
        await read(answers, batch)

    async def move_on(offsets: Mapping[TopicPartition, int]) -> None:
        """The ledger has all below these offsets, and says so, also where the log ends with what nobody can read."""
        known = recorder.offsets()
        now = clock()
        passed = [
            Entry(*tp, at - 1, now, None, since=known.get(tp, 0))
            for tp, at in offsets.items()
            if at > known.get(tp, 0) and at > 0
        ]
        if passed:
            await recorder.record(passed)

    @app.task
    async def keep_up() -> None:
        while True:
            if handled := log.handled(app):
                await move_on(handled)
            await asyncio.sleep(_LOOK_AGAIN)

    # Else a ledger that starts again would miss records between its end and the first that it is given.
    log.before_commit(app, move_on)

    @app.agent(events_topic(app, *(topic.name for topic in TOPICS)), name="projection")
    async def projection(stream: Any) -> None:
        await consume(app, stream, BATCH, project)

    @app.agent(events_topic(app, ACKNOWLEDGEMENTS.name), name="acknowledgement")
    async def acknowledgement(stream: Any) -> None:
        await consume(app, stream, BATCH, acknowledge)


def entries(messages: Sequence[Any], received: Sequence[Received], since: Callable[[Any], int]) -> list[Entry]:
    """Every message, in order; what is no event of ours still moves the offset on. `since` tells from which offset on a
    message is the first that can be read."""
    good = {(item.topic, item.partition, item.offset): item.envelope for item in received}
    return [
        Entry(
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            timestamp=timestamp_of(message),
            envelope=good.get((message.topic, message.partition, message.offset)),
            since=since(message),
        )
        for message in messages
    ]
