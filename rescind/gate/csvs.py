"""CSV with a header (RFC 4180). Cleared records go out as they came in, byte by byte, and so does the header."""

from __future__ import annotations

import csv
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain, compress, islice
from typing import Any, BinaryIO, NamedTuple

from rescind.gate.deciding import Layout
from rescind.gate.judging import Judge, Judged, Unreadable
from rescind.gate.lines import BOM, CHANGED, LONGEST, Piece, Place, pieces
from rescind.gate.steps import Reject, Step
from streams.errors import InvalidInput

#: Records that are judged together.
_TOGETHER = 256


class _Record(NamedTuple):
    """A line with its end, or the lines that a quoted field spans. `end` is the place behind it."""

    number: int
    raw: bytes
    end: Place
    overlong: bool = False


class Csv:
    """`layout` says which columns the header must have."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        csv.field_size_limit(LONGEST)

    def steps(self, file: BinaryIO, judge: Judge, place: Place) -> Iterator[Step]:
        found = _records(_lines(file))
        header = next(found, None)
        if header is None:
            raise InvalidInput("the input is empty; CSV begins with a header")
        names = self._names(header)
        if place.offset:
            _pass_over(chain([header], found), place)
        else:
            yield Step(_ended(header.raw), 0, Judged(None, 0, set()), [], header.end)
        while some := list(islice(found, _TOGETHER)):
            yield _step(some, names, judge)

    def _names(self, header: _Record) -> list[str]:
        try:
            names = _parsed(header._replace(raw=header.raw.removeprefix(BOM)))
        except (csv.Error, UnicodeDecodeError):
            raise InvalidInput("the header is no line of CSV, in UTF-8") from None
        for name in self._layout.names:
            if names.count(name) != 1:
                raise InvalidInput(f"the header has {'no' if name not in names else 'more than one'} column {name!r}")
        return names


def _pass_over(records: Iterator[_Record], place: Place) -> None:
    """Go to where a gate was interrupted, record by record, since the header was read from there as well."""
    for record in records:
        if record.end.offset >= place.offset:
            if record.end == place:
                return
            break
    raise CHANGED


def _step(records: Sequence[_Record], names: Sequence[str], judge: Judge) -> Step:
    full = [record for record in records if record.overlong or record.raw.strip()]
    judged = judge.judge([_row(record, names) for record in full])
    kept = full if judged.kept is None else compress(full, judged.kept)
    rejects = [Reject(full[at].number, why, full[at].raw) for at, why in judged.malformed]
    return Step(b"".join([_ended(record.raw) for record in kept]), len(full), judged, rejects, records[-1].end)


def _row(record: _Record, names: Sequence[str]) -> Any:
    if record.overlong:
        return Unreadable(f"it is longer than {LONGEST:,} bytes")
    try:
        values = _parsed(record)
    except UnicodeDecodeError:
        return Unreadable("it is not UTF-8")
    except csv.Error:
        return Unreadable("it is not CSV")
    if len(values) != len(names):
        return Unreadable(f"it has {len(values)} columns instead of {len(names)}")
    return dict(zip(names, values, strict=True))


def _parsed(record: _Record) -> list[str]:
    rows = list(csv.reader([record.raw.decode()], strict=True))
    if len(rows) != 1:
        raise csv.Error("not one record")
    return rows[0]


def _ended(raw: bytes) -> bytes:
    return raw if raw.endswith(b"\n") else raw + b"\n"


def _lines(file: BinaryIO) -> Iterator[_Record]:
    place = Place()
    for piece in pieces(file):
        if piece.overlong:
            yield _Record(piece.first, piece.lines[0], piece.end, overlong=True)
        else:
            yield from _cut(piece, place)
        place = piece.end


def _cut(piece: Piece, place: Place) -> Iterator[_Record]:
    for line in piece.lines:
        number = place.lines + 1
        ended = place.offset + len(line) < piece.end.offset
        whole = line + b"\n" if ended else line
        place = Place(place.offset + len(whole), place.lines + ended, zlib.crc32(whole, place.checksum))
        yield _Record(number, whole, place)


def _records(lines: Iterator[_Record]) -> Iterator[_Record]:
    """Join the lines that a quoted field spans. Where a quote is never closed, or what follows is no CSV, the line
    stands alone, so that it costs only itself."""
    ahead: deque[_Record] = deque()
    while (first := ahead.popleft() if ahead else next(lines, None)) is not None:
        if first.overlong or b'"' not in first.raw:
            yield first
            continue
        spanned = _spanned(first, ahead, lines)
        yield _Record(first.number, b"".join(line.raw for line in spanned), spanned[-1].end)


def _spanned(first: _Record, ahead: deque[_Record], lines: Iterator[_Record]) -> list[_Record]:
    read = [first]

    def feed() -> Iterator[str]:
        # Any encoding will do to find ASCII quotes, if only each byte is one character.
        yield first.raw.decode("latin-1")
        size = len(first.raw)
        for line in chain(iter(lambda: ahead.popleft() if ahead else None, None), lines):
            read.append(line)
            size += len(line.raw)
            if line.overlong or size > LONGEST:
                return
            yield line.raw.decode("latin-1")

    try:
        next(csv.reader(feed(), strict=True))
    except (csv.Error, StopIteration):
        ahead.extendleft(reversed(read[1:]))
        return read[:1]
    return read
