"""What a partner compresses though nobody asked for it."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.content_coding import MEMBERS_CAP, STEP, Undecodable, Unpacker, codings, end, unpack

CAP = 10**6
TEXT = b'{"results": [{"id": "n0", "status": "received"}]}'


def bare(data: bytes) -> bytes:
    """Deflate without zlib's frame."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def members(data: bytes) -> bytes:
    half = len(data) // 2
    return gzip.compress(data[:half]) + gzip.compress(data[half:])


def unpacked(said: Iterable[str], data: bytes, size: int) -> bytes:
    """Data that comes in pieces of this size."""
    unpackers = [Unpacker(coding, CAP) for coding in reversed(codings(said))]
    found = bytearray()
    for start in range(0, len(data), size):
        for out in unpack(unpackers, data[start : start + size]):
            assert len(out) <= max(STEP, size)
            found += out
    for out in end(unpackers):
        found += out
    return bytes(found)


CODINGS: list[tuple[list[str], Callable[[bytes], bytes]]] = [
    ([], bytes),
    (["identity"], bytes),
    (["UTF-8"], bytes),
    (["none, gzip"], gzip.compress),
    (["gzip"], gzip.compress),
    (["GZip"], gzip.compress),
    (["x-gzip"], gzip.compress),
    ([" identity , gzip"], gzip.compress),
    (["gzip"], members),
    (["gzip"], lambda data: gzip.compress(data) + bytes(100)),
    (["deflate"], zlib.compress),
    (["deflate"], bare),
    (["DEFLATE"], lambda data: bare(data) + b"what follows"),
    (["gzip, gzip"], lambda data: gzip.compress(gzip.compress(data))),
    (["gzip", "deflate"], lambda data: zlib.compress(gzip.compress(data))),
    (["deflate,gzip,x-gzip"], lambda data: gzip.compress(gzip.compress(bare(data)))),
    # Said, and not done.
    (["gzip"], bytes),
]  # fmt: skip


@pytest.mark.parametrize(("said", "pack"), CODINGS)
@given(data=st.just(TEXT) | st.text().map(str.encode) | st.binary(), size=st.integers(1, 200))
def test_what_was_packed_comes_out_however_it_comes_in(
    said: list[str], pack: Callable[[bytes], bytes], data: bytes, size: int
) -> None:
    if pack is bytes:
        data = data.removeprefix(b"\x1f\x8b")
    assert unpacked(said, pack(data), size) == data


@pytest.mark.parametrize("said", [["gzip"], ["deflate"], ["gzip, gzip"], ["deflate, gzip"]])
@pytest.mark.parametrize("data", [b"", b"1", b"{}", TEXT, b"[1,\n" + b" " * 1000 + b"2]"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_text_that_is_said_to_be_packed_is_taken_as_it_is(said: list[str], data: bytes, size: int) -> None:
    assert unpacked(said, data, size) == data


def damaged(data: bytes) -> bytes:
    return data[:15] + bytes([data[15] ^ 0xFF]) + data[16:]


@pytest.mark.parametrize(
    ("said", "data", "why"),
    [
        (["br"], TEXT, "compressed with br, which was not asked for"),
        (["gzip, ZSTD"], TEXT, "compressed with zstd, which was not asked for"),
        (["gzip," * 5], TEXT, "compressed 5 times over"),
        (["\udcff\x1b[1m"], TEXT, r"compressed with \?\?\[1m, which was not asked for"),
        (["gzip"], gzip.compress(TEXT)[:-1], "its gzip ends too early"),
        (["gzip"], gzip.compress(TEXT)[:12], "its gzip ends too early"),
        (["gzip"], damaged(gzip.compress(TEXT)), "its gzip is damaged"),
        (["gzip"], gzip.compress(TEXT)[:-5] + b"\0" * 5, "its gzip is damaged"),
        (["gzip"], gzip.compress(TEXT) + gzip.compress(TEXT)[:20], "its gzip ends too early"),
        (["deflate"], zlib.compress(TEXT)[:-1], "its deflate ends too early"),
        (["deflate"], damaged(zlib.compress(TEXT)), "its deflate is damaged"),
        (["gzip, gzip"], gzip.compress(gzip.compress(TEXT)[:-1]), "its gzip ends too early"),
        (["gzip"], gzip.compress(b"") * (MEMBERS_CAP + 1), "its gzip has more than 10,000 members"),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_what_cannot_be_unpacked_is_told(said: list[str], data: bytes, why: str, size: int) -> None:
    with pytest.raises(Undecodable, match=f"^{why}$"):
        unpacked(said, data, size)


@given(st.binary(), st.sampled_from(["gzip", "deflate"]), st.integers(1, 50), st.booleans())
def test_nothing_that_comes_in_does_harm(data: bytes, coding: str, size: int, magic: bool) -> None:
    try:
        unpacked([coding], b"\x1f\x8b\x08" * magic + data, size)
    except Undecodable as error:
        assert str(error)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_bomb_comes_out_in_steps(depth: int) -> None:
    """And nobody has to take all of them."""
    bomb = bytes(256 * 1024 * 1024)
    for _ in range(depth):
        bomb = gzip.compress(bomb, compresslevel=1 if depth == 1 else 9)
    unpackers = [Unpacker("gzip", 200 * STEP) for _ in range(depth)]
    tracemalloc.start()
    try:
        steps = unpack(unpackers, bomb)
        assert sum(len(out) for out, _ in zip(steps, range(100), strict=False)) <= 100 * STEP
        assert tracemalloc.get_traced_memory()[1] < 40 * STEP
    finally:
        tracemalloc.stop()


def test_what_holds_nothing_within_a_great_deal_has_an_end() -> None:
    """Empty blocks of deflate: nothing comes out of them, however many there are."""
    nothing = b"\0\0\0\xff\xff" * CAP
    with pytest.raises(Undecodable, match="its gzip holds too much"):
        unpacked(["deflate, gzip"], gzip.compress(nothing), STEP)
