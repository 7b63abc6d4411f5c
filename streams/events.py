"""The events that travel, and nothing else: what each carries is a frozen pydantic model.

All times are aware datetimes and leave as RFC 3339 in UTC. Unknown fields are refused: a misspelt
`retroactiv` must not silently mean "keep everything".
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from streams.moments import Moment
from streams.names import EventId, PartnerId, Purpose, Subject, SubjectKind

Lane = Annotated[int, Field(ge=0)]
#: Seconds; ten years at most, so that a deadline is always a date.
Within = Annotated[int, Field(gt=0, le=10 * 366 * 86_400)]
Offset = Annotated[int, Field(ge=0)]


class Choice(StrEnum):
    OPT_OUT = "opt_out"
    OPT_IN = "opt_in"


class Action(StrEnum):
    """What a notice asks of a partner."""

    STOP = "stop"  #: use nothing of the subject from now on
    ERASE = "erase"  #: stop, and delete what is held already
    RESUME = "resume"  #: the subject allows it again


class AckStatus(StrEnum):
    RECEIVED = "received"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    REFUSED = "refused"


class Outcome(StrEnum):
    """How a notice was completed."""

    DELETED = "deleted"
    SUPPRESSED = "suppressed"
    NOT_FOUND = "not_found"
    ALREADY_DELETED = "already_deleted"
    RESUMED = "resumed"  #: the answer to a `resume`, which asks for no deletion


class RefusalReason(StrEnum):
    EXEMPT = "exempt"
    LEGAL_HOLD = "legal_hold"
    IDENTITY_NOT_VERIFIED = "identity_not_verified"
    OUTSIDE_JURISDICTION = "outside_jurisdiction"
    OTHER = "other"


class PartnerStatus(StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"  #: by an operator; the lane waits
    SUSPENDED = "suspended"  #: the partner answered 410 Gone; the lane waits for an operator
    REMOVED = "removed"  #: gets nothing any more


class Data(BaseModel):
    """What an event carries. A field that may be None has None as its default: it is left out then."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    TYPE: ClassVar[str]

    def key(self) -> str | None:
        """The key under which the event travels, hence its partition."""
        return None


class ConsentToggled(Data):
    """A user's choice, as the platform saw it. `version` (if the platform counts) decides before
    `occurred_at`, and that before the event's id."""

    TYPE: ClassVar[str] = "io.rescind.consent.toggled"
    subject: Subject
    purpose: Purpose
    choice: Choice
    occurred_at: Moment
    version: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    #: Does an opt-out reach back to what partners hold already? Ignored for an opt-in.
    retroactive: bool = True
    #: Where the user flipped it, for people who read the timeline.
    source: Annotated[str, Field(max_length=200)] | None = None

    def key(self) -> str:
        return self.subject


class ConsentChanged(Data):
    """The consent table took a toggle as a transition. A retroactive opt-out is followed by its
    `DeletionRequested` in the same partition."""

    TYPE: ClassVar[str] = "io.rescind.consent.changed"
    subject: Subject
    purpose: Purpose
    choice: Choice
    previous: Choice | None = None
    retroactive: bool
    toggle_id: EventId
    version: int | None = None
    occurred_at: Moment
    #: When the toggle became durable in the log.
    accepted_at: Moment

    def key(self) -> str:
        return self.subject


class DeletionRequested(Data):
    """Partners in scope must delete what they hold of the subject for the purpose."""

    TYPE: ClassVar[str] = "io.rescind.deletion.requested"
    subject: Subject
    purpose: Purpose
    toggle_id: EventId
    occurred_at: Moment
    accepted_at: Moment

    def key(self) -> str:
        return self.subject


class Partner(Data):
    """The whole state of a partner; every event about a partner carries it, so that the newest is enough."""

    id: PartnerId
    name: Annotated[str, Field(min_length=1, max_length=200)]
    url: Annotated[str, Field(max_length=2000)]
    purposes: tuple[Purpose, ...] = Field(min_length=1, max_length=1000)
    #: Empty means every kind.
    subject_kinds: tuple[SubjectKind, ...] = Field(default=(), max_length=100)
    lane: Lane
    batch_size: Annotated[int, Field(ge=1, le=1000)] = 100
    #: Seconds from issue until the partner must have answered 2xx, and until it must have completed.
    receive_within: Within = 86_400
    complete_within: Within = 30 * 86_400
    status: PartnerStatus = PartnerStatus.ACTIVE
    status_reason: Annotated[str, Field(max_length=500)] | None = None
    #: The signing secret, encrypted with the service's key; never shown, never logged.
    sealed_secret: str = Field(repr=False)
    created_at: Moment
    updated_at: Moment
    #: Counts the changes, from 1.
    revision: Annotated[int, Field(ge=1)] = 1

    def key(self) -> str:
        return self.id

    def in_scope(self, purpose: str, kind: str) -> bool:
        return (
            self.status is not PartnerStatus.REMOVED
            and purpose in self.purposes
            and (not self.subject_kinds or kind in self.subject_kinds)
        )


class PartnerRegistered(Partner):
    TYPE: ClassVar[str] = "io.rescind.partner.registered"


class PartnerChanged(Partner):
    TYPE: ClassVar[str] = "io.rescind.partner.changed"


class PartnerRemoved(Partner):
    TYPE: ClassVar[str] = "io.rescind.partner.removed"


class Notice(BaseModel):
    """What one partner is asked to do about one subject, and by when."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: EventId
    #: The id of the decision that caused it.
    cause_id: EventId
    toggle_id: EventId
    action: Action
    subject: Subject
    purpose: Purpose
    occurred_at: Moment
    issued_at: Moment
    receive_by: Moment
    complete_by: Moment


class NoticesIssued(Data):
    """A pack: one or more notices for one partner, in the partner's lane."""

    TYPE: ClassVar[str] = "io.rescind.notices.issued"
    partner: PartnerId
    lane: Lane
    notices: tuple[Notice, ...] = Field(min_length=1, max_length=1000)


class BatchDelivered(Data):
    """The partner's endpoint took what stands at these offsets of its lane (both ends included), but for
    the notices in `undelivered`. One event a batch."""

    TYPE: ClassVar[str] = "io.rescind.batch.delivered"
    partner: PartnerId
    lane: Lane
    first_offset: Offset
    last_offset: Offset
    notices: Annotated[int, Field(ge=0)]
    webhook_id: str
    attempt: Annotated[int, Field(ge=1)]
    status_code: int
    duration_ms: Annotated[float, Field(ge=0)]
    delivered_at: Moment
    undelivered: tuple[EventId, ...] = ()

    def key(self) -> str:
        return self.partner


class BatchFailed(Data):
    """An attempt failed. `next_attempt_at` is None when no retry follows (the partner was removed)."""

    TYPE: ClassVar[str] = "io.rescind.batch.failed"
    partner: PartnerId
    lane: Lane
    first_offset: Offset
    last_offset: Offset
    notices: Annotated[int, Field(ge=0)]
    webhook_id: str
    attempt: Annotated[int, Field(ge=1)]
    status_code: int | None = None
    error: Annotated[str, Field(max_length=1000)]
    duration_ms: Annotated[float, Field(ge=0)]
    failed_at: Moment
    next_attempt_at: Moment | None = None

    def key(self) -> str:
        return self.partner


def _writable(value: dict[str, Any]) -> dict[str, Any]:
    # JSON may be nested deeper than orjson writes; it reads it nevertheless.
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise ValueError(str(error)) from None
    return value


class Acknowledged(Data):
    """A partner's answer about one notice. `via` says how it came."""

    TYPE: ClassVar[str] = "io.rescind.notice.acknowledged"
    notice_id: EventId
    partner: PartnerId
    subject: Subject
    status: AckStatus
    outcome: Outcome | None = None
    reason: RefusalReason | None = None
    detail: Annotated[str, Field(max_length=1000)] | None = None
    expected_by: Moment | None = None
    occurred_at: Moment
    evidence: Annotated[dict[str, Any], AfterValidator(_writable)] | None = None
    via: Literal["reply", "api"]

    def key(self) -> str:
        return self.subject


class NoticeUndeliverable(Data):
    """The partner refuses this notice for good, in its own words."""

    TYPE: ClassVar[str] = "io.rescind.notice.undeliverable"
    partner: PartnerId
    lane: Lane
    offset: Offset
    notice_id: EventId
    subject: Subject
    status_code: int
    detail: Annotated[str, Field(max_length=1000)]
    refused_at: Moment

    def key(self) -> str:
        return self.partner


class MessagePoisoned(Data):
    """A message that we could not process, as it stood (base64), and why."""

    TYPE: ClassVar[str] = "io.rescind.message.poisoned"
    topic: str
    partition: int
    offset: Offset
    reason: Annotated[str, Field(max_length=2000)]
    key_base64: str | None = None
    value_base64: str | None = None
    poisoned_at: Moment
