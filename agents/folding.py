"""The folding agent: what was settled long ago is taken out of the ledger's file, beside the load and in small steps.

It runs where a ledger is written, and through the thread that writes it, so that a step and the projection never meet;
between two steps the projection is let in. What the log still has to tell may touch what is old, and would bring it
back: so nothing is folded while the ledger is behind.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

from agents.looking import STANDING, caught_up, look_for_ever
from agents.projection import Recorder
from ledger import Ledger
from streams.clock import Clock
from streams.records import Appender

log = logging.getLogger(__name__)

#: Notices of a step, and pages that the file is made shorter by: about so long the projection waits for either.
_NOTICES, _PAGES = 128, 256
#: Seconds that everybody else has the disk and the thread between two steps.
_PAUSE = 0.05
#: Seconds between two looks.
FOLD_EVERY = 600.0


class Folder:
    """Folds what was closed at least `age` ago."""

    def __init__(self, appender: Appender, ledger: Ledger, recorder: Recorder, clock: Clock, age: timedelta) -> None:
        self._appender = appender
        self._ledger = ledger
        self._recorder = recorder
        self._clock = clock
        self._age = age

    async def look(self) -> int:
        """Fold all that is old enough, and give its room back. How many notices were folded. Raises `RescindError`."""
        before = self._clock() - self._age
        folded = 0
        while True:
            await caught_up(self._appender, self._ledger, STANDING)
            step = await self._recorder.run(self._ledger.fold, before, _NOTICES)
            if step.looked_at == 0:
                break
            folded += step.folded
            await asyncio.sleep(_PAUSE)
        spare = 1
        while spare:
            spare = await self._recorder.run(self._ledger.give_back, _PAGES)
            await asyncio.sleep(_PAUSE)
        if folded:
            log.info("%d notices were folded into archives", folded)
        return folded


def add_folding(app: Any, folder: Folder, every: float) -> None:
    """Let a Faust app fold every so many seconds."""

    @app.task
    async def fold() -> None:
        await look_for_ever(folder.look, every, log, "the ledger was not folded to the end")
