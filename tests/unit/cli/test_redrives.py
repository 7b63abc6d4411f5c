"""Waiting for what becomes of notices that were issued again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from rescind import redrives

PLACES: list[dict[str, Any]] = [{"notice_id": f"n{number}", "lane": 0, "offset": number} for number in range(3)]


class Partner:
    """Takes a notice after so many seconds; those that it is not told of never."""

    def __init__(self, **after: float) -> None:
        self.after = after
        self.now = 0.0
        self.asked: list[list[str]] = []

    def ask(self, places: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        self.asked.append([place["notice_id"] for place in places])
        return [
            {"notice_id": name, "outcome": "taken" if self.now >= self.after.get(name, 1e9) else "waiting"}
            for name in self.asked[-1]
        ]

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds

    def wait(self, seconds: float, places: Sequence[dict[str, Any]] = PLACES) -> list[str]:
        told = redrives.outcomes(self.ask, places, seconds, sleep=self.sleep, monotonic=lambda: self.now)
        return [each["outcome"] for each in told]


def test_it_ends_when_all_is_known() -> None:
    partner = Partner(n0=0, n1=0.2, n2=1)
    assert partner.wait(30) == ["taken"] * 3
    assert partner.now < 4
    assert partner.asked[0] == ["n0", "n1", "n2"]
    assert partner.asked[-1] == ["n2"]


@pytest.mark.parametrize("seconds", [0.0, 0.05, 5.0])
def test_it_ends_in_time(seconds: float) -> None:
    partner = Partner(n0=0)
    assert partner.wait(seconds) == ["taken", "waiting", "waiting"]
    assert partner.now == pytest.approx(seconds)


def test_what_comes_at_the_last_moment_counts() -> None:
    assert Partner(n0=0, n1=5, n2=5).wait(5) == ["taken"] * 3


def test_many_are_asked_for_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redrives, "MOST", 2)
    partner = Partner(n0=0, n1=0, n2=0)
    assert partner.wait(5) == ["taken"] * 3
    assert partner.asked == [["n0", "n1"], ["n2"]]


def test_nothing_is_waited_for_if_nothing_was_issued() -> None:
    partner = Partner()
    assert partner.wait(30, []) == []
    assert (partner.asked, partner.now) == ([], 0.0)
