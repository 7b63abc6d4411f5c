"""How notices come to be, are delivered, and are answered. Runs inside the caller's transaction."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from ledger.held import HeldNotices
from ledger.rows import as_json, insert, listed, select
from ledger.times import HOUR_MICROS, maybe_micros, micros
from ledger.transitions import COUNTS, Progress, Verdict, after, judge
from ledger.veiling import Veil
from ledger.views import Entry
from ledger.watching import first_wakes, risk_margins
from streams import events
from streams.cloudevents import Envelope
from streams.events import AckStatus, Outcome, RefusalReason
from streams.kinds import Action
from streams.vocabulary import FINAL

#: An entry of the log with its event.
Item = tuple[Entry, Envelope, Any]

INSERT_NOTICES = """INSERT OR IGNORE INTO notices (id, partner, subject, purpose, action, cause_id, toggle_id,
    lane, offset, occurred_at, issued_at, receive_by, complete_by, rank, extended_complete_by,
    watch, receive_wake, complete_wake, datasets, datasets_count, suppression_completes, legal_receive_by,
    legal_complete_by) VALUES {}"""
KNOWN_NOTICES = "SELECT json_group_array(id) FROM notices WHERE id IN (SELECT value FROM json_each(?))"
INSERT_HOURS = """INSERT INTO issued_hours VALUES {} ON CONFLICT DO UPDATE
    SET first = MIN(first, excluded.first), last = MAX(last, excluded.last)"""
INSERT_MARGINS = """INSERT INTO risk_margins VALUES {} ON CONFLICT DO UPDATE
    SET receive = MAX(receive, excluded.receive), complete = MAX(complete, excluded.complete)"""
# The first place of a notice is its notice's own; it counts among several only where there are several.
KEEP_FIRST_PLACES = """INSERT OR IGNORE INTO places SELECT lane, offset, id, issued_at, NULL, NULL, NULL FROM notices
    WHERE id IN (SELECT value FROM json_each(?))"""
INSERT_PLACES = "INSERT OR IGNORE INTO places VALUES {}"
# Two lanes may be read in any order: the first place is where a notice was not issued again, else the earliest.
SET_FIRST_PLACES = """UPDATE notices SET (lane, offset) = (
        SELECT lane, offset FROM places WHERE notice_id = notices.id
        ORDER BY again IS NOT NULL, at, lane, offset LIMIT 1)
    WHERE id IN (SELECT value FROM json_each(?))"""
MARK_DELIVERED = """UPDATE notices SET delivered_at = ?1
    WHERE lane = ?2 AND offset BETWEEN ?3 AND ?4 AND (delivered_at IS NULL OR delivered_at > ?1)
    AND id NOT IN (SELECT value FROM json_each(?5))"""
MARK_DELIVERED_AGAIN = """UPDATE notices SET delivered_at = ?1
    WHERE id IN (SELECT notice_id FROM places WHERE lane = ?2 AND offset BETWEEN ?3 AND ?4)
    AND (delivered_at IS NULL OR delivered_at > ?1) AND id NOT IN (SELECT value FROM json_each(?5))"""
# The deliveries that cover a place.
DELIVERIES_OF = """SELECT at, undelivered FROM deliveries
    WHERE delivered AND lane = ?1 AND last_offset >= ?2 AND first_offset <= ?2"""
REMOVAL_OF = "SELECT removed_at FROM partners WHERE id = ? AND removed_at IS NOT NULL"
CANCEL = "UPDATE notices SET cancelled_at = ? WHERE id IN (SELECT value FROM json_each(?))"
INSERT_SUPERSEDED = """INSERT INTO superseded VALUES {} ON CONFLICT DO UPDATE SET at = MIN(at, excluded.at)"""
MARK_SUPERSEDED = """UPDATE notices SET superseded_at = (SELECT at FROM superseded WHERE notice_id = notices.id)
    WHERE id IN (SELECT value FROM json_each(?) WHERE value IN (SELECT notice_id FROM superseded))"""
INSERT_ACKNOWLEDGEMENTS = "INSERT OR IGNORE INTO acknowledgements VALUES {}"
KNOWN_ACKNOWLEDGEMENTS = (
    "SELECT json_group_array(known.id) FROM json_each(?) AS said CROSS JOIN acknowledgements AS known"
    " ON known.notice_id = json_extract(said.value, '$[0]') AND known.id = json_extract(said.value, '$[1]')"
)
WAITING = """SELECT json_group_array(json_array(notice_id, place, id, partner, at, detail IS NOT NULL, amends, status,
        outcome, reason, expected_by))
    FROM acknowledgements WHERE notice_id IN (SELECT value FROM json_each(?)) AND verdict IS NULL"""
SET_VERDICTS = """UPDATE acknowledgements SET verdict = said.verdict
    FROM (SELECT json_extract(value, '$[0]') AS notice_id, json_extract(value, '$[1]') AS id,
        json_extract(value, '$[2]') AS verdict FROM json_each(?)) AS said
    WHERE acknowledgements.notice_id = said.notice_id AND acknowledgements.id = said.id"""
PROGRESS = """SELECT json_group_array(json_array(id, partner, action, suppression_completes, completed_at,
        answered_first_at, ack_status, outcome, reason, expected_by))
    FROM notices WHERE id IN (SELECT value FROM json_each(?))"""
ADVANCE = """UPDATE notices SET ack_status = said.status, outcome = said.outcome, reason = said.reason,
    received_at = COALESCE(received_at, said.first_at), completed_at = said.completed_at,
    expected_by = said.expected_by, answered_first_at = said.answered_first_at
    FROM (SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS status,
        json_extract(value, '$[2]') AS outcome, json_extract(value, '$[3]') AS reason,
        json_extract(value, '$[4]') AS first_at, json_extract(value, '$[5]') AS completed_at,
        json_extract(value, '$[6]') AS expected_by, json_extract(value, '$[7]') AS answered_first_at
        FROM json_each(?)) AS said
    WHERE notices.id = said.id"""
CONTRADICTED = """INSERT INTO counts VALUES {} ON CONFLICT DO UPDATE SET n = n + excluded.n"""
CHANGED = """INSERT INTO lag_changes VALUES {} ON CONFLICT DO UPDATE SET n = n + 1"""

#: More than the acknowledgements of one event.
_ITEMS = 1024
#: Lane, offset, and the notice's id.
_Place = tuple[int, int, str]


class _Said(NamedTuple):
    """An acknowledgement of one notice. `place` is its order among all of its partner's, `at` when we were told."""

    id: str
    place: int
    at: int
    data: events.Acknowledged


class Notices:
    """The notices of a ledger, through one connection."""

    def __init__(self, connection: sqlite3.Connection, veil: Veil) -> None:
        self._connection = connection
        self._veil = veil
        self.held = HeldNotices(connection, veil)

    def issued(self, items: Sequence[Item]) -> None:
        """Packs, in order."""
        rows: dict[str, tuple[Any, ...]] = {}
        places: dict[_Place, tuple[Any, ...]] = {}
        hours: dict[tuple[str, int, int], tuple[int, int]] = {}
        about: set[tuple[str, str, str]] = set()
        holding = self.held.partners()
        margins: dict[tuple[str, Action], tuple[int, int]] = {}
        for entry, envelope, data in items:
            pack = list(_notice_rows(self._veil, entry, data))
            if data.partner in holding:
                about.update(row[1:4] for row in pack)
            for row in pack:
                if rows.setdefault(row[0], row) is not row or data.again is not None:
                    places[_place(row)] = _again(envelope, data, row)
            _widen(margins, data, pack)
            if data.again is None:
                for hour in {row[10] // HOUR_MICROS for row in pack}:
                    first, _ = hours.get((data.partner, hour, data.lane), (entry.offset, 0))
                    hours[data.partner, hour, data.lane] = (first, entry.offset)
        for known in select(self._connection, KNOWN_NOTICES, listed(rows)):
            row = rows.pop(str(known))
            places.setdefault(_place(row), (row[10], None, None, None))
        insert(self._connection, INSERT_NOTICES, list(rows.values()))
        insert(self._connection, INSERT_HOURS, [(*where, *ends) for where, ends in hours.items()])
        insert(self._connection, INSERT_MARGINS, [(*whose, *longest) for whose, longest in margins.items()])
        if places:
            insert(self._connection, INSERT_PLACES, [(*place, *why) for place, why in places.items()])
            again = listed({identity for _, _, identity in places})
            self._connection.execute(KEEP_FIRST_PLACES, (again,))
            self._connection.execute(SET_FIRST_PLACES, (again,))
        self._catch_up(rows, places)
        self.held.opposed(about)

    def delivered(self, at: int, lane: int, first: int, last: int, undelivered: str) -> None:
        """What stands at these offsets (both included) was taken, but for `undelivered`, a JSON array of ids."""
        for statement in (MARK_DELIVERED, MARK_DELIVERED_AGAIN):
            self._connection.execute(statement, (at, lane, first, last, undelivered))

    def superseded(self, items: Sequence[Item]) -> None:
        """Notices that were left out of their lanes."""
        rows = [(notice, micros(data.superseded_at)) for _, _, data in items for notice in data.superseded]
        insert(self._connection, INSERT_SUPERSEDED, rows)
        self._connection.execute(MARK_SUPERSEDED, (listed(row[0] for row in rows),))

    def acknowledged(self, items: Sequence[Item]) -> None:
        """Acknowledgements, in order."""
        fresh: dict[str, _Said] = {}
        for item in items:
            for said in _said(*item):
                fresh.setdefault(said.id, said)
        wanted = listed((said.data.notice_id, said.id) for said in fresh.values())
        for known in select(self._connection, KNOWN_ACKNOWLEDGEMENTS, wanted):
            del fresh[str(known)]
        bench = self._bench({said.data.notice_id for said in fresh.values()})
        rows = []
        for said in fresh.values():
            data = said.data
            progress = Progress(data.status, data.outcome, data.reason, maybe_micros(data.expected_by))
            why = data.detail is not None
            amends = data.amends is True
            verdict = bench.judge(data.notice_id, data.partner, progress, said.at, explained=why, amends=amends)
            rows.append((*_acknowledgement_row(self._veil, said), verdict, data.amends))
        insert(self._connection, INSERT_ACKNOWLEDGEMENTS, rows)
        self._advance(bench)

    def _catch_up(self, rows: Mapping[str, tuple[Any, ...]], places: Iterable[_Place]) -> None:
        """Other topics may have been read ahead of the notices: apply what was waiting for the new ones, and for the
        new places of old ones."""
        standing = {_place(row) for row in rows.values()}.union(places)
        if not standing:
            return
        execute, ids = self._connection.execute, listed(rows)
        for lane, offset in {place[:2] for place in standing}:
            for at, undelivered in execute(DELIVERIES_OF, (lane, offset)).fetchall():
                self.delivered(at, lane, offset, offset, undelivered)
        self.held.come({at[2] for at in standing})
        for partner in {row[1] for row in rows.values()}:
            for (removed,) in execute(REMOVAL_OF, (partner,)).fetchall():
                execute(CANCEL, (removed, listed(row[0] for row in rows.values() if row[1] == partner)))
        execute(MARK_SUPERSEDED, (ids,))
        self._judge_waiting(ids)

    def _judge_waiting(self, ids: str) -> None:
        waiting = sorted(select(self._connection, WAITING, ids))
        if not waiting:
            return
        bench = self._bench({row[0] for row in waiting})
        verdicts = [
            (
                notice,
                identity,
                bench.judge(notice, partner, _progress(*said), at, explained=bool(why), amends=amends == 1),
            )
            for notice, _, identity, partner, at, why, amends, *said in waiting
        ]
        self._connection.execute(SET_VERDICTS, (listed(verdicts),))
        self._advance(bench)

    def _bench(self, notices: Iterable[str]) -> _Bench:
        rows = select(self._connection, PROGRESS, listed(notices))
        return _Bench(
            {
                identity: _Standing(partner, Action(action), completes == 1, closed, first, _progress(*row))
                for identity, partner, action, completes, closed, first, *row in rows
            }
        )

    def _advance(self, bench: _Bench) -> None:
        counts = [(*whose, "contradictions", n) for whose, n in bench.contradictions.items()]
        insert(self._connection, CONTRADICTED, counts)
        insert(self._connection, CHANGED, [(*whose, 1) for whose in bench.contradictions])
        said = [
            (
                notice,
                to.status,
                to.outcome,
                to.reason,
                steps[0],
                standing.completed_at,
                to.expected_by,
                standing.answered_first_at,
            )
            for notice, standing in bench.standings.items()
            if (steps := standing.steps) and (to := standing.progress)
        ]
        if said:
            self._connection.execute(ADVANCE, (listed(said),))


@dataclass(slots=True)
class _Standing:
    """How far one notice has come, and when it came further in the batch at hand. `completed_at` is when its partner
    gave the final answer that counts, `answered_first_at` when it gave its first, if it took that back."""

    partner: str
    action: Action
    suppression_completes: bool
    completed_at: int | None
    answered_first_at: int | None
    progress: Progress
    steps: list[int] = field(default_factory=list)

    def comes_to(self, said: Progress, verdict: Verdict, at: int) -> None:
        """By what counts of an answer."""
        self.progress = after(self.progress, said, verdict)
        self.steps.append(at)
        if verdict in (Verdict.AMENDED, Verdict.REOPENED):
            self.answered_first_at = self.answered_first_at or self.completed_at
            self.completed_at = at if verdict is Verdict.AMENDED else None
        elif self.progress.status in FINAL and self.completed_at is None:
            # What was suppressed by contract, and is deleted later, was completed by then.
            self.completed_at = at


@dataclass(slots=True)
class _Bench:
    """Judges the acknowledgements of a batch in order, each by what those before it did."""

    standings: dict[str, _Standing]
    #: By partner and kind of notice, how often it said otherwise than before.
    contradictions: Counter[tuple[str, Action]] = field(default_factory=Counter)

    def judge(
        self, notice: str, partner: str, said: Progress, at: int, *, explained: bool, amends: bool
    ) -> Verdict | None:
        """None if the notice itself has not been read yet: the acknowledgement waits for it."""
        standing = self.standings.get(notice)
        if standing is None:
            return None
        verdict = judge(
            standing.progress,
            said,
            owner=standing.partner == partner,
            action=standing.action,
            explained=explained,
            amends=amends,
            suppression_completes=standing.suppression_completes,
        )
        if verdict in COUNTS:
            standing.comes_to(said, verdict, at)
        if verdict is Verdict.CONTRADICTION:
            self.contradictions[partner, standing.action] += 1
        return verdict


def _notice_rows(veil: Veil, entry: Entry, data: events.NoticesIssued) -> Iterable[tuple[Any, ...]]:
    for notice in data.notices:
        watch = notice.watch
        issued, receive, complete = micros(notice.issued_at), micros(notice.receive_by), micros(notice.complete_by)
        yield (
            notice.id,
            data.partner,
            veil.text(notice.subject),
            notice.purpose,
            notice.action,
            notice.cause_id,
            veil.text(notice.toggle_id),
            data.lane,
            entry.offset,
            micros(notice.occurred_at),
            issued,
            receive,
            complete,
            notice.rank,
            maybe_micros(notice.extended_complete_by),
            None if watch is None else watch.model_dump_json(),
            *first_wakes(watch, issued, receive, complete),
            as_json(notice.datasets),
            notice.datasets_count,
            notice.suppression_completes,
            maybe_micros(notice.legal_receive_by),
            maybe_micros(notice.legal_complete_by),
        )


def _widen(
    margins: dict[tuple[str, Action], tuple[int, int]], data: events.NoticesIssued, rows: Iterable[tuple[Any, ...]]
) -> None:
    """Note how long before their deadlines a pack's notices come at risk, where it is longer than known."""
    for notice, row in zip(data.notices, rows, strict=True):
        issued_at, receive_by, complete_by = row[10:13]
        if notice.extended_complete_by is not None:
            complete_by = max(complete_by, micros(notice.extended_complete_by))
        found = risk_margins(notice.watch, issued_at, receive_by, complete_by)
        known = margins.get((data.partner, notice.action), (0, 0))
        margins[data.partner, notice.action] = max(found[0], known[0]), max(found[1], known[1])


def _place(row: tuple[Any, ...]) -> _Place:
    return row[7], row[8], row[0]


def _again(envelope: Envelope, data: events.NoticesIssued, row: tuple[Any, ...]) -> tuple[Any, ...]:
    """When a notice came to a place, and if it was issued again, how, by whom, and by which event."""
    if data.again is None:
        return row[10], None, None, None
    return micros(envelope.time), data.again.how, data.again.by.words, envelope.id


def _said(entry: Entry, envelope: Envelope, data: events.Acknowledged | events.ReplyAcknowledged) -> Iterator[_Said]:
    """One after the other what an event says."""
    # Lag is measured by when we were told. When it was done is what the partner says of itself.
    at = micros(envelope.time)
    each = data.each() if isinstance(data, events.ReplyAcknowledged) else ((envelope.id, data),)
    for number, (identity, one) in enumerate(each):
        yield _Said(identity, entry.offset * _ITEMS + number, at, one)


def _acknowledgement_row(veil: Veil, said: _Said) -> tuple[Any, ...]:
    data = said.data
    return (
        data.notice_id,
        said.id,
        said.place,
        data.partner,
        veil.text(data.subject),
        data.status,
        data.outcome,
        data.reason,
        veil.maybe(data.detail),
        maybe_micros(data.expected_by),
        micros(data.occurred_at),
        said.at,
        None if data.evidence is None else veil.text(orjson.dumps(data.evidence).decode()),
        data.via,
        data.statement,
        data.vocabulary,
        veil.maybe(data.code),
    )


def _progress(status: str | None, outcome: str | None, reason: str | None, expected_by: int | None) -> Progress:
    return Progress(
        None if status is None else AckStatus(status),
        None if outcome is None else Outcome(outcome),
        None if reason is None else RefusalReason(reason),
        expected_by,
    )
