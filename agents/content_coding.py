"""Unpacks a reply that a partner has compressed without being asked: bounded, a step at a time. Pure.

The codings are those of RFC 9110 section 8.4.1. `deflate` means zlib's format, but many servers send
bare deflate; both are taken. A body that says `gzip` and is not is taken as it is.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Sequence

from streams.plain_text import printable

#: Codings of one body, and members of one gzip file, at most.
CODINGS_CAP, MEMBERS_CAP = 4, 10_000
#: Bytes that go into, and come out of, one step.
STEP = 64 * 1024

#: Names that mean no coding: `identity`, and what is often written there by mistake.
_NONE = frozenset({"identity", "none", "chunked", "utf-8", "utf8", "us-ascii", "iso-8859-1", "binary", "7bit", "8bit"})
_NAMES = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}
_MAGIC = b"\x1f\x8b"
#: Bytes at the start that tell bare deflate from text, and bytes that are never in text.
_TELLING, _NO_TEXT = 512, re.compile(rb"[\0-\x08\x0e-\x1f]")


class Undecodable(Exception):
    """A body cannot be unpacked. Its text says why, in words."""


def codings(values: Iterable[str]) -> tuple[str, ...]:
    """The codings that `Content-Encoding` headers name, in the order in which they were applied. Raises `Undecodable`
    for one that is not known.

    >>> codings(["Identity, X-GZIP", "deflate"])
    ('gzip', 'deflate')
    """
    said = [name for value in values for part in value.split(",") if (name := part.strip().lower())]
    named = [name for name in said if name not in _NONE]
    if len(named) > CODINGS_CAP:
        raise Undecodable(f"compressed {len(named)} times over")
    for name in named:
        if name not in _NAMES:
            # A header may hold bytes that are no text, which the client reads as lone surrogates: no log takes these.
            raise Undecodable(f"compressed with {printable(name[:20])}, which was not asked for")
    return tuple(_NAMES[name] for name in named)


class Unpacker:
    """Takes off one coding. No more than `cap` bytes come out: of a body that is packed twice, few bytes may unpack to
    very many, and these to few again."""

    def __init__(self, coding: str, cap: int) -> None:
        self._coding = coding
        self._left = cap
        self._decoder: zlib._Decompress | None = None
        #: The first bytes of a member, until they are enough to tell what it is.
        self._head = b""
        self._members = 0
        #: Is it passed on as it is, or, past its end, not at all?
        self._plain = self._over = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What comes out of this, in steps; some may be empty. Raises `Undecodable`."""
        return self._feed(data, last=False)

    def end(self) -> Iterator[bytes]:
        """What comes out as the body ends. Raises `Undecodable`."""
        yield from self._feed(b"", last=True)
        if self._decoder is not None:
            raise Undecodable(f"its {self._coding} ends too early")

    def _feed(self, data: bytes, *, last: bool) -> Iterator[bytes]:
        data, self._head = self._head + data, b""
        while data and not self._over:
            if self._plain:
                yield data
                return
            if self._decoder is None:
                if not last and len(data) < self._enough(data):
                    self._head = data
                    return
                self._begin(data)
                continue
            piece, data = data[:STEP], data[STEP:]
            yield from self._inflated(self._decoder, piece)
            if self._decoder.eof:
                data = self._decoder.unused_data + data
                self._decoder = None

    def _enough(self, data: bytes) -> int:
        """How many bytes tell what begins with these."""
        return len(_MAGIC) if self._coding == "gzip" or _is_zlib(data) else _TELLING

    def _begin(self, data: bytes) -> None:
        """A member begins, or what follows the last one: that counts for nothing, as with `gunzip`."""
        if self._coding == "gzip":
            other, bits = not data.startswith(_MAGIC), 16 + zlib.MAX_WBITS
        elif _is_zlib(data):
            other, bits = False, zlib.MAX_WBITS
        else:
            other, bits = _is_text(data[:_TELLING]), -zlib.MAX_WBITS
        if self._members and (other or self._coding != "gzip"):
            self._over = True
        elif other:
            self._plain = True
        else:
            self._members += 1
            if self._members > MEMBERS_CAP:
                raise Undecodable(f"its gzip has more than {MEMBERS_CAP:,} members")
            self._decoder = zlib.decompressobj(bits)

    def _inflated(self, decoder: zlib._Decompress, piece: bytes) -> Iterator[bytes]:
        while True:
            try:
                out = decoder.decompress(piece, STEP)
            except zlib.error:
                raise Undecodable(f"its {self._coding} is damaged") from None
            self._left -= len(out)
            if self._left < 0:
                raise Undecodable(f"its {self._coding} holds too much")
            yield out
            piece = decoder.unconsumed_tail
            # A full step may have left more within the decoder.
            if not piece and len(out) < STEP:
                return


def unpack(unpackers: Sequence[Unpacker], data: bytes) -> Iterator[bytes]:
    """What comes out of this by all of them, the outermost coding first, in steps. Raises `Undecodable`."""
    if not unpackers:
        yield data
        return
    first, *others = unpackers
    for out in first.feed(data):
        yield from unpack(others, out)


def end(unpackers: Sequence[Unpacker]) -> Iterator[bytes]:
    """What comes out as the body ends. Raises `Undecodable`."""
    for number, each in enumerate(unpackers):
        for out in each.end():
            yield from unpack(unpackers[number + 1 :], out)


def _is_zlib(data: bytes) -> bool:
    """RFC 1950 section 2.2."""
    return len(data) > 1 and data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2], "big") % 31 == 0


def _is_text(data: bytes) -> bool:
    """And no bare deflate, whatever was said of it."""
    if _NO_TEXT.search(data) is not None:
        return False
    decoder = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        decoder.decompress(data, STEP)
    except zlib.error:
        return True
    return not decoder.eof and len(data) < _TELLING
