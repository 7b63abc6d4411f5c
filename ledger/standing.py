"""What is open of partners and kinds of notices, from counters and the indexes of open notices. Read through one
connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlite_utils import Database

from ledger.flows import ACTIONS, Changes, missing
from ledger.partner_state import ClockFigures
from ledger.rows import listed
from ledger.times import maybe_moment, micros, moment
from ledger.views import OPEN, NoticeStatus
from streams.deadlines import Deadline
from streams.kinds import Action

# Of each partner and kind, from the partial indexes alone, but for when what is due first was issued. What is overdue
# or at risk stays so until the next one's time is up.
_STANDING = """WITH wanted (partner, kind) AS MATERIALIZED (
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:pairs)),
p AS MATERIALIZED (
    SELECT wanted.partner, wanted.kind, COALESCE(margin.receive, 0) AS receive, COALESCE(margin.complete, 0) AS complete
    FROM wanted LEFT JOIN risk_margins AS margin ON margin.partner = wanted.partner AND margin.action = wanted.kind)
SELECT p.partner, p.kind, p.receive, p.complete,
    (SELECT json_group_object(name, n) FROM counts WHERE partner = p.partner AND kind = p.kind) AS counts,
    (SELECT MIN(issued_at) FROM notices WHERE partner = p.partner AND action = p.kind AND is_open) AS oldest_open,
    (SELECT issued_at FROM notices WHERE partner = p.partner AND action = p.kind AND to_receive AND to_deliver
        ORDER BY receive_by LIMIT 1) AS oldest_queued,
    (SELECT json_array(COUNT(*), COUNT(*) FILTER (WHERE due_by < :now),
            COUNT(*) FILTER (WHERE due_by >= :now AND complete_risk_at <= :now)) FROM notices
        WHERE partner = p.partner AND action = p.kind AND to_receive AND receive_by < :now) AS overdue_receive,
    (SELECT json_array(COUNT(*) FILTER (WHERE receive_risk_at <= :now),
            COUNT(*) FILTER (WHERE receive_risk_at <= :now AND due_by < :now),
            COUNT(*) FILTER (WHERE receive_risk_at <= :now AND due_by >= :now AND complete_risk_at <= :now),
            MIN(receive_risk_at) FILTER (WHERE receive_risk_at > :now), MIN(receive_by)) FROM notices
        WHERE partner = p.partner AND action = p.kind AND to_receive
        AND receive_by >= :now AND receive_by <= :now + p.receive) AS risk_receive,
    (SELECT json_array(issued_at, receive_by) FROM notices
        WHERE partner = p.partner AND action = p.kind AND to_receive ORDER BY receive_by LIMIT 1) AS first_receive,
    (SELECT MIN(receive_by) FROM notices
        WHERE partner = p.partner AND action = p.kind AND to_receive AND receive_by > :now + p.receive) AS far_receive,
    (SELECT MAX(delivered_at) FROM notices
        WHERE partner = p.partner AND action = p.kind AND delivered_at > receive_by) AS moved_receive,
    (SELECT COUNT(*) FROM notices
        WHERE partner = p.partner AND action = p.kind AND is_open AND due_by < :now) AS overdue_complete,
    (SELECT json_array(COUNT(*) FILTER (WHERE complete_risk_at <= :now),
            MIN(complete_risk_at) FILTER (WHERE complete_risk_at > :now), MIN(due_by)) FROM notices
        WHERE partner = p.partner AND action = p.kind AND is_open
        AND due_by >= :now AND due_by <= :now + p.complete) AS risk_complete,
    (SELECT json_array(issued_at, due_by) FROM notices
        WHERE partner = p.partner AND action = p.kind AND is_open ORDER BY due_by LIMIT 1) AS first_complete,
    (SELECT MIN(due_by) FROM notices
        WHERE partner = p.partner AND action = p.kind AND is_open AND due_by > :now + p.complete) AS far_complete,
    (SELECT MAX(answered_at) FROM notices
        WHERE partner = p.partner AND action = p.kind AND answered_at > due_by) AS moved_complete
    FROM p"""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is open of a kind, or of several together. `overdue` and `at_risk` count each notice once, whatever its
    clocks; what is overdue by one clock and at risk by another is overdue. `waiting` is the backlog without what is
    parked, and `clocks` are those with anything overdue or at risk."""

    open: int = 0
    delivered: int = 0
    acknowledged: int = 0
    backlog: int = 0
    waiting: int = 0
    undeliverable: int = 0
    parked: int = 0
    contradictions: int = 0
    overdue: int = 0
    overdue_receive: int = 0
    overdue_complete: int = 0
    at_risk: int = 0
    at_risk_receive: int = 0
    at_risk_complete: int = 0
    oldest_open: datetime | None = None
    oldest_queued: datetime | None = None
    overdue_taken_at: datetime | None = None
    overdue_answered_at: datetime | None = None
    clocks: tuple[ClockFigures, ...] = ()


@dataclass(frozen=True, slots=True)
class Owing:
    """Of all of a partner's notices, and of those of each action."""

    every: Standing
    kinds: tuple[Standing, ...]


@dataclass(frozen=True, slots=True)
class _Kind:
    """It holds from `since` to `until`, unless something changes."""

    since: datetime
    until: datetime
    standing: Standing


_NOTHING = _Kind(datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), Standing())


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a partner after so many changes."""

    changes: Changes
    since: datetime
    until: datetime
    kinds: tuple[_Kind, ...]
    owing: Owing


@dataclass(frozen=True, slots=True)
class Standings:
    """What was found in a file, so that only what changed since is looked up again; any thread may ask, as of
    `Flows`."""

    _known: dict[str, _Known] = field(default_factory=dict)

    def of(self, database: Database, now: datetime, partners: Mapping[str, Changes]) -> dict[str, Owing]:
        found, stale = dict[str, Owing](), dict[str, list[_Kind | None]]()
        for partner, changes in partners.items():
            known = self._known.get(partner)
            if known is not None and known.changes == changes and known.since <= now <= known.until:
                found[partner] = known.owing
            else:
                stale[partner] = _holding(known, changes, now)
        read = _read(database, now, missing(stale))
        for partner, holding in stale.items():
            kinds = tuple(of or read[partner, kind] for of, kind in zip(holding, ACTIONS, strict=True))
            standings = tuple(of.standing for of in kinds)
            found[partner] = Owing(_together(standings), standings)
            since, until = max(of.since for of in kinds), min(of.until for of in kinds)
            self._known[partner] = _Known(partners[partner], since, until, kinds, found[partner])
        return found


def _holding(known: _Known | None, changes: Changes, now: datetime) -> list[_Kind | None]:
    """What need not be read, by action."""
    if known is None:
        return [None if n else _NOTHING for n in changes]
    return [
        of if then == n and of.since <= now <= of.until else None
        for of, then, n in zip(known.kinds, known.changes, changes, strict=True)
    ]


def _read(database: Database, now: datetime, pairs: Sequence[tuple[str, Action]]) -> dict[tuple[str, str], _Kind]:
    rows = database.query(_STANDING, {"pairs": listed(pairs), "now": micros(now)}) if pairs else ()
    return {(row["partner"], row["kind"]): _kind(row, now) for row in rows}


def _kind(row: Mapping[str, Any], now: datetime) -> _Kind:
    receive, complete = orjson.loads(row["risk_receive"]), orjson.loads(row["risk_complete"])
    return _Kind(now, _until(row, receive, complete), _standing(row, receive, complete))


def _until(row: Mapping[str, Any], receive: list[Any], complete: list[Any]) -> datetime:
    """Until when nothing more becomes overdue or at risk. A notice is overdue after its deadline, and at risk at the
    moment itself. What is due later than the margin comes at risk by that much before, or later."""
    ends: list[int] = []
    for (*_, risky, due), far, margin in (
        (receive, row["far_receive"], row["receive"]),
        (complete, row["far_complete"], row["complete"]),
    ):
        if risky is not None:
            ends.append(risky - 1)
        if due is not None:
            ends.append(due)
        if far is not None:
            ends.append(far - margin - 1)
    return moment(min(ends)) if ends else _NOTHING.until


def _standing(row: Mapping[str, Any], receive: list[Any], complete: list[Any]) -> Standing:
    counts: dict[str, int] = orjson.loads(row["counts"])
    late, late_by_both, late_and_near = orjson.loads(row["overdue_receive"])
    near, near_but_late, near_by_both, *_ = receive
    near_complete = complete[0]
    delivered = counts.get("ever_delivered", 0)
    acknowledged = counts.get(NoticeStatus.COMPLETED, 0) + counts.get(NoticeStatus.REFUSED, 0)
    taken_at, answered_at = maybe_moment(row["moved_receive"]), maybe_moment(row["moved_complete"])
    clocks = [
        ClockFigures(Action(row["kind"]), clock, overdue, at_risk, *_first(row[f"first_{clock}"]), moved_at, ever > 0)
        for clock, overdue, at_risk, moved_at, ever in (
            (Deadline.RECEIVE, late, near, taken_at, delivered),
            (Deadline.COMPLETE, row["overdue_complete"], near_complete, answered_at, acknowledged),
        )
        if overdue or at_risk
    ]
    return Standing(
        open=sum([counts.get(status, 0) for status in OPEN]),
        delivered=delivered,
        acknowledged=acknowledged,
        backlog=counts.get(NoticeStatus.QUEUED, 0),
        waiting=counts.get(NoticeStatus.QUEUED, 0) - counts.get("parked_queued", 0),
        undeliverable=counts.get(NoticeStatus.UNDELIVERABLE, 0),
        parked=counts.get("parked", 0),
        contradictions=counts.get("contradictions", 0),
        overdue=late + row["overdue_complete"] - late_by_both,
        overdue_receive=late,
        overdue_complete=row["overdue_complete"],
        at_risk=near - near_but_late + near_complete - near_by_both - late_and_near,
        at_risk_receive=near,
        at_risk_complete=near_complete,
        oldest_open=maybe_moment(row["oldest_open"]),
        oldest_queued=maybe_moment(row["oldest_queued"]),
        overdue_taken_at=taken_at,
        overdue_answered_at=answered_at,
        clocks=tuple(clocks),
    )


def _first(times: str) -> tuple[datetime, datetime]:
    """When the notice that is due first was issued, and when it is due; where there is one."""
    issued_at, due_at = orjson.loads(times)
    return moment(issued_at), moment(due_at)


def _together(parts: Sequence[Standing]) -> Standing:
    return Standing(
        open=sum(part.open for part in parts),
        delivered=sum(part.delivered for part in parts),
        acknowledged=sum(part.acknowledged for part in parts),
        backlog=sum(part.backlog for part in parts),
        waiting=sum(part.waiting for part in parts),
        undeliverable=sum(part.undeliverable for part in parts),
        parked=sum(part.parked for part in parts),
        contradictions=sum(part.contradictions for part in parts),
        overdue=sum(part.overdue for part in parts),
        overdue_receive=sum(part.overdue_receive for part in parts),
        overdue_complete=sum(part.overdue_complete for part in parts),
        at_risk=sum(part.at_risk for part in parts),
        at_risk_receive=sum(part.at_risk_receive for part in parts),
        at_risk_complete=sum(part.at_risk_complete for part in parts),
        oldest_open=_earliest(part.oldest_open for part in parts),
        oldest_queued=_earliest(part.oldest_queued for part in parts),
        overdue_taken_at=_latest(part.overdue_taken_at for part in parts),
        overdue_answered_at=_latest(part.overdue_answered_at for part in parts),
        clocks=tuple([clock for part in parts for clock in part.clocks]),
    )


def _earliest(times: Iterable[datetime | None]) -> datetime | None:
    return min((time for time in times if time is not None), default=None)


def _latest(times: Iterable[datetime | None]) -> datetime | None:
    return max((time for time in times if time is not None), default=None)
