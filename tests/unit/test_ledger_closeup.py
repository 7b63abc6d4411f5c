"""Partners from near: every figure against a count of the notices themselves."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ledger import LedgerReader, Window, closeup, history
from ledger.times import micros, moment
from streams.deadlines import Deadline
from tests.unit.gateway.furnished import CAST, HOUR, dead_letters, move_in
from tests.unit.gateway.harness import NOON, gateway_in

Row = dict[str, Any]
NOW = micros(NOON)
EACH = [part.id for part in CAST]


async def fill(directory: Path) -> Path:
    async with gateway_in(directory) as gateway:
        gateway.log.projecting = False
        for lane, part in enumerate(CAST):
            move_in(gateway, gateway.context.sealer, part, lane, 60)
        dead_letters(gateway, CAST[0].id)
        gateway.log.project()
        return gateway.ledger.path


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LedgerReader, list[Row]]]:
    """A ledger, and all of its notices."""
    path = asyncio.run(fill(tmp_path_factory.mktemp("ledger")))
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        notices = [dict(row) for row in connection.execute("SELECT * FROM notices")]
    reader = LedgerReader(path)
    yield reader, notices
    reader.close()


def of(partner: str, notices: list[Row]) -> list[Row]:
    return [row for row in notices if row["partner"] == partner]


def open_at(time: int, notices: list[Row]) -> int:
    """But for what was refused for good: of that, the roll-ups know nothing."""
    counted = [row for row in notices if row["status"] != "undeliverable" and row["issued_at"] < time]
    return sum(row["completed_at"] is None or row["completed_at"] >= time for row in counted)


def test_what_was_open_hour_by_hour(found: tuple[LedgerReader, list[Row]]) -> None:
    ledger, notices = found
    board = ledger.board(NOON, 24)
    assert set(board.opened) == set(EACH)
    # What is refused for good was issued, so before that it seems not to have been open: the first is set apart.
    for partner in EACH[1:]:
        expected = [
            open_at(micros(NOON - hour * HOUR) + 3_600_000_000, of(partner, notices)) for hour in range(23, 0, -1)
        ]
        assert list(board.opened[partner]) == [*expected, sum(row["is_open"] for row in of(partner, notices))]
    assert min(board.opened[EACH[0]]) >= 0


def test_the_oldest_and_the_clock_that_runs(found: tuple[LedgerReader, list[Row]]) -> None:
    ledger, notices = found
    oldest = ledger.board(NOON, 24).oldest
    for partner in EACH:
        waiting = [row for row in of(partner, notices) if row["is_open"]]
        if not waiting:
            assert partner not in oldest
            continue
        first = min(row["issued_at"] for row in waiting)
        shown = oldest[partner]
        assert micros(shown.issued_at) == first
        fitting = [row for row in waiting if row["issued_at"] == first]
        assert (shown.deadline, shown.due_at) in {
            (Deadline.RECEIVE, moment(row["receive_by"]))
            if row["to_receive"]
            else (Deadline.COMPLETE, moment(row["due_by"]))
            for row in fitting
        }


@pytest.mark.parametrize("window", [Window.DAY, Window.WEEK, Window.MONTH])
def test_blocks_add_up(found: tuple[LedgerReader, list[Row]], window: Window) -> None:
    ledger, notices = found
    for partner in EACH:
        seen = ledger.closeup(partner, NOON, window)
        assert seen is not None
        size = HOUR if window is not Window.MONTH else timedelta(days=1)
        assert {block.end - block.start for block in seen.blocks} == {size}
        assert seen.blocks[-1].start <= NOON < seen.blocks[-1].end
        assert len(seen.blocks) == window.span / size
        own, length = of(partner, notices), int(size / timedelta(microseconds=1))
        arrived, delivered, completed = (
            Counter(row[stamp] // length for row in own if row[stamp] is not None)
            for stamp in ("issued_at", "delivered_at", "completed_at")
        )
        for block in seen.blocks:
            number = micros(block.start) // length
            counted = (block.arrived, block.receive.count, block.complete.count)
            assert counted == (arrived[number], delivered[number], completed[number])


def test_the_funnel_and_the_reasons(found: tuple[LedgerReader, list[Row]]) -> None:
    ledger, notices = found
    for partner in EACH:
        seen = ledger.closeup(partner, NOON, Window.DAY)
        assert seen is not None
        own = of(partner, notices)
        statuses = Counter(row["status"] for row in own)
        assert seen.funnel.asked == len(own)
        assert seen.funnel.delivered == sum(row["delivered_at"] is not None for row in own)
        assert seen.funnel.received == sum(row["ack_status"] is not None for row in own)
        assert (seen.funnel.completed, seen.funnel.refused) == (statuses["completed"], statuses["refused"])
        assert seen.funnel.undeliverable == statuses["undeliverable"]
        assert dict(seen.refusals) == Counter(row["reason"] for row in own if row["status"] == "refused")


def test_the_latest_attempts_come_first(found: tuple[LedgerReader, list[Row]]) -> None:
    ledger, _ = found
    seen = ledger.closeup("ember", NOON, Window.DAY)
    assert seen is not None
    assert len(seen.attempts) == 12
    assert [attempt.at for attempt in seen.attempts] == sorted((each.at for each in seen.attempts), reverse=True)
    assert [attempt.attempt for attempt in seen.attempts[:7]] == [7, 6, 5, 4, 3, 2, 1]
    assert {attempt.error for attempt in seen.attempts[:7]} == {"cannot connect: refused"}
    assert all(attempt.delivered for attempt in seen.attempts[7:])


def test_nobody_is_none_and_a_newcomer_is_empty(found: tuple[LedgerReader, list[Row]]) -> None:
    ledger, _ = found
    assert ledger.closeup("nobody", NOON, Window.DAY) is None
    seen = ledger.closeup("halcyon", NOON, Window.DAY)
    assert seen is not None
    assert (seen.attempts, seen.refusals, seen.oldest, seen.funnel.asked) == ([], [], None, 0)
    assert {block.open for block in seen.blocks} == {0}


def test_every_question_goes_by_an_index(found: tuple[LedgerReader, list[Row]]) -> None:
    ledger, _ = found
    given: dict[str, Any] = dict.fromkeys(("partners", "kinds", "clocks"), '["x"]')
    given |= {"hours": 1, "first": 0, "partner": "x", "since": 0, "most": 1}
    with closing(sqlite3.connect(ledger.path)) as connection:
        for sql in (closeup._OLDEST, closeup._REASONS, history._FLOWS, history._HISTOGRAMS):
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", given)]
            assert not [
                step for step in plan if step.startswith("SCAN") and "VIRTUAL" not in step and "sub" not in step
            ]
        for sql, parameters in ((closeup._FUNNEL, ["x"]), (closeup._LATEST, ["x", 1])):
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]
            assert not [step for step in plan if step.startswith("SCAN")]
