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
from ledger.rows import listed
from ledger.times import maybe_moment, micros
from ledger.views import OPEN, NoticeStatus
from streams.kinds import Action

# Of each partner and kind, from the partial indexes alone. What is overdue stays so until the next one's time is up.
_STANDING = """WITH wanted (partner, kind) AS MATERIALIZED (
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:pairs))
SELECT p.partner, p.kind,
    (SELECT json_group_object(name, n) FROM counts WHERE partner = p.partner AND kind = p.kind) AS counts,
    (SELECT MIN(issued_at) FROM notices WHERE partner = p.partner AND action = p.kind AND is_open) AS oldest_open,
    (SELECT COUNT(*) FROM notices
        WHERE partner = p.partner AND action = p.kind AND is_open AND due_by < :now) AS overdue_complete,
    (SELECT MIN(due_by) FROM notices WHERE partner = p.partner AND action = p.kind AND is_open) AS first_complete,
    (SELECT MIN(due_by) FROM notices
        WHERE partner = p.partner AND action = p.kind AND is_open AND due_by >= :now) AS next_complete,
    (SELECT COUNT(*) FROM notices
        WHERE partner = p.partner AND action = p.kind AND to_receive AND receive_by < :now) AS overdue_receive,
    (SELECT MIN(receive_by) FROM notices
        WHERE partner = p.partner AND action = p.kind AND to_receive) AS first_receive,
    (SELECT MIN(receive_by) FROM notices
        WHERE partner = p.partner AND action = p.kind AND to_receive AND receive_by >= :now) AS next_receive,
    (SELECT COUNT(*) FROM notices WHERE partner = p.partner AND action = p.kind AND to_receive
        AND receive_by < :now AND due_by < :now) AS overdue_both,
    (SELECT issued_at FROM notices WHERE partner = p.partner AND action = p.kind AND to_receive
        ORDER BY receive_by LIMIT 1) AS oldest_queued
    FROM wanted AS p"""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is open of a kind, or of several together."""

    open: int = 0
    delivered: int = 0
    acknowledged: int = 0
    backlog: int = 0
    undeliverable: int = 0
    contradictions: int = 0
    overdue: int = 0
    overdue_receive: int = 0
    overdue_complete: int = 0
    oldest_open: datetime | None = None
    oldest_queued: datetime | None = None
    first_due: datetime | None = None


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
    return {(row["partner"], row["kind"]): _Kind(now, _until(row), _standing(row)) for row in rows}


def _until(row: Mapping[str, Any]) -> datetime:
    """When the next one becomes overdue."""
    return _earliest((maybe_moment(row["next_receive"]), maybe_moment(row["next_complete"]))) or _NOTHING.until


def _standing(row: Mapping[str, Any]) -> Standing:
    counts: dict[str, int] = orjson.loads(row["counts"])
    return Standing(
        open=sum(counts.get(status, 0) for status in OPEN),
        delivered=counts.get("ever_delivered", 0),
        acknowledged=counts.get(NoticeStatus.COMPLETED, 0) + counts.get(NoticeStatus.REFUSED, 0),
        backlog=counts.get(NoticeStatus.QUEUED, 0),
        undeliverable=counts.get(NoticeStatus.UNDELIVERABLE, 0),
        contradictions=counts.get("contradictions", 0),
        overdue=row["overdue_receive"] + row["overdue_complete"] - row["overdue_both"],
        overdue_receive=row["overdue_receive"],
        overdue_complete=row["overdue_complete"],
        oldest_open=maybe_moment(row["oldest_open"]),
        oldest_queued=maybe_moment(row["oldest_queued"]),
        first_due=_earliest((maybe_moment(row["first_receive"]), maybe_moment(row["first_complete"]))),
    )


def _together(parts: Sequence[Standing]) -> Standing:
    return Standing(
        open=sum(part.open for part in parts),
        delivered=sum(part.delivered for part in parts),
        acknowledged=sum(part.acknowledged for part in parts),
        backlog=sum(part.backlog for part in parts),
        undeliverable=sum(part.undeliverable for part in parts),
        contradictions=sum(part.contradictions for part in parts),
        overdue=sum(part.overdue for part in parts),
        overdue_receive=sum(part.overdue_receive for part in parts),
        overdue_complete=sum(part.overdue_complete for part in parts),
        oldest_open=_earliest(part.oldest_open for part in parts),
        oldest_queued=_earliest(part.oldest_queued for part in parts),
        first_due=_earliest(part.first_due for part in parts),
    )


def _earliest(times: Iterable[datetime | None]) -> datetime | None:
    return min((time for time in times if time is not None), default=None)
