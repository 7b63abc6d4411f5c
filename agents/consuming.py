"""How every agent reads its stream: in batches of what is there already, acknowledged when handled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from streams.errors import LogUnavailable
from streams.records import Appender, Position, Record

log = logging.getLogger(__name__)

#: Seconds between attempts to write what must be written.
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 5.0


async def batches(stream: Any, most: int) -> AsyncIterator[list[Any]]:
    """Events as they lie in the stream's buffer: all that are there, up to `most`, and a single one
    without any waiting when the stream is idle. A batch is acknowledged when the next one is asked for.
    """
    manual = stream.noack()
    buffered = manual.channel.queue
    batch: list[Any] = []
    async for event in manual.events():
        batch.append(event)
        if len(batch) < most and not buffered.empty():
            continue
        yield batch
        for handled in batch:
            await manual.ack(handled)
        batch = []


async def consume(app: Any, stream: Any, most: int, handle: Callable[[Sequence[Any]], Awaitable[None]]) -> None:
    """Handle batches for ever. An error that nobody expected stops the whole service: Faust would go on
    with the next event and leave this one behind; a restart takes it up again.
    """
    async for batch in batches(stream, most):
        try:
            await handle(batch)
        except Exception as error:
            first = batch[0].message
            log.exception("cannot handle %s[%d]@%d", first.topic, first.partition, first.offset)
            await app.crash(error)
            raise


async def append_until_durable(appender: Appender, records: Sequence[Record]) -> list[Position]:
    """Append, and on failure append again until it works: what an event causes must be in the log before
    the event counts as done. Repeats carry the same ids."""
    delay = _FIRST_DELAY
    while True:
        try:
            return await appender.append(records)
        except LogUnavailable as error:
            log.error("%s; trying again in %.1f s", error, delay)  # noqa: TRY400 - no traceback needed
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LONGEST_DELAY)
