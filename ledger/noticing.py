"""How notices come to be, are delivered, and are answered. Runs inside the caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from ledger.rows import insert, listed, select
from ledger.times import maybe_micros, micros
from ledger.transitions import Progress, Verdict, judge
from ledger.views import Entry
from streams import events
from streams.cloudevents import Envelope
from streams.events import AckStatus, Action, Outcome, RefusalReason

#: An entry of the log with its event.
Item = tuple[Entry, Envelope, Any]

INSERT_NOTICES = """INSERT OR IGNORE INTO notices (id, partner, subject, purpose, action, cause_id, toggle_id,
    lane, offset, issued_at, receive_by, complete_by) VALUES {}"""
KNOWN_NOTICES = "SELECT json_group_array(id) FROM notices WHERE id IN (SELECT value FROM json_each(?))"
MARK_DELIVERED = """UPDATE notices SET delivered_at = ?1
    WHERE lane = ?2 AND offset BETWEEN ?3 AND ?4 AND delivered_at IS NULL
    AND id NOT IN (SELECT value FROM json_each(?5))"""
# The deliveries that cover a place, earliest first. `last_offset` is what the index is sorted by.
DELIVERIES_OF = """SELECT at, undelivered FROM deliveries
    WHERE delivered AND lane = ?1 AND last_offset >= ?2 AND first_offset <= ?2 ORDER BY last_offset, at"""
UNDELIVERABLE_OF = """SELECT json_group_array(json_array(at, notice_id)) FROM undeliverable
    WHERE notice_id IN (SELECT value FROM json_each(?))"""
MARK_UNDELIVERABLE = "UPDATE notices SET undeliverable_at = ? WHERE id = ? AND undeliverable_at IS NULL"
REMOVAL_OF = "SELECT removed_at FROM partners WHERE id = ? AND removed_at IS NOT NULL"
CANCEL = "UPDATE notices SET cancelled_at = ? WHERE id IN (SELECT value FROM json_each(?))"
INSERT_ACKNOWLEDGEMENTS = "INSERT OR IGNORE INTO acknowledgements VALUES {}"
KNOWN_ACKNOWLEDGEMENTS = (
    "SELECT json_group_array(id) FROM acknowledgements WHERE id IN (SELECT value FROM json_each(?))"
)
WAITING = """SELECT json_group_array(json_array(notice_id, place, id, partner, status, outcome, reason, at))
    FROM acknowledgements WHERE notice_id IN (SELECT value FROM json_each(?)) AND verdict IS NULL"""
SET_VERDICTS = """UPDATE acknowledgements SET verdict = said.verdict
    FROM (SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS verdict FROM json_each(?)) AS said
    WHERE acknowledgements.id = said.id"""
PROGRESS = """SELECT json_group_array(json_array(id, partner, action, ack_status, outcome, reason)) FROM notices
    WHERE id IN (SELECT value FROM json_each(?))"""
ADVANCE = """UPDATE notices SET ack_status = said.status, outcome = said.outcome, reason = said.reason,
    received_at = COALESCE(received_at, said.first_at), completed_at = said.completed_at
    FROM (SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS status,
        json_extract(value, '$[2]') AS outcome, json_extract(value, '$[3]') AS reason,
        json_extract(value, '$[4]') AS first_at, json_extract(value, '$[5]') AS completed_at
        FROM json_each(?)) AS said
    WHERE notices.id = said.id"""
PROGRESSED = """INSERT INTO progress VALUES {} ON CONFLICT (partner) DO UPDATE
    SET last_at = MAX(last_at, excluded.last_at)"""

_FINAL = (AckStatus.COMPLETED, AckStatus.REFUSED)


class Notices:
    """The notices of a ledger, through one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def issued(self, items: Sequence[Item]) -> None:
        """Packs, in order."""
        rows: dict[str, tuple[Any, ...]] = {}
        for entry, _, data in items:
            for row in _notice_rows(entry, data):
                rows.setdefault(row[0], row)
        for known in select(self._connection, KNOWN_NOTICES, listed(rows)):
            del rows[str(known)]
        insert(self._connection, INSERT_NOTICES, list(rows.values()))
        self._catch_up(rows)

    def delivered(self, at: int, lane: int, first: int, last: int, undelivered: str) -> None:
        """What stands at these offsets (both included) was taken, but for `undelivered`, a JSON array of ids."""
        self._connection.execute(MARK_DELIVERED, (at, lane, first, last, undelivered))

    def acknowledged(self, items: Sequence[Item]) -> None:
        """Acknowledgements, in order."""
        fresh: dict[str, Item] = {}
        for item in items:
            fresh.setdefault(item[1].id, item)
        for known in select(self._connection, KNOWN_ACKNOWLEDGEMENTS, listed(fresh)):
            del fresh[str(known)]
        bench = self._bench({data.notice_id for _, _, data in fresh.values()})
        rows = []
        for entry, envelope, data in fresh.values():
            # Lag is measured by when we were told. When it was done is what the partner says of itself.
            at = micros(envelope.time)
            said = Progress(data.status, data.outcome, data.reason)
            rows.append(
                (*_acknowledgement_row(entry, envelope, data, at), bench.judge(data.notice_id, data.partner, said, at))
            )
        insert(self._connection, INSERT_ACKNOWLEDGEMENTS, rows)
        self._advance(bench)

    def _catch_up(self, rows: Mapping[str, tuple[Any, ...]]) -> None:
        """Other topics may have been read ahead of the notices: apply what was waiting for these."""
        if not rows:
            return
        execute, ids = self._connection.execute, listed(rows)
        for lane, offset in dict.fromkeys((row[7], row[8]) for row in rows.values()):
            for at, undelivered in execute(DELIVERIES_OF, (lane, offset)).fetchall():
                self.delivered(at, lane, offset, offset, undelivered)
        for refused in select(self._connection, UNDELIVERABLE_OF, ids):
            execute(MARK_UNDELIVERABLE, refused)
        for partner in {row[1] for row in rows.values()}:
            for (removed,) in execute(REMOVAL_OF, (partner,)).fetchall():
                execute(CANCEL, (removed, listed(row[0] for row in rows.values() if row[1] == partner)))
        self._judge_waiting(ids)

    def _judge_waiting(self, ids: str) -> None:
        waiting = sorted(select(self._connection, WAITING, ids))
        if not waiting:
            return
        bench = self._bench({row[0] for row in waiting})
        verdicts = [
            (identity, bench.judge(notice, partner, _progress(status, outcome, reason), at))
            for notice, _, identity, partner, status, outcome, reason, at in waiting
        ]
        self._connection.execute(SET_VERDICTS, (listed(verdicts),))
        self._advance(bench)

    def _bench(self, notices: Iterable[str]) -> _Bench:
        rows = select(self._connection, PROGRESS, listed(notices))
        return _Bench({row[0]: _Standing(row[1], Action(row[2]), _progress(*row[3:])) for row in rows})

    def _advance(self, bench: _Bench) -> None:
        said = [
            (notice, to.status, to.outcome, to.reason, steps[0], steps[-1] if to.status in _FINAL else None)
            for notice, standing in bench.standings.items()
            if (steps := standing.steps) and (to := standing.progress)
        ]
        if said:
            self._connection.execute(ADVANCE, (listed(said),))
            insert(self._connection, PROGRESSED, list(bench.last.items()))


@dataclass(slots=True)
class _Standing:
    """How far one notice has come, and when it came further in the batch at hand."""

    partner: str
    action: Action
    progress: Progress
    steps: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Bench:
    """Judges the acknowledgements of a batch in order, each by what those before it did."""

    standings: dict[str, _Standing]
    #: By partner, when it last said something that counted.
    last: dict[str, int] = field(default_factory=dict)

    def judge(self, notice: str, partner: str, said: Progress, at: int) -> Verdict | None:
        """None if the notice itself has not been read yet: the acknowledgement waits for it."""
        standing = self.standings.get(notice)
        if standing is None:
            return None
        verdict = judge(standing.progress, said, owner=standing.partner == partner, action=standing.action)
        if verdict is Verdict.APPLIED:
            standing.progress = said
            standing.steps.append(at)
            self.last[partner] = max(at, self.last.get(partner, at))
        return verdict


def _notice_rows(entry: Entry, data: events.NoticesIssued) -> Iterable[tuple[Any, ...]]:
    for notice in data.notices:
        yield (
            notice.id,
            data.partner,
            notice.subject,
            notice.purpose,
            notice.action,
            notice.cause_id,
            notice.toggle_id,
            data.lane,
            entry.offset,
            micros(notice.issued_at),
            micros(notice.receive_by),
            micros(notice.complete_by),
        )


def _acknowledgement_row(entry: Entry, envelope: Envelope, data: events.Acknowledged, at: int) -> tuple[Any, ...]:
    return (
        envelope.id,
        entry.offset,
        data.notice_id,
        data.partner,
        data.subject,
        data.status,
        data.outcome,
        data.reason,
        data.detail,
        maybe_micros(data.expected_by),
        micros(data.occurred_at),
        at,
        None if data.evidence is None else orjson.dumps(data.evidence).decode(),
        data.via,
    )


def _progress(status: str | None, outcome: str | None, reason: str | None) -> Progress:
    return Progress(
        None if status is None else AckStatus(status),
        None if outcome is None else Outcome(outcome),
        None if reason is None else RefusalReason(reason),
    )
