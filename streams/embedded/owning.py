"""Who consumes as a group: one process, by a lock beside the log file that ends with it.

On Kafka a second consumer of a group would share its partitions; here it would do everything twice.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock, Timeout

from streams.embedded.trouble import explain
from streams.errors import LogInUse, StorageUnusable


def lock_path(log: Path, group: str) -> Path:
    """Where the lock of a group lies."""
    return log.with_name(f"{log.name}.{quote(group, safe='')}.lock")


class Owner:
    """The groups that this process owns. They are given up with `release`, or when the process ends."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._locks: dict[str, FileLock] = {}

    def own(self, group: str) -> None:
        """Become the owner of a group, or stay it. Raises `LogInUse` and `StorageUnusable`."""
        if group in self._locks:
            return
        path = lock_path(self._log, group)
        # Whatever thread closes the log gives the lock up.
        lock = FileLock(path, thread_local=False, mode=0o600)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise LogInUse(
                f"another service{_named(path)} consumes from the log {self._log} as group {group}: "
                "stop it, or give this one a log of its own"
            ) from None
        except OSError as error:
            raise StorageUnusable(f"cannot lock {path}: {explain(error)}") from None
        # For people and for `rescind doctor`; the lock itself is the kernel's.
        with contextlib.suppress(OSError):
            path.write_text(f"{os.getpid()}\n")
        self._locks[group] = lock

    def release(self) -> None:
        for lock in self._locks.values():
            lock.release()
        self._locks.clear()


def _named(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        return f" (process {int(path.read_text())})"
    return ""
