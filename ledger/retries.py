"""Which parked notices are to be tried again now. Read through one connection, within one transaction.

A parked notice is due when its time has come, or at once when something was done by hand since it was parked: its
partner was changed, resumed, or tried. None of this looks at more notices than it brings, however many are parked.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from sqlite_utils import Database

from ledger.again import Checked, notice_of
from ledger.queries import next_of_lanes, partner
from ledger.times import micros
from streams.events import Failing, Notice, Partner, PartnerStatus

#: Of one partner in a page, so that no other waits for it.
OF_ONE = 100

_FIRST = "SELECT MIN(partner) FROM notices INDEXED BY notices_retry WHERE parked AND partner > ?"
_TRIED = "SELECT at FROM tried WHERE partner = ?"
# Through an index each: what is due by itself, and of the rest what waits since before the partner was tried.
_DUE = """SELECT n.*, waits.event_id, waits.failing FROM (
        SELECT rowid AS number FROM (SELECT rowid FROM notices INDEXED BY notices_retry
            WHERE parked AND partner = :partner AND retry_at <= :now ORDER BY retry_at, id LIMIT :most)
        UNION SELECT rowid FROM (SELECT rowid FROM notices INDEXED BY notices_parked
            WHERE parked AND partner = :partner AND parked_at < :tried ORDER BY parked_at, id LIMIT :most)
        LIMIT :most) AS due
    JOIN notices AS n ON n.rowid = due.number
    JOIN parked AS waits ON waits.notice_id = n.id AND waits.lane = n.held_lane AND waits.offset = n.held_offset
    ORDER BY n.lane, n.offset, n.rowid"""


class Retry(NamedTuple):
    """A notice to issue once more, to its partner as it is now. `parked` is the id of the event that parked it, and
    `failing` what came of it until then."""

    partner: Partner
    notice: Notice
    parked: str
    failing: Failing


class Due(NamedTuple):
    """Nothing reverses these, as far as is `checked`. `next` is the partner behind which the next page begins, None if
    there is no more."""

    retries: list[Retry]
    checked: Checked
    next: str | None


def due(database: Database, now: datetime, after: str, most: int) -> Due:
    """What is due of partners behind this one: at most so many, and no more than `OF_ONE` of each."""
    checked = next_of_lanes(database)
    found: list[Retry] = []
    for whom in _partners(database, after):
        rows = database.query(_DUE, _given(database, whom.id, now, min(OF_ONE, most - len(found))))
        found += [_retry(whom, row) for row in rows]
        if len(found) >= most:
            return Due(found, checked, whom.id)
    return Due(found, checked, None)


def any_due(database: Database, now: datetime) -> bool:
    return any(list(database.execute(_DUE, _given(database, each.id, now, 1))) for each in _partners(database, ""))


def _partners(database: Database, after: str) -> Iterator[Partner]:
    """Those of whose notices any is parked, and who get any now."""
    (found,) = database.execute(_FIRST, [after]).fetchone()
    while found is not None:
        whom = partner(database, found)
        if whom is not None and whom.status is PartnerStatus.ACTIVE:
            yield whom
        (found,) = database.execute(_FIRST, [found]).fetchone()


def _given(database: Database, identity: str, now: datetime, most: int) -> dict[str, Any]:
    (tried,) = database.execute(_TRIED, [identity]).fetchone() or (0,)
    return {"partner": identity, "now": micros(now), "tried": tried, "most": most}


def _retry(whom: Partner, row: dict[str, Any]) -> Retry:
    return Retry(whom, notice_of(row), row["event_id"], Failing.model_validate_json(row["failing"]))
