"""Reading a consent snapshot: all of it, or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from rescind.gate.deciding import Consents, Refused, Regime


class _Head(BaseModel):
    model_config = ConfigDict(frozen=True)
    purpose: str
    regime: Regime
    watermark: Mapping[str, Mapping[str, int]]
    taken_at: datetime


def read_snapshot(pieces: Iterable[bytes], purpose: str) -> Consents:
    """The consents of a snapshot as it comes. Takes about a hundred bytes of memory an exception. Raises `Refused` for
    one that breaks off, whose count is another, or that is about another purpose."""
    rest, head, end = b"", None, None
    count, exceptions = 0, set[str]()
    for piece in pieces:
        data = rest + piece
        cut = data.rfind(b"\n") + 1
        items, rest = _items(data[:cut]), data[cut:]
        if end is not None and items:
            raise _broken("something follows its end")
        if head is None and items:
            head = _head(items.pop(0))
        if items and isinstance(items[-1], dict):
            end = items.pop()
        if set(map(type, items)) - {str}:
            raise _broken("a line of it is no subject")
        count += len(items)
        exceptions.update(items)
    if head is None or rest or end != {"end": True, "count": count}:
        raise _broken("it is not complete")
    if head.purpose != purpose or len(exceptions) != count:
        raise _broken("it is not what was asked for")
    return Consents(head.purpose, head.regime, head.watermark, exceptions)


def _items(lines: bytes) -> list[Any]:
    try:
        items: list[Any] = orjson.loads(b"[" + lines[:-1].replace(b"\n", b",") + b"]")
    except orjson.JSONDecodeError:
        raise _broken("a line of it is not JSON") from None
    return items


def _head(item: Any) -> _Head:
    try:
        return _Head.model_validate(item)
    except ValidationError:
        raise _broken("it does not say what it is") from None


def _broken(why: str) -> Refused:
    return Refused(f"the service's list of consents cannot be used: {why}; nothing goes out")
