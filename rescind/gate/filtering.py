"""A file of rows through the gate: streaming, in bounded memory, and resumable wherever it is killed.

Nothing that it leaves looks whole before it is: the rows lie in `OUT.partial`, and what it needs to go on in
`OUT.gate`, until the export is settled. Then come the withdrawals and the manifest, and the very last step gives the
rows their name.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from rescind.client import patiently
from rescind.gate import handing
from rescind.gate.deciding import Consents, Layout, Reason, Refused
from rescind.gate.handing import Closing, Handed, Patience
from rescind.gate.judging import Judge
from rescind.gate.marks import Keeping, Mark, Stage
from rescind.gate.outlet import Outlet
from rescind.gate.service import Service
from rescind.gate.steps import Reject, Source, Step
from rescind.gate.subjects import Subjects
from streams import manifests
from streams.durable import sync
from streams.errors import InvalidInput, StorageUnusable

#: Bytes of input after which it is made durable how far the gate has come.
_MARK_EVERY = 256 * 1024 * 1024
#: Bytes of input after which it is told how far the gate has come.
_TELL_EVERY = 1024 * 1024
#: So many malformed rows are kept with their reasons, to be told.
BAD_KEPT = 100


@dataclass(frozen=True, slots=True)
class Task:
    """What a gate is asked to do."""

    dataset: str
    version: str
    partner: str
    purpose: str
    layout: Layout
    format: str

    def asked(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in ("dataset", "version", "partner", "purpose")}

    def written(self) -> dict[str, Any]:
        layout = asdict(self.layout) | {"allowed": sorted(self.layout.allowed)}
        written: dict[str, Any] = orjson.loads(orjson.dumps(self.asked() | {"format": self.format, "layout": layout}))
        return written


@dataclass(frozen=True, slots=True)
class Places:
    """Where what goes out is put. `keeping` is a directory for what is needed to go on. The rows go to `out`, or, where
    one cannot go on, to a stream."""

    out: Path | BinaryIO
    keeping: Path
    manifest: Path
    withdrawals: Path
    rejects: Path

    @classmethod
    def beside(cls, out: Path, rejects: Path | None = None) -> Places:
        """All of it beside the file of the rows."""
        keeping, manifest, withdrawals, others = (
            Path(f"{out}.{name}") for name in ("gate", "manifest.json", "withdrawals", "rejects")
        )
        return cls(out, keeping, manifest, withdrawals, rejects or others)

    @property
    def partial(self) -> Path | None:
        return Path(f"{self.out}.partial") if isinstance(self.out, Path) else None

    @property
    def taken(self) -> bool:
        """Is there something by the name of the rows?"""
        return isinstance(self.out, Path) and self.out.exists()

    @property
    def named(self) -> bool:
        """If the rows were once read, have they got their name?"""
        return self.taken and self.partial is not None and not self.partial.exists()


@dataclass(slots=True)
class Summary:
    """Of the whole input, what was done before an interruption included. `bad` are the first malformed rows since."""

    read: int = 0
    cleared: int = 0
    dropped: Counter[Reason] = field(default_factory=Counter)
    bad: list[tuple[int, str]] = field(default_factory=list)


class Filtering:
    """One input through the gate."""

    def __init__(
        self,
        task: Task,
        source: Source,
        service: Service,
        places: Places,
        *,
        patience: Patience = Patience(),
        on_progress: Callable[[int], None] = lambda done: None,
        on_read: Callable[[], None] = lambda: None,
        mark_every: int = _MARK_EVERY,
    ) -> None:
        self._task = task
        self._source = source
        self._service = service
        self._places = places
        self._patience = patience
        self._on_progress = on_progress
        self._on_read = on_read
        self._mark_every = mark_every
        self.summary = Summary()

    def run(self, file: BinaryIO, *, resume: bool = False) -> Handed:
        """Let through what may go out, and hand it over. Raises `RescindError`; what is needed to go on is kept."""
        places = self._places
        with Keeping(places.keeping) as keeping:
            mark = keeping.load()
            if places.taken and not (places.named and mark is not None and mark.stage is Stage.CLOSING):
                raise InvalidInput(f"{places.out} is there already")
            if mark is not None and not resume:
                raise InvalidInput(f"{places.keeping} is of a gate that was interrupted: --resume it, or delete it")
            if mark is not None and mark.task != self._task.written():
                raise InvalidInput(f"{places.keeping} is of a gate that was asked something else; delete it")
            mark = self._filtered(file, keeping, mark)
            self._on_read()
            handed = self._handed_over(keeping, mark)
            self._finish(keeping, mark, handed)
            return handed

    # -- rows

    def _filtered(self, file: BinaryIO, keeping: Keeping, mark: Mark | None) -> Mark:
        """The mark of when all rows are read."""
        if mark is not None:
            self.summary = Summary(mark.read, mark.cleared, Counter(mark.dropped))
            if mark.stage is not Stage.FILTERING:
                return mark
        opened = self._ask(lambda: self._service.open_export(self._task.asked()))
        # Anew also for one that goes on: who has opted out meanwhile is out of the rest.
        consents: Consents = self._ask(lambda: self._service.consents_for(self._task.purpose))
        if mark is None:
            mark = Mark(
                task=self._task.written(), export=opened["id"], regime=consents.regime, watermark=consents.watermark
            )
            keeping.save(mark)
        if (mark.export, mark.regime) != (opened["id"], consents.regime):
            raise Refused("what the purpose needs has changed since the gate was interrupted; begin anew")
        return self._read(file, keeping, mark, Judge(self._task.layout, consents))

    def _read(self, file: BinaryIO, keeping: Keeping, mark: Mark, judge: Judge) -> Mark:
        subjects = Subjects(keeping.directory, mark.runs, mark.next_run)
        subjects.tidy()
        tell = 0
        out, rejects = self._outlet(mark), Outlet.resumed(keeping.directory / "rejects", mark.rejects)
        try:
            for step in self._source.steps(file, judge, mark.place):
                out.write(step.out)
                subjects.add(step.judged.subjects)
                self._count(step, rejects)
                if step.place is not None and step.place.offset >= tell:
                    tell = step.place.offset + min(_TELL_EVERY, self._mark_every)
                    self._on_progress(step.place.offset)
                    if step.place.offset - mark.place.offset >= self._mark_every:
                        mark = mark.model_copy(update={"place": step.place})
                        mark = self._marked(keeping, mark, out, rejects, subjects)
            self._judge_whole(keeping, rejects)
            done = mark.model_copy(update={"stage": Stage.HANDING_OVER, "sha256": out.sha256})
            return self._marked(keeping, done, out, rejects, subjects)
        except (InvalidInput, Refused):
            if not mark.place.offset:
                # There is nothing to go on with, as where a column is misspelt.
                self._forget(keeping)
            raise
        finally:
            rejects.close()
            if self._places.partial is not None:
                out.close()

    def _outlet(self, mark: Mark) -> Outlet:
        places = self._places
        if places.partial is not None:
            return Outlet.resumed(places.partial, mark.out)
        assert not isinstance(places.out, Path)  # noqa: S101
        return Outlet(places.out, "standard output")

    def _count(self, step: Step, rejects: Outlet) -> None:
        done = self.summary
        done.read += step.read
        done.cleared += step.judged.cleared
        done.dropped.update(step.judged.dropped)
        for reject in step.rejects:
            rejects.write(_rejected(reject))
            if len(done.bad) < BAD_KEPT:
                done.bad.append((reject.number, reject.why))

    def _judge_whole(self, keeping: Keeping, rejects: Outlet) -> None:
        """An export is closed once and for all, so not one that is empty only since a column is misspelt."""
        done = self.summary
        if not done.cleared and done.dropped[Reason.MALFORMED]:
            rejects.sync()
            _move(keeping.directory / "rejects", self._places.rejects)
            self._forget(keeping)
            count, place = done.dropped[Reason.MALFORMED], self._places.rejects
            raise Refused(f"no row can go out, and {count:,} are malformed, see {place}; the export stays open")

    def _forget(self, keeping: Keeping) -> None:
        if self._places.partial is not None:
            self._places.partial.unlink(missing_ok=True)
        keeping.forget()

    def _marked(self, keeping: Keeping, mark: Mark, out: Outlet, rejects: Outlet, subjects: Subjects) -> Mark:
        """All that the mark speaks of is durable before it."""
        out.sync()
        rejects.sync()
        subjects.flush()
        mark = mark.model_copy(
            update={
                "out": out.size,
                "rejects": rejects.size,
                "read": self.summary.read,
                "cleared": self.summary.cleared,
                "dropped": {reason: count for reason, count in self.summary.dropped.items() if count},
                "runs": tuple(subjects.runs),
                "next_run": subjects.number,
            }
        )
        keeping.save(mark)
        subjects.tidy()
        return mark

    # -- hand-over

    def _handed_over(self, keeping: Keeping, mark: Mark) -> Handed:
        if mark.stage is Stage.HANDING_OVER:
            subjects = Subjects(keeping.directory, mark.runs, mark.next_run).sorted()
            blocks, count = handing.tell_subjects(self._service, mark.export, subjects, self._patience)
            mark = mark.model_copy(update={"stage": Stage.CLOSING, "blocks": blocks, "subjects": count})
            keeping.save(mark)
        closing = Closing(
            watermark=mark.watermark,
            blocks=mark.blocks,
            subjects=mark.subjects,
            rows_read=mark.read,
            rows_cleared=mark.cleared,
            dropped={str(reason): count for reason, count in mark.dropped.items()},
            sha256=mark.sha256,
            bytes=mark.out,
            format=self._task.format,
        )
        return handing.close(self._service, mark.export, closing, self._patience)

    def _finish(self, keeping: Keeping, mark: Mark, handed: Handed) -> None:
        """The rows get their name last: whoever finds them, finds them whole, and what belongs to them beside them."""
        places = self._places
        try:
            if handed.withdrawn:
                _write(places.withdrawals, b"".join(manifests.listed(handed.withdrawn)))
            if mark.rejects:
                _move(keeping.directory / "rejects", places.rejects)
            _write(places.manifest, orjson.dumps(handed.manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
            sync(places.manifest.parent)
            if isinstance(places.out, Path) and places.partial is not None and not places.named:
                places.partial.replace(places.out)
                sync(places.out.parent)
        except OSError as error:
            raise StorageUnusable(f"cannot write {error.filename}: {error.strerror}; go on with --resume") from None
        keeping.forget()

    def _ask(self, ask: Callable[[], Any]) -> Any:
        return patiently(ask, self._patience.away, sleep=self._patience.sleep, monotonic=self._patience.monotonic)


def _rejected(reject: Reject) -> bytes:
    """A malformed row for whoever mends it; what is no text, as far as it is."""
    row = reject.row.decode("utf-8", "backslashreplace")
    return orjson.dumps({"number": reject.number, "reason": reject.why, "row": row}) + b"\n"


def _write(path: Path, content: bytes) -> None:
    """A file that is there once it is whole."""
    new = Path(f"{path}.new")
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _move(old: Path, new: Path) -> None:
    """Maybe to another disk, and maybe done before."""
    if old.exists():
        copy = Path(f"{new}.new")
        with old.open("rb") as source, copy.open("wb") as file:
            shutil.copyfileobj(source, file)
            file.flush()
            os.fsync(file.fileno())
        copy.replace(new)
