"""Where Faust does something that we cannot live with, in one place, with the cause."""

from __future__ import annotations

from typing import Any

from faust import Monitor
from faust.tables import TableManager


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
