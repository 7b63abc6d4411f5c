"""What the log says of deadlines, and of operators who were told. Runs inside the caller's transaction.

All of it about a partner stands in one partition, so of what is said twice every ledger takes the same for the first.
What a notice's row holds follows from what was said of it, in whatever order its own topic was read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

from ledger.noticing import Item
from ledger.rows import insert, listed, select
from ledger.times import micros
from ledger.watching import BIT, COLUMNS, wakes, watched
from streams.deadlines import Deadline, DeadlineReached, EscalationClaimed, EscalationEnded, Step

MARK = "INSERT OR IGNORE INTO deadline_marks VALUES {}"
COUNT_EVENT = "INSERT OR IGNORE INTO deadline_events VALUES (?, ?, ?, ?, ?, ?, ?)"
WAIT = """INSERT OR IGNORE INTO marks_waiting SELECT value FROM json_each(?)
    WHERE value NOT IN (SELECT id FROM notices WHERE id = value)"""
WAITING = "SELECT EXISTS (SELECT 1 FROM marks_waiting)"
COME = "DELETE FROM marks_waiting WHERE notice_id IN (SELECT value FROM json_each(?)) RETURNING notice_id"
MARKS = """SELECT json_group_array(json_array(notice_id, deadline, step)) FROM deadline_marks
    WHERE notice_id IN (SELECT value FROM json_each(?))"""
NOTICES = f"""SELECT json_group_array(json_array(id, {COLUMNS})) FROM notices
    WHERE id IN (SELECT value FROM json_each(?))"""
SET_WAKES = """UPDATE notices SET marked = said.marked, receive_wake = said.receive, complete_wake = said.complete
    FROM (SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS marked,
        json_extract(value, '$[2]') AS receive, json_extract(value, '$[3]') AS complete FROM json_each(?)) AS said
    WHERE notices.id = said.id"""
CLAIM = "INSERT OR IGNORE INTO escalations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL)"
END = "UPDATE escalations SET outcome = ?, error = ?, ended_at = ? WHERE id = ? AND outcome IS NULL"


class Marks:
    """The steps that a ledger knows of, through one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def reached(self, items: Sequence[Item]) -> None:
        """What was told of notices, in order."""
        told: set[str] = set()
        for entry, envelope, data in items:
            self._mark(entry.offset, envelope.id, data)
            told.update(data.notices)
        self._connection.execute(WAIT, (listed(told),))
        self.look_again(told)

    def come(self, items: Sequence[Item]) -> None:
        """There are new notices: maybe some that steps were told of."""
        if self._connection.execute(WAITING).fetchone()[0]:
            ids = listed(notice.id for _, _, data in items for notice in data.notices)
            self.look_again([identity for (identity,) in self._connection.execute(COME, (ids,)).fetchall()])

    def look_again(self, notices: Collection[str]) -> None:
        """There is news of notices: when is each to be looked at next?"""
        if not notices:
            return
        ids = listed(notices)
        marked: dict[str, int] = {}
        for identity, deadline, step in select(self._connection, MARKS, ids):
            marked[identity] = marked.get(identity, 0) | BIT[Deadline(deadline), Step(step)]
        rows = []
        for identity, *row in select(self._connection, NOTICES, ids):
            notice = watched(row)._replace(marked=marked.get(identity, 0))
            rows.append((identity, notice.marked, *wakes(notice)))
        if rows:
            self._connection.execute(SET_WAKES, (listed(rows),))

    def claimed(self, items: Sequence[Item]) -> None:
        for _, _, data in items:
            assert isinstance(data, EscalationClaimed)  # noqa: S101 - who calls this knows
            row: tuple[Any, ...] = (
                data.escalation, data.claim, data.partner, clock_of(data.deadline), data.step, data.after, data.rule,
                data.target, data.window, data.up_to, data.notices, micros(data.claimed_at),
            )  # fmt: skip
            self._connection.execute(CLAIM, row)

    def ended(self, items: Sequence[Item]) -> None:
        for _, _, data in items:
            assert isinstance(data, EscalationEnded)  # noqa: S101
            self._connection.execute(END, (data.outcome, data.error, micros(data.ended_at), data.escalation))

    def _mark(self, offset: int, event_id: str, data: DeadlineReached) -> None:
        at = micros(data.reached_at)
        before = self._connection.total_changes
        insert(
            self._connection, MARK, [(identity, data.deadline, data.step, event_id, at) for identity in data.notices]
        )
        fresh = self._connection.total_changes - before
        if fresh:
            row = (data.partner, clock_of(data.deadline), data.step, offset, at, fresh, event_id)
            self._connection.execute(COUNT_EVENT, row)


def clock_of(deadline: Deadline) -> str:
    """What operators call it: a deadline that was extended is one to complete by, too."""
    return Deadline.RECEIVE if deadline is Deadline.RECEIVE else Deadline.COMPLETE
