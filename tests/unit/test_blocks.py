"""Subjects in blocks: exact, small, and nothing else is taken for one."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.blocks import LEAF, MOST, MOST_BYTES, cut, decode_block, decode_leaf, encode_block, first_of, holds, leaves
from streams.errors import InvalidInput, Undecodable

_ID = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=255)
_ALIKE = st.text("ab:é", min_size=1, max_size=6)
SUBJECTS = st.sets(st.builds("{}:{}".format, st.sampled_from(["a", "user", "ab"]), _ID | _ALIKE), min_size=1)


def users(count: int) -> list[str]:
    return [f"user:{number:010}" for number in range(count)]


@given(SUBJECTS)
def test_what_was_encoded_is_decoded(subjects: set[str]) -> None:
    assert decode_block(encode_block(sorted(subjects))) == sorted(subjects)


@given(SUBJECTS, SUBJECTS)
def test_a_leaf_holds_what_it_holds_and_nothing_else(subjects: set[str], others: set[str]) -> None:
    (leaf,) = leaves(encode_block(sorted(subjects)))
    assert first_of(leaf) == min(subjects)
    for subject in subjects | others | {min(subjects)[:-1], max(subjects) + "x"}:
        assert holds(leaf, subject) is (subject in subjects)


def test_names_that_share_more_than_a_byte_can_say() -> None:
    subjects = sorted("a:" + "x" * length + end for length in (240, 252, 253, 254) for end in ("", "y"))
    (leaf,) = leaves(encode_block(subjects))
    assert decode_leaf(leaf) == subjects
    assert all(holds(leaf, subject) for subject in subjects)
    assert not any(holds(leaf, subject + "z") for subject in subjects)


def test_a_full_block_is_eight_leaves_that_are_read_one_by_one() -> None:
    subjects = users(MOST)
    each = list(leaves(encode_block(subjects)))
    assert [first_of(leaf) for leaf in each] == subjects[::LEAF]
    assert [subject for leaf in each for subject in decode_leaf(leaf)] == subjects
    assert holds(each[3], subjects[3 * LEAF + 7])
    assert not holds(each[3], subjects[7])


def test_ten_million_would_be_far_below_a_hundred_megabytes() -> None:
    chosen = sorted(random.Random(1).sample(range(10**7), 2 * MOST))
    size = sum(len(encode_block(some)) for some in cut(f"user:{number:010}" for number in chosen))
    assert size / len(chosen) < 4


@pytest.mark.parametrize(
    "subjects",
    [
        [],
        ["a:2", "a:1"],
        ["a:1", "a:1"],
        ["a:1", "no subject"],
        ["a:1\n"],
        ["a:1\na:2"],
        [""],
        ["a:\ud800"],
        ["a:" + "x" * 256],
        users(MOST + 1),
        [f"a:{number:04}{'é' * 250}" for number in range(2200)],
    ],
)
def test_what_is_no_block_is_not_made_one(subjects: list[str]) -> None:
    with pytest.raises(InvalidInput):
        encode_block(subjects)


def leaf_of(count: int, rest: bytes) -> bytes:
    return zlib.compress(count.to_bytes(2) + rest)


GOOD = leaf_of(2, b"\x00\x02a:1\n2")


def test_the_coding_by_hand() -> None:
    assert decode_block(b"\x01" + GOOD) == ["a:1", "a:2"]


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\x01",
        b"\x02" + GOOD,
        b"\x01" + GOOD[:-1],
        b"\x01" + GOOD + b"x",
        b"\x01" + GOOD + GOOD,
        b"\x01" + leaf_of(0, b""),
        b"\x01" + leaf_of(3, b"\x00\x02a:1\n2"),
        b"\x01" + leaf_of(1, b"\x00a:1\n2"),
        b"\x01" + leaf_of(2, b"\x00\x02a:2\n1"),
        b"\x01" + leaf_of(2, b"\x00\x03a:1\n"),
        b"\x01" + leaf_of(1, b"\x00a"),
        b"\x01" + leaf_of(1, b"\x00a:\xff"),
        b"\x01" + leaf_of(LEAF + 1, bytes(LEAF + 1) + b"\n".join(b"a:%05d" % n for n in range(LEAF + 1))),
        b"\x01" + zlib.compress(bytes(64 * MOST_BYTES)),
        b"\x01" + b"".join(leaf_of(1, b"\x00a:%05d" % number) for number in range(MOST + 1)),
    ],
)
def test_what_is_no_block_is_not_read(block: bytes) -> None:
    with pytest.raises(Undecodable):
        decode_block(block)


@given(st.binary(max_size=64), st.integers(0, 40), SUBJECTS)
def test_a_damaged_block_is_never_read_as_another(damage: bytes, at: int, subjects: set[str]) -> None:
    block = encode_block(sorted(subjects))
    damaged = block[:at] + damage + block[at + len(damage) :]
    try:
        assert decode_block(damaged) == sorted(subjects)
    except Undecodable:
        return


def test_a_list_is_cut_by_number_and_by_size() -> None:
    assert [len(some) for some in cut(users(2 * MOST + 1))] == [MOST, MOST, 1]
    long = [f"a:{number:05}{'é' * 250}" for number in range(3000)]
    pieces = list(cut(long))
    assert [subject for piece in pieces for subject in piece] == long
    assert all(decode_block(encode_block(piece)) == piece for piece in pieces)
    assert list(cut([])) == []
