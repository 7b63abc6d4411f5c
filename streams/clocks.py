"""Clocks: by when a partner must have answered, counted from when it was asked.

A *period* is of one of three kinds:

- a span of fixed length, `PT24H`, `P30D`, `P2W` (ISO 8601; a day is 24 hours): its deadline lies exactly so long after
  the start, whatever the calendar says;
- calendar months, `P1M`, `P1Y` (ISO 8601): the same day of a later month, or its last day where there is no such day;
- business days, `15 business days`: Monday to Friday, or what the calendar says, without its holidays.

Months and business days are counted in days of a time zone. The day of the start does not count, and the last day
counts whole: the deadline is the midnight that ends it. With a calendar, a month that would end on a day off ends with
the next working day. That is how Regulation (EEC, Euratom) No 1182/71, article 3, counts the month of the GDPR (article
12(3); EDPB Guidelines 01/2022, section 5.3), and how California counts (Civil Code section 10).

An *extension* is added to the period, not to the deadline: one month extended by two ends three months after the start.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_SPAN = re.compile(
    r"P(?:(\d{1,4})W|(?:(\d{1,5})D)?(?:T(?=\d)(?:(\d{1,6})H)?(?:(\d{1,8})M)?(?:(\d{1,9})S)?)?)", re.ASCII
)
_MONTHS = re.compile(r"P(?:(\d{1,2})Y)?(?:(\d{1,3})M)?", re.ASCII)
_BUSINESS_DAYS = re.compile(r"(\d{1,4}) business days?", re.ASCII)
_CALENDAR = re.compile(r"([A-Z]{2})(?:-([A-Z0-9]{1,3}))?", re.ASCII)
_IN_SECONDS = (7 * 86_400, 86_400, 3_600, 60, 1)
_DAY = timedelta(days=1)
_FORMS = "not a period, such as PT24H, P30D, P1M or 15 business days"

#: Ten years at most, so that a deadline is always a date.
_MOST = {"span": 10 * 366 * 86_400, "months": 120, "business days": 2600}


class _Period(NamedTuple):
    """`number` is of seconds, months or business days."""

    kind: Literal["span", "months", "business days"]
    number: int


@lru_cache(maxsize=1024)
def _parsed(text: str) -> _Period:
    if match := _BUSINESS_DAYS.fullmatch(text):
        return _Period("business days", int(match[1]))
    if (match := _MONTHS.fullmatch(text)) and any(match.groups()):
        years, months = (int(group or 0) for group in match.groups())
        return _Period("months", 12 * years + months)
    if (match := _SPAN.fullmatch(text)) and any(match.groups()):
        groups = (int(group or 0) for group in match.groups())
        return _Period("span", sum(group * unit for group, unit in zip(groups, _IN_SECONDS, strict=True)))
    raise ValueError(_FORMS)


def _period(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        period, value = _Period("span", value), in_words(value)
    elif isinstance(value, str):
        period = _parsed(value)
    else:
        raise ValueError(_FORMS)  # noqa: TRY004 - pydantic tells of nothing else
    if not 0 < period.number <= _MOST[period.kind]:
        raise ValueError("a period is more than nothing, and at most ten years")
    return value


def in_words(seconds: int) -> str:
    """A number of seconds as a period."""
    for unit, form in ((86_400, "P{}D"), (3_600, "PT{}H"), (60, "PT{}M")):
        if seconds and seconds % unit == 0:
            return form.format(seconds // unit)
    return f"PT{seconds}S"


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise ValueError("not a time zone of the IANA database, such as Europe/Dublin") from None


@lru_cache(maxsize=256)
def _days_off(calendar: str) -> Any:
    import holidays  # noqa: PLC0415 - most clocks need none, and every command would wait for it

    parts = _CALENDAR.fullmatch(calendar)
    try:
        return holidays.country_holidays(parts[1], subdiv=parts[2]) if parts else None
    except NotImplementedError:
        return None


def _known_zone(name: str) -> str:
    _zone(name)
    return name


def _known_calendar(name: str) -> str:
    if _days_off(name) is None:
        raise ValueError("not a calendar: a country, or one of its parts, by ISO 3166, such as IE or US-CA")
    return name


Period = Annotated[str, BeforeValidator(_period)]
TimeZone = Annotated[str, AfterValidator(_known_zone)]
Calendar = Annotated[str, AfterValidator(_known_calendar)]


def seconds(span: str) -> int:
    """Of a span. Raises `ValueError` for another period, or none."""
    period = _parsed(span)
    if period.kind != "span":
        raise ValueError("not a span, such as PT4H or P2D")
    return period.number


class Clock(BaseModel):
    """How long somebody has. Written as an object, as its period alone, or as a number of seconds. `extension` is by
    how much more, once, if asked for in time; a period of the same kind. `calendar` is whose holidays count
    (`US-CA`), as the library `holidays` knows them, and `time_zone` where days begin and end."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    within: Period
    extension: Period | None = None
    calendar: Calendar | None = None
    time_zone: TimeZone = "UTC"

    @model_validator(mode="before")
    @classmethod
    def _alone(cls, given: Any) -> Any:
        return given if isinstance(given, dict | Clock) else {"within": _period(given)}

    @model_validator(mode="after")
    def _fits(self) -> Clock:
        kind = _parsed(self.within).kind
        if kind == "span" and (self.calendar is not None or self.time_zone != "UTC"):
            raise ValueError("a calendar and a time zone belong to months or business days")
        if self.extension is not None and _parsed(self.extension).kind != kind:
            raise ValueError("an extension is of the same kind as what it extends")
        return self

    def deadline(self, start: datetime) -> datetime:
        """By when, in UTC. Later than the start, and never earlier for a later start."""
        kind, count = _parsed(self.within)
        return self._after(start, kind, count)

    def extended(self, start: datetime) -> datetime | None:
        """By when if it was extended; None if it cannot be."""
        if self.extension is None:
            return None
        kind, count = _parsed(self.within)
        return self._after(start, kind, count + _parsed(self.extension).number)

    def _after(self, start: datetime, kind: str, count: int) -> datetime:
        if kind == "span":
            return start + timedelta(seconds=count)
        return _end(start.astimezone(_zone(self.time_zone)).date(), kind, count, self.calendar, self.time_zone)


Fraction = Annotated[float, Field(gt=0, lt=1)]


def _ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    if any(after <= before for before, after in pairwise(values)):
        raise ValueError("reminders are in order, and none twice")
    return values


class Watch(BaseModel):
    """At which fractions of its time a notice is at risk, and its partner is reminded to complete it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    at_risk: Fraction = 0.8
    remind: Annotated[tuple[Fraction, ...], Field(max_length=3), AfterValidator(_ascending)] = (0.5, 0.9)


# Many notices are issued on one day.
@lru_cache(maxsize=4096)
def _end(day: date, kind: str, count: int, calendar: str | None, zone: str) -> datetime:
    if kind == "months":
        last = _months_after(day, count)
        while calendar is not None and not _works(last, calendar):
            last += _DAY
    else:
        last = day
        while count:
            last += _DAY
            count -= _works(last, calendar)
    # Where midnight is skipped or comes twice, this is when the next day begins, for the first time.
    return datetime.combine(last + _DAY, time(), _zone(zone)).astimezone(UTC)


def _months_after(day: date, count: int) -> date:
    years, month = divmod(day.month - 1 + count, 12)
    year, month = day.year + years, month + 1
    return date(year, month, min(day.day, monthrange(year, month)[1]))


def _works(day: date, calendar: str | None) -> bool:
    return day.weekday() < 5 if calendar is None else bool(_days_off(calendar).is_working_day(day))
