"""JSON as others write it: read tolerantly where nothing else can be meant, and made fit to be written again.

Partners' programs write a byte order mark (.NET, PowerShell), NaN (Python, where pandas has no value), halves of a
surrogate pair (JavaScript, where a text was cut), line breaks inside strings, and integers of any length. That is
no JSON by RFC 8259, or cannot be written again, but what is meant is plain. `read` takes a body, and `writable` what is
in it, one item at a time, so that a partner can be told of each what was changed. `utf8` is for bodies that are read
strictly otherwise.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

import orjson

from streams.errors import InvalidInput

#: Levels of nesting that `writable` keeps. What is deeper could be read, but not be written into the log again.
LEVELS_CAP = 64
#: Whole numbers that orjson reads and writes. Those beyond, it reads as floats, in silence; the shortest has 19 digits.
_INTEGERS = range(-(2**63), 2**64)
_MANY_DIGITS = b"0" * 19
#: Makes every digit a zero and all else a blank: to find 19 digits so takes a third of the time of a pattern.
_ZEROS = bytes(ord("0") if byte in b"0123456789" else ord(" ") for byte in range(256))
_LONGEST_INTEGER = len(str(2**64))
_SURROGATE = re.compile("[\ud800-\udfff]")

#: What `writable` may have changed.
REPLACED = "characters that are no Unicode were replaced"
NO_NUMBER = "NaN and infinite numbers were read as null"
AS_TEXT = "numbers beyond 64 bits were kept as text"
TOO_DEEP = f"what is nested more than {LEVELS_CAP} levels deep was left out"


class _Digits(str):
    """A number that no 64 bits hold, as it was written."""

    __slots__ = ()


class Writable(NamedTuple):
    """A value that orjson writes. `changes` say in words what had to be changed in it; mostly there are none."""

    value: Any
    changes: tuple[str, ...] = ()


def utf8(body: bytes) -> bytes:
    """A JSON body in UTF-8 without a byte order mark. It may be UTF-16 or UTF-32, which a JSON text shows by its first
    bytes (RFC 4627 section 3). Raises `InvalidInput` where that does not hold; a body in UTF-8 is not checked."""
    encoding = json.detect_encoding(body)
    if encoding == "utf-8":
        return body
    return _decoded(body, encoding, "strict").encode()


def read(body: bytes) -> Any:
    """The value of a JSON body, by tolerant rules. It may hold what orjson does not write: see `writable`.

    Raises `InvalidInput` in words that a partner understands.

    >>> read(b'\\xef\\xbb\\xbf{"rows": NaN}')
    {'rows': nan}
    """
    if _MANY_DIGITS not in body.translate(_ZEROS):
        try:
            return orjson.loads(body)  # ten times as fast, and mostly enough
        except orjson.JSONDecodeError:
            pass
    encoding = json.detect_encoding(body)
    # Bytes that are no text become lone surrogates, so that `writable` tells of them.
    text = _decoded(body, encoding, "surrogateescape" if encoding.startswith("utf-8") else "surrogatepass")
    try:
        return json.loads(text, strict=False, parse_int=_integer, parse_float=_float)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"not JSON: {error}") from None
    except RecursionError:
        raise InvalidInput("nested too deep to be read") from None


def writable(value: Any) -> Writable:
    """A value of `read` as orjson writes it. What cannot be written is replaced: lone surrogates by U+FFFD, NaN by null
    as in ECMA-262 (`JSON.stringify`), numbers beyond 64 bits by their digits as text, what is too deep by null.

    >>> writable({"rows": 2**64, "share": float("nan")}).value
    {'rows': '18446744073709551616', 'share': None}
    """
    changes: dict[str, None] = {}  # in their order, each once
    return Writable(_written(value, LEVELS_CAP, changes), tuple(changes))


def _written(value: Any, levels: int, changes: dict[str, None]) -> Any:
    if isinstance(value, str):
        return _text(value, changes)
    if isinstance(value, dict | list):
        if not levels:
            changes[TOO_DEEP] = None
            return None
        if isinstance(value, list):
            return [_written(each, levels - 1, changes) for each in value]
        return {_text(name, changes): _written(each, levels - 1, changes) for name, each in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        changes[NO_NUMBER] = None
        return None
    return value


def _text(text: str, changes: dict[str, None]) -> str:
    if isinstance(text, _Digits):
        changes[AS_TEXT] = None
        return str(text)
    if text.isascii() or not _SURROGATE.search(text):
        return text
    changes[REPLACED] = None
    return _SURROGATE.sub("\ufffd", text)


def _integer(digits: str) -> int | _Digits:
    if len(digits) > _LONGEST_INTEGER or int(digits) not in _INTEGERS:
        return _Digits(digits)
    return int(digits)


def _float(digits: str) -> float | _Digits:
    value = float(digits)
    return value if math.isfinite(value) else _Digits(digits)


def _decoded(body: bytes, encoding: str, errors: str) -> str:
    try:
        return body.decode("utf-8-sig" if encoding == "utf-8" else encoding, errors)
    except UnicodeDecodeError as error:
        raise InvalidInput(f"not text in {encoding.upper()}: byte {error.start + 1} is wrong") from None
