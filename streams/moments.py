"""Times as others send them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BeforeValidator

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:?\d\d)", re.ASCII)
_NOT_A_TIME = "not a time by RFC 3339 with its zone, such as 2026-01-31T12:00:00Z"


def in_utc(value: datetime) -> datetime:
    """An aware time in UTC. Raises `ValueError` where that leaves the calendar."""
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("beyond the years 1 to 9999 in UTC") from None


# What was accepted together, and is due together, stands in many events of a batch.
@lru_cache(maxsize=1024)
def _written_out(text: str) -> datetime:
    if not _RFC3339.fullmatch(text):
        raise ValueError(_NOT_A_TIME)
    try:
        value = datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise ValueError(f"no such date or time: {error}") from None
    return in_utc(value)


def _moment(value: Any) -> datetime:
    # Not pydantic's own: it would take 20260101 for a number of seconds, hence for a day in August 1970, and an
    # opt-out of that day loses against everything; and it takes no text for a time where JSON is read strictly.
    if isinstance(value, str):
        return _written_out(value)
    if isinstance(value, datetime) and value.utcoffset() is not None:
        return in_utc(value)
    raise ValueError(_NOT_A_TIME)


#: An RFC 3339 date-time with a zone, from outside; in UTC from here on.
Moment = Annotated[datetime, BeforeValidator(_moment)]
