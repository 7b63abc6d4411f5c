"""Times as others send them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:?\d\d)", re.ASCII)


def _written_out(value: Any) -> Any:
    # Pydantic would take 20260101 for a number of seconds, hence for a day in August 1970, and an opt-out
    # of that day loses against everything.
    if isinstance(value, datetime):
        return value
    if isinstance(value, str) and _RFC3339.fullmatch(value):
        # Not left to pydantic, which takes no text for a time where JSON is read strictly.
        try:
            return datetime.fromisoformat(value.upper())
        except ValueError as error:
            raise ValueError(f"no such date or time: {error}") from None
    raise ValueError("not a time by RFC 3339 with its zone, such as 2026-01-31T12:00:00Z")


def in_utc(value: datetime) -> datetime:
    """An aware time in UTC. Raises `ValueError` where that leaves the calendar."""
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("beyond the years 1 to 9999 in UTC") from None


#: An RFC 3339 date-time with a zone, from outside; in UTC from here on.
Moment = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(in_utc)]
