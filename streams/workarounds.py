"""Where Faust does something that we cannot live with, in one place, with the cause."""

from __future__ import annotations

from faust.tables import TableManager


class PromptTableManager(TableManager):
    """Starts without the second that Faust waits for tables to be declared: ours all are, before the app
    starts. Cause: `TableManager.on_start`,
    https://github.com/faust-streaming/faust/blob/v0.15.3/faust/tables/manager.py"""

    async def on_start(self) -> None:
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()
