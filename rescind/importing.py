"""Importing a file of toggles: streaming, in order, resumable; a bad line costs only itself."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from rescind.client import ApiError, patiently
from rescind.progress import Mark, ProgressFile
from rescind.reading import BadLine, Parse, header_parser, parse_json, toggle_of
from rescind.splitting import LONGEST, Line, lines, records
from streams.errors import InvalidInput, RescindError, StorageUnusable

#: How many bad lines are kept with their reasons; the rest is only counted, so that a file of nothing
#: else costs no memory.
BAD_KEPT = 100

Batch = list[tuple[Line, dict[str, Any]]]


class Target(Protocol):
    def post_toggles(self, toggles: Sequence[dict[str, Any]]) -> list[str]:
        """Durable on return."""
        ...


class Stopped(RescindError):
    """A bad line, where bad lines are fatal. Everything before it was sent, nothing after it."""


@dataclass(slots=True)
class Summary:
    """Of the whole file, what was done before an interruption included."""

    accepted: int = 0
    skipped: int = 0
    bad: list[BadLine] = field(default_factory=list)  #: the first `BAD_KEPT` of those skipped


@dataclass(frozen=True, slots=True)
class Options:
    """`retry_for` is in seconds. `destination` names the service: progress with one counts for no other."""

    batch: int = 500
    stop_on_error: bool = False
    retry_for: float = 60.0
    destination: str = ""


class Import:
    """One file on its way into one service."""

    def __init__(
        self,
        path: Path,
        target: Target,
        options: Options,
        *,
        on_progress: Callable[[int], None] = lambda done: None,
        on_warning: Callable[[str], None] = lambda warning: None,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._target = target
        self._options = options
        self._on_progress = on_progress
        self._on_warning = on_warning
        self._sleep = sleep
        self._monotonic = monotonic
        self._progress = ProgressFile(path)
        self._resumable = True
        self.summary = Summary()

    def run(self, *, restart: bool = False) -> Summary:
        """Send the whole file, or what is left of it. Raises `RescindError`; the progress is kept then."""
        with _open(self._path) as file:
            if restart:
                self._progress.forget()
            self._send(self._rest(file, self._mark()))
        try:
            self._progress.forget()
        except StorageUnusable as error:
            self._on_warning(str(error))
        return self.summary

    def _mark(self) -> Mark | None:
        mark = self._progress.load()
        if mark is not None and mark.destination != self._options.destination:
            self._on_warning(f"an import into {mark.destination} was interrupted; this one begins anew")
            return None
        return mark

    def _rest(self, file: BinaryIO, mark: Mark | None) -> Iterator[tuple[Line, Parse]]:
        """The lines that are still to be sent, and how to read them."""
        parse, found = self._layout(_readable(file, self._path))
        if mark is not None:
            self._pass_over(found, mark)
            self.summary = Summary(mark.accepted, mark.skipped, list(mark.bad))
            self._on_progress(mark.offset)
        for line in found:
            if line.raw.strip() or line.overlong:
                yield line, parse

    def _layout(self, found: Iterator[Line]) -> tuple[Parse, Iterator[Line]]:
        if self._path.suffix.lower() in (".ndjson", ".jsonl"):
            return parse_json, found
        header = next(found, None)
        if header is None:
            raise InvalidInput(f"{self._path} is empty; a CSV file begins with a header")
        return header_parser(_checked(header)), records(found)

    def _pass_over(self, found: Iterator[Line], mark: Mark) -> None:
        """Go to where the import was interrupted, unless the file up to there is another one now. What
        comes after may have changed: a line may have been mended, or others appended."""
        for line in found:
            if line.end >= mark.offset:
                if (line.end, line.checksum) == (mark.offset, mark.checksum):
                    return
                break
        raise InvalidInput(f"{self._path} has changed since the import was interrupted; use --restart")

    def _send(self, found: Iterator[tuple[Line, Parse]]) -> None:
        batch: Batch = []
        for line, parse in found:
            try:
                batch.append((line, toggle_of(_checked(line), parse)))
            except InvalidInput as error:
                self._bad(line, str(error), batch)
            if len(batch) >= self._options.batch:
                self._flush(batch)
        self._flush(batch)

    def _bad(self, line: Line, reason: str, before: Batch) -> None:
        if self._options.stop_on_error:
            self._flush(before)
            raise Stopped(f"line {line.number}: {reason}")
        self.summary.skipped += 1
        if len(self.summary.bad) < BAD_KEPT:
            self.summary.bad.append(BadLine(line.number, reason))

    def _flush(self, batch: Batch) -> None:
        """Send a batch, then remember that it is done. What the service refuses is reported by line; the
        rest is sent again."""
        if not batch:
            return
        last = batch[-1][0]
        while batch:
            try:
                self._post([toggle for _, toggle in batch])
            except ApiError as error:
                refused = _refused(error, len(batch))
                if not refused:
                    raise
                self._leave_out(batch, refused)
            else:
                self.summary.accepted += len(batch)
                batch.clear()
        self._remember(last)

    def _leave_out(self, batch: Batch, refused: dict[int, str]) -> None:
        tried = list(batch)
        until = min(refused) if self._options.stop_on_error else len(tried)
        batch[:] = [pair for index, pair in enumerate(tried[:until]) if index not in refused]
        for index, reason in sorted(refused.items()):
            self._bad(tried[index][0], reason, batch)

    def _post(self, toggles: list[dict[str, Any]]) -> None:
        # Their ids make repeating them harmless.
        patiently(
            lambda: self._target.post_toggles(toggles),
            self._options.retry_for,
            sleep=self._sleep,
            monotonic=self._monotonic,
        )

    def _remember(self, last: Line) -> None:
        self._on_progress(last.end)
        done = self.summary
        mark = Mark(
            destination=self._options.destination,
            offset=last.end,
            checksum=last.checksum,
            accepted=done.accepted,
            skipped=done.skipped,
            bad=done.bad,
        )
        if self._resumable:
            self._save(mark)

    def _save(self, mark: Mark) -> None:
        try:
            self._progress.save(mark)
        except StorageUnusable as error:
            # Only a convenience is lost: an import can always be repeated, and what was sent changes nothing.
            self._resumable = False
            self._on_warning(f"{error}; if this import is interrupted, it cannot go on from there")


def _open(path: Path) -> BinaryIO:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            # Opening a pipe may wait for ever, and what came through it cannot be read again.
            raise InvalidInput(f"cannot import {path}: it is no regular file, so an import could not go on from it")
        return path.open("rb")
    except OSError as error:
        hint = " (standard input cannot be imported; write it to a file first)" if str(path) == "-" else ""
        raise InvalidInput(f"cannot read {path}: {error.strerror}{hint}") from None


def _readable(file: BinaryIO, path: Path) -> Iterator[Line]:
    try:
        yield from lines(file)
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from None


def _checked(line: Line) -> bytes:
    if line.overlong:
        raise InvalidInput(f"longer than {LONGEST} bytes")
    if b"\0" in line.raw:
        raise InvalidInput("holds a NUL byte, which no text has; the file must be UTF-8")
    return line.raw


def _refused(error: ApiError, count: int) -> dict[int, str]:
    """The items of a batch of `count` that the service refuses, with its reasons; none if it refuses the
    request as a whole."""
    if error.status != 422:
        return {}
    reasons: dict[int, list[str]] = {}
    for item in error.errors:
        index = item.get("index")
        if type(index) is int and 0 <= index < count:
            field_name = str(item.get("pointer") or "").removeprefix("/")
            detail = str(item.get("detail"))
            reasons.setdefault(index, []).append(f"{field_name}: {detail}" if field_name else detail)
    return {index: "; ".join(told) for index, told in reasons.items()}
