"""Any file, any batch size, any crashes: what was taken is what the file says, in its order."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rescind.importing import Import, Options, Summary
from tests.unit.cli.fakes import Crash, MemoryTarget

NOON = "2026-01-01T12:00:00Z"
NAMES = ("subject", "purpose", "choice", "occurred_at", "source")


@dataclass(frozen=True)
class Piece:
    """Some lines of a file, and what should come of them: a subject, a bad line, or nothing."""

    text: str
    subject: str | None = None
    bad: bool = False


def csv_piece(values: list[str]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerow(values)
    return written.getvalue().removesuffix("\n")


def good_csv(user: int, source: str) -> Piece:
    return Piece(csv_piece([f"user:{user}", "ai", "opt_out", NOON, source]), f"user:{user}")


def refused_csv(user: int) -> Piece:
    return Piece(csv_piece([f"refused:{user}", "ai", "opt_out", NOON, ""]), bad=True)


def good_json(user: int, source: str) -> Piece:
    values = [f"user:{user}", "ai", "opt_out", NOON, source]
    return Piece(json.dumps(dict(zip(NAMES, values, strict=True))), f"user:{user}")


def refused_json(user: int) -> Piece:
    return Piece(good_json(user, "").text.replace("user:", "refused:"), bad=True)


USERS = st.integers(0, 6)
SOURCES = st.sampled_from(["", "app", "a, b", 'say "x"', "two\nlines", "\n", f"x\nuser:99,ai,opt_out,{NOON},"])
BLANK = st.sampled_from(["", "  ", "\t"]).map(Piece)
BAD = st.sampled_from(["nonsense", "a,b,c,d,e", "[]", "user:1,ai", '"closed"x', "{}", "null", "\x00"])
BAD_PIECES = BAD.map(lambda text: Piece(text, bad=True))
CSV_PIECES = st.builds(good_csv, USERS, SOURCES) | st.builds(refused_csv, USERS) | BAD_PIECES | BLANK
JSON_PIECES = st.builds(good_json, USERS, SOURCES) | st.builds(refused_json, USERS) | BAD_PIECES | BLANK
CRASHES = st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(1, 4)), max_size=4)


@given(st.lists(CSV_PIECES, max_size=14), st.integers(1, 5), CRASHES, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_csv(pieces: list[Piece], batch: int, crashes: list[tuple[int, bool, int]], end: str, ended: bool) -> None:
    check("file.csv", [Piece(",".join(NAMES)), *pieces], batch, crashes, end, ended)


@given(st.lists(JSON_PIECES, max_size=14), st.integers(1, 5), CRASHES, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_ndjson(pieces: list[Piece], batch: int, crashes: list[tuple[int, bool, int]], end: str, ended: bool) -> None:
    check("file.ndjson", pieces, batch, crashes, end, ended)


def check(
    name: str, pieces: list[Piece], batch: int, crashes: list[tuple[int, bool, int]], end: str, ended: bool
) -> None:
    target = MemoryTarget(refuse=lambda toggle: "no" if toggle["subject"].startswith("refused") else None)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / name
        path.write_bytes((end.join(piece.text for piece in pieces) + (end if ended else "")).encode())
        summary = import_through_crashes(path, target, batch, crashes)
        assert list(Path(directory).iterdir()) == [path]
    wanted = [piece.subject for piece in pieces if piece.subject is not None]
    assert target.subjects == list(dict.fromkeys(wanted))
    assert ids_in_order(target) == ids_in_order(uninterrupted(pieces, name))
    assert sorted(bad.number for bad in summary.bad) == bad_numbers(pieces)
    assert (summary.accepted, summary.skipped) == (len(wanted), len(bad_numbers(pieces)))


def import_through_crashes(
    path: Path, target: MemoryTarget, batch: int, crashes: list[tuple[int, bool, int]]
) -> Summary:
    """Each crash strikes a request of its attempt, before or after it is taken; each attempt may have
    another batch size."""
    for number, taken, other_batch in crashes:
        at = target.requests + number
        target.before, target.after = ({}, {at: Crash()}) if taken else ({at: Crash()}, {})
        try:
            return Import(path, target, Options(batch=other_batch)).run()
        except Crash:
            continue
    target.before, target.after = {}, {}
    return Import(path, target, Options(batch=batch)).run()


def uninterrupted(pieces: list[Piece], name: str) -> MemoryTarget:
    target = MemoryTarget()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / name
        head = [] if name.endswith("json") else [",".join(NAMES)]
        path.write_text("\n".join([*head, *(piece.text for piece in pieces if piece.subject is not None)]))
        Import(path, target, Options()).run()
    return target


def ids_in_order(target: MemoryTarget) -> list[str]:
    return list(dict.fromkeys(toggle["id"] for toggle in target.taken))


def bad_numbers(pieces: list[Piece]) -> list[int]:
    numbers, line = [], 1
    for piece in pieces:
        if piece.bad:
            numbers.append(line)
        line += piece.text.count("\n") + 1
    return numbers
