"""Notices that are held up: refused for good, or parked, at the last of their places; and those that operators gave up.

What is held up is closed once a later notice reverses it, see `ledger.reversal`. None of this depends on which topic is
read first: whatever comes, the notices that it may concern are looked at again. Runs inside the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from ledger.reversal import REVERSED_AT
from ledger.rows import insert, listed, select
from ledger.times import micros
from ledger.veiling import Veil
from ledger.views import Entry
from streams import events
from streams.cloudevents import Envelope

#: An entry of the log with its event.
Item = tuple[Entry, Envelope, Any]

INSERT_UNDELIVERABLE = "INSERT OR IGNORE INTO undeliverable VALUES {}"
INSERT_PARKED = "INSERT OR IGNORE INTO parked VALUES {}"
NOT_TAKEN = """SELECT json_group_array(notice_id) FROM (
    SELECT notice_id FROM undeliverable WHERE notice_id IN (SELECT value FROM json_each(?1))
    UNION SELECT notice_id FROM parked WHERE notice_id IN (SELECT value FROM json_each(?1)))"""
# What came of notices at the last of their places. Within a lane that is where the lane says; clocks are asked only
# where a notice came to several lanes.
HELD = f"""WITH wanted (id) AS MATERIALIZED (SELECT value FROM json_each(?)),
    ends AS (SELECT notice_id, lane, MAX(offset) AS offset, at, again IS NOT NULL AS again FROM places
        WHERE notice_id IN (SELECT id FROM wanted) GROUP BY notice_id, lane),
    last AS (SELECT notice_id, lane, offset FROM (
            SELECT *, ROW_NUMBER() OVER (PARTITION BY notice_id ORDER BY again DESC, at DESC, lane DESC) AS place
            FROM ends)
        WHERE place = 1),
    said AS (SELECT n.id, COALESCE(last.lane, n.lane) AS lane, COALESCE(last.offset, n.offset) AS offset
        FROM wanted JOIN notices AS n ON n.id = wanted.id LEFT JOIN last ON last.notice_id = n.id)
SELECT json_group_array(json_array(n.id, said.lane, said.offset, refused.at, refused.detail, parked.at, parked.detail,
        parked.retry_at, {REVERSED_AT}))
    FROM said JOIN notices AS n ON n.id = said.id
    LEFT JOIN undeliverable AS refused
        ON refused.notice_id = said.id AND refused.lane = said.lane AND refused.offset = said.offset
    LEFT JOIN parked ON parked.notice_id = said.id AND parked.lane = said.lane AND parked.offset = said.offset"""
HOLD = """UPDATE notices SET held_lane = said.lane, held_offset = said.offset, held_words = said.words,
    undeliverable_at = said.undeliverable, parked_at = said.parked, retry_at = said.retry, reversed_at = said.reversed
    FROM (SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS lane,
        json_extract(value, '$[2]') AS offset, json_extract(value, '$[3]') AS words,
        json_extract(value, '$[4]') AS undeliverable, json_extract(value, '$[5]') AS parked,
        json_extract(value, '$[6]') AS retry, json_extract(value, '$[7]') AS reversed FROM json_each(?)) AS said
    WHERE notices.id = said.id"""
#: The partners of whose notices any is held up; then those of its notices about the same.
HOLDING = """WITH RECURSIVE each (partner) AS (SELECT MIN(partner) FROM notices WHERE held_lane IS NOT NULL
    UNION ALL SELECT (SELECT MIN(partner) FROM notices WHERE held_lane IS NOT NULL AND partner > each.partner)
        FROM each WHERE each.partner IS NOT NULL)
SELECT json_group_array(partner) FROM each WHERE partner IS NOT NULL"""
HELD_ABOUT = """SELECT json_group_array(held.id) FROM json_each(?) AS said CROSS JOIN notices AS held
    INDEXED BY notices_held ON held.held_lane IS NOT NULL AND held.partner = json_extract(said.value, '$[0]')
    AND held.subject = json_extract(said.value, '$[1]') AND held.purpose = json_extract(said.value, '$[2]')"""
INSERT_DISCARDED = "INSERT OR IGNORE INTO discarded VALUES {}"
MARK_DISCARDED = """UPDATE notices SET discarded_at = (SELECT at FROM discarded WHERE notice_id = notices.id)
    WHERE id IN (SELECT value FROM json_each(?) WHERE value IN (SELECT notice_id FROM discarded))"""

#: Notices that are looked at again together; the work grows with the square of it.
_TOGETHER = 256


class HeldNotices:
    """Those of a ledger, through one connection."""

    def __init__(self, connection: sqlite3.Connection, veil: Veil) -> None:
        self._connection = connection
        self._veil = veil

    def refused(self, items: Sequence[Item]) -> None:
        """Notices that are refused for good, each at a place."""
        rows = [
            (
                data.notice_id,
                data.lane,
                data.offset,
                data.partner,
                data.status_code,
                self._veil.text(data.detail),
                micros(data.refused_at),
            )
            for _, _, data in items
        ]
        insert(self._connection, INSERT_UNDELIVERABLE, rows)
        self.look_again({row[0] for row in rows})

    def parked(self, items: Sequence[Item]) -> None:
        """Notices that are tried again later, each at a place."""
        rows = [
            (
                data.notice_id,
                data.lane,
                data.offset,
                data.partner,
                data.status_code,
                self._veil.text(data.detail),
                micros(data.parked_at),
                micros(data.retry_at),
                envelope.id,
                data.failing.model_dump_json(),
            )
            for _, envelope, data in items
        ]
        insert(self._connection, INSERT_PARKED, rows)
        self.look_again({row[0] for row in rows})

    def partners(self) -> set[str]:
        """Of whose notices any is held up."""
        return {str(partner) for partner in select(self._connection, HOLDING)}

    def opposed(self, about: Collection[tuple[str, str, str]]) -> None:
        """Notices came of these partners, about these subjects (as the file has them) and purposes: they may reverse
        what is held up."""
        if about:
            self.look_again({str(each) for each in select(self._connection, HELD_ABOUT, listed(about))})

    def come(self, notices: Collection[str]) -> None:
        """There are new notices, or new places of old ones: maybe some that something was said of before."""
        ids = listed(notices)
        self.look_again({str(each) for each in select(self._connection, NOT_TAKEN, ids)})
        self._connection.execute(MARK_DISCARDED, (ids,))

    def look_again(self, notices: Collection[str]) -> None:
        """There is news of where these were not taken, of where they stand, or of what reverses them."""
        wanted = sorted(notices)
        for start in range(0, len(wanted), _TOGETHER):
            some = listed(wanted[start : start + _TOGETHER])
            rows = [_held(*row) for row in select(self._connection, HELD, some)]
            self._connection.execute(HOLD, (listed(rows),))

    def discarded(self, acts: Iterable[events.OperatorActed]) -> None:
        """Notices that an operator gave up."""
        rows = [
            (notice, micros(act.acted_at), self._veil.text(act.by.words), self._veil.maybe(act.reason))
            for act in acts
            for notice in act.notices
        ]
        if rows:
            insert(self._connection, INSERT_DISCARDED, rows)
            self._connection.execute(MARK_DISCARDED, (listed(row[0] for row in rows),))


def _held(
    notice: str,
    lane: int,
    offset: int,
    refused_at: int | None,
    refused: str | None,
    parked_at: int | None,
    parked: str | None,
    retry_at: int | None,
    reversed_at: int | None,
) -> tuple[Any, ...]:
    """What `HOLD` sets of a notice, by what came of it at its last place; what was refused for good is not tried again.
    A reversal counts from when both are known: that it is reversed, and that it is held up."""
    at = parked_at if refused_at is None else refused_at
    if at is None:
        return notice, None, None, None, None, None, None, None
    since = None if reversed_at is None else max(reversed_at, at)
    if refused_at is not None:
        return notice, lane, offset, refused, refused_at, None, None, since
    return notice, lane, offset, parked, None, parked_at, retry_at, since
