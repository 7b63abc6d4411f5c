"""What a partner was asked in some time, and what became of it. Read through one connection.

A report looks at every notice of its partner and time, and at no other: whole by pages of rows, whose sums are its
totals, or summed up by SQLite itself with the notices that need words.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlite_utils import Database

from ledger.again import Span
from ledger.listing import OVERDUE, Listed, Wanted, listed
from ledger.queries import discarded_words, notice_row
from ledger.rows import listed as as_json
from ledger.times import micros
from ledger.views import OPEN, Cancelled, NoticeRow, NoticeStatus
from streams.events import Outcome
from streams.kinds import Action

#: Notices of each kind that a summary spells out.
SPELT_OUT = 500

_ACTIONS = ", ".join(f"'{action}'" for action in Action)  # all, so that the index has the times in order
_STRETCH = f"""FROM notices INDEXED BY notices_partner
    WHERE partner = :partner AND action IN ({_ACTIONS}) AND issued_at >= :start AND issued_at < :end"""
# The same conditions as in `row_of`: the tests hold them together.
_SUMS = f"""SELECT action, status, outcome, reason, COUNT(*) AS n,
    SUM(legal_receive_by IS NOT NULL OR legal_complete_by IS NOT NULL) AS issued_late,
    COALESCE(SUM(delivered_at > receive_by), 0) AS received_late,
    COALESCE(SUM(status IN ('completed', 'refused') AND completed_at > due_by), 0) AS answered_late,
    SUM(is_open AND {OVERDUE}) AS overdue,
    COALESCE(SUM(status = 'cancelled' AND discarded_at IS NOT NULL), 0) AS discarded
    {_STRETCH} GROUP BY action, status, outcome, reason"""
_ANSWERED_LATE = f"""SELECT * {_STRETCH} AND status IN ('completed', 'refused') AND completed_at > due_by
    ORDER BY action, issued_at, id LIMIT :most"""
_GIVEN_UP = f"""SELECT * {_STRETCH} AND status = 'cancelled' AND discarded_at IS NOT NULL
    ORDER BY action, issued_at, id LIMIT :most"""
_REFUSALS = """SELECT notice_id, detail FROM acknowledgements
    WHERE notice_id IN (SELECT value FROM json_each(?)) AND status = 'refused' AND verdict IN ('applied', 'amended')
    ORDER BY place"""
_DISCARDED = "SELECT * FROM discarded WHERE notice_id IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A notice as of a moment. `received_late` is delivered after `receive_by`, `answered_late` completed or refused
    after `complete_by`, as extended, `overdue` open and past either of them. `words` are the partner's own, where it
    refused or does not take the notice; of one that was discarded, who did so and why. `issued_late` is the platform's
    own: issued after a date by the person's request."""

    notice: NoticeRow
    received_late: bool
    answered_late: bool
    overdue: bool
    words: str | None
    issued_late: bool = False


@dataclass(slots=True)
class Sums:
    """How many notices. `asked` is `completed` + `refused` + `open` + `cancelled`; the others are of these: `overdue`
    and `undeliverable` of the open ones, `discarded` of the cancelled ones, `received_late` of those delivered,
    `answered_late` of those answered, `suppressed` of those to erase, open or completed by contract: the data is still
    there. `issued_late` were issued after a date by the person's request."""

    asked: int = 0
    completed: int = 0
    refused: int = 0
    open: int = 0
    cancelled: int = 0
    undeliverable: int = 0
    overdue: int = 0
    received_late: int = 0
    answered_late: int = 0
    discarded: int = 0
    issued_late: int = 0
    suppressed: int = 0

    def add(
        self,
        n: int,
        status: NoticeStatus,
        received_late: int,
        answered_late: int,
        overdue: int,
        discarded: int,
        issued_late: int,
    ) -> None:
        self.asked += n
        name = "open" if status in OPEN else status.value
        setattr(self, name, getattr(self, name) + n)
        if status is NoticeStatus.UNDELIVERABLE:
            self.undeliverable += n
        self.received_late += received_late
        self.answered_late += answered_late
        self.overdue += overdue
        self.discarded += discarded
        self.issued_late += issued_late


@dataclass(slots=True)
class ReportTotals:
    """All together, by what was asked, and the reasons: `outcomes` of what was completed, `reasons` of what was
    refused; "-" where the partner gave none."""

    all: Sums = field(default_factory=Sums)
    actions: dict[Action, Sums] = field(default_factory=lambda: {action: Sums() for action in Action})
    outcomes: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)

    def add(self, row: ReportRow) -> None:
        notice = row.notice
        discarded = notice.cancelled_because is Cancelled.DISCARDED
        sums = (int(row.received_late), int(row.answered_late), int(row.overdue), int(discarded), int(row.issued_late))
        self.count(1, notice.action, notice.status, notice.outcome, notice.reason, *sums)

    def count(
        self, n: int, action: Action, status: NoticeStatus, outcome: str | None, reason: str | None, *counts: int
    ) -> None:
        for sums in (self.all, self.actions[action]):
            sums.add(n, status, *counts)
            if action is Action.ERASE and outcome == Outcome.SUPPRESSED:
                sums.suppressed += n
        if status is NoticeStatus.COMPLETED:
            self.outcomes[outcome or "-"] = self.outcomes.get(outcome or "-", 0) + n
        elif status is NoticeStatus.REFUSED:
            self.reasons[reason or "-"] = self.reasons.get(reason or "-", 0) + n


class ReportPage(NamedTuple):
    """By what was asked, then by time of issue. `next` is where the next page begins, None if there is none."""

    rows: list[ReportRow]
    next: Listed | None


@dataclass(frozen=True, slots=True)
class Summary:
    """As of one moment. The notices are the first `SPELT_OUT` of each sort, in that order."""

    totals: ReportTotals
    refused: list[ReportRow]
    undeliverable: list[ReportRow]
    overdue: list[ReportRow]
    answered_late: list[ReportRow]
    discarded: list[ReportRow]


def page(database: Database, span: Span, now: datetime, after: Listed | None, most: int) -> ReportPage:
    found = listed(database, Wanted(partner=span.partner, start=span.start, end=span.end), now, after, most)
    return ReportPage(_with_words(database, found.notices, now), found.next)


def summary(database: Database, span: Span, now: datetime) -> Summary:
    given = {
        "partner": span.partner,
        "start": micros(span.start),
        "end": micros(span.end),
        "now": micros(now),
        "most": SPELT_OUT,
    }
    totals = ReportTotals()
    for row in database.query(_SUMS, given):
        sums = (row["received_late"], row["answered_late"], row["overdue"], row["discarded"], row["issued_late"])
        totals.count(row["n"], Action(row["action"]), NoticeStatus(row["status"]), row["outcome"], row["reason"], *sums)

    def spelt_out(**narrowed: Any) -> list[ReportRow]:
        wanted = Wanted(partner=span.partner, start=span.start, end=span.end, **narrowed)
        return _with_words(database, _first(database, wanted, now), now)

    answered_late = map(notice_row, database.query(_ANSWERED_LATE, given))
    return Summary(
        totals=totals,
        refused=spelt_out(statuses=frozenset({NoticeStatus.REFUSED})),
        undeliverable=spelt_out(statuses=frozenset({NoticeStatus.UNDELIVERABLE})),
        overdue=spelt_out(overdue=True),
        answered_late=_with_words(database, answered_late, now),
        discarded=_with_words(database, map(notice_row, database.query(_GIVEN_UP, given)), now),
    )


def row_of(notice: NoticeRow, now: datetime, words: str | None = None) -> ReportRow:
    answered = notice.status in (NoticeStatus.COMPLETED, NoticeStatus.REFUSED)
    unreceived = notice.delivered_at is None and notice.receive_by < now
    return ReportRow(
        notice=notice,
        received_late=notice.delivered_at is not None and notice.delivered_at > notice.receive_by,
        answered_late=answered and notice.completed_at is not None and notice.completed_at > notice.due_by,
        overdue=notice.status in OPEN and (notice.due_by < now or unreceived),
        words=words,
        issued_late=notice.legal_receive_by is not None or notice.legal_complete_by is not None,
    )


def _first(database: Database, wanted: Wanted, now: datetime) -> list[NoticeRow]:
    found: list[NoticeRow] = []
    after: Listed | None = None
    while True:
        notices, after = listed(database, wanted, now, after, SPELT_OUT - len(found))
        found += notices
        if after is None or len(found) == SPELT_OUT:
            return found


def _with_words(database: Database, notices: Iterable[NoticeRow], now: datetime) -> list[ReportRow]:
    notices = list(notices)
    refused = [notice.id for notice in notices if notice.status is NoticeStatus.REFUSED]
    discarded = [notice.id for notice in notices if notice.cancelled_because is Cancelled.DISCARDED]
    words: dict[str, str | None] = {row["notice_id"]: row["detail"] for row in _of(database, _REFUSALS, refused)}
    words |= {row["notice_id"]: discarded_words(row) for row in _of(database, _DISCARDED, discarded)}
    return [row_of(notice, now, words.get(notice.id, notice.last_words)) for notice in notices]


def _of(database: Database, sql: str, ids: list[str]) -> list[dict[str, Any]]:
    return list(database.query(sql, [as_json(ids)])) if ids else []
