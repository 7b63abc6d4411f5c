"""Time, as something that is passed in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


#: Years in which a moment can be shifted between zones, and deadlines added to it, without an overflow.
_FIRST_YEAR, _LAST_YEAR = 2, 9900


def utc_now() -> datetime:
    return datetime.now(UTC)


def in_utc(moment: datetime) -> datetime:
    """The same moment in UTC. Raises `ValueError` if it lies at the calendar's ends, where the next
    calculation with it would overflow."""
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise ValueError("lies outside the years that can be calculated with")
    return moment.astimezone(UTC)
