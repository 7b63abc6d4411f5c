"""`rescind gate`: let through what of an export may go out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, BinaryIO

import typer

from rescind.bars import bar
from rescind.gate.deciding import Column, Layout, Reason
from rescind.gate.filtering import Filtering, Places, Summary, Task
from rescind.gate.formats import Format, format_of, source_of
from rescind.gate.handing import Handed, Patience
from rescind.gate.service import GateClient
from rescind.options import Key, Url
from rescind.output import complain, say
from streams.errors import InvalidInput

_WORDS = {
    Reason.OPTED_OUT: "opted out",
    Reason.NOT_OPTED_IN: "did not opt in",
    Reason.VISIBILITY: "not visible",
    Reason.MALFORMED: "malformed",
}


def gate(
    partner: Annotated[str, typer.Option(help="Whom the export is for.")],
    purpose: Annotated[str, typer.Option(help="What for, for instance ai-training.")],
    dataset: Annotated[str, typer.Option(help="What it is called, for instance posts.")],
    version: Annotated[str, typer.Option(help="Which one of these, for instance 2026-01. It is closed once.")],
    subject_column: Annotated[
        list[str],
        typer.Option(help="Where a row says whose it is; several times if several. NAME=blog: if it holds bare ids."),
    ],
    visibility_column: Annotated[str | None, typer.Option(help="Where a row says who may see it.")] = None,
    allow: Annotated[list[str] | None, typer.Option(help="A visibility that may go out; several times.")] = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="By default as the name of the input says, or ndjson.")
    ] = None,
    source: Annotated[Path | None, typer.Option("--input", help="A file; standard input by default.")] = None,
    out: Annotated[Path | None, typer.Option("--output", help="A file; standard output by default.")] = None,
    rejects: Annotated[Path | None, typer.Option(help="For malformed rows; OUTPUT.rejects by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where it was interrupted.")] = False,
    retry_for: Annotated[float, typer.Option(help="Seconds to go on trying while the service is away.", min=0)] = 60.0,
    settle_for: Annotated[float, typer.Option(help="Seconds to wait until it is settled.", min=0)] = 600.0,
    url: Url = None,
    key: Key = None,
) -> None:
    """Let through the rows of an export whose subjects allow it, and record whom it discloses.

    NDJSON, CSV with a header, or Parquet. Rows go out as they came in. One subject of a row that does not allow it is
    enough to drop the row. Rows of which it cannot be told whose they are go to OUTPUT.rejects.

    OUTPUT is there once the export is whole, closed and settled, and OUTPUT.manifest.json says so, signed. Whoever
    opted out while it was made stands in OUTPUT.withdrawals: do not use what is theirs. Interrupted, nothing looks
    whole, and --resume goes on. On standard output only the manifest, DATASET-VERSION.manifest.json, tells whether
    what came is whole.

    Exit code 0: all is well. 1: it is whole, but rows were malformed. 2: refused, hand nothing over.
    """
    layout = Layout(tuple(map(Column.parse, subject_column)), visibility_column, frozenset(allow or ()))
    form = form or format_of(source)
    task = Task(dataset, version, partner, purpose, layout, form.value)
    tell = say if out is not None else complain
    with ExitStack() as stack:
        places = _places(stack, out, rejects, f"{dataset}-{version}".replace("/", "-"), resume=resume)
        file = stack.enter_context(_opened(source))
        progress = stack.enter_context(bar(source))
        client = stack.enter_context(GateClient(url or "", key))
        patience = Patience(retry_for, settle_for)
        running = Filtering(task, source_of(form, layout), client, places, patience=patience, on_progress=progress)
        try:
            handed = running.run(file, resume=resume)
        finally:
            _report_bad(running.summary)
    _report(running.summary, handed, places, tell)
    if running.summary.dropped[Reason.MALFORMED]:
        raise typer.Exit(1)


def _places(stack: ExitStack, out: Path | None, rejects: Path | None, name: str, *, resume: bool) -> Places:
    if out is not None:
        if out.is_dir() or not out.parent.is_dir():
            raise InvalidInput(f"cannot write {out}: {'it is a' if out.is_dir() else 'there is no such'} directory")
        return Places.beside(out, rejects)
    if resume:
        raise InvalidInput("what went to standard output cannot be gone on with; --resume needs --output")
    if not hasattr(sys.stdout, "buffer"):
        raise InvalidInput("standard output is closed; name a file with --output")
    keeping = Path(stack.enter_context(TemporaryDirectory(prefix="rescind-gate-"))) / "gate"
    beside = Places.beside(Path(name), rejects)
    return Places(sys.stdout.buffer, keeping, beside.manifest, beside.withdrawals, beside.rejects)


@contextmanager
def _opened(source: Path | None) -> Iterator[BinaryIO]:
    if source is None:
        if not hasattr(sys.stdin, "buffer"):
            raise InvalidInput("standard input is closed; name a file with --input")
        yield sys.stdin.buffer
        return
    try:
        file = source.open("rb")
    except OSError as error:
        raise InvalidInput(f"cannot read {source}: {error.strerror}") from None
    with file:
        yield file


def _report_bad(summary: Summary) -> None:
    for number, why in summary.bad:
        complain(f"row {number}: {why}")
    more = summary.dropped[Reason.MALFORMED] - len(summary.bad)
    if more > 0:
        complain(f"and {more:,} more malformed rows")


def _report(summary: Summary, handed: Handed, places: Places, tell: Callable[[str], None]) -> None:
    reasons = [f"{words}: {summary.dropped[reason]:,}" for reason, words in _WORDS.items() if summary.dropped[reason]]
    why = f" ({', '.join(reasons)})" if reasons else ""
    tell(f"{summary.read:,} rows read, {summary.cleared:,} cleared, {summary.dropped.total():,} dropped{why}")
    if summary.dropped[Reason.MALFORMED]:
        tell(f"The malformed rows are in {places.rejects}.")
    if handed.withdrawn:
        tell(
            f"Withdrawn: {len(handed.withdrawn):,} (they chose otherwise while it was made); leave out what is theirs, "
            f"see {places.withdrawals}."
        )
    tell(f"Export {handed.export} is settled; its manifest is {places.manifest}.")
