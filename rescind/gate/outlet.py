"""Where rows go out: a file that gets its name at the very end, or standard output."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import IO, Any

from rescind.gate.deciding import Refused
from streams.errors import StorageUnusable

_AGAIN = 1024 * 1024


class Outlet:
    """Bytes on their way out, counted and digested."""

    def __init__(self, file: IO[Any], name: str, *, durable: bool = False) -> None:
        self._file = file
        self._name = name
        self._durable = durable
        self._digest = hashlib.sha256()
        self.size = 0

    @classmethod
    def resumed(cls, path: Path, size: int) -> Outlet:
        """A file, cut back to what it held when that was said to be durable. Raises `Refused` if that is not there."""
        try:
            file = path.open("r+b" if size else "w+b", buffering=0)
            outlet = cls(file, str(path), durable=True)
            while outlet.size < size and (piece := file.read(min(_AGAIN, size - outlet.size))):
                outlet._count(piece)
            file.truncate(outlet.size)
            file.seek(outlet.size)
        except OSError as error:
            raise Refused(f"cannot go on with {path}: {error.strerror}") from None
        if outlet.size != size:
            raise Refused(f"{path} is shorter than it was when the gate was interrupted")
        return outlet

    def write(self, data: bytes) -> None:
        """Raises `StorageUnusable`, and `BrokenPipeError` if whoever read it has gone."""
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._unusable(error) from None
        self._count(data)

    def sync(self) -> None:
        """Pass on what was written, and make it durable where it is a file."""
        try:
            self._file.flush()
            if self._durable:
                os.fsync(self._file.fileno())
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._unusable(error) from None

    def close(self) -> None:
        self._file.close()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def _count(self, data: bytes) -> None:
        self._digest.update(data)
        self.size += len(data)

    def _unusable(self, error: OSError) -> StorageUnusable:
        return StorageUnusable(f"cannot write {self._name}: {error.strerror}")
