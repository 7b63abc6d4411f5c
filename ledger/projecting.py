"""How each event changes the ledger. Runs inside the caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson

from ledger.times import maybe_micros, micros
from ledger.transitions import Progress, Verdict, judge
from ledger.views import Entry
from streams import events
from streams.cloudevents import Envelope
from streams.events import AckStatus, Action, Data, Outcome, PartnerStatus, RefusalReason

INSERT_TOGGLE = "INSERT OR IGNORE INTO toggles VALUES (?, ?, ?, ?, ?, ?, ?)"
INSERT_DECISION = "INSERT OR IGNORE INTO decisions VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
# Decisions of a subject come in the order in which they were made: the newest is the state.
UPSERT_CONSENT = """INSERT INTO consents VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (subject, purpose) DO UPDATE SET
    choice = excluded.choice, version = excluded.version, occurred_at = excluded.occurred_at,
    toggle_id = excluded.toggle_id, decided_at = excluded.decided_at"""
UPSERT_PARTNER = """INSERT INTO partners VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
    revision = excluded.revision, removed_at = excluded.removed_at, body = excluded.body
    WHERE excluded.revision > partners.revision"""
CANCEL_NOTICES = "UPDATE notices SET cancelled_at = ? WHERE partner = ? AND cancelled_at IS NULL"
INSERT_NOTICE = """INSERT OR IGNORE INTO notices (id, partner, subject, purpose, action, cause_id, toggle_id,
    lane, offset, issued_at, receive_by, complete_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
INSERT_DELIVERY = "INSERT OR IGNORE INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
MARK_DELIVERED = """UPDATE notices SET delivered_at = ?1
    WHERE lane = ?2 AND offset BETWEEN ?3 AND ?4 AND delivered_at IS NULL
    AND id NOT IN (SELECT value FROM json_each(?5))"""
# The earliest delivery that covers a notice's place. `last_offset` is what the index is sorted by.
DELIVERY_OF = """SELECT at FROM deliveries WHERE delivered AND lane = ?1 AND last_offset >= ?2 AND first_offset <= ?2
    AND NOT EXISTS (SELECT 1 FROM json_each(undelivered) WHERE value = ?3) ORDER BY last_offset, at LIMIT 1"""
SUCCEEDED = """INSERT INTO delivery_health VALUES (?1, ?2, NULL, NULL, NULL, 0) ON CONFLICT (partner) DO UPDATE SET
    last_success_at = ?2, next_attempt_at = NULL, consecutive_failures = 0"""
FAILED = """INSERT INTO delivery_health VALUES (?1, NULL, ?2, ?3, ?4, 1) ON CONFLICT (partner) DO UPDATE SET
    last_failure_at = ?2, last_error = ?3, next_attempt_at = ?4, consecutive_failures = consecutive_failures + 1"""
INSERT_ACKNOWLEDGEMENT = (
    "INSERT OR IGNORE INTO acknowledgements VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)"
)
PROGRESS = "SELECT partner, action, ack_status, outcome, reason FROM notices WHERE id = ?"
SET_VERDICT = "UPDATE acknowledgements SET verdict = ? WHERE id = ?"
ADVANCE = """UPDATE notices SET ack_status = ?2, outcome = ?3, reason = ?4,
    received_at = COALESCE(received_at, ?5),
    completed_at = CASE WHEN ?2 IN ('completed', 'refused') THEN ?5 END WHERE id = ?1"""
PROGRESSED = """INSERT INTO progress VALUES (?, ?) ON CONFLICT (partner) DO UPDATE
    SET last_at = MAX(last_at, excluded.last_at)"""
WAITING = """SELECT id, partner, status, outcome, reason, at FROM acknowledgements
    WHERE notice_id = ? AND verdict IS NULL ORDER BY place"""
INSERT_UNDELIVERABLE = "INSERT OR IGNORE INTO undeliverable VALUES (?, ?, ?, ?, ?)"
MARK_UNDELIVERABLE = "UPDATE notices SET undeliverable_at = ? WHERE id = ? AND undeliverable_at IS NULL"
UNDELIVERABLE_OF = "SELECT at FROM undeliverable WHERE notice_id = ?"
REMOVAL_OF = "SELECT removed_at FROM partners WHERE id = ?"
INSERT_POISONED = "INSERT OR IGNORE INTO poisoned VALUES (?, ?, ?, ?, ?, ?)"


class Projector:
    """Applies entries, one by one, through one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute
        self._handlers: dict[type[Data], Callable[[Entry, Envelope, Any], None]] = {
            events.ConsentToggled: self._toggled,
            events.ConsentChanged: self._changed,
            events.DeletionRequested: self._requested,
            events.PartnerRegistered: self._partner,
            events.PartnerChanged: self._partner,
            events.PartnerRemoved: self._partner,
            events.NoticesIssued: self._issued,
            events.BatchDelivered: self._delivered,
            events.BatchFailed: self._failed,
            events.Acknowledged: self._acknowledged,
            events.NoticeUndeliverable: self._undeliverable,
            events.MessagePoisoned: self._poisoned,
        }

    def project(self, entry: Entry) -> None:
        if entry.envelope is not None:
            data = entry.envelope.data
            self._handlers[type(data)](entry, entry.envelope, data)

    def _toggled(self, entry: Entry, envelope: Envelope, data: events.ConsentToggled) -> None:
        times = (micros(data.occurred_at), micros(entry.timestamp))
        self._execute(INSERT_TOGGLE, (envelope.id, data.subject, data.purpose, data.choice, *times, data.source))

    def _changed(self, entry: Entry, envelope: Envelope, data: events.ConsentChanged) -> None:
        occurred, accepted = micros(data.occurred_at), micros(data.accepted_at)
        row = (data.subject, data.purpose, data.choice, data.toggle_id, occurred, accepted)
        fresh = self._execute(INSERT_DECISION, (envelope.id, "consent_changed", *row)).rowcount
        if fresh:
            state = (
                data.subject,
                data.purpose,
                data.choice,
                data.version,
                occurred,
                data.toggle_id,
                accepted,
            )
            self._execute(UPSERT_CONSENT, state)

    def _requested(self, entry: Entry, envelope: Envelope, data: events.DeletionRequested) -> None:
        times = (micros(data.occurred_at), micros(data.accepted_at))
        row = (data.subject, data.purpose, "opt_out", data.toggle_id, *times)
        self._execute(INSERT_DECISION, (envelope.id, "deletion_requested", *row))

    def _partner(self, entry: Entry, envelope: Envelope, data: events.Partner) -> None:
        removed = micros(data.updated_at) if data.status is PartnerStatus.REMOVED else None
        self._execute(UPSERT_PARTNER, (data.id, data.revision, removed, data.model_dump_json()))
        if removed is not None:
            self._execute(CANCEL_NOTICES, (removed, data.id))

    def _issued(self, entry: Entry, envelope: Envelope, data: events.NoticesIssued) -> None:
        for notice in data.notices:
            row = (
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
            if self._execute(INSERT_NOTICE, row).rowcount:
                self._catch_up(notice.id, data.partner, data.lane, entry.offset)

    def _catch_up(self, notice_id: str, partner: str, lane: int, offset: int) -> None:
        """Other topics may have been read ahead of the notices: apply what was waiting for this one."""
        delivery = self._execute(DELIVERY_OF, (lane, offset, notice_id)).fetchone()
        if delivery is not None:
            self._execute(MARK_DELIVERED, (delivery[0], lane, offset, offset, "[]"))
        refused = self._execute(UNDELIVERABLE_OF, (notice_id,)).fetchone()
        if refused is not None:
            self._execute(MARK_UNDELIVERABLE, (refused[0], notice_id))
        removal = self._execute(REMOVAL_OF, (partner,)).fetchone()
        if removal is not None and removal[0] is not None:
            self._execute("UPDATE notices SET cancelled_at = ? WHERE id = ?", (removal[0], notice_id))
        for waiting in self._execute(WAITING, (notice_id,)).fetchall():
            self._judge(notice_id, *waiting)

    def _delivered(self, entry: Entry, envelope: Envelope, data: events.BatchDelivered) -> None:
        at = micros(data.delivered_at)
        undelivered = orjson.dumps(data.undelivered).decode()
        if self._delivery(envelope.id, data, at, None, undelivered):
            span = (data.lane, data.first_offset, data.last_offset)
            self._execute(MARK_DELIVERED, (at, *span, undelivered))
            self._execute(SUCCEEDED, (data.partner, at))

    def _failed(self, entry: Entry, envelope: Envelope, data: events.BatchFailed) -> None:
        at = micros(data.failed_at)
        if self._delivery(envelope.id, data, at, data.error, "[]"):
            again = maybe_micros(data.next_attempt_at)
            self._execute(FAILED, (data.partner, at, data.error, again))

    def _delivery(
        self,
        event_id: str,
        data: events.BatchDelivered | events.BatchFailed,
        at: int,
        error: str | None,
        undelivered: str,
    ) -> bool:
        row = (
            event_id,
            data.partner,
            data.lane,
            data.first_offset,
            data.last_offset,
            data.notices,
            data.webhook_id,
            data.attempt,
            error is None,
            data.status_code,
            error,
            data.duration_ms,
            at,
            undelivered,
        )
        return self._execute(INSERT_DELIVERY, row).rowcount > 0

    def _acknowledged(self, entry: Entry, envelope: Envelope, data: events.Acknowledged) -> None:
        evidence = None if data.evidence is None else orjson.dumps(data.evidence).decode()
        # Lag is measured by when we were told. When it was done is what the partner says of itself.
        at = micros(envelope.time)
        row = (
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
            evidence,
            data.via,
        )
        if self._execute(INSERT_ACKNOWLEDGEMENT, row).rowcount:
            said = (data.partner, data.status, data.outcome, data.reason)
            self._judge(data.notice_id, envelope.id, *said, at)

    def _judge(
        self,
        notice_id: str,
        event_id: str,
        partner: str,
        status: str,
        outcome: str | None,
        reason: str | None,
        at: int,
    ) -> None:
        row = self._execute(PROGRESS, (notice_id,)).fetchone()
        if row is None:
            return  # it waits, without a verdict, for the notice
        said = _progress(status, outcome, reason)
        verdict = judge(_progress(*row[2:]), said, owner=row[0] == partner, action=Action(row[1]))
        self._execute(SET_VERDICT, (verdict, event_id))
        if verdict is Verdict.APPLIED:
            self._execute(ADVANCE, (notice_id, status, outcome, reason, at))
            self._execute(PROGRESSED, (partner, at))

    def _undeliverable(self, entry: Entry, envelope: Envelope, data: events.NoticeUndeliverable) -> None:
        at = micros(data.refused_at)
        row = (data.notice_id, data.partner, data.status_code, data.detail, at)
        if self._execute(INSERT_UNDELIVERABLE, row).rowcount:
            self._execute(MARK_UNDELIVERABLE, (at, data.notice_id))

    def _poisoned(self, entry: Entry, envelope: Envelope, data: events.MessagePoisoned) -> None:
        at: datetime = data.poisoned_at
        row = (envelope.id, data.topic, data.partition, data.offset, data.reason, micros(at))
        self._execute(INSERT_POISONED, row)


def _progress(status: str | None, outcome: str | None, reason: str | None) -> Progress:
    return Progress(
        None if status is None else AckStatus(status),
        None if outcome is None else Outcome(outcome),
        None if reason is None else RefusalReason(reason),
    )
