"""How far an import has come, in a file beside the imported one."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rescind.reading import BadLine
from streams.errors import InvalidInput, StorageUnusable


class Mark(BaseModel):
    """What was done when `offset` bytes of a file had been sent to `destination`."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
    destination: str
    offset: int = Field(ge=0)
    checksum: int  #: of the file up to the offset
    accepted: int = Field(ge=0)
    skipped: int = Field(ge=0)
    bad: list[BadLine]  #: the first of those skipped


class ProgressFile:
    """One mark, replaced atomically: a crash leaves the old one or the new one."""

    def __init__(self, imported: Path) -> None:
        self._path = Path(f"{imported}.rescind-progress")
        self._new = Path(f"{imported}.rescind-progress.new")

    def load(self) -> Mark | None:
        """Raises `InvalidInput` for what is no mark."""
        try:
            return Mark.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InvalidInput(f"cannot read {self._path}: {error.strerror}; use --restart") from None
        except ValidationError:
            raise InvalidInput(f"{self._path} is damaged; use --restart") from None

    def save(self, mark: Mark) -> None:
        """Raises `StorageUnusable`; the old mark, if there is one, stays and still holds."""
        try:
            self._new.write_text(mark.model_dump_json())
            self._new.replace(self._path)
        except OSError as error:
            raise StorageUnusable(f"cannot write {self._path}: {error.strerror}") from None

    def forget(self) -> None:
        """Raises `StorageUnusable`."""
        try:
            self._new.unlink(missing_ok=True)
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageUnusable(f"cannot remove {self._path}: {error.strerror}") from None
