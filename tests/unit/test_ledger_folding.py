"""Folding into monthly archives: what is folded, that nobody can tell, and what happens to it at each step."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import Entry, Ledger, NoticeStatus
from ledger.archives import ACKNOWLEDGEMENT, MARK, STATEMENT
from ledger.folding import Old, foldable, month_of
from ledger.times import micros
from ledger.transitions import Verdict
from tests.folding import END, changes, counted, fold_all, histories, known, rows
from tests.month import simulated
from tests.unit.test_ledger import VEILS, at
from tests.unit.test_ledger_sealed import asked

DONE = Old("n", NoticeStatus.COMPLETED, 0, frozenset({Verdict.APPLIED}), asked=False, marks=False, size=0)


@pytest.mark.parametrize(
    ("old", "may_be"),
    [
        (DONE, True),
        (DONE._replace(verdicts=frozenset({Verdict.APPLIED, Verdict.REPEATED, Verdict.LATE})), True),
        (DONE._replace(verdicts=frozenset({Verdict.APPLIED, Verdict.NOT_OWNER, Verdict.UNFIT})), True),
        (DONE._replace(verdicts=frozenset({Verdict.APPLIED, Verdict.CONTRADICTION})), False),
        (DONE._replace(verdicts=frozenset({Verdict.APPLIED, ""})), False),
        (DONE._replace(asked=True), False),
        (DONE._replace(verdicts=frozenset()), False),
        (DONE._replace(verdicts=frozenset(), marks=True), True),
        *((DONE._replace(status=status), False) for status in NoticeStatus if status not in ("completed", "cancelled")),
        (DONE._replace(status=NoticeStatus.CANCELLED), True),
        (DONE._replace(status=NoticeStatus.CANCELLED, verdicts=frozenset({""})), False),
    ],
)
def test_what_may_be_folded(old: Old, may_be: bool) -> None:
    assert foldable(old) is may_be


@pytest.mark.parametrize(
    ("time", "month"),
    [("2026-01-31T23:59:59.999999Z", 202601), ("2026-02-01T00:00:00Z", 202602), ("1969-12-31T23:00:00Z", 196912)],
)
def test_a_month_is_one_of_utc(time: str, month: int) -> None:
    assert month_of(micros(datetime.fromisoformat(time))) == month


def test_archives_keep_every_column(tmp_path: Path) -> None:
    with closing(Ledger.open(tmp_path / "ledger.sqlite")) as ledger:
        for table, own, columns in (
            ("acknowledgements", ("notice_id",), ACKNOWLEDGEMENT),
            ("deadline_marks", ("notice_id",), MARK),
            ("statements", (), STATEMENT),
        ):
            names = tuple(row[0] for row in rows(ledger, f"SELECT name FROM pragma_table_xinfo('{table}')"))
            assert names == (*own, *columns)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), histories())
def test_nobody_can_tell_what_was_folded(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, history: list[Entry]
) -> None:
    directory = tmp_path_factory.mktemp("ledgers")
    veil = VEILS[data.draw(st.sampled_from(sorted(VEILS)))]
    with (
        closing(Ledger.open(directory / "folded.sqlite", veils=(veil,))) as folded,
        closing(Ledger.open(directory / "unfolded.sqlite", veils=(veil,))) as other,
    ):
        rest = history
        while rest:
            size = data.draw(st.integers(1, len(rest)))
            folded.apply(rest[:size])
            other.apply(rest[:size])
            rest = rest[size:]
            for _ in range(data.draw(st.integers(0, 3))):
                folded.fold(at(data.draw(st.integers(0, 60 * 24 * 90))), data.draw(st.integers(1, 5)))
            folded.give_back(1000)
            assert counted(folded)
        assert list(known(folded)) == list(known(other))
        fold_all(folded)
        assert list(known(folded)) == list(known(other))
        assert changes(folded) == changes(other)
        assert counted(folded)


def test_a_month_of_a_platform_is_the_same_folded_all_along(tmp_path: Path) -> None:
    month = simulated(5, partners=20, subjects=60, toggles=250)
    chance = random.Random(1)
    with (
        closing(Ledger.open(tmp_path / "folded.sqlite")) as folded,
        closing(Ledger.open(tmp_path / "unfolded.sqlite")) as other,
    ):
        count = 0
        for batch in month.read(chance, 60):
            folded.apply(batch)
            other.apply(batch)
            count += folded.fold(END, chance.randint(1, 40)).folded
        count += fold_all(folded)
        assert count > 300
        pairs: Iterator[tuple[Any, Any]] = zip_longest(asked(folded, month), asked(other, month))
        for one, another in pairs:
            assert one == another
        assert list(folded.export()) == list(other.export())
        assert changes(folded) == changes(other)
