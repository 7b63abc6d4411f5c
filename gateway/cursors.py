"""Where a page of a list ended, as text that a client gives back."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import Query
from pydantic import Field, TypeAdapter, ValidationError

from gateway.problems import Problem

T = TypeVar("T")
P = TypeVar("P")

#: Items of one page at most, and unless somebody says otherwise.
MOST, USUAL = 1000, 100
Limit = Annotated[int, Query(ge=1, le=MOST, description="Items at most.")]
#: What a page's `next` said.
Cursor = Annotated[str, Field(max_length=500)]
After = Annotated[Cursor | None, Query(description="`next` of the page before.")]
#: A number in a cursor, as the ledger can hold it.
Number = Annotated[int, Field(ge=-(2**63), lt=2**63)]


def cut(found: list[T], most: int, place: Callable[[T], P]) -> tuple[list[T], P | None]:
    """A page of what was found, which is one more than the page holds if there is more: then also where it ended."""
    page = found[:most]
    return page, place(page[-1]) if len(found) > most else None


def written(place: Sequence[Any]) -> str:
    """Of numbers, texts, and places within it."""
    return base64.urlsafe_b64encode(orjson.dumps(place)).rstrip(b"=").decode()


def read(cursor: str | None, kind: TypeAdapter[T]) -> T | None:
    """The place that a cursor stands for. Raises `Problem` if it is none of this list."""
    if cursor is None:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        return kind.validate_json(base64.b64decode(padded, altchars=b"-_", validate=True), strict=True)
    except (ValueError, ValidationError):
        errors = [{"pointer": "/after", "detail": "not what a page's `next` said"}]
        raise Problem(422, "invalid", "after is no cursor of this list", errors=errors) from None
