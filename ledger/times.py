"""Times as the ledger stores them: whole microseconds since the epoch, UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

HOUR_MICROS = 3_600_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(time: datetime) -> int:
    """Exact: no floating point on the way."""
    return (time - _EPOCH) // _MICROSECOND


def maybe_micros(time: datetime | None) -> int | None:
    return None if time is None else micros(time)


def moment(stored: int) -> datetime:
    return _EPOCH + timedelta(microseconds=stored)


def maybe_moment(stored: int | None) -> datetime | None:
    return None if stored is None else moment(stored)
