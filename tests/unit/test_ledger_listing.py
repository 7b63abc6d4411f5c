"""Lists of notices: every way to narrow them, page by page, and by which index."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import datetime
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from ledger import Entry, Ledger, NoticeRow, NoticeStatus, listing
from ledger.listing import Listed, Page, Wanted
from ledger.queries import notice_row
from ledger.views import OPEN
from streams.events import Acknowledged, AckStatus, NoticesIssued, Outcome, RefusalReason
from streams.kinds import Action
from tests.unit.test_ledger import at, delivered, entry, notice, refused

PARTNERS, PURPOSES = ("p", "q", "r"), ("ai", "ads")
NOW = at(30)


def pack(offset: int) -> Entry:
    """Two notices, of a partner, an action, a purpose, a time and a clock each."""
    name = PARTNERS[offset % 3]
    notices = tuple(
        notice(number % 7, name).model_copy(
            update={
                "id": f"n-{name}-{number}",
                "action": (Action.ERASE, Action.STOP, Action.RESUME)[number % 5 % 3],
                "purpose": PURPOSES[number % 2],
                "issued_at": at(offset // 3),
                "receive_by": at(20 + number % 20),
                "complete_by": at(25 + number % 30),
            }
        )
        for number in (2 * offset, 2 * offset + 1)
    )
    return entry("notices", offset, f"pack-{offset}", NoticesIssued(partner=name, lane=0, notices=notices))


def answer(offset: int, name: str, number: int) -> Entry:
    final = number % 2 == 0
    data = Acknowledged(
        notice_id=f"n-{name}-{number}",
        partner=name,
        subject="user:1",
        status=AckStatus.COMPLETED if final else AckStatus.REFUSED,
        outcome=Outcome.NOT_FOUND if final else None,
        reason=None if final else RefusalReason.EXEMPT,
        occurred_at=at(3),
        via="api",
    )
    return entry("acknowledgements", offset, f"ack-{offset}", data)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """72 notices in every status."""
    path = tmp_path_factory.mktemp("listing") / "ledger.sqlite"
    ledger = Ledger.open(path)
    ledger.apply([pack(offset) for offset in range(36)])
    ledger.apply([delivered(number, offset, offset, 1) for number, offset in enumerate(range(0, 36, 2))])
    ledger.apply([refused(0, 6, 3), refused(1, 18, 9)])
    names = {number: PARTNERS[number // 2 % 3] for number in range(72)}
    ledger.apply([answer(offset, names[number], number) for offset, number in enumerate(range(0, 72, 5))])
    ledger.close()
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE notices SET cancelled_at = 1 WHERE id IN ('n-q-2', 'n-r-40')")
    yield Database(connection)
    connection.close()


def everything(database: Database) -> list[NoticeRow]:
    rows = [notice_row(row) for row in database.query("SELECT * FROM notices")]
    return sorted(rows, key=lambda row: (row.partner, row.action, row.issued_at, row.id))


def fits(row: NoticeRow, wanted: Wanted, now: datetime) -> bool:
    late = row.complete_by < now or (row.delivered_at is None and row.receive_by < now)
    return (
        wanted.partner in (None, row.partner)
        and (not wanted.statuses or row.status in wanted.statuses)
        and wanted.action in (None, row.action)
        and wanted.purpose in (None, row.purpose)
        and wanted.subject in (None, row.subject)
        and (not wanted.overdue or (row.status in OPEN and late))
        and (wanted.start is None or row.issued_at >= wanted.start)
        and (wanted.end is None or row.issued_at < wanted.end)
    )


def pages(database: Database, wanted: Wanted, most: int) -> Iterator[Page]:
    after: Listed | None = None
    while True:
        page = listing.listed(database, wanted, NOW, after, most)
        yield page
        if page.next is None:
            return
        assert after is None or page.next > after, "a page that gets nowhere"
        after = page.next


wishes = st.builds(
    Wanted,
    partner=st.sampled_from([None, *PARTNERS, "nobody"]),
    statuses=st.frozensets(st.sampled_from(NoticeStatus), max_size=4),
    action=st.sampled_from([None, *Action]),
    purpose=st.sampled_from([None, *PURPOSES]),
    subject=st.sampled_from([None, None, "user:1", "user:2", "user:99"]),
    overdue=st.booleans(),
    start=st.sampled_from([None, at(0), at(4), at(7.5)]),
    end=st.sampled_from([None, at(4), at(9), at(100)]),
)


def test_the_notices_are_in_every_status(database: Database) -> None:
    assert {row.status for row in everything(database)} >= set(NoticeStatus) - {
        NoticeStatus.RECEIVED,
        NoticeStatus.IN_PROGRESS,
    }


@settings(max_examples=300, deadline=None)
@given(wanted=wishes, most=st.integers(1, 80), looked_at=st.sampled_from([1, 2, 5, 17, 10_000]))
def test_pages_hold_what_fits_in_order_and_once(database: Database, wanted: Wanted, most: int, looked_at: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing, "LOOKED_AT", looked_at)
        found = list(pages(database, wanted, most))
    assert [row for page in found for row in page.notices] == [
        row for row in everything(database) if fits(row, wanted, NOW)
    ]
    assert all(len(page.notices) <= most for page in found)
    if wanted.subject is None:
        assert len(found) <= 1 + 3 * len(PARTNERS) + 72 // min(most, looked_at)


def test_every_way_to_narrow_a_list_goes_through_an_index(database: Database) -> None:
    """And in the order of the index, so that a page reads no more than it looks at; but for a subject's few."""
    statuses = [frozenset[NoticeStatus](), *(frozenset({status}) for status in NoticeStatus), frozenset(OPEN)]
    statuses += [frozenset({NoticeStatus.QUEUED, NoticeStatus.REFUSED}), frozenset({NoticeStatus.CANCELLED} | {*OPEN})]
    ways = product(
        (None, "p"), statuses, (None, Action.STOP), (None, "ai"), (None, "user:1"), (False, True),
        (None, at(1)), (None, at(9)), (None, Listed("p", "erase", 5, "x")),
    )  # fmt: skip
    asked: list[str] = []
    connection = database.conn
    connection.set_trace_callback(asked.append)
    for partner, status, action, purpose, subject, overdue, start, end, after in ways:
        wanted = Wanted(partner, status, action, purpose, subject, overdue, start, end)
        listing.listed(database, wanted, NOW, after, 10)
    connection.set_trace_callback(None)
    assert len(set(asked)) > 100
    for sql in set(asked):
        for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {sql}"):
            if "(subquery" in step or step.startswith("CO-ROUTINE"):
                continue  # of the rows that were found already
            assert step.startswith("SEARCH notices USING") or (
                step.startswith("USE TEMP B-TREE FOR") and "notices_subject" in sql
            ), (step, sql)
