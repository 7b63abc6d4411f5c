"""How events change the ledger. Runs inside the caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import orjson

from ledger.noticing import MARK_UNDELIVERABLE, Item, Notices
from ledger.rows import insert, listed, select
from ledger.times import maybe_micros, micros
from ledger.views import Entry
from streams import events
from streams.cloudevents import Envelope
from streams.events import Data, PartnerStatus

INSERT_TOGGLES = "INSERT OR IGNORE INTO toggles VALUES {}"
KNOWN_DECISIONS = "SELECT json_group_array(id) FROM decisions WHERE id IN (SELECT value FROM json_each(?))"
INSERT_DECISIONS = "INSERT OR IGNORE INTO decisions VALUES {}"
# Decisions of a subject come in the order in which they were made: the newest is the state.
UPSERT_CONSENTS = """INSERT INTO consents VALUES {} ON CONFLICT (subject, purpose) DO UPDATE SET
    choice = excluded.choice, version = excluded.version, occurred_at = excluded.occurred_at,
    toggle_id = excluded.toggle_id, decided_at = excluded.decided_at"""
UPSERT_PARTNER = """INSERT INTO partners VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
    revision = excluded.revision, removed_at = excluded.removed_at, body = excluded.body
    WHERE excluded.revision > partners.revision"""
CANCEL_NOTICES = "UPDATE notices SET cancelled_at = ? WHERE partner = ? AND cancelled_at IS NULL"
INSERT_DELIVERY = "INSERT OR IGNORE INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
SUCCEEDED = """INSERT INTO delivery_health VALUES (?1, ?2, NULL, NULL, NULL, 0) ON CONFLICT (partner) DO UPDATE SET
    last_success_at = ?2, next_attempt_at = NULL, consecutive_failures = 0"""
FAILED = """INSERT INTO delivery_health VALUES (?1, NULL, ?2, ?3, ?4, 1) ON CONFLICT (partner) DO UPDATE SET
    last_failure_at = ?2, last_error = ?3, next_attempt_at = ?4, consecutive_failures = consecutive_failures + 1"""
INSERT_UNDELIVERABLE = "INSERT OR IGNORE INTO undeliverable VALUES (?, ?, ?, ?, ?)"
INSERT_POISONED = "INSERT OR IGNORE INTO poisoned VALUES {}"


class Projector:
    """Applies entries through one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._execute = connection.execute
        notices = self._notices = Notices(connection)
        self._handlers: dict[type[Data], Callable[[Sequence[Item]], None]] = {
            events.ConsentToggled: self._toggled,
            events.ConsentChanged: self._decided,
            events.DeletionRequested: self._decided,
            events.PartnerRegistered: self._partners,
            events.PartnerChanged: self._partners,
            events.PartnerRemoved: self._partners,
            events.NoticesIssued: notices.issued,
            events.BatchDelivered: self._deliveries,
            events.BatchFailed: self._deliveries,
            events.Acknowledged: notices.acknowledged,
            events.NoticeUndeliverable: self._undeliverable,
            events.MessagePoisoned: self._poisoned,
        }

    def project(self, entries: Sequence[Entry]) -> None:
        """Each topic's entries in their order. The topics' order among each other means nothing: they are
        read side by side, and the ledger is the same whichever is ahead."""
        topics: dict[str, list[Item]] = {}
        for entry in entries:
            if entry.envelope is not None:
                topics.setdefault(entry.topic, []).append((entry, entry.envelope, entry.envelope.data))
        for items in topics.values():
            for handler, run in groupby(items, lambda item: self._handlers[type(item[2])]):
                handler(list(run))

    def _toggled(self, items: Sequence[Item]) -> None:
        rows = [
            (
                envelope.id,
                data.subject,
                data.purpose,
                data.choice,
                micros(data.occurred_at),
                micros(entry.timestamp),
                data.source,
            )
            for entry, envelope, data in items
        ]
        insert(self._connection, INSERT_TOGGLES, rows)

    def _decided(self, items: Sequence[Item]) -> None:
        fresh: dict[str, Data] = {}
        for _, envelope, data in items:
            fresh.setdefault(envelope.id, data)
        for known in select(self._connection, KNOWN_DECISIONS, listed(fresh)):
            del fresh[str(known)]
        insert(self._connection, INSERT_DECISIONS, [_decision_row(identity, data) for identity, data in fresh.items()])
        changes = [data for data in fresh.values() if isinstance(data, events.ConsentChanged)]
        insert(self._connection, UPSERT_CONSENTS, [_consent_row(data) for data in changes])

    def _partners(self, items: Sequence[Item]) -> None:
        for _, _, data in items:
            removed = micros(data.updated_at) if data.status is PartnerStatus.REMOVED else None
            self._execute(UPSERT_PARTNER, (data.id, data.revision, removed, data.model_dump_json()))
            if removed is not None:
                self._execute(CANCEL_NOTICES, (removed, data.id))

    def _deliveries(self, items: Sequence[Item]) -> None:
        for _, envelope, data in items:
            if isinstance(data, events.BatchDelivered):
                self._delivered(envelope, data)
            else:
                self._failed(envelope, data)

    def _delivered(self, envelope: Envelope, data: events.BatchDelivered) -> None:
        at = micros(data.delivered_at)
        undelivered = orjson.dumps(data.undelivered).decode()
        if self._delivery(envelope.id, data, at, None, undelivered):
            self._notices.delivered(at, data.lane, data.first_offset, data.last_offset, undelivered)
            self._execute(SUCCEEDED, (data.partner, at))

    def _failed(self, envelope: Envelope, data: events.BatchFailed) -> None:
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

    def _undeliverable(self, items: Sequence[Item]) -> None:
        for _, _, data in items:
            at = micros(data.refused_at)
            row = (data.notice_id, data.partner, data.status_code, data.detail, at)
            if self._execute(INSERT_UNDELIVERABLE, row).rowcount:
                self._execute(MARK_UNDELIVERABLE, (at, data.notice_id))

    def _poisoned(self, items: Sequence[Item]) -> None:
        rows = [
            (envelope.id, data.topic, data.partition, data.offset, data.reason, micros(data.poisoned_at))
            for _, envelope, data in items
        ]
        insert(self._connection, INSERT_POISONED, rows)


def _decision_row(identity: str, data: Any) -> tuple[Any, ...]:
    changed = isinstance(data, events.ConsentChanged)
    return (
        identity,
        "consent_changed" if changed else "deletion_requested",
        data.subject,
        data.purpose,
        data.choice if isinstance(data, events.ConsentChanged) else "opt_out",
        data.toggle_id,
        micros(data.occurred_at),
        micros(data.accepted_at),
    )


def _consent_row(data: events.ConsentChanged) -> tuple[Any, ...]:
    return (
        data.subject,
        data.purpose,
        data.choice,
        data.version,
        micros(data.occurred_at),
        data.toggle_id,
        micros(data.accepted_at),
    )
