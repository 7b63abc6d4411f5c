"""Clocks: when a deadline falls, as tables of cases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from streams.clocks import Clock, in_words

CLOCK: TypeAdapter[Clock] = TypeAdapter(Clock)


def clock(within: Any, **others: Any) -> Clock:
    return Clock.model_validate({"within": within} | others)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


DUBLIN = {"time_zone": "Europe/Dublin"}
CALIFORNIA = {"time_zone": "America/Los_Angeles", "calendar": "US-CA"}
CASES: list[tuple[str, Clock, str, str]] = [
    ("hours", clock("PT24H"), "2026-01-01T12:00:00Z", "2026-01-02T12:00:00Z"),
    ("seconds, as ever", clock(86_400), "2026-01-01T12:00:00.5Z", "2026-01-02T12:00:00.5Z"),
    ("all that a span may hold", clock("P1DT2H3M4S"), "2026-01-01T00:00:00Z", "2026-01-02T02:03:04Z"),
    ("weeks", clock("P2W"), "2026-01-01T00:00:00Z", "2026-01-15T00:00:00Z"),
    ("thirty days are thirty times 24 hours, over a change of summer time too", clock("P30D"),
     "2026-03-15T12:00:00+00:00", "2026-04-14T12:00:00+00:00"),
    ("a day in a leap year", clock("P1D"), "2024-02-28T12:00:00Z", "2024-02-29T12:00:00Z"),
    # The day of the start does not count, and the last one counts whole.
    ("a month", clock("P1M"), "2026-03-05T09:00:00Z", "2026-04-06T00:00:00Z"),
    ("a month from its very first moment", clock("P1M"), "2026-03-05T00:00:00Z", "2026-04-06T00:00:00Z"),
    ("a month from its last moment", clock("P1M"), "2026-03-05T23:59:59.999999Z", "2026-04-06T00:00:00Z"),
    ("into a shorter month", clock("P1M"), "2026-01-31T10:00:00Z", "2026-03-01T00:00:00Z"),
    ("into February of a leap year", clock("P1M"), "2024-01-31T10:00:00Z", "2024-03-01T00:00:00Z"),
    ("from the end of a shorter month", clock("P1M"), "2026-02-28T10:00:00Z", "2026-03-29T00:00:00Z"),
    ("31 August", clock("P1M"), "2026-08-31T10:00:00Z", "2026-10-01T00:00:00Z"),
    ("over new year", clock("P3M"), "2025-11-30T10:00:00Z", "2026-03-01T00:00:00Z"),
    ("a year from a leap day", clock("P1Y"), "2024-02-29T10:00:00Z", "2025-03-01T00:00:00Z"),
    ("a year and a month", clock("P1Y1M"), "2024-02-29T10:00:00Z", "2025-03-30T00:00:00Z"),
    ("which day it is there", clock("P1M", **DUBLIN), "2026-06-30T23:30:00Z", "2026-08-01T23:00:00Z"),
    ("from winter into summer time", clock("P1M", **DUBLIN), "2026-03-05T09:00:00Z", "2026-04-05T23:00:00Z"),
    ("from summer into winter time", clock("P1M", **DUBLIN), "2026-09-26T09:00:00Z", "2026-10-27T00:00:00Z"),
    ("where the next day has no midnight", clock("P1M", time_zone="Africa/Cairo"), "2026-03-23T12:00:00Z",
     "2026-04-23T22:00:00Z"),
    ("where the next midnight comes twice", clock("P1M", time_zone="America/Havana"), "2026-09-30T16:00:00Z",
     "2026-10-31T04:00:00Z"),
    ("onto a Sunday, without a calendar", clock("P1M"), "2026-02-01T12:00:00Z", "2026-03-02T00:00:00Z"),
    ("onto a Sunday, with one", clock("P1M", calendar="IE", **DUBLIN), "2026-02-01T12:00:00Z", "2026-03-03T00:00:00Z"),
    ("onto Christmas", clock("P1M", calendar="IE", **DUBLIN), "2026-11-25T12:00:00Z", "2026-12-29T00:00:00Z"),
    ("business days over a weekend", clock("3 business days"), "2026-01-01T12:00:00Z", "2026-01-07T00:00:00Z"),
    ("from a Saturday", clock("1 business day"), "2026-01-03T12:00:00Z", "2026-01-06T00:00:00Z"),
    # 4 July 2026 is a Saturday, so 3 July is off in its place.
    ("over a holiday on a Saturday", clock("15 business days", **CALIFORNIA), "2026-06-24T19:00:00Z",
     "2026-07-17T07:00:00Z"),
    ("over Thanksgiving and the day after", clock("2 business days", **CALIFORNIA), "2026-11-25T20:00:00Z",
     "2026-12-02T08:00:00Z"),
    ("where a weekend is Friday and Saturday", clock("2 business days", calendar="IL"), "2026-05-28T12:00:00Z",
     "2026-06-02T00:00:00Z"),
    # All days but Sundays and holidays, as California's Civil Code has it.
    ("business days from Monday to Saturday", clock("3 business days", week="mon-sat"), "2026-01-01T12:00:00Z",
     "2026-01-06T00:00:00Z"),
    ("with a calendar: no Sunday and no holiday", clock("15 business days", week="mon-sat", **CALIFORNIA),
     "2026-06-24T19:00:00Z", "2026-07-15T07:00:00Z"),
    ("whatever the calendar's weekend is", clock("2 business days", calendar="IL", week="mon-fri"),
     "2026-05-28T12:00:00Z", "2026-06-02T00:00:00Z"),
    ("some days of a week", clock("2 business days", week=["wed", "mon"]), "2026-01-01T12:00:00Z",
     "2026-01-08T00:00:00Z"),
    ("over new year of a week that ends on Thursday", clock("2 business days", week="sun-thu"), "2026-01-01T12:00:00Z",
     "2026-01-06T00:00:00Z"),
    ("a month onto a Sunday, by a week alone", clock("P1M", week="mon-sat"), "2026-02-01T12:00:00Z",
     "2026-03-03T00:00:00Z"),
    ("a month onto a Saturday that counts", clock("P1M", week="mon-sat"), "2026-01-28T12:00:00Z",
     "2026-03-01T00:00:00Z"),
    # The day of the start is the first one.
    ("45 days with the first", clock("P45D", inclusive=True), "2026-01-01T12:00:00Z", "2026-02-15T00:00:00Z"),
    ("a day is the day itself", clock("P1D", inclusive=True), "2026-01-01T23:59:59.999999Z", "2026-01-02T00:00:00Z"),
    ("two weeks with the first day", clock("P2W", inclusive=True), "2026-01-01T00:00:00Z", "2026-01-15T00:00:00Z"),
    ("45 days of a zone, into summer time", clock("P45D", inclusive=True, time_zone="America/Los_Angeles"),
     "2026-02-01T20:00:00Z", "2026-03-18T07:00:00Z"),
    ("45 days of a zone, into winter time", clock("P45D", inclusive=True, time_zone="America/Los_Angeles"),
     "2026-10-01T20:00:00Z", "2026-11-15T08:00:00Z"),
    ("45 days over a leap day", clock("P45D", inclusive=True), "2024-02-01T12:00:00Z", "2024-03-17T00:00:00Z"),
    ("which day it is there, with the first", clock("P1D", inclusive=True, **DUBLIN), "2026-06-30T23:30:00Z",
     "2026-07-01T23:00:00Z"),
    # 45 days from 22 May 2026 end on Sunday, 5 July.
    ("45 days onto a Sunday, without a calendar", clock("P45D", inclusive=True), "2026-05-22T12:00:00Z",
     "2026-07-06T00:00:00Z"),
    ("45 days onto a Sunday, by a week", clock("P45D", inclusive=True, week="mon-sat"), "2026-05-22T12:00:00Z",
     "2026-07-07T00:00:00Z"),
    ("business days with the first", clock("3 business days", inclusive=True), "2026-01-01T12:00:00Z",
     "2026-01-06T00:00:00Z"),
    ("with a first day that is off", clock("1 business day", inclusive=True), "2026-01-03T12:00:00Z",
     "2026-01-06T00:00:00Z"),
    ("a month with its first day", clock("P1M", inclusive=True), "2026-03-05T09:00:00Z", "2026-04-05T00:00:00Z"),
    ("a month from the first of it", clock("P1M", inclusive=True), "2026-03-01T09:00:00Z", "2026-04-01T00:00:00Z"),
    ("a month from the last of it", clock("P1M", inclusive=True), "2026-01-31T09:00:00Z", "2026-03-01T00:00:00Z"),
    ("over new year, into years that nobody has looked at yet", clock("2 business days", calendar="US"),
     "2031-12-31T12:00:00Z", "2032-01-06T00:00:00Z"),
]  # fmt: skip


@pytest.mark.parametrize(("which", "start", "due"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_deadline(which: Clock, start: str, due: str) -> None:
    assert which.deadline(moment(start)) == moment(due)
    assert which.deadline(moment(start)).tzinfo is UTC


@pytest.mark.parametrize(
    ("which", "start", "due"),
    [
        (clock("P1M"), "2026-01-31T10:00:00Z", None),
        # Three months from the start, not two from the end of February.
        (clock("P1M", extension="P2M"), "2026-01-31T10:00:00Z", "2026-05-01T00:00:00Z"),
        (clock("P45D", extension="P45D"), "2026-01-01T12:00:00Z", "2026-04-01T12:00:00Z"),
        (clock("1 business day", extension="2 business days"), "2026-01-01T12:00:00Z", "2026-01-07T00:00:00Z"),
        # 90 days in all, with the day of the request.
        (clock("P45D", extension="P45D", inclusive=True), "2026-01-01T12:00:00Z", "2026-04-01T00:00:00Z"),
    ],
)
def test_an_extended_deadline(which: Clock, start: str, due: str | None) -> None:
    assert which.extended(moment(start)) == (None if due is None else moment(due))


@pytest.mark.parametrize(
    ("seconds", "text"), [(86_400, "P1D"), (3 * 3_600, "PT3H"), (90 * 60, "PT90M"), (61, "PT61S"), (0, "PT0S")]
)
def test_seconds_as_a_period(seconds: int, text: str) -> None:
    assert in_words(seconds) == text


@pytest.mark.parametrize("given", [86_400, "P1D", {"within": "P1D"}, {"within": 86_400, "time_zone": "UTC"}])
def test_a_clock_is_written_in_several_ways(given: Any) -> None:
    assert CLOCK.validate_python(given) == clock("P1D")


NO_PERIODS: list[Any] = [
    "", "P", "PT", "P1", "1D", "24h", "P-1D", "P1MT1H", "P1M2D", "P1.5D", "P1DT", "p1d", "P٣D", "15 days", "P1D\n",
    1.5, True, None, [], 1e30,
]  # fmt: skip
TOO_MUCH: list[Any] = [
    0, -1, 10**12, "PT0S", "P0M", "P0D", "P121M", "P11Y", "P3661D", "0 business days", "2601 business days"
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "told"),
    [
        *((bad, "not a period, such as PT24H, P30D, P1M or 15 business days") for bad in NO_PERIODS),
        *((bad, "more than nothing, and at most ten years") for bad in TOO_MUCH),
        ({"within": "P1M", "time_zone": "Mars/Olympus"}, "not a time zone of the IANA database"),
        ({"within": "P1M", "time_zone": ""}, "not a time zone"),
        ({"within": "P1M", "time_zone": "../etc/passwd"}, "not a time zone"),
        ({"within": "P1M", "time_zone": "Europe"}, "not a time zone"),
        ({"within": "P1M", "calendar": "XX"}, "not a calendar"),
        ({"within": "P1M", "calendar": "US-QQ"}, "not a calendar"),
        ({"within": "P1M", "calendar": "us"}, "not a calendar"),
        ({"within": "P30D", "calendar": "US"}, "belong to months or business days"),
        ({"within": "P30D", "time_zone": "Europe/Dublin"}, "belong to months or business days"),
        ({"within": "P1M", "extension": "P60D"}, "of the same kind"),
        ({"within": "P30D", "week": "mon-sat"}, "belong to months or business days, or to an inclusive clock"),
        ({"within": "PT24H30M", "inclusive": True}, "of whole days"),
        ({"within": "P45D", "extension": "PT1H", "inclusive": True}, "of whole days"),
        ({"within": "P1M", "week": ""}, "not days of a week"),
        ({"within": "P1M", "week": []}, "not days of a week"),
        ({"within": "P1M", "week": "monday"}, "not days of a week"),
        ({"within": "P1M", "week": "mon-"}, "not days of a week"),
        ({"within": "P1M", "week": ["mon", 1]}, "not days of a week"),
        ({"within": "P1M", "week": 5}, "not days of a week"),
        ({"within": "P1M", "since": "yesterday"}, "accepted_at"),
        ({"within": "P1M", "zone": "UTC"}, "Extra inputs"),
        ({}, "Field required"),
    ],
)
def test_what_is_no_clock(given: Any, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        CLOCK.validate_python(given)


zones = st.sampled_from(
    ["UTC", "Europe/Dublin", "America/Los_Angeles", "Africa/Cairo", "America/Havana", "Asia/Kolkata", "Pacific/Apia"]
)
periods = st.one_of(
    st.integers(1, 10 * 366 * 86_400),
    st.integers(1, 120).map("P{}M".format),
    st.integers(1, 60).map("{} business days".format),
)
moments = st.timedeltas(timedelta(), timedelta(days=45 * 365)).map(lambda later: moment("2015-01-01T00:00:00Z") + later)


@st.composite
def clocks(draw: st.DrawFn) -> Clock:
    within = draw(periods)
    since = draw(st.sampled_from(["accepted_at", "occurred_at"]))
    if isinstance(within, int) and draw(st.booleans()):
        return clock(within, extension=draw(st.none() | st.integers(1, 10**6)), since=since)
    inclusive = isinstance(within, int) or draw(st.booleans())
    within = f"P{within % 3000 + 1}D" if isinstance(within, int) else within
    others = {
        "time_zone": draw(zones),
        "calendar": draw(st.sampled_from([None, "US-CA", "IE", "IL"])),
        "week": draw(st.sampled_from([None, "mon-sat", "sun-thu", "wed"])),
        "inclusive": inclusive,
        "since": since,
    }
    return clock(within, extension=draw(st.none() | st.just(within)), **others)


@given(clocks(), moments)
def test_a_deadline_lies_after_its_start_and_an_extended_one_after_that(which: Clock, start: datetime) -> None:
    due = which.deadline(start)
    assert due > start
    extended = which.extended(start)
    assert extended is None or extended > due


@given(clocks(), moments, st.timedeltas(timedelta(), timedelta(days=800)))
def test_a_later_start_has_no_earlier_deadline(which: Clock, start: datetime, later: timedelta) -> None:
    assert which.deadline(start) <= which.deadline(start + later)


@given(clocks())
def test_a_clock_is_read_as_it_was_written(which: Clock) -> None:
    assert CLOCK.validate_json(CLOCK.dump_json(which)) == which


@given(clocks(), moments)
def test_with_its_first_day_a_clock_is_never_later(which: Clock, start: datetime) -> None:
    if which.inclusive and not which.within.endswith("D"):
        without = which.model_copy(update={"inclusive": False})
        assert which.deadline(start) <= without.deadline(start)


#: Asked for at noon on the first, accepted on the fifth.
REQUEST, ACCEPTED = moment("2026-01-01T12:00:00Z"), moment("2026-01-05T12:00:00Z")


@pytest.mark.parametrize(
    ("which", "occurred", "by", "extended", "missed"),
    [
        (clock("P2D"), REQUEST, "2026-01-07T12:00:00Z", None, None),
        (clock("P30D", since="occurred_at"), REQUEST, "2026-01-31T12:00:00Z", None, None),
        (clock("P30D", extension="P30D", since="occurred_at"), REQUEST, "2026-01-31T12:00:00Z",
         "2026-03-02T12:00:00Z", None),
        # Missed by the platform: the partner has the same time from the issue on.
        (clock("P2D", since="occurred_at"), REQUEST, "2026-01-07T12:00:00Z", None, "2026-01-03T12:00:00Z"),
        (clock("P2D", extension="P9D", since="occurred_at"), REQUEST, "2026-01-07T12:00:00Z",
         "2026-01-16T12:00:00Z", "2026-01-03T12:00:00Z"),
        (clock("P4D", since="occurred_at"), REQUEST, "2026-01-09T12:00:00Z", None, "2026-01-05T12:00:00Z"),
        # Nobody asks later than it was heard.
        (clock("P2D", since="occurred_at"), moment("2027-01-01T12:00:00Z"), "2026-01-07T12:00:00Z", None, None),
    ],
)  # fmt: skip
def test_what_a_clock_runs_from(
    which: Clock, occurred: datetime, by: str, extended: str | None, missed: str | None
) -> None:
    due = which.due(occurred, ACCEPTED, ACCEPTED)
    wanted = (None if extended is None else moment(extended), None if missed is None else moment(missed))
    assert (due.by, due.extended, due.missed) == (moment(by), *wanted)


@given(clocks(), moments, st.timedeltas(timedelta(days=-800), timedelta(days=800)))
def test_nobody_is_late_when_he_is_asked(which: Clock, occurred: datetime, later: timedelta) -> None:
    accepted = occurred + later
    due = which.due(occurred, accepted, accepted)
    assert due.by > accepted
    assert due.extended is None or due.extended > due.by
    assert due.missed is None or due.missed <= accepted


@pytest.mark.parametrize(
    ("which", "words"),
    [
        (clock("PT24H"), ()),
        (clock("P1M"), ()),
        (clock("15 business days"), ("Monday to Friday",)),
        (clock("15 business days", calendar="US-CA"), ()),
        (clock("15 business days", week="mon-sat", calendar="US-CA"), ("counting Monday to Saturday",)),
        (clock("15 business days", week="sat,mon"), ("counting Monday, Saturday",)),
        (clock("P45D", inclusive=True, since="occurred_at"),
         ("the first day included", "from the person's request on")),
    ],
)  # fmt: skip
def test_what_holds_of_a_clock_is_said(which: Clock, words: tuple[str, ...]) -> None:
    assert which.rules == words
