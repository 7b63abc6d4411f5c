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
#: Bytes of values at which a batch is full.
_BATCH_BYTES = 4 * 1024 * 1024


async def batches(stream: Any, most: int) -> AsyncIterator[list[Any]]:
    """Events as they lie in the stream's buffer: all that are there, up to `most`, and a single one
    without any waiting when the stream is idle. A batch is acknowledged when the next one is asked for.
    Messages are not all alike: what they weigh together ends a batch too.
    """
    manual = stream.noack()
    buffered = manual.channel.queue
    batch: list[Any] = []
    weight = 0
    async for event in manual.events():
        batch.append(event)
        weight += len(event.message.value or b"")
        if len(batch) < most and weight < _BATCH_BYTES and not buffered.empty():
            continue
        yield batch
        for handled in batch:
            await manual.ack(handled)
        batch, weight = [], 0


async def consume(app: Any, stream: Any, most: int, handle: Callable[[Sequence[Any]], Awaitable[None]]) -> None:
    """Handle batches for ever. An error that nobody expected stops the whole service; a restart takes up
    again what could not be handled.

    This does not return, nor raise, until the app has stopped: Faust would start another actor, which
    goes on with the next event, and a commit would cover both.
    """
    async for batch in batches(stream, most):
        if not app.crashed:
            try:
                await handle(batch)
            except Exception as error:
                first = batch[0].message
                log.exception("cannot handle %s[%d]@%d", first.topic, first.partition, first.offset)
                await app.crash(error)
        if app.crashed:
            await asyncio.Event().wait()


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
