"""What the ledger answers with: frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from ledger.lag import Percentiles, Window
from ledger.partner_state import LagState
from streams.cloudevents import Envelope
from streams.events import AckStatus, Act, PartnerStatus
from streams.kinds import Action, Choice


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
    """A record to project. `envelope` is None where the record is no event of ours: it moves the offset on. There is
    nothing to be read from offset `since` on to the record, on Kafka for instance since a transaction ended there; None
    means that nobody can tell."""

    topic: str
    partition: int
    offset: int
    timestamp: datetime
    envelope: Envelope | None
    since: int | None = None


@dataclass(frozen=True, slots=True)
class Consent:
    subject: str
    purpose: str
    choice: Choice
    version: int | None
    occurred_at: datetime
    toggle_id: str
    decided_at: datetime


#: Neither done nor over.
OPEN = (
    NoticeStatus.QUEUED,
    NoticeStatus.UNDELIVERABLE,
    NoticeStatus.DELIVERED,
    NoticeStatus.RECEIVED,
    NoticeStatus.IN_PROGRESS,
)


class Cancelled(StrEnum):
    """Why a notice is cancelled."""

    REMOVED = "removed"  #: its partner was
    REVERSED = "reversed"  #: the user chose otherwise before it was delivered
    DISCARDED = "discarded"  #: an operator gave it up, on the record


@dataclass(frozen=True, slots=True)
class NoticeRow:
    """A notice and what became of it. `delivered_at` is when its partner's endpoint took it, `received_at` when the
    partner first said something of it, `completed_at` when it gave the final answer that counts, be it done or refused.
    An open one whose outcome is `suppressed` is one to erase, of which the data is still there."""

    id: str
    partner: str
    subject: str
    purpose: str
    action: Action
    status: NoticeStatus
    outcome: str | None
    reason: str | None
    occurred_at: datetime
    issued_at: datetime
    receive_by: datetime
    complete_by: datetime
    delivered_at: datetime | None
    received_at: datetime | None
    completed_at: datetime | None
    undeliverable_at: datetime | None
    #: Does it wait to be tried again, since its partner did not take it alone though it takes others?
    parked: bool
    #: From when on it is tried again, and what its partner said last; of what is parked or undeliverable.
    retry_at: datetime | None
    last_words: str | None
    cancelled_at: datetime | None
    cancelled_because: Cancelled | None
    #: By when, if it is extended; None if it cannot be.
    extended_complete_by: datetime | None
    #: The id of the acknowledgement that extended it.
    extended_by: str | None
    #: When the partner last said that it means to be done.
    expected_by: datetime | None
    #: Does `suppressed` complete it?
    suppression_completes: bool = False
    #: The dates by the person's request that the platform had missed already when it issued the notice.
    legal_receive_by: datetime | None = None
    legal_complete_by: datetime | None = None
    #: When its partner gave its first final answer, if it took that back since.
    answered_first_at: datetime | None = None

    @property
    def due_by(self) -> datetime:
        """By when it must be completed, as extended."""
        later = self.extended_complete_by
        return self.complete_by if self.extended_by is None or later is None else later


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A final answer that a partner gave after another one, without amending that. `stands...` is what counts now, and
    since when; None if it is open again. The rest is what it said `at` that time, which undid nothing."""

    id: str
    notice_id: str
    partner: str
    subject: str
    purpose: str
    action: Action
    stands: NoticeStatus
    stands_outcome: str | None
    stands_reason: str | None
    stands_since: datetime | None
    status: AckStatus
    outcome: str | None
    reason: str | None
    detail: str | None
    evidence: dict[str, Any] | None
    via: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Statement:
    """A callback as its partner signed it, by Standard Webhooks."""

    id: str
    partner: str
    webhook_id: str
    webhook_timestamp: str
    webhook_signature: str
    body_base64: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Amount:
    """How much it would be to ask again: notices, and about how many requests. `superseded` are left out, since a
    later notice to the same partner asks for the opposite."""

    notices: int = 0
    requests: int = 0
    superseded: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """A dead letter of theirs: a notice that its partner does not take. `lane` and `offset` are where it did so last,
    since `refused_at`, and `detail` are its words. It refuses the notice for good, or else the notice is `parked`, and
    tried again from `retry_at` on; `attempts` is how often it was sent alone until then."""

    notice_id: str
    partner: str
    subject: str
    purpose: str
    action: Action
    lane: int
    offset: int
    status_code: int | None
    detail: str
    refused_at: datetime
    issued_at: datetime
    complete_by: datetime
    parked: bool
    retry_at: datetime | None
    attempts: int | None


class Became(StrEnum):
    """What became of a notice that was issued again."""

    WAITING = "waiting"  #: it was not sent yet, or its partner does not answer
    TAKEN = "taken"
    REFUSED = "refused"  #: for good, once more
    PARKED = "parked"  #: its partner did not take it alone; it is tried again by itself
    CANCELLED = "cancelled"  #: the user chose otherwise, its partner was removed, or an operator gave it up


@dataclass(frozen=True, slots=True)
class Redriven:
    """What became of a notice that was issued again. `words` are the partner's, where it did not take it, or takes
    nothing right now, and `retry_at` is when it is tried again, if it is parked."""

    notice_id: str
    outcome: Became
    words: str | None
    retry_at: datetime | None


@dataclass(frozen=True, slots=True)
class Poisoned:
    """A dead letter of ours: a message that we could not process, as it stood. Bytes are in base64; `headers` is None
    where they were not recorded."""

    id: str
    topic: str
    partition: int
    offset: int
    reason: str
    poisoned_at: datetime
    key_base64: str | None
    value_base64: str | None
    headers: tuple[tuple[str, str | None], ...] | None


@dataclass(frozen=True, slots=True)
class Done:
    """What somebody did by hand. `key` is the id of the API key."""

    id: str
    act: Act
    at: datetime
    key: str
    role: str
    label: str | None
    partner: str | None
    details: dict[str, Any]


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
class WindowLag:
    """How many notices were issued in a window and how many got their partner's last word, also per hour, and how long
    it took those that were delivered, and answered, in it.

    Every final answer was `in_time` or `late`, by the time to complete as extended; some of either were `refused`, and
    `late_or_refused` counts each once. Shares are parts of `answered`, from 0 to 1; None where nothing was answered."""

    window: Window
    arrived: int
    answered: int
    in_time: int
    late: int
    refused: int
    late_or_refused: int
    in_time_share: float | None
    late_share: float | None
    refused_share: float | None
    arrivals_per_hour: float
    answers_per_hour: float
    receive_lag: Percentiles
    complete_lag: Percentiles


@dataclass(frozen=True, slots=True)
class KindLag:
    """A partner's notices of one action. `overdue` counts each once, though both of its clocks may have run out, and so
    does `at_risk`, which leaves out what is overdue by either. `overdue_taken_at` is when a notice past its receive-by
    was last taken, and `overdue_answered_at` when one past its complete-by was last answered for good."""

    kind: Action
    open: int
    oldest_open_at: datetime | None
    oldest_open_seconds: float | None
    overdue: int
    overdue_receive: int
    overdue_complete: int
    at_risk: int
    at_risk_receive: int
    at_risk_complete: int
    backlog: int
    undeliverable: int
    parked: int
    overdue_taken_at: datetime | None
    overdue_answered_at: datetime | None
    windows: tuple[WindowLag, ...]


@dataclass(frozen=True, slots=True)
class ReplyNotices:
    """What the replies to requests said of the notices in them. The three add up to all notices that were delivered,
    each as often as it was."""

    acknowledged: int = 0
    not_understood: int = 0
    unanswered: int = 0


@dataclass(frozen=True, slots=True)
class UnclearReply:
    """A reply that was not understood, or not all of it. `excerpt` is its first 200 bytes as text, and `webhook_id` the
    request that it answered. It is `open`, and makes the partner's state at least WARN, until a later reply is
    understood or an operator marks it as seen."""

    at: datetime
    reason: str
    excerpt: str
    webhook_id: str
    open: bool


@dataclass(frozen=True, slots=True)
class Replies:
    """What a partner replied to requests, over all time. `not_understood` counts replies, not notices;
    `understood_at` is when one was last understood as a whole, and `seen_at` when an operator last marked what was not
    understood as seen."""

    not_understood: int = 0
    notices: ReplyNotices = ReplyNotices()
    last_not_understood: UnclearReply | None = None
    understood_at: datetime | None = None
    seen_at: datetime | None = None

    @property
    def unclear(self) -> UnclearReply | None:
        """The last reply that was not understood, while that is open."""
        last = self.last_not_understood
        return last if last is not None and last.open else None


@dataclass(frozen=True, slots=True)
class PartnerLag:
    """A partner's row for operators. `reason` says in words why it is in its state. `delivered` and `acknowledged`
    count notices over all time, `contradictions` final answers after other final ones, and `replies` tells what its
    replies said. `overdue` counts each notice once,
    though both of its clocks may have run out, and so does `at_risk`, which leaves out what is overdue by either. The
    percentiles are over one window; `windows` and `kinds` tell of those that were asked for."""

    partner: str
    name: str
    status: PartnerStatus
    state: LagState
    reason: str
    open: int
    delivered: int
    acknowledged: int
    oldest_open_at: datetime | None
    oldest_open_seconds: float | None
    overdue: int
    overdue_receive: int
    overdue_complete: int
    at_risk: int
    at_risk_receive: int
    at_risk_complete: int
    backlog: int
    undeliverable: int
    parked: int
    contradictions: int
    replies: Replies
    receive_lag: Percentiles
    complete_lag: Percentiles
    last_success_at: datetime | None
    last_failure_at: datetime | None
    last_error: str | None
    next_attempt_at: datetime | None
    consecutive_failures: int
    windows: tuple[WindowLag, ...]
    kinds: tuple[KindLag, ...]


@dataclass(frozen=True, slots=True)
class Totals:
    """Since ever, except `open`, `consents`, `opted_out` and the dead letters, which are of now: `undeliverable` and
    `parked` those of partners, `poisoned_open` ours."""

    toggles: int
    consents: int
    opted_out: int
    requests: int
    notices: int
    open: int
    acknowledged: int
    undeliverable: int
    parked: int
    poisoned: int
    poisoned_open: int
