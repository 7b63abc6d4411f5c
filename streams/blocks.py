"""Subjects in blocks: many sorted names in few bytes, and exact.

An export may hold ten million subjects, and each must be found again years later. Sorted names share most of what they
begin with, so a name is written as how many bytes it shares with the one before, and the rest; zlib does the rest of
the work. Ten million like `user:0001234567` take one or two bytes each. Nothing is hashed: an answer about a person
must not be wrong for one in a billion.

A block is a byte that names this coding, and one *leaf* after the other, each a zlib stream (RFC 1950) of up to 1,024
names. A leaf can be read without the others, so a single subject is found by unpacking a leaf and not a block. The
order is that of the names' UTF-8, which is also that of Python's `str` and of SQLite's `BINARY`.
"""

from __future__ import annotations

import operator
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice, pairwise, starmap

from streams.errors import InvalidInput, Undecodable
from streams.forms import SUBJECT

#: Subjects of a block, and bytes of their names, at most. With the latter a block is well below what a request and a
#: record may be, whatever the names are.
MOST, MOST_BYTES = 8192, 1024 * 1024
#: Subjects of a leaf. A block of one leaf would be a tenth smaller, and a search in it eight times slower.
LEAF = 1024
_CODING = b"\x01"
#: What a name may share with the one before is written in a byte.
_LONGEST_SHARED = 255
_COUNT_BYTES = 2
#: What a leaf unpacks to at most: its count, what is shared, and the names with a line end each.
_LEAF_BYTES = _COUNT_BYTES + 2 * LEAF + MOST_BYTES
#: Many subjects at once, with a line end each: a match for each of them takes five times as long. Bytes are for ASCII.
_LINES = f"(?:{SUBJECT[1:-1]}\n)++"
_are_subjects, _are_ascii_subjects = re.compile(_LINES).fullmatch, re.compile(_LINES.encode()).fullmatch


def encode_block(subjects: Sequence[str]) -> bytes:
    """The block of sorted, distinct subjects. Raises `InvalidInput` if they are not that, none, or too many."""
    try:
        names = "\n".join(subjects).encode().split(b"\n")
    except UnicodeEncodeError:
        raise InvalidInput("a subject is no text that UTF-8 can carry") from None
    reason = _unfit(names) if len(names) == len(subjects) else "a subject holds a line end, or there is none"
    if reason is not None:
        raise InvalidInput(reason)
    return _CODING + b"".join(_leaf(names[start : start + LEAF]) for start in range(0, len(names), LEAF))


def decode_block(block: bytes) -> list[str]:
    """The subjects of a block, sorted and distinct. Raises `Undecodable` if it is not what `encode_block` makes."""
    names: list[bytes] = []
    for leaf in leaves(block):
        names += _names(leaf)
        if len(names) > MOST:
            break
    reason = _unfit(names)
    if reason is not None:
        raise Undecodable(reason)
    return _texts(names)


def leaves(block: bytes) -> Iterator[bytes]:
    """The leaves of a block, each for `decode_leaf`, `first_of` and `holds`. Raises `Undecodable`."""
    if block[:1] != _CODING or len(block) == 1:
        raise Undecodable("not a block of subjects, or of a coding that is not known here")
    rest = block[1:]
    while rest:
        _, after = _unpacked(rest)
        yield rest[: len(rest) - len(after)]
        rest = after


def decode_leaf(leaf: bytes) -> list[str]:
    """The subjects of a leaf of a block that was decoded before. Raises `Undecodable`."""
    return _texts(_names(leaf))


def first_of(leaf: bytes) -> str:
    """The first subject of a leaf. Raises `Undecodable`."""
    return _texts(_parts(leaf)[1][:1])[0]


def holds(leaf: bytes, subject: str) -> bool:
    """Is it among the subjects of a leaf of a block that was decoded before? Raises `Undecodable`.

    The names are not written out. While a name is known to be smaller than the wanted one, and to be like it in so many
    bytes, then whatever shares more than those with it is smaller too, and is passed over.
    """
    wanted = subject.encode()
    shared, suffixes = _parts(leaf)
    alike = at = 0
    while (found := _at_most(alike)(shared, at)) is not None:
        at = found.start()
        length, suffix = shared[at], suffixes[at]
        if length < alike and length < _LONGEST_SHARED:
            return False
        rest = wanted[length:]
        if suffix >= rest:
            return suffix == rest
        alike = length + _alike(suffix, rest)
        at += 1
    return False


def cut(subjects: Iterable[str]) -> Iterator[list[str]]:
    """Sorted subjects in lists that each fit a block. Holds one at a time."""
    source = iter(subjects)
    while some := list(islice(source, MOST)):
        # What the names take exactly matters only to who has very long ones: a character is four bytes at most.
        size = 4 * sum(map(len, some))
        yield from [some] if size <= MOST_BYTES else _cut_by_size(some)


def _cut_by_size(subjects: Sequence[str]) -> Iterator[list[str]]:
    some: list[str] = []
    size = 0
    for subject in subjects:
        length = len(subject) if subject.isascii() else 4 * len(subject)
        if some and size + length > MOST_BYTES:
            yield some
            some, size = [], 0
        some.append(subject)
        size += length
    yield some


def _unfit(names: Sequence[bytes]) -> str | None:
    """Why they are no block; None if they are."""
    if not 0 < len(names) <= MOST:
        return f"a block holds 1 to {MOST} subjects"
    lines = b"\n".join(names) + b"\n"
    if len(lines) > MOST_BYTES + len(names):
        return f"the subjects of a block are more than {MOST_BYTES} bytes"
    if not _look_like_subjects(lines):
        return "a name in the block is not a subject, which is kind:id"
    if not all(starmap(operator.lt, pairwise(names))):
        return "the subjects of a block are not sorted, or not distinct"
    return None


def _look_like_subjects(lines: bytes) -> bool:
    if lines.isascii():
        return _are_ascii_subjects(lines) is not None
    try:
        return _are_subjects(lines.decode()) is not None
    except UnicodeDecodeError:
        return False


def _leaf(names: Sequence[bytes]) -> bytes:
    shared = bytearray(len(names))
    suffixes = []
    # As numbers: the highest bit in which two differ says how many bytes they share, without a loop over these.
    before, length_before = 0, 0
    for number, name in enumerate(names):
        length, value = len(name), int.from_bytes(name)
        if length >= length_before:
            alike = length_before - ((value >> 8 * (length - length_before) ^ before).bit_length() + 7) // 8
        else:
            alike = length - ((before >> 8 * (length_before - length) ^ value).bit_length() + 7) // 8
        shared[number] = alike = min(alike, _LONGEST_SHARED)
        suffixes.append(name[alike:])
        before, length_before = value, length
    return zlib.compress(b"".join((len(names).to_bytes(_COUNT_BYTES), shared, b"\n".join(suffixes))))


def _names(leaf: bytes) -> list[bytes]:
    names: list[bytes] = []
    name = b""
    for length, suffix in zip(*_parts(leaf), strict=True):
        name = name[:length] + suffix
        names.append(name)
    return names


@lru_cache(maxsize=_LONGEST_SHARED + 1)
def _search(most: int) -> re.Pattern[bytes]:
    return re.compile(b"[\\x00-\\x%02x]" % most)


def _at_most(most: int) -> Callable[[bytes, int], re.Match[bytes] | None]:
    """Finds the next number of so much or less among bytes."""
    return _search(min(most, _LONGEST_SHARED)).search


def _alike(one: bytes, other: bytes) -> int:
    """In how many bytes two begin alike."""
    for length, (mine, its) in enumerate(zip(one, other, strict=False)):
        if mine != its:
            return length
    return min(len(one), len(other))


def _parts(leaf: bytes) -> tuple[bytes, list[bytes]]:
    """How many bytes each name shares with the one before, and the rest of each."""
    raw, after = _unpacked(leaf)
    count = int.from_bytes(raw[:_COUNT_BYTES])
    shared = raw[_COUNT_BYTES : _COUNT_BYTES + count]
    suffixes = raw[_COUNT_BYTES + count :].split(b"\n")
    if after or not 0 < count <= LEAF or len(shared) != count or len(suffixes) != count:
        raise Undecodable("the block of subjects is damaged")
    return shared, suffixes


def _unpacked(data: bytes) -> tuple[bytes, bytes]:
    """The first stream, unpacked, and what follows it."""
    unpacking = zlib.decompressobj()
    try:
        # Bounded: a few kilobytes may unpack to gigabytes.
        raw = unpacking.decompress(data, _LEAF_BYTES)
    except zlib.error:
        raise Undecodable("the block of subjects is damaged") from None
    if not unpacking.eof:
        raise Undecodable("the block of subjects is cut off, or too large")
    return raw, unpacking.unused_data


def _texts(names: Sequence[bytes]) -> list[str]:
    try:
        return b"\n".join(names).decode().split("\n")
    except UnicodeDecodeError:
        raise Undecodable("the block of subjects is damaged") from None
