"""A Faust store that writes seldom: a table's changes wait in memory for one transaction of its file."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

from faust.stores.base import SerializedStore

from streams.errors import NotStored
from streams.states import Changes, Reach, StateFile

#: Changes that wait for their transaction, at most about; beyond, whoever reads waits for one.
MAX_WAITING = 20_000
#: Seconds until what could not be stored is tried again.
_RETRY = 0.5


class Store(SerializedStore):
    """A file below, and above it what is not there yet."""

    def __init__(self, *args: Any, file: StateFile, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._file = file
        self._waiting: dict[bytes, bytes | None] = {}
        self._on_the_way: Changes = {}
        self._turn = asyncio.Lock()

    async def load(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The values of those keys that there are."""
        if len(self._waiting) >= MAX_WAITING:
            await self.flush({})
        found: dict[bytes, bytes] = {}
        elsewhere = []
        for key in keys:
            known, value = self._in_memory(key)
            if not known:
                elsewhere.append(key)
            elif value is not None:
                found[key] = value
        if elsewhere:
            found |= await self._patient(lambda: self._file.read(elsewhere))
        return found

    def put(self, changes: Changes) -> None:
        """Change many values at once, past what Faust does for each."""
        self._waiting.update(changes)

    async def flush(self, reaches: Mapping[int, Reach]) -> None:
        """Store what waits, and how far that reaches. Raises as `_patient`."""
        async with self._turn:
            self._on_the_way, self._waiting = self._waiting, {}
            try:
                await self._patient(lambda: self._file.write(self._on_the_way, reaches))
            except BaseException:
                self._waiting = {**self._on_the_way, **self._waiting}
                raise
            finally:
                self._on_the_way = {}

    async def _patient(self, attempt: Callable[[], Awaitable[Any]]) -> Any:
        """Try until it works: a disk that is full only makes this wait. Raises `NotStored` when the app
        stops, and `StorageUnusable` when waiting does not help."""
        while True:
            try:
                return await attempt()
            except NotStored as error:
                if self.app.should_stop:
                    raise
                self.log.error("%s; trying again in %.1f s", error, _RETRY)  # noqa: TRY400 - no traceback needed
                await asyncio.sleep(_RETRY)

    def _in_memory(self, key: bytes) -> tuple[bool, bytes | None]:
        for changes in (self._waiting, self._on_the_way):
            if key in changes:
                return True, changes[key]
        return False, None

    # -- what Faust asks of a store

    def _get(self, key: bytes) -> bytes | None:
        known, value = self._in_memory(key)
        return value if known else self._file.get(key)

    def _set(self, key: bytes, value: bytes | None) -> None:
        self._waiting[key] = value

    def _del(self, key: bytes) -> None:
        self._waiting[key] = None

    def _contains(self, key: bytes) -> bool:
        return self._get(key) is not None

    def _iteritems(self) -> Iterator[tuple[bytes, bytes]]:
        above = {**self._on_the_way, **self._waiting}
        yield from ((key, value) for key, value in self._file.items() if key not in above)
        yield from ((key, value) for key, value in above.items() if value is not None)

    def _iterkeys(self) -> Iterator[bytes]:
        return (key for key, _ in self._iteritems())

    def _itervalues(self) -> Iterator[bytes | None]:
        return (value for _, value in self._iteritems())

    def _size(self) -> int:
        return sum(1 for _ in self._iteritems())

    def _clear(self) -> None:
        self._waiting.update(dict.fromkeys(self._iterkeys()))

    def reset_state(self) -> None:
        """Faust's worker would do this on request; nobody asks it here, and who wants it deletes the file."""
        raise NotImplementedError

    async def backup_partition(self, tp: Any, flush: bool = True, purge: bool = False, keep: int = 1) -> None:
        """See `reset_state`."""
        raise NotImplementedError

    def restore_backup(self, tp: Any, latest: bool = True, backup_id: int = 0) -> None:
        """See `reset_state`."""
        raise NotImplementedError
