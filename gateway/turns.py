"""One at a time, among all gateways of a data directory."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType

from filelock import AsyncFileLock

from gateway.problems import Problem
from streams.errors import StorageUnusable

#: Seconds between two looks at a lock that another process has.
_LOOK_AGAIN = 0.02


class Turns:
    """`async with` it to have a turn. Who waits longer than `patience` (seconds) is told to come again."""

    def __init__(self, path: Path, patience: float = 10.0) -> None:
        self._path = path
        self._patience = patience
        # The file's lock is this process's as a whole, so within it there is another one.
        self._here = asyncio.Lock()
        self._elsewhere = AsyncFileLock(path, mode=0o600, poll_interval=_LOOK_AGAIN, run_in_executor=False)
        self._held = AsyncExitStack()

    async def __aenter__(self) -> None:
        try:
            async with asyncio.timeout(self._patience), AsyncExitStack() as held:
                await held.enter_async_context(self._here)
                await held.enter_async_context(self._elsewhere)
                self._held = held.pop_all()
        except TimeoutError:
            detail = "another change of partners is under way"
            raise Problem(503, "unavailable", detail, headers={"retry-after": "1"}) from None
        except OSError as error:
            raise StorageUnusable(f"cannot lock {self._path}: {error.strerror}") from None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._held.aclose()
