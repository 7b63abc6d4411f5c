"""What may be asked again: a partner's notices of a time, and dead letters. Read through one connection.

What a later notice reverses, see `ledger.reversal`, is not asked again. Whatever is read for that says how much of each
lane was known to it, so that the lane's worker can look at the rest. Read it within one transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlite_utils import Database

from ledger.queries import next_of_lanes
from ledger.reversal import OPPOSITE, REVERSED
from ledger.rows import listed
from ledger.times import HOUR_MICROS, maybe_moment, micros, moment
from ledger.views import Amount, Became, NoticeStatus, Poisoned, Redriven, Refused
from streams.clocks import Watch
from streams.events import Notice
from streams.kinds import Action

#: Bytes of poisoned messages that a page holds, but for the first.
PAGE_BYTES = 4 * 1024 * 1024

_LANES = """SELECT lane, MIN(first) AS first, MAX(last) AS last FROM issued_hours
    WHERE partner = ? AND hour BETWEEN ? AND ? GROUP BY lane ORDER BY lane"""
_ISSUED = """FROM notices AS n WHERE lane = :lane AND offset BETWEEN :first AND :last
    AND partner = :partner AND issued_at >= :start AND issued_at < :end"""
_PAGE = f"SELECT *, {REVERSED} AS superseded {_ISSUED} ORDER BY offset, rowid LIMIT :most"
_AMOUNT = f"SELECT COUNT(*) AS n, COALESCE(SUM({REVERSED}), 0) AS superseded {_ISSUED}"
_OVERTAKING = f"""SELECT newer.* FROM notices AS n JOIN notices AS newer ON {OPPOSITE}
    WHERE n.id IN (SELECT value FROM json_each(?)) ORDER BY newer.lane, newer.offset, newer.rowid"""
_LETTERS = """SELECT n.*, COALESCE(refused.status_code, waits.status_code) AS status_code,
        json_extract(waits.failing, '$.failures') AS attempts
    FROM notices AS n {} LEFT JOIN undeliverable AS refused
        ON refused.notice_id = n.id AND refused.lane = held_lane AND refused.offset = held_offset
    LEFT JOIN parked AS waits ON waits.notice_id = n.id AND waits.lane = held_lane AND waits.offset = held_offset
    WHERE letter_at IS NOT NULL"""
_ALL_LETTERS, _SOME_LETTERS = _LETTERS.format("INDEXED BY notices_letters"), _LETTERS.format("")
_WHOLE = f"""SELECT * FROM notices AS n WHERE id IN (SELECT value FROM json_each(?)) AND NOT {REVERSED}
    ORDER BY lane, offset, rowid"""
# Where a redriven notice was not taken, at that very place; else what became of it since.
_OUTCOMES = """SELECT n.id, n.status, n.delivered_at, refused.detail AS refused_words, waits.detail AS parked_words,
        waits.retry_at AS parked_until,
        CASE WHEN consecutive_failures > 0 AND last_failure_at >= again.at THEN last_error END AS failing_words
    FROM json_each(?) AS asked JOIN notices AS n ON n.id = json_extract(asked.value, '$[0]')
    LEFT JOIN undeliverable AS refused ON refused.notice_id = n.id
        AND refused.lane = json_extract(asked.value, '$[1]') AND refused.offset = json_extract(asked.value, '$[2]')
    LEFT JOIN parked AS waits ON waits.notice_id = n.id
        AND waits.lane = json_extract(asked.value, '$[1]') AND waits.offset = json_extract(asked.value, '$[2]')
    LEFT JOIN places AS again ON again.notice_id = n.id
        AND again.lane = json_extract(asked.value, '$[1]') AND again.offset = json_extract(asked.value, '$[2]')
    LEFT JOIN delivery_health ON delivery_health.partner = n.partner"""
_POISONED = "SELECT * FROM poisoned WHERE done_at IS NULL"

#: Where a page ended; the next begins behind it.
Place = tuple[int, int]
RefusedAt = tuple[str, int, str]
#: A notice, and the lane and offset where it was issued again.
RedrivenAt = tuple[str, int, int]
PoisonedAt = tuple[int, str]


class Span(NamedTuple):
    """A partner's notices that were issued from `start` on, and before `end`."""

    partner: str
    start: datetime
    end: datetime


#: By lane, the offset of `rescind.notices` below which the ledger knows it.
Checked = Mapping[int, int]


class Issued(NamedTuple):
    """Notices in the order in which they were issued; `superseded` are how many were left out between them. `next` is
    where the next page begins, None if there is none."""

    notices: list[Notice]
    superseded: int
    next: Place | None
    checked: Checked


class Askable(NamedTuple):
    """Notices that nothing reverses, in the order in which they were issued, as far as is `checked`."""

    notices: list[Notice]
    checked: Checked


def issued(database: Database, span: Span, after: Place | None, most: int) -> Issued:
    """At most so many notices, which are at least as many as a pack may hold: a page ends between packs."""
    checked = next_of_lanes(database)
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
            return Issued(notices, superseded, after, checked)
    return Issued(notices, superseded, None, checked)


def amount(database: Database, span: Span, batch_size: int) -> Amount:
    """How many there are in all. This looks at each of them."""
    sums = [next(iter(database.query(_AMOUNT, where))) for where in _lanes(database, span)]
    counts = [each["n"] - each["superseded"] for each in sums]
    return Amount(
        notices=sum(counts),
        requests=sum(-(-count // batch_size) for count in counts),
        superseded=sum(each["superseded"] for each in sums),
    )


def overtaking(database: Database, ids: Collection[str]) -> Askable:
    """The notices that reverse any of these, in the order in which they were issued."""
    checked = next_of_lanes(database)
    rows = {row["id"]: row for row in database.query(_OVERTAKING, [listed(ids)])}
    return Askable([notice_of(row) for row in rows.values()], checked)


def refused(database: Database, partner: str | None, after: RefusedAt | None, most: int) -> list[Refused]:
    """Dead letters of a partner, or of all, by partner and time."""
    sql, parameters = _ALL_LETTERS, list[Any]()
    if partner is not None:
        sql += " AND n.partner = ?"
        parameters.append(partner)
    if after is not None:
        sql += " AND (n.partner, n.letter_at, n.id) > (?, ?, ?)"
        parameters.extend(after)
    rows = database.query(f"{sql} ORDER BY n.partner, n.letter_at, n.id LIMIT ?", [*parameters, most])
    return [_refused(row) for row in rows]


def refused_ones(database: Database, ids: Collection[str]) -> list[Refused]:
    """Those of these notices that are dead letters."""
    rows = database.query(f"{_SOME_LETTERS} AND n.id IN (SELECT value FROM json_each(?))", [listed(ids)])
    return [_refused(row) for row in rows]


def askable(database: Database, ids: Collection[str]) -> Askable:
    """Those of these notices that nothing reverses."""
    checked = next_of_lanes(database)
    return Askable([notice_of(row) for row in database.query(_WHOLE, [listed(ids)])], checked)


def outcomes(database: Database, places: Iterable[RedrivenAt]) -> list[Redriven]:
    """What became of notices that were issued again at these places, in this order; of unknown ones nothing."""
    return [_redriven(row) for row in database.query(_OUTCOMES, [listed(places)])]


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
        rank=row["rank"],
        extended_complete_by=maybe_moment(row["extended_complete_by"]),
        watch=None if row["watch"] is None else Watch.model_validate_json(row["watch"]),
        datasets=None if row["datasets"] is None else orjson.loads(row["datasets"]),
        datasets_count=row["datasets_count"],
        suppression_completes=True if row["suppression_completes"] else None,
        legal_receive_by=maybe_moment(row["legal_receive_by"]),
        legal_complete_by=maybe_moment(row["legal_complete_by"]),
    )


def _redriven(row: dict[str, Any]) -> Redriven:
    """An answer, a delivery, and what ended it count wherever they were; else what was said at the place."""
    status, until = NoticeStatus(row["status"]), None
    if status is NoticeStatus.CANCELLED:
        outcome, words = Became.CANCELLED, None
    elif row["delivered_at"] is not None or status in (NoticeStatus.COMPLETED, NoticeStatus.REFUSED):
        outcome, words = Became.TAKEN, None
    elif row["refused_words"] is not None:
        outcome, words = Became.REFUSED, row["refused_words"]
    elif row["parked_words"] is not None:
        outcome, words, until = Became.PARKED, row["parked_words"], row["parked_until"]
    else:
        outcome, words = Became.WAITING, row["failing_words"]
    return Redriven(row["id"], outcome, words, maybe_moment(until))


def _refused(row: dict[str, Any]) -> Refused:
    return Refused(
        notice_id=row["id"],
        partner=row["partner"],
        subject=row["subject"],
        purpose=row["purpose"],
        action=Action(row["action"]),
        lane=row["held_lane"],
        offset=row["held_offset"],
        status_code=row["status_code"],
        detail=row["held_words"],
        refused_at=moment(row["letter_at"]),
        issued_at=moment(row["issued_at"]),
        complete_by=moment(row["complete_by"]),
        parked=bool(row["parked"]),
        retry_at=maybe_moment(row["retry_at"]),
        attempts=row["attempts"],
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
