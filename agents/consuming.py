"""How every agent reads its stream: in batches of what is there already, acknowledged when handled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from streams.errors import LogUnavailable, Overtaken
from streams.log import Log
from streams.records import Appender, Commit, Position, Record, TopicPartition

log = logging.getLogger(__name__)
R = TypeVar("R")

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
    async for first in manual.events():
        batch = [first]
        weight = _weight(first)
        while len(batch) < most and weight < _BATCH_BYTES and not buffered.empty():
            # Past the stream, which goes around the event loop for each event: a third of the time of reading one. It
            # would pass over what came before a rebalance, as this does.
            try:
                event = buffered.get_nowait()
            except StopAsyncIteration as stop:
                # The partition goes away; the stream itself must hear of it.
                buffered._throw(stop)
                break
            if event.message.generation_id == first.message.generation_id:
                batch.append(event)
                weight += _weight(event)
        yield batch
        for event in batch:
            event.ack()


def _weight(event: Any) -> int:
    return len(event.message.value or b"")


async def consume(app: Any, stream: Any, most: int, handle: Callable[[Sequence[Any]], Awaitable[None]]) -> None:
    """Handle batches for ever; see `or_crash`."""
    async for batch in batches(stream, most):
        await or_crash(app, batch[0].message, handle(batch))


async def or_crash(app: Any, message: Any, work: Awaitable[None]) -> None:
    """Handle what begins with a message. What was read before its partition was assigned anew is dropped, and comes
    again. An error that nobody expected stops the whole service; a restart takes up again what could not be handled.

    This does not return then, nor raise, until the app has stopped: Faust would start another actor, which goes on
    with the next event, and a commit would cover both.
    """
    try:
        await work
    except Overtaken as error:
        log.info("what began with %s[%d]@%d is done anew: %s", message.topic, message.partition, message.offset, error)
    except Exception as error:
        log.exception("cannot handle %s[%d]@%d", message.topic, message.partition, message.offset)
        await app.crash(error)
    if app.crashed:
        await asyncio.Event().wait()


async def step_until_durable(app: Any, log: Log, records: Sequence[Record], batch: Sequence[Any]) -> None:
    """Append what a batch of events has caused, and commit the batch in the same step: after a crash nothing of it is
    repeated that is durable already. On failure do it again until it works; see `append_until_durable`."""
    commits = {TopicPartition(*event.message.tp): Commit(event.message.offset + 1) for event in batch}
    generation = batch[0].message.generation_id
    await patiently(lambda: log.step(app, records, commits, generation=generation))


async def append_until_durable(appender: Appender, records: Sequence[Record]) -> list[Position]:
    """Append, and on failure append again until it works: what an event causes must be in the log before
    the event counts as done. Repeats carry the same ids."""
    return await patiently(lambda: appender.append(records))


async def patiently(attempt: Callable[[], Awaitable[R]]) -> R:
    """Ask the log for something until it answers."""
    delay = _FIRST_DELAY
    while True:
        try:
            return await attempt()
        except LogUnavailable as error:
            log.error("%s; trying again in %.1f s", error, delay)  # noqa: TRY400 - no traceback needed
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LONGEST_DELAY)
