"""JSON as partners' programs write it."""

from __future__ import annotations

import codecs
import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import InvalidInput
from streams.json_text import LEVELS_CAP, read, utf8, writable

REPLACED = "characters that are no Unicode were replaced"
NO_NUMBER = "NaN and infinite numbers were read as null"
AS_TEXT = "numbers beyond 64 bits were kept as text"
TOO_DEEP = "what is nested more than 64 levels deep was left out"
TEXT = '{"detail": "erledigt für 🦊"}'
VALUE = {"detail": "erledigt für 🦊"}


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


@pytest.mark.parametrize(
    ("body", "value", "changes"),
    [
        (b"[1, true, null]", [1, True, None], ()),
        (codecs.BOM_UTF8 + TEXT.encode(), VALUE, ()),
        (TEXT.encode("utf-16"), VALUE, ()),
        (TEXT.encode("utf-16-be"), VALUE, ()),
        (TEXT.encode("utf-32"), VALUE, ()),
        (b'"a\nb\tc"', "a\nb\tc", ()),
        (TEXT.encode("latin-1", "replace"), {"detail": "erledigt f\ufffdr ?"}, (REPLACED,)),
        (b'"\xed\xa0\x80"', "\ufffd" * 3, (REPLACED,)),
        (rb'"\ud800"', "\ufffd", (REPLACED,)),
        (rb'"\udc00\ud800x"', "\ufffd\ufffdx", (REPLACED,)),
        (rb'"\ud83e\udd8a"', "🦊", ()),
        (rb'"\\ud800"', r"\ud800", ()),
        (rb'{"\ud800": 1}', {"\ufffd": 1}, (REPLACED,)),
        ('"\ud800"'.encode("utf-16", "surrogatepass"), "\ufffd", (REPLACED,)),
        (b"[NaN, Infinity, -Infinity]", [None] * 3, (NO_NUMBER,)),
        (b"[18446744073709551615, -9223372036854775808]", [2**64 - 1, -(2**63)], ()),
        (b"18446744073709551616", "18446744073709551616", (AS_TEXT,)),
        (b"-9223372036854775809", "-9223372036854775809", (AS_TEXT,)),
        (b"9" * 5000, "9" * 5000, (AS_TEXT,)),
        (b"1e400", "1e400", (AS_TEXT,)),
        (b"0.12345678901234567890", float("0.12345678901234567890"), ()),
        (b'"12345678901234567890"', "12345678901234567890", ()),
        (b'[NaN, "\\ud800", 1e400]', [None, "\ufffd", "1e400"], (NO_NUMBER, REPLACED, AS_TEXT)),
        (nested(LEVELS_CAP), json.loads(nested(LEVELS_CAP)), ()),
    ],
)
def test_what_is_meant_is_read_and_what_was_changed_is_told(body: bytes, value: Any, changes: tuple[str, ...]) -> None:
    found = writable(read(body))
    assert found == (value, changes)
    assert orjson.loads(orjson.dumps(found.value)) == value


@pytest.mark.parametrize("levels", [LEVELS_CAP + 1, 500])
def test_what_is_nested_too_deep_is_left_out(levels: int) -> None:
    value, changes = writable(read(nested(levels)))
    assert changes == (TOO_DEEP,)
    assert orjson.dumps(value) == b"[" * LEVELS_CAP + b"null" + b"]" * LEVELS_CAP


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"OK", "not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"{'a': 1}", "not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b"{} {}", "not JSON: Extra data: line 1 column 4 (char 3)"),
        (nested(100_000), "nested too deep to be read"),
        (codecs.BOM_UTF16_LE + b"[\x00]", "not text in UTF-16: byte 5 is wrong"),
    ],
)
def test_what_is_no_json_is_said_plainly(body: bytes, words: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        read(body)
    assert str(raised.value) == words


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_strict_reader_gets_utf_8_without_a_mark(encoding: str) -> None:
    assert utf8(TEXT.encode(encoding)) == TEXT.encode()


@pytest.mark.parametrize("body", [b'"\xff"', b'"\\ud800"', b"NaN", b""])
def test_what_is_utf_8_or_claims_to_be_is_left_to_the_strict_reader(body: bytes) -> None:
    assert utf8(body) == body


def test_half_a_pair_is_no_utf_16_for_a_strict_reader() -> None:
    with pytest.raises(InvalidInput, match="not text in UTF-16: byte 5 is wrong"):
        utf8('"\ud800"'.encode("utf-16", "surrogatepass"))


ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=8)  # surrogates too
NUMBERS = st.integers() | st.integers(-(2**70), 2**70) | st.floats()
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
)


@given(VALUES, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]), st.booleans())
def test_whatever_python_writes_can_be_written_again(value: Any, encoding: str, escaped: bool) -> None:
    body = json.dumps(value, ensure_ascii=escaped).encode(encoding, "surrogatepass")
    found = writable(read(body))
    again = orjson.loads(orjson.dumps(found.value))
    assert again == found.value
    assert writable(again) == (again, ())
    if not found.changes:
        assert again == value


@given(st.binary(max_size=60))
def test_whatever_bytes_come_are_read_or_refused(body: bytes) -> None:
    try:
        value = read(body)
    except InvalidInput:
        return
    orjson.dumps(writable(value).value)


def test_a_number_is_no_text_that_looks_like_one() -> None:
    assert read(b"[1, 1.5]") == [1, 1.5]
    assert math.isnan(read(b"NaN"))
