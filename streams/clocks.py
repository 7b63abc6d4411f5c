"""Clocks: by when a partner must have answered, counted from when it was asked.

A *period* is of one of three kinds:

- a span of fixed length, `PT24H`, `P30D`, `P2W` (ISO 8601; a day is 24 hours): its deadline lies exactly so long after
  the start, whatever the calendar says;
- calendar months, `P1M`, `P1Y` (ISO 8601): the same day of a later month, or its last day where there is no such day;
- business days, `15 business days`: Monday to Friday, or the days of the clock's `week`, or what the calendar says;
  with a calendar, without its holidays.

Months and business days are counted in days of a time zone. The day of the start does not count, and the last day
counts whole: the deadline is the midnight that ends it. With a calendar or a `week`, a month that would end on a day
off ends with the next working day. That is how Regulation (EEC, Euratom) No 1182/71, article 3, counts the month of
the GDPR (article 12(3); EDPB Guidelines 01/2022, section 5.3). California's Civil Code counts the same way: the first
day is excluded and the last one included, unless it is a holiday (section 10); its business days are all days but
Sundays and holidays (sections 7 and 9), so Saturdays count: `week: mon-sat`.

An *inclusive* clock counts the day of the start as the first one. Spans of whole days may be inclusive, too; they are
counted in days of the time zone then: `P45D` ends with the 45th day, of which the day of the start is the first. That
reads the words of 11 CCR 7021(b), "the 45-day period will begin on the day that the business receives the request", as
strictly as they can be read. Civil Code section 10 would exclude that day, which gives one day more. Which of the two
holds is for your lawyers; the inclusive one is on the safe side.

A clock runs `since` the platform's acceptance of the toggle (`accepted_at`) or the person's own request
(`occurred_at`). A deadline that has passed already when a notice is issued was missed by the platform: the partner has
the same period from the issue on, see `due`.

An *extension* is added to the period, not to the deadline: one month extended by two ends three months after the start.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterator, Mapping
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
_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEKDAYS = frozenset(range(5))
_NAMES = dict(zip(_WEEK, ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"), strict=True))
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


def _days(value: Any) -> Any:
    """`mon-sat`, `sun-thu` or `mon,wed,fri` as a tuple of days, in the order of a week."""
    if isinstance(value, str):
        first, dash, last = value.lower().partition("-")
        if dash and first in _WEEK and last in _WEEK:
            start, end = _WEEK.index(first), _WEEK.index(last)
            value = [_WEEK[(start + day) % 7] for day in range((end - start) % 7 + 1)]
        else:
            value = value.lower().split(",")
    if not isinstance(value, list | tuple) or not value or not all(day in _WEEK for day in value):
        raise ValueError("not days of a week, such as mon-sat or mon,wed,fri")
    return tuple(day for day in _WEEK if day in value)


Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Week = Annotated[tuple[Day, ...], BeforeValidator(_days)]
Since = Literal["accepted_at", "occurred_at"]
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
    (`US-CA`), as the library `holidays` knows them, and `time_zone` where days begin and end. `week` are the days that
    count (`mon-sat`); None means Monday to Friday, or what the calendar says. `inclusive` is whether the day of the
    start is the first one, and `since` what the clock runs from."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    within: Period
    extension: Period | None = None
    calendar: Calendar | None = None
    time_zone: TimeZone = "UTC"
    week: Week | None = None
    inclusive: bool = False
    since: Since = "accepted_at"

    @model_validator(mode="before")
    @classmethod
    def _alone(cls, given: Any) -> Any:
        return given if isinstance(given, dict | Clock) else {"within": _period(given)}

    @model_validator(mode="after")
    def _fits(self) -> Clock:
        kind = _parsed(self.within).kind
        days = self.calendar is not None or self.time_zone != "UTC" or self.week is not None
        if kind == "span" and not self.inclusive and days:
            raise ValueError("calendar, week and time zone belong to months or business days, or to an inclusive clock")
        if self.extension is not None and _parsed(self.extension).kind != kind:
            raise ValueError("an extension is of the same kind as what it extends")
        if self.inclusive and any(not _counts_days(each) for each in (self.within, self.extension) if each is not None):
            raise ValueError("an inclusive clock counts days, so its periods are of whole days")
        return self

    @property
    def rules(self) -> tuple[str, ...]:
        """In words, what holds of this clock and not of every other."""
        return tuple(rules_in_words(self.model_dump(include={"within", "calendar", "week", "inclusive", "since"})))

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

    def due(self, occurred_at: datetime, accepted_at: datetime, issued: datetime) -> Due:
        """The deadlines of a notice that is issued at some time. A request cannot be later than its acceptance,
        whatever the person's clock said."""
        start = min(occurred_at, accepted_at) if self.since == "occurred_at" else accepted_at
        by = self.deadline(start)
        if by > issued:
            return Due(by, self.extended(start))
        return Due(self.deadline(issued), self.extended(issued), by)

    def _after(self, start: datetime, kind: str, count: int) -> datetime:
        if kind == "span" and not self.inclusive:
            return start + timedelta(seconds=count)
        rules = _Rules(self.calendar, self.week, self.time_zone, self.inclusive)
        return _end(start.astimezone(_zone(self.time_zone)).date(), kind, count, rules)


class Due(NamedTuple):
    """By when a partner must have done something. `missed` is the date that had passed already when it was asked, from
    which on the platform was late; None if it was not."""

    by: datetime
    extended: datetime | None
    missed: datetime | None = None


class _Rules(NamedTuple):
    """By which days are counted."""

    calendar: str | None
    week: tuple[str, ...] | None
    zone: str
    inclusive: bool

    def works(self, day: date) -> bool:
        off = None if self.calendar is None else _days_off(self.calendar)
        if self.week is not None:
            return _WEEK[day.weekday()] in self.week and (off is None or day not in off)
        return day.weekday() in _WEEKDAYS if off is None else bool(off.is_working_day(day))

    def onwards(self, day: date) -> date:
        """The day, or the next one that is not off. Without a calendar and a week no day is."""
        while (self.calendar is not None or self.week is not None) and not self.works(day):
            day += _DAY
        return day


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
def _end(day: date, kind: str, count: int, rules: _Rules) -> datetime:
    if kind == "business days":
        last = day - _DAY if rules.inclusive else day
        while count:
            last += _DAY
            count -= rules.works(last)
    elif kind == "months":
        last = rules.onwards(_months_after(day, count, inclusive=rules.inclusive))
    else:
        last = rules.onwards(day + timedelta(seconds=count) - _DAY)  # only ever inclusive
    # Where midnight is skipped or comes twice, this is when the next day begins, for the first time.
    return datetime.combine(last + _DAY, time(), _zone(rules.zone)).astimezone(UTC)


def _months_after(day: date, count: int, *, inclusive: bool) -> date:
    years, month = divmod(day.month - 1 + count, 12)
    year, month = day.year + years, month + 1
    length = monthrange(year, month)[1]
    if day.day > length:
        return date(year, month, length)
    # A month that begins on the 5th, and with it, ends on the 4th.
    return date(year, month, day.day) - (_DAY if inclusive else timedelta())


def _counts_days(period: str) -> bool:
    kind, number = _parsed(period)
    return kind != "span" or number % 86_400 == 0


def rules_in_words(clock: Mapping[str, Any]) -> Iterator[str]:
    """Of a clock as the API shows it: which days count, from when on."""
    if week := clock.get("week"):
        yield f"counting {week if isinstance(week, str) else _of_week(tuple(week))}"
    elif "business" in str(clock["within"]) and not clock.get("calendar"):
        yield "Monday to Friday"
    if clock.get("inclusive"):
        yield "the first day included"
    if clock.get("since", "accepted_at") != "accepted_at":
        yield "from the person's request on"


def _of_week(days: tuple[str, ...]) -> str:
    first = _WEEK.index(days[0])
    if len(days) > 2 and days == _WEEK[first : first + len(days)]:
        return f"{_NAMES[days[0]]} to {_NAMES[days[-1]]}"
    return ", ".join(_NAMES[day] for day in days)
