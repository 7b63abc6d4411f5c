"""How events change the ledger. Runs inside the caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import orjson

from ledger import statements
from ledger.extending import Extensions
from ledger.folding import Folding
from ledger.marking import Marks
from ledger.noticing import Item, Notices
from ledger.replies import ReplyCounts
from ledger.rows import as_json, insert, listed, select
from ledger.times import maybe_micros, micros
from ledger.veiling import Veil
from ledger.views import Entry
from streams import deadlines, events
from streams.cloudevents import Envelope
from streams.events import Act, Data, PartnerStatus

INSERT_TOGGLES = "INSERT OR IGNORE INTO toggles VALUES {}"
KNOWN_DECISIONS = "SELECT json_group_array(id) FROM decisions WHERE id IN (SELECT value FROM json_each(?))"
INSERT_DECISIONS = "INSERT OR IGNORE INTO decisions VALUES {}"
# Decisions of a subject come in the order in which they were made: the newest is the state.
UPSERT_CONSENTS = """INSERT INTO consents VALUES {} ON CONFLICT (subject, purpose) DO UPDATE SET
    choice = excluded.choice, version = excluded.version, occurred_at = excluded.occurred_at,
    toggle_id = excluded.toggle_id, decided_at = excluded.decided_at,
    rank = MAX(COALESCE(rank, excluded.rank), COALESCE(excluded.rank, rank))"""
RAISE_RANKS = """UPDATE consents SET rank = said.rank
    FROM (SELECT json_extract(value, '$[0]') AS subject, json_extract(value, '$[1]') AS purpose,
        MAX(json_extract(value, '$[2]')) AS rank FROM json_each(?) GROUP BY 1, 2) AS said
    WHERE consents.subject = said.subject AND consents.purpose = said.purpose
    AND (consents.rank IS NULL OR consents.rank < said.rank)"""
UPSERT_PARTNER = """INSERT INTO partners VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
    revision = excluded.revision, removed_at = excluded.removed_at, body = excluded.body
    WHERE excluded.revision > partners.revision"""
PARTNER = "SELECT body FROM partners WHERE id = ?"
TRIED = "INSERT INTO tried VALUES (?, ?) ON CONFLICT DO UPDATE SET at = MAX(at, excluded.at)"
SUSPEND_PARTNER = "UPDATE partners SET body = ? WHERE id = ?"
CANCEL_NOTICES = "UPDATE notices SET cancelled_at = ? WHERE partner = ? AND cancelled_at IS NULL"
INSERT_DELIVERY = "INSERT OR IGNORE INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
SUCCEEDED = """INSERT INTO delivery_health VALUES (?1, ?2, NULL, NULL, NULL, 0) ON CONFLICT (partner) DO UPDATE SET
    last_success_at = ?2, next_attempt_at = NULL, consecutive_failures = 0"""
FAILED = """INSERT INTO delivery_health VALUES (?1, NULL, ?2, ?3, ?4, 1) ON CONFLICT (partner) DO UPDATE SET
    last_failure_at = ?2, last_error = ?3, next_attempt_at = ?4, consecutive_failures = consecutive_failures + 1"""
INSERT_POISONED = "INSERT OR IGNORE INTO poisoned VALUES {}"
INSERT_TRACES = "INSERT OR IGNORE INTO traces VALUES {}"
INSERT_ACTION = "INSERT OR IGNORE INTO actions VALUES {}"
INSERT_DONE = "INSERT OR IGNORE INTO poisoned_done VALUES {}"
MARK_DONE = """UPDATE poisoned SET done_at = done.at FROM poisoned_done AS done
    WHERE done.id = poisoned.id AND done_at IS NULL AND poisoned.id IN (SELECT value FROM json_each(?))"""


class Projector:
    """Applies entries through one connection. Whatever may name a subject goes through the veil."""

    def __init__(self, connection: sqlite3.Connection, veil: Veil, folding: Folding) -> None:
        self._connection = connection
        self._veil = veil
        self._folding = folding
        self._execute = connection.execute
        self._notices = Notices(connection, veil)
        self._marks = Marks(connection)
        self._extensions = Extensions(connection)
        self._replies = ReplyCounts(connection, veil)
        self._handlers: dict[type[Data], Callable[[Sequence[Item]], None]] = {
            events.ConsentToggled: self._toggled,
            events.ConsentChanged: self._decided,
            events.DeletionRequested: self._decided,
            events.PartnerRegistered: self._partners,
            events.PartnerChanged: self._partners,
            events.PartnerRemoved: self._partners,
            events.PartnerSuspended: self._suspended,
            events.PartnerTried: self._tried,
            events.NoticesIssued: self._issued,
            events.BatchDelivered: self._deliveries,
            events.BatchFailed: self._deliveries,
            events.NoticesSuperseded: self._notices.superseded,
            events.Acknowledged: self._acknowledged,
            events.ReplyAcknowledged: self._acknowledged,
            events.StatementReceived: partial(statements.project, connection, veil, folding),
            events.NoticeUndeliverable: self._notices.held.refused,
            events.NoticeParked: self._notices.held.parked,
            events.MessagePoisoned: self._poisoned,
            events.OperatorActed: self._acted,
            deadlines.DeadlineReached: self._marks.reached,
            deadlines.EscalationClaimed: self._marks.claimed,
            deadlines.EscalationEnded: self._marks.ended,
        }

    def project(self, entries: Sequence[Entry]) -> None:
        """Each topic's entries in their order. The topics' order among each other means nothing: they are
        read side by side, and the ledger is the same whichever is ahead. Raises `StorageUnusable` if what they say
        something about was folded and its archive cannot be read."""
        self._folding.bring_back(entries)
        topics: dict[str, list[Item]] = {}
        for entry in entries:
            if entry.envelope is not None:
                topics.setdefault(entry.topic, []).append((entry, entry.envelope, entry.envelope.data))
        for items in topics.values():
            for handler, run in groupby(items, lambda item: self._handlers[type(item[2])]):
                handler(list(run))
        self._folding.bring_back_reopened()

    def _toggled(self, items: Sequence[Item]) -> None:
        rows = [
            (
                self._veil.text(envelope.id),
                self._veil.text(data.subject),
                data.purpose,
                data.choice,
                micros(data.occurred_at),
                micros(entry.timestamp),
                self._veil.maybe(data.source),
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
        insert(self._connection, INSERT_DECISIONS, [_decision_row(self._veil, *each) for each in fresh.items()])
        changes = [data for data in fresh.values() if isinstance(data, events.ConsentChanged)]
        insert(self._connection, UPSERT_CONSENTS, [_consent_row(self._veil, data) for data in changes])
        # A request mostly follows its change, which has raised the rank already.
        raised = {(data.subject, data.purpose, data.rank) for data in changes}
        asked = [data for data in fresh.values() if isinstance(data, events.DeletionRequested) and data.partner is None]
        ranks = {(data.subject, data.purpose, data.rank) for data in asked if data.rank is not None} - raised
        if ranks:
            self._execute(RAISE_RANKS, (listed((self._veil.text(subject), *rest) for subject, *rest in ranks),))

    def _partners(self, items: Sequence[Item]) -> None:
        for _, _, data in items:
            removed = micros(data.updated_at) if data.status is PartnerStatus.REMOVED else None
            self._execute(UPSERT_PARTNER, (data.id, data.revision, removed, data.model_dump_json()))
            self._execute(TRIED, (data.id, micros(data.updated_at)))
            if removed is not None:
                self._execute(CANCEL_NOTICES, (removed, data.id))

    def _suspended(self, items: Sequence[Item]) -> None:
        for _, _, data in items:
            for (body,) in self._execute(PARTNER, (data.partner,)).fetchall():
                counts = events.with_suspension(events.Partner.model_validate_json(body), data)
                self._execute(SUSPEND_PARTNER, (counts.model_dump_json(), data.partner))

    def _tried(self, items: Sequence[Item]) -> None:
        for _, _, data in items:
            self._execute(TRIED, (data.partner, micros(data.tried_at)))

    def _issued(self, items: Sequence[Item]) -> None:
        self._notices.issued(items)
        self._traced(items)
        self._marks.come(items)
        self._marks.look_again(self._extensions.come(items))

    def _traced(self, items: Sequence[Item]) -> None:
        rows = [
            (notice.id, trace)
            for _, _, data in items
            for notice, trace in zip(data.notices, data.traces or (), strict=False)
            if trace
        ]
        insert(self._connection, INSERT_TRACES, rows)

    def _acknowledged(self, items: Sequence[Item]) -> None:
        self._notices.acknowledged(items)
        self._marks.look_again(self._extensions.asked(items))

    def _deliveries(self, items: Sequence[Item]) -> None:
        for _, envelope, data in items:
            if isinstance(data, events.BatchDelivered):
                self._delivered(envelope, data)
            else:
                self._failed(envelope, data)

    def _delivered(self, envelope: Envelope, data: events.BatchDelivered) -> None:
        at = micros(data.delivered_at)
        undelivered = orjson.dumps(data.undelivered).decode()
        said = (data.acknowledged, data.not_understood)
        if self._delivery(envelope.id, data, at, None, undelivered, said):
            self._notices.delivered(at, data.lane, data.first_offset, data.last_offset, undelivered)
            self._execute(SUCCEEDED, (data.partner, at))
            self._replies.delivered(data, at)

    def _failed(self, envelope: Envelope, data: events.BatchFailed) -> None:
        at = micros(data.failed_at)
        error = self._veil.text(data.error)
        if self._delivery(envelope.id, data, at, error, "[]", (0, 0)):
            again = maybe_micros(data.next_attempt_at)
            self._execute(FAILED, (data.partner, at, error, again))

    def _delivery(
        self,
        event_id: str,
        data: events.BatchDelivered | events.BatchFailed,
        at: int,
        error: str | None,
        undelivered: str,
        said: tuple[int, int],
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
            *said,
        )
        return self._execute(INSERT_DELIVERY, row).rowcount > 0

    def _poisoned(self, items: Sequence[Item]) -> None:
        rows = [
            (
                envelope.id,
                data.topic,
                data.partition,
                data.offset,
                self._veil.text(data.reason),
                self._veil.maybe(data.key_base64),
                self._veil.maybe(data.value_base64),
                None if data.headers is None else self._veil.text(orjson.dumps(data.headers).decode()),
                micros(data.poisoned_at),
                None,
            )
            for _, envelope, data in items
        ]
        insert(self._connection, INSERT_POISONED, rows)
        self._execute(MARK_DONE, (listed(row[0] for row in rows),))

    def _acted(self, items: Sequence[Item]) -> None:
        rows = [
            (
                envelope.id,
                data.act,
                data.by.key,
                data.by.role,
                data.by.label,
                data.partner,
                self._veil.text(orjson.dumps(_details(data)).decode()),
                micros(data.acted_at),
            )
            for _, envelope, data in items
        ]
        insert(self._connection, INSERT_ACTION, rows)
        self._notices.held.discarded([data for _, _, data in items if data.act is Act.DISCARD])
        self._replies.seen([data for _, _, data in items if data.act is Act.MARK_REPLIES_SEEN])
        done = [(identity, micros(data.acted_at)) for _, _, data in items for identity in data.poisoned]
        insert(self._connection, INSERT_DONE, done)
        self._execute(MARK_DONE, (listed(identity for identity, _ in done),))


def _decision_row(veil: Veil, identity: str, data: Any) -> tuple[Any, ...]:
    changed = isinstance(data, events.ConsentChanged)
    partner = None if changed else data.partner
    return (
        identity,
        "consent_changed" if changed else "deletion_requested" if partner is None else "withdrawal_requested",
        veil.text(data.subject),
        data.purpose,
        data.choice if changed else "opt_out",
        veil.text(data.toggle_id),
        micros(data.occurred_at),
        micros(data.accepted_at),
        partner,
        None if changed else as_json(data.datasets),
    )


def _details(data: events.OperatorActed) -> dict[str, Any]:
    return data.details if data.reason is None else data.details | {"reason": data.reason}


def _consent_row(veil: Veil, data: events.ConsentChanged) -> tuple[Any, ...]:
    return (
        veil.text(data.subject),
        data.purpose,
        data.choice,
        data.version,
        micros(data.occurred_at),
        veil.text(data.toggle_id),
        micros(data.accepted_at),
        data.rank,
    )
