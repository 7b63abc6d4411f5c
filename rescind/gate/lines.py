"""Cutting an input into whole lines, many at a time, in bounded memory; and finding again where it was left."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from rescind.gate.deciding import Refused
from streams.errors import InvalidInput

#: Bytes that are read at a time. With more, what is parsed at once no longer fits the processor's cache.
_TOGETHER = 64 * 1024
#: Bytes of the longest line; a longer one is malformed, and must not fill the memory.
LONGEST = 16 * 1024 * 1024
#: How much of such a line is kept to tell what it was.
_SHOWN = 1024
_AGAIN = 1024 * 1024
BOM = b"\xef\xbb\xbf"
CHANGED = Refused("the input has changed since the gate was interrupted; delete what it left, and begin anew")


@dataclass(frozen=True, slots=True)
class Place:
    """Between two lines of an input: what stands before it, in bytes, lines, and as CRC-32. The latter finds
    accidents, not malice."""

    offset: int = 0
    lines: int = 0
    checksum: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole lines without their ends, the last of which may have had none. `end` is the place behind them. An
    `overlong` line stands alone, and cut off."""

    lines: list[bytes]
    first: int
    end: Place
    overlong: bool = False


def begin(file: BinaryIO, place: Place) -> None:
    """Read an input up to a place where it was left. Raises `Refused` if it is not the same input up to there."""
    left, checksum, lines = place.offset, 0, 0
    while left and (piece := read(file, min(left, _AGAIN))):
        left -= len(piece)
        checksum = zlib.crc32(piece, checksum)
        lines += piece.count(b"\n")
    if left or (checksum, lines) != (place.checksum, place.lines):
        raise CHANGED


def pieces(file: BinaryIO, place: Place = Place()) -> Iterator[Piece]:
    """The lines of an input from a place on, up to which it was read."""
    rest = b""
    while True:
        # Twice as much at a time, while a line does not end, so that it is not copied over and over; but never more
        # than shows whether it is too long, wherever the reading began.
        got = read(file, min(max(_TOGETHER, len(rest)), max(1, LONGEST + 1 - len(rest))))
        data = rest + got
        cut = data.rfind(b"\n") + 1 if got else len(data)
        if not data:
            return
        whole, rest = (data, b"") if cut == len(data) else (data[:cut], data[cut:])
        if cut:
            lines, first = whole.split(b"\n"), place.lines + 1
            place = Place(place.offset + cut, place.lines + len(lines) - 1, zlib.crc32(whole, place.checksum))
            if not lines[-1]:
                lines.pop()
            yield Piece(lines, first, place)
        if not got:
            return
        if len(rest) > LONGEST:
            piece, rest = _overlong(file, place, rest)
            place = piece.end
            yield piece


def read(file: BinaryIO, size: int) -> bytes:
    try:
        return file.read(size)
    except OSError as error:
        raise InvalidInput(f"cannot read the input: {error.strerror}") from None


def _behind(place: Place, data: bytes) -> Place:
    return Place(place.offset + len(data), place.lines + data.count(b"\n"), zlib.crc32(data, place.checksum))


def _overlong(file: BinaryIO, place: Place, beginning: bytes) -> tuple[Piece, bytes]:
    """A line that is too long, and what was read behind it."""
    first, shown, data = place.lines + 1, beginning[:_SHOWN], beginning
    while data:
        end = data.find(b"\n") + 1
        place = _behind(place, data[:end] if end else data)
        if end:
            return Piece([shown], first, place, overlong=True), data[end:]
        data = read(file, _TOGETHER)
    return Piece([shown], first, place, overlong=True), b""
