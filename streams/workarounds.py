"""Where Faust does something that we cannot live with, in one place, with the cause."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from faust import Event, Monitor, Schema
from faust.agents import Agent
from faust.tables import TableManager
from faust.types import TP
from faust.types.transports import SchedulingStrategyT


class PromptTableManager(TableManager):
    """Starts without the second that Faust waits for tables to be declared: ours all are, before the app
    starts. Cause: `TableManager.on_start`,
    https://github.com/faust-streaming/faust/blob/v0.15.3/faust/tables/manager.py"""

    async def on_start(self) -> None:
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()


class QuietMonitor(Monitor):
    """Measures nothing for each message, which is a tenth of the time of reading one: figures come from the
    ledger, and nobody asks this one. Cause: `Monitor.on_message_in` and its like,
    https://github.com/faust-streaming/faust/blob/v0.15.3/faust/sensors/monitor.py"""

    def on_message_in(self, *_: Any) -> None: ...
    def on_message_out(self, *_: Any) -> None: ...
    def on_stream_event_in(self, *_: Any) -> None: ...
    def on_stream_event_out(self, *_: Any) -> None: ...
    def on_table_get(self, *_: Any) -> None: ...
    def on_table_set(self, *_: Any) -> None: ...
    def on_send_initiated(self, *_: Any) -> None: ...
    def on_send_completed(self, *_: Any) -> None: ...
    def on_send_error(self, *_: Any) -> None: ...
    def track_tp_end_offset(self, *_: Any) -> None: ...


class TidyAgent(Agent):
    """Forgets the actor of a partition that went away, and its stream. Faust keeps the actor for ever, calls it
    crashed, and tells its supervisor to see about it. The stream it leaves to the garbage collector if the actor was
    busy; until then its channel still stands for the partition, and the conductor, which has others now, crashes the
    app. Cause: `Agent.on_isolated_partitions_revoked`, `Agent._execute_actor` and `Conductor._update_tp_index`,
    https://github.com/faust-streaming/faust/blob/v0.15.3/faust/agents/agent.py"""

    async def on_isolated_partitions_revoked(self, revoked: set[Any]) -> None:
        gone = [self._actor_by_partition[tp] for tp in revoked if tp in self._actor_by_partition]
        for actor in gone:
            self.supervisor.discard(actor)
        # At once: a busy one is given a tenth of a second.
        await asyncio.gather(*[self._revoke(tp) for tp in revoked])
        for actor in gone:
            await actor.stream.get_active_stream().stop()
        self._actors.difference_update(gone)

    async def _revoke(self, tp: Any) -> None:
        await super().on_isolated_partitions_revoked({tp})

    async def _execute_actor(self, coro: Awaitable[Any], aref: Any) -> None:
        async def until_discarded() -> None:
            try:
                await coro
            except asyncio.CancelledError:
                if self.supervisor is None or aref in self.supervisor._services:
                    raise

        await super()._execute_actor(until_discarded(), aref)


class RawSchema(Schema):
    """Keys and values as they stand in the log, past Faust's codecs, which take a fifth of the time of reading a
    message to leave them so. Cause: `Schema.compile`,
    https://github.com/faust-streaming/faust/blob/v0.15.3/faust/serializers/schemas.py"""

    def compile(self, app: Any, **_: Any) -> Callable[..., Awaitable[Event]]:
        async def decode(message: Any, **_: Any) -> Event:
            return Event(app, message.key, message.value, message.headers, message)

        return decode


class PartitionByPartition(SchedulingStrategyT):
    """The records of a poll, one partition after the other. Faust takes one of each in turn, and so makes many
    small batches for agents, and searches for each record what comes next. A poll is small anyway.
    Cause: `DefaultSchedulingStrategy`,
    https://github.com/faust-streaming/faust/blob/v0.15.3/faust/transport/utils.py"""

    def iterate(self, records: Mapping[TP, Sequence[Any]]) -> Iterator[tuple[TP, Any]]:
        return ((tp, record) for tp, found in records.items() for record in found)
