"""What a ledger's readers remember of lag: an answer is the same with and without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import Entry, Ledger, LedgerReader, PartnerLag, Window
from ledger.files import take_place
from streams.clocks import Watch
from streams.events import AckStatus, NoticesIssued, PartnerRemoved
from streams.kinds import Action
from tests.unit import test_extending
from tests.unit.test_ledger import (
    acknowledged,
    at,
    delivered,
    entry,
    failed,
    issued,
    notice,
    partner,
    refused,
    reissued,
)
from tests.unit.test_ledger_again import histories


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger.open(tmp_path / "ledger.sqlite")) as opened:
        yield opened


def asked(ledger: LedgerReader, now: datetime) -> list[PartnerLag]:
    return ledger.lag(now, Window.DAY, tuple(Window))


def fresh(ledger: Ledger, now: datetime) -> list[PartnerLag]:
    """Asked of a reader that remembers nothing."""
    with closing(LedgerReader(ledger.path)) as reader:
        return asked(reader, now)


GONE = PartnerRemoved.model_validate(partner().model_dump() | {"status": "removed", "revision": 2})
STEPS: dict[str, Entry] = {
    "registered": entry("partners", 0, "r", partner()),
    "issued": test_extending.issued(),
    "issued another, not known yet": issued(1, 2),
    "begun": acknowledged(0, 1, AckStatus.IN_PROGRESS, None),
    "asked for more time": test_extending.asks(1, 5),
    "delivered": delivered(0, 0, 1, 30),
    "failed once more": failed(1),
    "issued again by another lane": reissued(0, 1, lane=1),
    "which was quicker": delivered(2, 0, 0, 29, lane=1),
    "the other was refused there": refused(0, 2, 1),
    "answered": acknowledged(2, 1),
    "contradicted": acknowledged(3, 1, AckStatus.REFUSED, None),
    "issued yet another": issued(2, 3),
    "removed": entry("partners", 1, "removed", GONE),
}


@pytest.mark.parametrize("minutes", [0, 9, 61, 121, 60 * 24 * 40])
def test_every_step_shows_in_the_next_answer(ledger: Ledger, minutes: float) -> None:
    for name, step in STEPS.items():
        ledger.apply([step])
        assert asked(ledger, at(minutes)) == fresh(ledger, at(minutes)), name


def test_a_notice_becomes_overdue_while_nothing_changes(ledger: Ledger) -> None:
    ledger.apply([entry("partners", 0, "r", partner()), issued(0, 1)])
    assert [asked(ledger, at(minutes))[0].overdue_receive for minutes in (9, 10, 10.01, 9)] == [0, 0, 1, 0]


def test_a_notice_comes_at_risk_while_nothing_changes(ledger: Ledger) -> None:
    """Two that are at risk for different parts of their time, and one of another action."""
    notices = [
        notice(1).model_copy(update={"watch": Watch(at_risk=0.25)}),
        notice(2).model_copy(update={"watch": Watch(at_risk=0.99), "complete_by": at(50)}),
        notice(3).model_copy(update={"action": Action.STOP, "complete_by": at(600)}),
    ]
    pack = NoticesIssued(partner="p", lane=0, notices=tuple(notices))
    ledger.apply([entry("partners", 0, "r", partner()), entry("notices", 0, "i", pack), delivered(0, 0, 0)])
    seen = [
        (minutes, asked(ledger, at(minutes))[0].at_risk)
        for minutes in (14.99, 15, 49.49, 49.5, 50, 50.01, 60, 60.01, 479.99, 480, 600, 600.01, 15)
    ]
    assert seen == [
        (14.99, 0), (15, 1), (49.49, 1), (49.5, 2), (50, 2), (50.01, 1), (60, 1), (60.01, 0), (479.99, 0), (480, 1),
        (600, 1), (600.01, 0), (15, 1),
    ]  # fmt: skip
    for minutes in range(700):
        assert asked(ledger, at(minutes)) == fresh(ledger, at(minutes)), minutes


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_in_any_order_and_at_any_time(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    rest = [entry("partners", 0, "r", partner()), *data.draw(histories())]
    moving, minutes = data.draw(st.booleans()), data.draw(st.integers(0, 100))
    with closing(Ledger.open(path)) as ledger:
        while rest:
            size = data.draw(st.integers(1, len(rest)))
            ledger.apply(rest[:size])
            rest = rest[size:]
            minutes = data.draw(st.integers(0, 100)) if moving else minutes
            assert asked(ledger, at(minutes)) == fresh(ledger, at(minutes))


def test_nothing_is_remembered_of_a_file_that_another_one_replaced(tmp_path: Path) -> None:
    kept, other = tmp_path / "ledger.sqlite", tmp_path / "other.sqlite"
    for path, number in ((kept, 1), (other, 2)):
        with closing(Ledger.open(path)) as ledger:
            ledger.apply([entry("partners", 0, "r", partner()), issued(0, number)])
            if path == other:
                ledger._connection.execute("UPDATE notices SET issued_at = issued_at - 1")
    with closing(LedgerReader(kept)) as reader:
        before = asked(reader, at(5))
        take_place(other, kept)
        after = asked(reader, at(5))
    assert before[0].open == after[0].open == 1
    assert after[0].oldest_open_seconds == 300.000001
