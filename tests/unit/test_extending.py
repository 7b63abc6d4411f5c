"""More time for a notice: when it is granted, in whatever order a ledger reads."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from ledger import Entry, Extended, Ledger
from ledger.extending import Asked, judged
from ledger.times import moment
from streams.cloudevents import Envelope
from streams.events import Acknowledged, AckStatus, NoticesIssued
from tests.unit.test_ledger import acknowledged, at, dump, entry, notice, partner

#: Due after an hour, or after two if it is extended.
EXTENDABLE = Asked(
    at=at(30), reason=True, owner=True, final=False, complete_by=at(60), extended_complete_by=at(120), extended=False
)


@pytest.mark.parametrize(
    ("asked", "verdict"),
    [
        (EXTENDABLE, Extended.GRANTED),
        (EXTENDABLE._replace(at=at(59.999)), Extended.GRANTED),
        (EXTENDABLE._replace(at=at(60)), Extended.LATE),
        (EXTENDABLE._replace(extended_complete_by=None), Extended.NEVER),
        (EXTENDABLE._replace(extended=True), Extended.ALREADY),
        (EXTENDABLE._replace(extended=True, at=at(90)), Extended.ALREADY),
        (EXTENDABLE._replace(final=True), Extended.ANSWERED),
        (EXTENDABLE._replace(owner=False), Extended.NOT_OWNER),
        (EXTENDABLE._replace(reason=False), Extended.UNFOUNDED),
    ],
)
def test_a_request_is_judged(asked: Asked, verdict: Extended) -> None:
    assert judged(asked) is verdict


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path / "ledger.sqlite")
    yield opened
    opened.close()


def issued(extended: datetime | None = at(120)) -> Entry:  # noqa: B008 - a value
    data = NoticesIssued(
        partner="p", lane=0, notices=(notice(1).model_copy(update={"extended_complete_by": extended}),)
    )
    return entry("notices", 0, "pack", data)


def asks(offset: int, told: float, detail: str | None = "many copies", by: str = "p") -> Entry:
    data = Acknowledged(
        notice_id="n-p-1", partner=by, subject="user:1", status=AckStatus.IN_PROGRESS, detail=detail, extend=True,
        occurred_at=at(told), via="api",
    )  # fmt: skip
    return Entry("rescind.acknowledgements", 0, offset, at(told), Envelope(f"ack-{offset}", at(told), data))


def due(ledger: Ledger) -> tuple[datetime, str | None]:
    """When the notice counts as overdue, and by which acknowledgement."""
    ((due_by, extended_by),) = ledger._connection.execute("SELECT due_by, extended_by FROM notices").fetchall()
    return moment(due_by), extended_by


def words(ledger: Ledger) -> list[str]:
    return [each.summary for each in ledger.timeline("user:1") if each.kind in ("extended", "extension_refused")]


def test_a_deadline_moves_once(ledger: Ledger) -> None:
    ledger.apply([issued(), asks(0, 30), asks(1, 40, "more")])
    assert due(ledger) == (at(120), "ack-0")
    assert words(ledger) == [
        "p asks for more time, until 2026-01-01 14:00Z. It says: many copies",
        "p asks for more time, in vain: it was extended already. It says: more",
    ]


@pytest.mark.parametrize(
    ("before", "asked", "told"),
    [
        (issued(None), asks(0, 30), "its clock cannot be extended. It says: many copies"),
        (issued(), asks(0, 60), "its deadline had passed. It says: many copies"),
        (issued(), asks(0, 30, None), "no reason was given. It says: nothing"),
        (issued(), asks(0, 30, by="q"), "it is another partner's. It says: many copies"),
    ],
)
def test_or_stays(ledger: Ledger, before: Entry, asked: Entry, told: str) -> None:
    ledger.apply([before, asked])
    assert due(ledger) == (at(60), None)
    assert words(ledger) == [f"p asks for more time, in vain: {told}"]


def test_an_estimate_moves_nothing(ledger: Ledger) -> None:
    plain = asks(0, 30)
    assert plain.envelope is not None
    estimate = plain.envelope.data.model_copy(update={"extend": None, "expected_by": at(120)})
    ledger.apply([issued(), replace(plain, envelope=plain.envelope._replace(data=estimate))])
    assert due(ledger) == (at(60), None)


def test_one_that_is_extended_is_overdue_later(ledger: Ledger) -> None:
    ledger.apply([entry("partners", 0, "r", partner()), issued(), asks(0, 30)])
    assert [ledger.lag(at(minutes))[0].overdue_complete for minutes in (90, 121)] == [0, 1]


def test_every_order_of_reading_ends_alike(tmp_path: Path) -> None:
    """One too late, one from somebody else, one that is granted, one more, an answer, and one after that."""
    history = [
        issued(), asks(0, 70), asks(1, 20, by="q"), asks(2, 30), asks(3, 40), acknowledged(4, 1, told=50), asks(5, 51)
    ]  # fmt: skip
    notices, answers = history[:1], history[1:]
    dumps = []
    for number, (cut, first) in enumerate(itertools.product(range(len(answers) + 1), (True, False))):
        path = tmp_path / f"{number}.sqlite"
        ledger = Ledger.open(path)
        parts = [answers[:cut], notices, answers[cut:]] if first else [[*answers[:cut], *notices], answers[cut:]]
        for part in parts:
            ledger.apply(part)
        dumps.append(dump(path))
        ledger.close()
    assert all(each == dumps[0] for each in dumps)
    assert sorted(str(row[-1]) for row in dumps[0]["extensions"]) == [
        "already", "answered", "granted", "late", "not_owner"
    ]  # fmt: skip
