"""Where things are drawn."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.drawing import HEIGHT, WIDTH, course, lag_chart, rounded_up, share
from gateway.partner_room import in_words
from ledger import Block, Percentiles
from streams.clocks import Clock
from tests.unit.gateway.harness import NOON

HOUR = timedelta(hours=1)


def block(hour: int, *lag: float) -> Block:
    """Of an hour, with p50, p95 and p99, or nothing."""
    p50, p95, p99 = lag or (None, None, None)
    measured = Percentiles(p50, p95, p99, 9 if lag else 0)
    return Block(NOON + hour * HOUR, NOON + (hour + 1) * HOUR, 1, measured, measured, 0)


def test_a_course_goes_from_edge_to_edge_and_from_the_floor_to_the_top() -> None:
    drawn = course([0, 5, 10], 100, 20, margin=2)
    assert drawn.line == "2,18 50,10 98,2"
    assert drawn.area == "2,18 2,18 50,10 98,2 98,18"
    assert list(drawn.end) == [98, 2]
    assert course([0, 0], 100, 20).line == "2,18 98,18"
    assert course([1, 1], 100, 20, top=2, margin=0).line == "0,10 100,10"


@example(3)
@example(5)
@given(st.integers(0, 10**9))
def test_what_is_rounded_up_holds_it_and_has_a_half(value: int) -> None:
    top = rounded_up(value)
    assert value <= top <= max(2, 2.5 * value)
    assert top % 2 == 0
    assert top == 4 or str(top).rstrip("0") in ("1", "2", "5")


@pytest.mark.parametrize(("part", "whole", "percent"), [(1, 4, 25), (5, 4, 100), (-1, 4, 0), (0, 0, 0), (3, 0, 0)])
def test_a_share_stays_within(part: float, whole: float, percent: float) -> None:
    assert share(part, whole) == percent


def test_a_chart_of_nothing_is_none() -> None:
    assert lag_chart([block(0), block(1)], [block(0).complete] * 2) is None


def test_each_step_of_the_scale_is_as_high_as_the_others() -> None:
    blocks = [block(0, 1, 10, 60), block(1, 10, 60, 600)]
    chart = lag_chart(blocks, [each.complete for each in blocks])
    assert chart is not None
    assert list(chart.marks) == [600, 60, 10, 1]
    first, second = chart.columns
    assert [first.p50, first.p95, first.p99] == [240, 160, 80]
    assert [second.p50, second.p95, second.p99] == [160, 80, 0]
    assert (first.x, second.x, first.width) == (0, 500, 500)


def test_the_median_joins_neighbours_and_leaves_gaps() -> None:
    blocks = [block(0, 1, 1, 1), block(1, 10, 10, 10), block(2), block(3, 60, 60, 60)]
    chart = lag_chart(blocks, [each.complete for each in blocks])
    assert chart is not None
    assert chart.median == "M125 240L375 120M750 0H1000"


@given(st.lists(st.lists(st.floats(0, 10**9), min_size=3, max_size=3), min_size=1, max_size=40))
def test_whatever_is_measured_stays_on_the_canvas(lags: list[list[float]]) -> None:
    blocks = [block(number, *sorted(lag)) for number, lag in enumerate(lags)]
    chart = lag_chart(blocks, [each.complete for each in blocks])
    assert chart is not None
    assert len(chart.marks) >= 3
    for column in chart.columns:
        assert 0 <= column.p99 <= column.p95 <= column.p50 <= HEIGHT
        assert 0 <= column.x <= WIDTH


@pytest.mark.parametrize(
    ("clock", "words"),
    [
        (Clock(within="PT24H"), "24 hours"),
        (Clock(within="P30D"), "30 days"),
        (Clock(within="P1M"), "1 month"),
        (Clock(within="PT1M"), "1 minute"),
        (Clock(within="PT90S"), "90 seconds"),
        (Clock(within="P1Y"), "1 year"),
        (
            Clock(within="P1M", extension="P2M", calendar="IE", time_zone="Europe/Dublin"),
            "1 month, and 2 months more if asked for in time, by the calendar of IE, in Europe/Dublin",
        ),
        (Clock(within="15 business days", calendar="US-CA"), "15 business days, by the calendar of US-CA"),
    ],
)
def test_clocks_in_words(clock: Clock, words: str) -> None:
    assert in_words(clock) == words
