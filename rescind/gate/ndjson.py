"""NDJSON: a JSON object a line. Cleared lines go out as they came in, byte by byte."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from itertools import compress
from operator import attrgetter
from typing import Any, BinaryIO

import msgspec
import orjson

from rescind.gate.deciding import Layout
from rescind.gate.judging import Judge, Judged, Unreadable, malformed, unreadable
from rescind.gate.lines import BOM, LONGEST, Piece, Place, begin, pieces
from rescind.gate.steps import Reject, Step

#: So few lines are parsed one by one, once one of many is found to be bad.
_FEW = 8
_SHORT = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
#: An escape that could spell a letter of an ASCII name.
_ESCAPED_ASCII = re.compile(rb"\\u00[2-7]")


class Ndjson:
    """`layout` says which columns decide."""

    def __init__(self, layout: Layout) -> None:
        self._names = [_Name(name) for name in layout.names]
        # Many lines are one list to a parser, with this number between each two. Nobody can guess it, so wherever
        # it stands at every other place of the list, each line was one value by itself, and not half of one.
        self._between = secrets.randbits(62) | 1 << 62
        self._comma = b",%d," % self._between
        # A column whose name has an escape in JSON is so rare that there is no quick way for it.
        self._quick = not any(char in '"\\' or char < " " for name in layout.names for char in name)
        if self._quick:
            row, self._fields = _struct(layout)
            self._decode = msgspec.json.Decoder(list[row | int]).decode  # type: ignore[valid-type]
        self._subjects = len(layout.subjects)

    def steps(self, file: BinaryIO, judge: Judge, place: Place) -> Iterator[Step]:
        begin(file, place)
        for piece in pieces(file, place):
            yield self._overlong(piece) if piece.overlong else self._step(piece, judge)

    def _step(self, piece: Piece, judge: Judge) -> Step:
        lines = piece.lines
        if piece.first == 1:
            lines[0] = lines[0].removeprefix(BOM)
        together = self._comma.join(lines)
        judged = self._at_once(together, len(lines), judge) if self._quick else None
        numbers: Sequence[int] = range(piece.first, piece.first + len(lines))
        if judged is None:
            # Empty lines are no rows.
            full = [bool(line.strip()) for line in lines]
            lines, numbers = list(compress(lines, full)), list(compress(numbers, full))
            rows = self._parsed(lines)
            judged = judge.judge(unreadable(rows, self._twice(lines)))
        kept = list(lines) if judged.kept is None else list(compress(lines, judged.kept))
        if kept:
            kept.append(b"")
        rejects = [Reject(numbers[at], why, lines[at]) for at, why in judged.malformed]
        return Step(b"\n".join(kept), len(lines), judged, rejects, piece.end)

    def _at_once(self, together: bytes, count: int, judge: Judge) -> Judged | None:
        """What becomes of lines, if each of them is as they mostly are. Only the columns that decide are made values
        of, which takes a third of the time; the rest is only read. What is not as expected is judged by another way,
        so nothing passes here that does not pass there."""
        try:
            parsed = self._decode(b"[" + together + b"]")
            if parsed[1::2].count(self._between) != count - 1 or len(parsed) != 2 * count - 1:
                return None
            rows = parsed[::2]
            columns = [list(map(get, rows)) for get in self._fields]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, AttributeError):
            return None
        if not (together.isascii() or _is_text(together)):
            return None
        if not all(name.stands_once(together, count) for name in self._names):
            return None
        subjects = columns[: self._subjects]
        return judge.columns(subjects, columns[-1] if len(columns) > len(subjects) else None)

    def _overlong(self, piece: Piece) -> Step:
        why = f"it is longer than {LONGEST:,} bytes"
        return Step(b"", 1, malformed(why), [Reject(piece.first, why, piece.lines[0])], piece.end)

    def _parsed(self, lines: list[bytes]) -> list[Any]:
        rows = self._together(lines)
        if rows is not None:
            return rows
        if len(lines) <= _FEW:
            return list(map(_one, lines))
        half = len(lines) // 2
        return self._parsed(lines[:half]) + self._parsed(lines[half:])

    def _together(self, lines: list[bytes]) -> list[Any] | None:
        """The values of lines, if each is one."""
        try:
            parsed = orjson.loads(b"[" + self._comma.join(lines) + b"]")
        except orjson.JSONDecodeError:
            return None
        rows: list[Any] = parsed[::2]
        return rows if len(rows) == len(lines) and parsed[1::2].count(self._between) == len(parsed) // 2 else None

    def _twice(self, lines: Sequence[bytes]) -> dict[int, str]:
        """The lines in which a name that decides stands twice. Which of two subjects counts is anybody's guess (RFC
        8259, section 4), and whoever reads the line next may guess otherwise."""
        found = {}
        for at, line in enumerate(lines):
            doubted = [name for name in self._names if name.may_stand_twice(line)]
            if doubted and (name := _standing_twice(line, doubted)) is not None:
                found[at] = f"it has two of {name}"
        return found


class _Name:
    """A name, in all the ways in which JSON may write it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._plain = b'"%s"' % name.encode()
        self._special = not name.isascii() or any(char in _SHORT or char < " " for char in name)
        self._written = re.compile(f'"{"".join(map(_ways, name))}"\\s*:'.encode())

    def stands_once(self, data: bytes, lines: int) -> bool:
        """Whether it stands once in each line, if it is in each of them; false also if that is not easily told."""
        easy = not self._special and (b"\\" not in data or _ESCAPED_ASCII.search(data) is None)
        # Where it is not a name but a text, it counts too much here, and is looked for more closely.
        return (easy and data.count(self._plain) == lines) or len(self._written.findall(data)) == lines

    def may_stand_twice(self, line: bytes) -> bool:
        return len(self._written.findall(line)) > 1


def _struct(layout: Layout) -> tuple[Any, list[Callable[[Any], Any]]]:
    """What is made of a row that is as they mostly are, and how its columns are got from that."""
    names = {f"column_{number}": name for number, name in enumerate(layout.names)}
    kinds: list[Any] = [str | int if column.prefix else str for column in layout.subjects]
    if layout.visibility is not None:
        kinds.append(str | bool | int)
    row = msgspec.defstruct("Row", list(zip(names, kinds, strict=True)), rename=names, gc=False)
    return row, [attrgetter(field) for field in names]


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _ways(char: str) -> str:
    code = char.encode("utf-16-be").hex()
    units = [code[at : at + 4] for at in range(0, len(code), 4)]
    escaped = "".join(r"\\u" + "".join(f"[{digit}{digit.upper()}]" for digit in unit) for unit in units)
    plain = [] if char in '"\\' or char < " " else [re.escape(char)]
    short = [re.escape(_SHORT[char])] if char in _SHORT else []
    return f"(?:{'|'.join([*plain, *short, escaped])})"


def _standing_twice(line: bytes, names: Sequence[_Name]) -> str | None:
    found: list[str] = []

    def of_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # The outermost comes last.
        found[:] = [name for name, _ in pairs]
        return dict(pairs)

    try:
        json.loads(line, object_pairs_hook=of_object)
    except (ValueError, RecursionError):
        return None  # it is malformed anyway
    return next((name.name for name in names if found.count(name.name) > 1), None)


def _one(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return Unreadable("it is not JSON")
