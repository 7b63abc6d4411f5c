"""What the ledger answers with: frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from ledger.lag import LagState, Percentiles
from streams.cloudevents import Envelope
from streams.events import Action, Choice, PartnerStatus


class NoticeStatus(StrEnum):
    QUEUED = "queued"
    DELIVERED = "delivered"
    RECEIVED = "received"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    REFUSED = "refused"
    UNDELIVERABLE = "undeliverable"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Entry:
    """A record to project. `envelope` is None where the record is no event of ours: it moves the offset on."""

    topic: str
    partition: int
    offset: int
    timestamp: datetime
    envelope: Envelope | None


@dataclass(frozen=True, slots=True)
class Consent:
    subject: str
    purpose: str
    choice: Choice
    version: int | None
    occurred_at: datetime
    toggle_id: str
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class NoticeRow:
    id: str
    partner: str
    subject: str
    purpose: str
    action: Action
    status: NoticeStatus
    issued_at: datetime
    delivered_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One thing that happened to a subject. `summary` is for people."""

    at: datetime
    kind: str
    summary: str
    partner: str | None
    purpose: str | None
    event_id: str
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PartnerLag:
    """A partner's row for operators. `delivered` and `acknowledged` count notices since ever. `overdue` counts
    each notice once, though both of its clocks may have run out."""

    partner: str
    name: str
    status: PartnerStatus
    state: LagState
    open: int
    delivered: int
    acknowledged: int
    oldest_open_at: datetime | None
    oldest_open_seconds: float | None
    overdue: int
    overdue_receive: int
    overdue_complete: int
    backlog: int
    receive_lag: Percentiles
    complete_lag: Percentiles
    last_success_at: datetime | None
    last_failure_at: datetime | None
    last_error: str | None
    next_attempt_at: datetime | None
    consecutive_failures: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Since ever, except `open`, `consents` and `opted_out`, which are of now."""

    toggles: int
    consents: int
    opted_out: int
    requests: int
    notices: int
    open: int
    acknowledged: int
    poisoned: int
