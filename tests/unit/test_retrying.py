"""When a delivery is tried again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.retrying import Attempt, Backoff, next_delay

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BACKOFF = Backoff(base=1, cap=60)


@pytest.mark.parametrize(
    ("number", "jitter", "seconds"),
    [(1, 0.0, 0.1), (1, 0.5, 0.5), (2, 0.5, 1.0), (4, 0.5, 4.0), (7, 0.5, 30.0), (10_000, 0.5, 30.0)],
)
def test_exponential_with_full_jitter(number: int, jitter: float, seconds: float) -> None:
    assert BACKOFF.delay(number, jitter) == seconds


@pytest.mark.parametrize(
    ("status", "retry_after", "seconds"),
    [
        (503, "7", 7.0),
        (429, "7", 7.0),
        (503, " 7 ", 7.0),
        (500, "7", 0.5),  # only 429 and 503 say when
        (503, "999999999999", 60.0),  # never beyond the cap
        (503, "Thu, 01 Jan 2026 12:00:09 GMT", 9.0),
        (503, "Thu, 01 Jan 2026 11:00:00 GMT", 0.5),
        (503, "soon", 0.5),
        (503, "-5", 0.5),
        (503, "", 0.5),
        (503, "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", 0.5),  # a date that no computer can hold
        (503, "Mon, 01 Jan 2026 99999999999999999:00:00 GMT", 0.5),
        (503, "1 Jan 20 00:00:00 -99999999999999999999999", 0.5),
        (None, None, 0.5),
    ],
)
def test_retry_after(status: int | None, retry_after: str | None, seconds: float) -> None:
    attempt = Attempt(status, "x", retry_after)
    assert next_delay(attempt, 1, BACKOFF, 0.5, NOON) == seconds


@given(st.integers(1, 10**9), st.floats(0, 1, exclude_max=True), st.text(max_size=30))
def test_always_between_a_tenth_of_the_base_and_the_cap(number: int, jitter: float, header: str) -> None:
    delay = next_delay(Attempt(503, "x", header), number, BACKOFF, jitter, NOON)
    assert 0.1 <= delay <= 60
