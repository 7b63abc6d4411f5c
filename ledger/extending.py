"""More time for a notice, once, if its partner asks for it in time and says why. Runs inside the caller's transaction.

Such a request is an acknowledgement, and all of a notice's stand in one partition: every ledger judges them in the same
order, by what the notice carries since it was issued and by when the request was accepted, so each judges alike.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from ledger.noticing import Item
from ledger.rows import insert, listed, select
from ledger.times import maybe_moment, moment
from ledger.views import Entry
from streams.cloudevents import Envelope
from streams.events import Acknowledged, ReplyAcknowledged

ASK = "INSERT OR IGNORE INTO extensions VALUES {}"
# Unless the notice itself was not read yet.
ASKED = """SELECT json_group_array(json_array(said.place, asked.id, notices.id, said.at, said.detail IS NOT NULL,
        said.partner = notices.partner, notices.complete_by, notices.extended_complete_by, notices.extended_by,
        COALESCE((SELECT final.verdict <> 'reopened' FROM acknowledgements AS final
            WHERE final.notice_id = notices.id AND final.place < said.place AND final.status IN ('completed', 'refused')
            AND final.verdict IN ('applied', 'amended', 'reopened') ORDER BY final.place DESC LIMIT 1), 0)))
    FROM extensions AS asked JOIN acknowledgements AS said ON said.notice_id = asked.notice_id AND said.id = asked.id
    JOIN notices ON notices.id = asked.notice_id WHERE asked.verdict IS NULL
    AND asked.notice_id IN (SELECT value FROM json_each(?))"""
WAITING = "SELECT EXISTS (SELECT 1 FROM extensions WHERE verdict IS NULL)"
JUDGED = """UPDATE extensions SET verdict = said.value FROM json_each(?) AS said
    WHERE extensions.id = said.key AND extensions.verdict IS NULL"""
EXTEND = """UPDATE notices SET extended_by = said.value FROM json_each(?) AS said WHERE notices.id = said.key"""


class Extended(StrEnum):
    """What came of a request for more time. Every one is recorded."""

    GRANTED = "granted"
    NOT_OWNER = "not_owner"  #: the notice is another partner's
    ANSWERED = "answered"  #: there was a final answer already
    NEVER = "never"  #: the partner's clock allows none
    ALREADY = "already"  #: it was extended before
    LATE = "late"  #: asked after the deadline
    UNFOUNDED = "unfounded"  #: without a reason


WORDS = {
    Extended.GRANTED: "it is extended",
    Extended.NOT_OWNER: "it is another partner's",
    Extended.ANSWERED: "it was answered already",
    Extended.NEVER: "its clock cannot be extended",
    Extended.ALREADY: "it was extended already",
    Extended.LATE: "its deadline had passed",
    Extended.UNFOUNDED: "no reason was given",
}


class Asked(NamedTuple):
    """A request and what it is judged by. `final` is whether the notice was completed or refused by then."""

    at: datetime
    reason: bool
    owner: bool
    final: bool
    complete_by: datetime
    extended_complete_by: datetime | None
    extended: bool


def judged(asked: Asked) -> Extended:
    cases = (
        (not asked.owner, Extended.NOT_OWNER),
        (asked.final, Extended.ANSWERED),
        (asked.extended_complete_by is None, Extended.NEVER),
        (asked.extended, Extended.ALREADY),
        (asked.at >= asked.complete_by, Extended.LATE),
        (not asked.reason, Extended.UNFOUNDED),
    )
    return next((verdict for applies, verdict in cases if applies), Extended.GRANTED)


class Extensions:
    """The requests of a ledger, through one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def asked(self, items: Sequence[Item]) -> list[str]:
        """Acknowledgements, in order, of which some ask for more time, and which are all stored. The notices that are
        extended by it."""
        rows = [(identity, notice, None) for item in items for identity, notice in _asking(*item)]
        if not rows:
            return []
        insert(self._connection, ASK, rows)
        return self._judge({notice for _, notice, _ in rows})

    def come(self, items: Sequence[Item]) -> list[str]:
        """There are new notices: maybe some that somebody asked about. Those that are extended by it."""
        if not self._connection.execute(WAITING).fetchone()[0]:
            return []
        return self._judge({notice.id for _, _, data in items for notice in data.notices})

    def _judge(self, notices: Collection[str]) -> list[str]:
        extended: dict[str, str] = {}
        verdicts: dict[str, Extended] = {}
        for _, identity, notice, at, reason, owner, complete_by, later, by, final in sorted(
            select(self._connection, ASKED, listed(notices))
        ):
            known = by is not None or notice in extended
            asked = Asked(
                moment(at), bool(reason), bool(owner), bool(final), moment(complete_by), maybe_moment(later), known
            )
            verdicts[identity] = judged(asked)
            if verdicts[identity] is Extended.GRANTED:
                extended[notice] = identity
        self._connection.execute(JUDGED, (_object(verdicts),))
        self._connection.execute(EXTEND, (_object(extended),))
        return list(extended)


def _asking(entry: Entry, envelope: Envelope, data: Acknowledged | ReplyAcknowledged) -> list[tuple[str, str]]:
    """The acknowledgements that ask for more time, and their notices."""
    if isinstance(data, ReplyAcknowledged):
        return [(item.id, item.notice_id) for item in data.items if item.extend]
    return [(envelope.id, data.notice_id)] if data.extend else []


def _object(values: Mapping[str, str]) -> str:
    return listed([values])[1:-1]
