"""Importing a file of toggles: streaming, in order, resumable; a bad line costs only itself."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rescind.client import ApiError, Unreachable
from rescind.reading import BadLine, Parse, csv_parser, parse_json, toggle_of
from streams.errors import InvalidInput, RescindError

#: A longer line is no toggle, and must not fill the memory.
_LONGEST_LINE = 64 * 1024
_HEAD = 64 * 1024


class Target(Protocol):
    def post_toggles(self, toggles: Sequence[dict[str, Any]]) -> list[str]:
        """Durable on return."""
        ...


class Stopped(RescindError):
    """A bad line, where bad lines are fatal. Everything before it was sent."""


@dataclass(slots=True)
class Summary:
    accepted: int = 0
    bad: list[BadLine] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Options:
    """`retry_for` is in seconds."""

    batch: int = 500
    stop_on_error: bool = False
    retry_for: float = 60.0


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    end: int  #: the byte offset after the line
    raw: bytes


class Import:
    """One file on its way into one service."""

    def __init__(
        self,
        path: Path,
        target: Target,
        options: Options,
        *,
        on_progress: Callable[[int], None] = lambda done: None,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._target = target
        self._options = options
        self._on_progress = on_progress
        self._sleep = sleep
        self._monotonic = monotonic
        self._progress = Path(f"{path}.rescind-progress")
        self.summary = Summary()

    def run(self, *, restart: bool = False) -> Summary:
        """Send the whole file, or what is left of it. Raises `RescindError`; the progress is kept then."""
        try:
            with self._path.open("rb") as file:
                identity = _identity(file.read(_HEAD), self._path)
                file.seek(0)
                self._send_all(file, identity, 0 if restart else self._resume_at(identity))
        except OSError as error:
            raise InvalidInput(f"cannot read {self._path}: {error.strerror}") from None
        self._progress.unlink(missing_ok=True)
        return self.summary

    def _send_all(self, file: Any, identity: str, start: int) -> None:
        parse, first = self._layout(file)
        batch: list[tuple[_Line, dict[str, Any]]] = []
        done = start
        for line in _lines(file, first):
            if line.end <= start or not line.raw.strip():
                continue
            try:
                batch.append((line, _toggle(line, parse)))
            except InvalidInput as error:
                self._bad(line.number, str(error), batch)
            if len(batch) >= self._options.batch:
                self._flush(batch)
                done = line.end
                self._remember(identity, done)
            self._on_progress(line.end)
        self._flush(batch)

    def _layout(self, file: Any) -> tuple[Parse, int]:
        if self._path.suffix.lower() in (".ndjson", ".jsonl"):
            return parse_json, 1
        header = file.readline(_LONGEST_LINE)
        try:
            return csv_parser(header.decode("utf-8-sig").rstrip("\r\n")), 2
        except UnicodeDecodeError:
            raise InvalidInput("the header is not UTF-8") from None

    def _bad(self, number: int, reason: str, batch: list[tuple[_Line, dict[str, Any]]]) -> None:
        if self._options.stop_on_error:
            self._flush(batch)
            raise Stopped(f"line {number}: {reason}")
        self.summary.bad.append(BadLine(number, reason))

    def _flush(self, batch: list[tuple[_Line, dict[str, Any]]]) -> None:
        """Send a batch. What the service refuses is reported by line; the rest is sent again."""
        while batch:
            try:
                self._post([toggle for _, toggle in batch])
            except ApiError as error:
                refused = {item["index"]: str(item.get("detail")) for item in error.errors if "index" in item}
                if error.status != 422 or not refused:
                    raise
                rest = [pair for index, pair in enumerate(batch) if index not in refused]
                lines = [(batch[index][0].number, reason) for index, reason in sorted(refused.items())]
                batch[:] = rest
                for number, reason in lines:
                    self._bad(number, reason, batch)
            else:
                self.summary.accepted += len(batch)
                batch.clear()

    def _post(self, toggles: list[dict[str, Any]]) -> None:
        deadline = self._monotonic() + self._options.retry_for
        delay = 0.1
        while True:
            try:
                self._target.post_toggles(toggles)
            except (Unreachable, ApiError) as error:
                # Nobody knows whether a lost request took effect; its ids make repeating it harmless.
                busy = isinstance(error, Unreachable) or error.status in (429, 502, 503, 504)
                if not busy or self._monotonic() + delay > deadline:
                    raise
                self._sleep(delay)
                delay = min(delay * 2, 5.0)
            else:
                return

    def _resume_at(self, identity: str) -> int:
        try:
            stored = json.loads(self._progress.read_bytes())
        except FileNotFoundError:
            return 0
        except ValueError:
            raise InvalidInput(f"{self._progress} is damaged; use --restart") from None
        if stored.get("identity") != identity:
            raise InvalidInput(f"{self._path} has changed since the import was interrupted; use --restart")
        offset = stored.get("offset")
        return offset if isinstance(offset, int) else 0

    def _remember(self, identity: str, offset: int) -> None:
        """Atomic: a crash leaves the old file or the new one."""
        new = Path(f"{self._progress}.new")
        new.write_text(json.dumps({"identity": identity, "offset": offset}))
        new.replace(self._progress)


def _toggle(line: _Line, parse: Parse) -> dict[str, Any]:
    if len(line.raw) > _LONGEST_LINE:
        raise InvalidInput(f"longer than {_LONGEST_LINE} bytes")
    return toggle_of(line.raw.rstrip(b"\r\n"), parse)


def _lines(file: Any, first: int) -> Iterator[_Line]:
    number = first
    while raw := file.readline(_LONGEST_LINE + 1):
        # The rest of an overlong line is passed over in pieces, so that it costs no memory.
        piece = raw
        while not piece.endswith(b"\n") and (piece := file.readline(_LONGEST_LINE)):
            pass
        yield _Line(number, file.tell(), raw)
        number += 1


def _identity(head: bytes, path: Path) -> str:
    status = path.stat()
    return f"{status.st_size}:{status.st_mtime_ns}:{hashlib.sha256(head).hexdigest()}"
