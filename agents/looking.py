"""How agents look at a ledger from time to time, once it has what the log has."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from ledger import LedgerReader
from streams.errors import RescindError
from streams.records import Appender
from streams.topics import (
    ACKNOWLEDGEMENTS,
    ACTIONS,
    DEADLINES,
    DELIVERIES,
    NOTICES,
    PARTNERS,
    UNDELIVERABLE,
    TopicSpec,
)

#: What must have been read, to know what is open and what is settled.
STANDING = (PARTNERS, NOTICES, DELIVERIES, UNDELIVERABLE, ACKNOWLEDGEMENTS, DEADLINES, ACTIONS)
#: Seconds to wait for the ledger before a look is given up; it is behind, and there will be another.
_CATCH_UP = 30.0


async def caught_up(appender: Appender, ledger: LedgerReader, topics: Iterable[TopicSpec]) -> None:
    """Wait for the ledger to show all that the log has of these topics by now. Raises `RescindError`."""
    for topic in topics:
        await ledger.reached(await appender.end_offsets(topic.name), _CATCH_UP)


async def look_for_ever(
    look: Callable[[], Awaitable[object]], every: float, log: logging.Logger, complaint: str
) -> None:
    """Every so many seconds. One that fails is complained of, and followed by the next."""
    while True:
        try:
            await look()
        except RescindError as error:
            log.warning("%s: %s; trying again in %g s", complaint, error, every)
        await asyncio.sleep(every)
