"""What may be asked again: a partner's notices of a time, and dead letters. Read through one connection.

A notice is *superseded* if a later one to the same partner, about the same subject and purpose, asks for the opposite:
whoever had forgotten everything would take the old word for the last one. Asked again, it would undo a user's choice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlite_utils import Database

from ledger.rows import listed
from ledger.times import HOUR_MICROS, maybe_moment, micros, moment
from ledger.views import Amount, Poisoned, Refused
from streams.clocks import Watch
from streams.events import Notice
from streams.kinds import Action

#: Bytes of poisoned messages that a page holds, but for the first.
PAGE_BYTES = 4 * 1024 * 1024

# Within a lane the order of notices is that of the user's choices; clocks are asked only where a partner's lanes
# have changed. Rows of one pack were inserted in its order.
_LATER = """(CASE newer.lane WHEN n.lane THEN (newer.offset, newer.rowid) > (n.offset, n.rowid)
    ELSE newer.issued_at > n.issued_at END)"""
_OPPOSITE = f"""newer.subject = n.subject AND newer.partner = n.partner AND newer.purpose = n.purpose
    AND (newer.action = 'resume') <> (n.action = 'resume') AND {_LATER}"""
#: Of notices as `n`.
SUPERSEDED = f"EXISTS (SELECT 1 FROM notices AS newer WHERE {_OPPOSITE})"
_LANES = """SELECT lane, MIN(first) AS first, MAX(last) AS last FROM issued_hours
    WHERE partner = ? AND hour BETWEEN ? AND ? GROUP BY lane ORDER BY lane"""
_ISSUED = """FROM notices AS n WHERE lane = :lane AND offset BETWEEN :first AND :last
    AND partner = :partner AND issued_at >= :start AND issued_at < :end"""
_PAGE = f"SELECT *, {SUPERSEDED} AS superseded {_ISSUED} ORDER BY offset, rowid LIMIT :most"
_AMOUNT = f"SELECT COUNT(*) AS n, COALESCE(SUM({SUPERSEDED}), 0) AS superseded {_ISSUED}"
_OVERTAKING = f"""SELECT newer.* FROM notices AS n JOIN notices AS newer ON {_OPPOSITE}
    WHERE n.id IN (SELECT value FROM json_each(?)) ORDER BY newer.lane, newer.offset, newer.rowid"""
_REFUSED = f"SELECT *, {SUPERSEDED} AS superseded FROM notices AS n WHERE status = 'undeliverable'"
_REFUSALS = """SELECT * FROM undeliverable WHERE notice_id IN (SELECT value FROM json_each(?))
    ORDER BY at, lane, offset"""
_POISONED = "SELECT * FROM poisoned WHERE done_at IS NULL"

#: Where a page ended; the next begins behind it.
Place = tuple[int, int]
RefusedAt = tuple[str, int, str]
PoisonedAt = tuple[int, str]


class Span(NamedTuple):
    """A partner's notices that were issued from `start` on, and before `end`."""

    partner: str
    start: datetime
    end: datetime


class Issued(NamedTuple):
    """Notices in the order in which they were issued; `superseded` are how many were left out between them. `next` is
    where the next page begins, None if there is none."""

    notices: list[Notice]
    superseded: int
    next: Place | None


def issued(database: Database, span: Span, after: Place | None, most: int) -> Issued:
    """At most so many notices, which are at least as many as a pack may hold: a page ends between packs."""
    notices: list[Notice] = []
    superseded = 0
    for where in _lanes(database, span):
        if after is not None and where["lane"] < after[0]:
            continue
        if after is not None and where["lane"] == after[0]:
            where["first"] = max(where["first"], after[1] + 1)
        room = most - len(notices) - superseded
        rows = list(database.query(_PAGE, where | {"most": room + 1}))
        cut = len(rows) > room
        if cut:
            rows = [row for row in rows if row["offset"] != rows[-1]["offset"]]
        notices += [notice_of(row) for row in rows if not row["superseded"]]
        superseded += sum(row["superseded"] for row in rows)
        if rows:
            after = (where["lane"], rows[-1]["offset"])
        if cut:
            return Issued(notices, superseded, after)
    return Issued(notices, superseded, None)


def amount(database: Database, span: Span, batch_size: int) -> Amount:
    """How many there are in all. This looks at each of them."""
    sums = [next(iter(database.query(_AMOUNT, where))) for where in _lanes(database, span)]
    counts = [each["n"] - each["superseded"] for each in sums]
    return Amount(
        notices=sum(counts),
        requests=sum(-(-count // batch_size) for count in counts),
        superseded=sum(each["superseded"] for each in sums),
    )


def overtaking(database: Database, ids: Collection[str]) -> list[Notice]:
    """The notices that supersede any of these, in the order in which they were issued."""
    rows = {row["id"]: row for row in database.query(_OVERTAKING, [listed(ids)])}
    return [notice_of(row) for row in rows.values()]


def refused(database: Database, partner: str | None, after: RefusedAt | None, most: int) -> list[Refused]:
    """Dead letters of a partner, or of all, by partner and time."""
    sql, parameters = _REFUSED, list[Any]()
    if partner is not None:
        sql += " AND partner = ?"
        parameters.append(partner)
    if after is not None:
        sql += " AND (partner, undeliverable_at, id) > (?, ?, ?)"
        parameters.extend(after)
    rows = database.query(f"{sql} ORDER BY partner, undeliverable_at, id LIMIT ?", [*parameters, most])
    return _with_words(database, list(rows))


def refused_ones(database: Database, ids: Collection[str]) -> list[Refused]:
    """Those of these notices that are dead letters."""
    rows = database.query(f"{_REFUSED} AND id IN (SELECT value FROM json_each(?))", [listed(ids)])
    return _with_words(database, list(rows))


def whole(database: Database, ids: Collection[str]) -> list[Notice]:
    """Notices as they were issued, in that order."""
    sql = "SELECT * FROM notices WHERE id IN (SELECT value FROM json_each(?)) ORDER BY lane, offset, rowid"
    return [notice_of(row) for row in database.query(sql, [listed(ids)])]


def poisoned(database: Database, after: PoisonedAt | None, most: int) -> list[Poisoned]:
    """Messages that nobody has redriven or discarded, oldest first: at most so many, and not too many bytes."""
    sql = _POISONED if after is None else f"{_POISONED} AND (at, id) > (?, ?)"
    return list(_bounded(database.query(f"{sql} ORDER BY at, id LIMIT ?", [*(after or ()), most])))


def poisoned_ones(database: Database, ids: Collection[str]) -> list[Poisoned]:
    """Those of these messages that nobody has redriven or discarded, oldest first, and not too many bytes."""
    sql = f"{_POISONED} AND id IN (SELECT value FROM json_each(?)) ORDER BY at, id"
    return list(_bounded(database.query(sql, [listed(ids)])))


def reversed_since(database: Database, choices: Iterable[tuple[str, str, bool, datetime]]) -> bool:
    """Is any of these (subject, purpose, opted out?, accepted at) followed by the opposite choice?"""
    sql = "SELECT 1 FROM decisions WHERE subject = ? AND purpose = ? AND choice <> ? AND accepted_at > ? LIMIT 1"
    return any(
        list(database.query(sql, [subject, purpose, "opt_out" if out else "opt_in", micros(at)]))
        for subject, purpose, out, at in choices
    )


def _lanes(database: Database, span: Span) -> list[dict[str, Any]]:
    """Where to look for them: lanes, and from which offset to which."""
    start, end = micros(span.start), micros(span.end)
    rows = database.query(_LANES, [span.partner, start // HOUR_MICROS, (end - 1) // HOUR_MICROS])
    return [row | {"partner": span.partner, "start": start, "end": end} for row in rows]


def _bounded(rows: Iterable[dict[str, Any]]) -> Iterator[Poisoned]:
    left = PAGE_BYTES
    for row in rows:
        size = len(row["value"] or "") + len(row["key"] or "") + len(row["headers"] or "")
        if size > left < PAGE_BYTES:
            return
        left -= size
        yield _poisoned(row)


def notice_of(row: dict[str, Any]) -> Notice:
    """A notice as it was issued."""
    return Notice(
        id=row["id"],
        cause_id=row["cause_id"],
        toggle_id=row["toggle_id"],
        action=row["action"],
        subject=row["subject"],
        purpose=row["purpose"],
        occurred_at=moment(row["occurred_at"]),
        issued_at=moment(row["issued_at"]),
        receive_by=moment(row["receive_by"]),
        complete_by=moment(row["complete_by"]),
        extended_complete_by=maybe_moment(row["extended_complete_by"]),
        watch=None if row["watch"] is None else Watch.model_validate_json(row["watch"]),
        datasets=None if row["datasets"] is None else orjson.loads(row["datasets"]),
        datasets_count=row["datasets_count"],
        suppression_completes=True if row["suppression_completes"] else None,
        legal_receive_by=maybe_moment(row["legal_receive_by"]),
        legal_complete_by=maybe_moment(row["legal_complete_by"]),
    )


def _with_words(database: Database, rows: list[dict[str, Any]]) -> list[Refused]:
    refusals = database.query(_REFUSALS, [listed(row["id"] for row in rows)])
    last = {refusal["notice_id"]: refusal for refusal in refusals}
    return [_refused(row, last[row["id"]]) for row in rows]


def _refused(row: dict[str, Any], last: dict[str, Any]) -> Refused:
    return Refused(
        notice_id=row["id"],
        partner=row["partner"],
        subject=row["subject"],
        purpose=row["purpose"],
        action=Action(row["action"]),
        lane=last["lane"],
        offset=last["offset"],
        status_code=last["status_code"],
        detail=last["detail"],
        refused_at=moment(row["undeliverable_at"]),
        issued_at=moment(row["issued_at"]),
        complete_by=moment(row["complete_by"]),
        superseded=bool(row["superseded"]),
    )


def _poisoned(row: dict[str, Any]) -> Poisoned:
    return Poisoned(
        id=row["id"],
        topic=row["topic"],
        partition=row["partition"],
        offset=row["offset"],
        reason=row["reason"],
        poisoned_at=moment(row["at"]),
        key_base64=row["key"],
        value_base64=row["value"],
        headers=None if row["headers"] is None else tuple(map(tuple, orjson.loads(row["headers"]))),
    )
