"""Cutting a file into numbered lines and CSV records, in bounded memory. It knows nothing of toggles."""

from __future__ import annotations

import csv
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

#: Bytes. A longer line is no toggle, and must not fill the memory.
LONGEST = 64 * 1024
_BOM = b"\xef\xbb\xbf"
#: What is read of a line: if it is cut off here, then more than `LONGEST` remains without BOM and CRLF.
_READ = LONGEST + len(_BOM) + len(b"\r\n")


@dataclass(frozen=True, slots=True)
class Line:
    """A line, or a CSV record of several lines."""

    number: int  #: of its first line, from 1
    raw: bytes  #: without its line end; cut off somewhere behind `LONGEST` if it is longer
    end: int  #: the byte offset after it
    checksum: int  #: of the whole file up to `end`; it finds accidents, not malice

    @property
    def overlong(self) -> bool:
        return len(self.raw) > LONGEST


def lines(file: BinaryIO) -> Iterator[Line]:
    """The lines of a file, which end with LF or CRLF; the last one may lack its end. A BOM at the
    beginning, as spreadsheets write it, is left out."""
    number, end, checksum = 0, 0, 0
    while raw := file.readline(_READ):
        piece = raw
        end, checksum = end + len(piece), zlib.crc32(piece, checksum)
        # The rest of an overlong line is passed over in pieces, so that it costs no memory.
        while not piece.endswith(b"\n") and (piece := file.readline(LONGEST)):
            end, checksum = end + len(piece), zlib.crc32(piece, checksum)
        number += 1
        raw = raw.removeprefix(_BOM) if number == 1 else raw
        yield Line(number, raw.removesuffix(b"\n").removesuffix(b"\r"), end, checksum)


def records(source: Iterator[Line]) -> Iterator[Line]:
    """Join the lines that a quoted field spans (RFC 4180, section 2, rule 6), with LF between them.

    Where a quote is never closed, or what follows is no CSV, the line stands alone, so that a bad line
    costs only itself. Splitting blindly would read the inside of a field as a line of its own, and what
    people write into fields would become toggles.
    """
    ahead = _Ahead(source)
    for first in ahead:
        if first.overlong or b'"' not in first.raw:
            yield first
        else:
            spanned = _spanned(first, ahead)
            last = spanned[-1]
            yield Line(first.number, b"\n".join(line.raw for line in spanned), last.end, last.checksum)


class _Ahead:
    """Lines, of which those that were read too far can be put back."""

    def __init__(self, source: Iterator[Line]) -> None:
        self._source = source
        self._back: deque[Line] = deque()

    def __iter__(self) -> Iterator[Line]:
        return self

    def __next__(self) -> Line:
        return self._back.popleft() if self._back else next(self._source)

    def put_back(self, read: Sequence[Line]) -> None:
        self._back.extendleft(reversed(read))


def _spanned(first: Line, ahead: _Ahead) -> list[Line]:
    """The lines of the record that begins with the first: only that one, if no end is found."""
    read: list[Line] = []

    def feed() -> Iterator[str]:
        size = 0
        for line in chain([first], ahead):
            read.append(line)
            size += len(line.raw) + 1
            if size > LONGEST + 1:
                return
            # Any encoding will do to find ASCII quotes, if only each byte is one character.
            yield line.raw.decode("latin-1") + "\n"

    try:
        next(csv.reader(feed(), strict=True))
    except csv.Error:
        ahead.put_back(read[1:])
        return read[:1]
    return read
