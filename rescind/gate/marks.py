"""How far a gate has come, in a directory beside what it writes, so that it can go on from there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rescind.gate.deciding import Reason, Refused, Regime
from rescind.gate.lines import Place
from streams.durable import sync
from streams.errors import StorageUnusable


class Stage(StrEnum):
    FILTERING = "filtering"
    HANDING_OVER = "handing over"  #: all rows are read; the service is being told
    CLOSING = "closing"  #: the service was told all, and may have closed it


class Mark(BaseModel):
    """What was done when the input had been read up to `place`. `task` is what the gate was asked to do: progress with
    one counts for no other. Sizes are in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    task: Mapping[str, Any]
    export: str
    regime: Regime
    #: The earliest that any row was judged by.
    watermark: Mapping[str, Mapping[str, int]]
    stage: Stage = Stage.FILTERING
    place: Place = Place()
    out: int = Field(default=0, ge=0)
    rejects: int = Field(default=0, ge=0)
    read: int = Field(default=0, ge=0)
    cleared: int = Field(default=0, ge=0)
    dropped: Mapping[Reason, int] = Field(default={})
    runs: tuple[str, ...] = ()
    next_run: int = Field(default=0, ge=0)
    #: Of the subjects, once they are counted.
    blocks: int = 0
    subjects: int = 0
    sha256: str = ""


class Keeping:
    """A directory for one gate at a time, which is gone again if no mark was made; marks are replaced atomically."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._path = directory / "mark.json"
        self._lock = FileLock(directory / "lock")

    def __enter__(self) -> Keeping:
        try:
            self.directory.mkdir(mode=0o700, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise Refused(f"another gate works in {self.directory}") from None
        except OSError as error:
            raise StorageUnusable(f"cannot use {self.directory}: {error.strerror}") from None
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if not self._path.exists():
            shutil.rmtree(self.directory, ignore_errors=True)

    def load(self) -> Mark | None:
        """Raises `Refused` for what is no mark."""
        try:
            return Mark.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageUnusable(f"cannot read {self._path}: {error.strerror}") from None
        except ValidationError:
            raise Refused(f"{self._path} is damaged; delete {self.directory} and begin anew") from None

    def save(self, mark: Mark) -> None:
        """Durable on return. Raises `StorageUnusable`; the old mark, if there is one, stays and still holds."""
        new = self._path.with_suffix(".new")
        try:
            with new.open("wb") as file:
                file.write(mark.model_dump_json().encode())
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
            sync(self.directory)
        except OSError as error:
            raise StorageUnusable(f"cannot write {self._path}: {error.strerror}") from None

    def forget(self) -> None:
        """Without its mark the rest is nothing, and goes when this ends."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageUnusable(f"cannot remove {self.directory}: {error.strerror}") from None
