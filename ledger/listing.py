"""Lists of notices, narrowed in any way, a page at a time. Read through one connection.

They come by partner, then by what is asked, then by time of issue, then by id. Whatever a list is narrowed by, a page
goes through one index in that order, and ends after `LOOKED_AT` notices even if fewer fit than it has room for: the
next one goes on behind them. So no question scans all notices, and none needs an index of its own, which every write
would pay for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlite_utils import Database

from ledger.queries import notice_row
from ledger.times import micros
from ledger.views import OPEN, NoticeRow, NoticeStatus
from streams.kinds import Action

#: Notices that a page looks at, at most.
LOOKED_AT = 10_000

_UNDONE = frozenset({NoticeStatus.REFUSED, NoticeStatus.UNDELIVERABLE, NoticeStatus.CANCELLED})
_OPEN = frozenset(OPEN)
#: What makes an open notice overdue: a clock that still runs has run out.
OVERDUE = "(due_by < :now OR (delivered_at IS NULL AND receive_by < :now))"
#: Before the first and behind the last of all times.
_FIRST, _LAST = -(2**63), 2**63 - 1


class Listed(NamedTuple):
    """Where a page ended; the next begins behind it."""

    partner: str
    action: str
    issued_at: int
    id: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a list is narrowed by; None, and no status at all, narrow nothing. The time is when notices were issued:
    from `start` on, and before `end`."""

    partner: str | None = None
    statuses: frozenset[NoticeStatus] = frozenset()
    action: Action | None = None
    purpose: str | None = None
    subject: str | None = None
    overdue: bool = False
    start: datetime | None = None
    end: datetime | None = None
    outcome: str | None = None


class Page(NamedTuple):
    """Unless `next` is None there may be more, also after an empty page."""

    notices: list[NoticeRow]
    next: Listed | None


def listed(database: Database, wanted: Wanted, now: datetime, after: Listed | None, most: int) -> Page:
    """At most so many notices."""
    way = _way(wanted)
    if wanted.subject is not None:
        return _of_subject(database, way, wanted, now, after, most)
    found: list[NoticeRow] = []
    left = LOOKED_AT
    for partner, action in _stretches(database, wanted, after):
        source, given = _stretch(way, wanted, now, partner, action, after)
        looked, end = _look(database, source, given, left) if way.fits else (0, None)
        if end is not None:
            source, given = f"{source} AND (issued_at, id) <= (:to, :to_id)", given | {"to": end[0], "to_id": end[1]}
        room = most - len(found)
        sql = f"SELECT * {' AND '.join([source, *way.fits])} ORDER BY issued_at, id LIMIT {room + 1}"
        rows = list(database.query(sql, given))
        found += map(notice_row, rows[:room])
        if len(rows) > room:
            return Page(found, _place(found[-1]))
        left -= looked
        if left <= 0:
            return Page(found, Listed(partner, action, *(end or (_LAST, ""))))
    return Page(found, None)


@dataclass(frozen=True, slots=True)
class _Way:
    """The index to go through, what of it (that is in the index), and which of that fits."""

    index: str
    part: str
    fits: list[str]


def _way(wanted: Wanted) -> _Way:
    statuses = wanted.statuses
    if statuses and statuses <= _UNDONE and not wanted.overdue:
        index, part, among = "notices_undone", _is(_UNDONE), _UNDONE
    elif wanted.overdue or (statuses and statuses <= _OPEN):
        index, part, among = "notices_open", "is_open", _OPEN
    else:
        index, part, among = "notices_partner", "TRUE", frozenset()
    asked = {
        "purpose = :purpose": wanted.purpose is not None,
        "outcome = :outcome": wanted.outcome is not None,
        OVERDUE: wanted.overdue,
        _is(statuses): bool(statuses) and statuses != among,
    }
    return _Way(index, part, [condition for condition, is_asked in asked.items() if is_asked])


def _is(statuses: frozenset[NoticeStatus]) -> str:
    """As the partial index says it, word for word."""
    ordered = [f"'{status}'" for status in NoticeStatus if status in statuses]
    return f"status IN ({', '.join(ordered)})"


def _stretches(database: Database, wanted: Wanted, after: Listed | None) -> Iterator[tuple[str, str]]:
    """Partners with actions, from where the page before ended."""
    actions = sorted(Action) if wanted.action is None else [wanted.action]
    for partner in _partners(database, wanted.partner, "" if after is None else after.partner):
        for action in actions:
            if after is None or (partner, action) >= after[:2]:
                yield partner, action


def _partners(database: Database, only: str | None, first: str) -> Iterator[str]:
    if only is not None:
        yield only
        return
    sql = "SELECT MIN(partner) FROM notices INDEXED BY notices_partner WHERE partner"
    (partner,) = database.execute(f"{sql} >= ?", [first]).fetchone()
    while partner is not None:
        yield partner
        (partner,) = database.execute(f"{sql} > ?", [partner]).fetchone()


def _stretch(
    way: _Way, wanted: Wanted, now: datetime, partner: str, action: str, after: Listed | None
) -> tuple[str, dict[str, Any]]:
    """A part of an index, but for what was looked at before, and its parameters."""
    given = _given(wanted, now) | {"partner": partner, "action": action, "at": _FIRST, "id": ""}
    if after is not None and (partner, action) == after[:2]:
        given |= {"at": after.issued_at, "id": after.id}
    if given["start"] > given["at"]:
        given |= {"at": given["start"], "id": ""}  # no id is empty
    where = "partner = :partner AND action = :action AND (issued_at, id) > (:at, :id) AND issued_at < :end"
    return f"FROM notices INDEXED BY {way.index} WHERE {where} AND {way.part}", given


def _look(database: Database, source: str, given: dict[str, Any], most: int) -> tuple[int, tuple[int, str] | None]:
    """How many notices there are to look at, and if that is too much, where to end."""
    (count,) = database.execute(f"SELECT COUNT(*) FROM (SELECT 1 {source} LIMIT {most + 1})", given).fetchone()
    if count <= most:
        return count, None
    end = f"SELECT issued_at, id {source} ORDER BY issued_at, id LIMIT 1 OFFSET {most - 1}"
    return count, database.execute(end, given).fetchone()


def _of_subject(database: Database, way: _Way, wanted: Wanted, now: datetime, after: Listed | None, most: int) -> Page:
    """A subject has few notices, so no index has them in order."""
    where = ["subject = :subject", "issued_at >= :start", "issued_at < :end", way.part, *way.fits]
    given = _given(wanted, now)
    if wanted.partner is not None:
        where.append("partner = :whose")
    if wanted.action is not None:
        where.append("action = :what")
    if after is not None:
        where.append("(partner, action, issued_at, id) > (:partner, :action, :issued_at, :id)")
        given |= after._asdict()
    sql = f"""SELECT * FROM notices INDEXED BY notices_subject WHERE {" AND ".join(where)}
        ORDER BY partner, action, issued_at, id LIMIT {most + 1}"""
    rows = list(database.query(sql, given))
    found = [notice_row(row) for row in rows[:most]]
    return Page(found, _place(found[-1]) if len(rows) > most else None)


def _given(wanted: Wanted, now: datetime) -> dict[str, Any]:
    return {
        "whose": wanted.partner,
        "what": wanted.action,
        "purpose": wanted.purpose,
        "outcome": wanted.outcome,
        "subject": wanted.subject,
        "start": _FIRST if wanted.start is None else micros(wanted.start),
        "end": _LAST if wanted.end is None else micros(wanted.end),
        "now": micros(now),
    }


def _place(notice: NoticeRow) -> Listed:
    return Listed(notice.partner, notice.action, micros(notice.issued_at), notice.id)
