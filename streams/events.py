"""The events that travel, and nothing else: what each carries is a frozen pydantic model.

All times are aware datetimes and leave as RFC 3339 in UTC. Unknown fields are refused: a misspelt
`retroactiv` must not silently mean "keep everything".
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from streams.clocks import Clock, Watch
from streams.kinds import Action, Choice
from streams.moments import Moment
from streams.names import Dataset, EventId, PartnerId, Purpose, Subject, SubjectKind, Version
from streams.partitioning import partition_of
from streams.ranks import Rank
from streams.signing import Scheme
from streams.trusting import trusted

Lane = Annotated[int, Field(ge=0)]
Offset = Annotated[int, Field(ge=0)]


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
    UNKNOWN = "unknown"  #: we have no word for it; it completes nothing, and the partner's own word is in `code`


class RefusalReason(StrEnum):
    EXEMPT = "exempt"
    LEGAL_HOLD = "legal_hold"
    IDENTITY_NOT_VERIFIED = "identity_not_verified"
    OUTSIDE_JURISDICTION = "outside_jurisdiction"
    OTHER = "other"


class Vocabulary(StrEnum):
    """Public ones that a partner may answer in; see `streams.vocabulary`."""

    OPENDSR = "opendsr"
    DRP = "drp"
    DROP = "drop"


class PartnerStatus(StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"  #: by an operator; the lane waits
    SUSPENDED = "suspended"  #: by an operator, or since it answered 410 Gone; the lane waits for an operator
    REMOVED = "removed"  #: gets nothing any more


class Data(BaseModel):
    """What an event carries. A field that may be None has None as its default: it is left out then."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    TYPE: ClassVar[str]

    def key(self) -> str | None:
        """The key under which the event travels, hence its partition."""
        return None


class ConsentToggled(Data):
    """A user's choice, as the platform saw it. Of two, the one of the higher rank counts; see `streams.ranks`."""

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
    rank: Rank | None = None

    def key(self) -> str:
        return self.subject


class DatasetVersion(BaseModel):
    """What a partner was given."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    dataset: Dataset
    version: Version


#: Datasets that a notice names; of more it names the newest, and says how many there are.
MOST_DATASETS = 100
Datasets = Annotated[tuple[DatasetVersion, ...], Field(min_length=1, max_length=MOST_DATASETS)]


class DeletionRequested(Data):
    """Partners in scope must delete what they hold of the subject for the purpose. With a `partner` it is that one
    alone, which was handed these datasets though the subject had chosen otherwise by then; `toggle_id` names the
    export in that case."""

    TYPE: ClassVar[str] = "io.rescind.deletion.requested"
    subject: Subject
    purpose: Purpose
    toggle_id: EventId
    occurred_at: Moment
    accepted_at: Moment
    partner: PartnerId | None = None
    datasets: Datasets | None = None
    #: Of the choice that it comes from; None where there is none, as for a subject who never chose.
    rank: Rank | None = None

    def key(self) -> str:
        return self.subject


class SealedSecret(BaseModel):
    """A key of Standard Webhooks that signs a partner's requests, encrypted with the service's own key."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    scheme: Scheme
    sealed: str = Field(repr=False)
    #: What the partner checks with, for `v1a`; with `v1` it holds the secret itself.
    public_key: str | None = None
    #: None until another one takes its place.
    expires_at: Moment | None = None


def _unextended(clock: Clock) -> Clock:
    if clock.extension is not None:
        raise ValueError("only what is to be completed can be extended")
    return clock


ReceiveClock = Annotated[Clock, AfterValidator(_unextended)]
RECEIVE_WITHIN, COMPLETE_WITHIN = Clock(within="PT24H"), Clock(within="P30D")


class Clocks(NamedTuple):
    """From the start until the partner must have answered 2xx, and until it must have completed."""

    receive: Clock
    complete: Clock


class OtherClocks(BaseModel):
    """Clocks for one kind of notice; what is None is as for all others."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    receive: ReceiveClock | None = None
    complete: Clock | None = None


class ClocksByAction(BaseModel):
    """Where a kind of notice has clocks of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    stop: OtherClocks | None = None
    erase: OtherClocks | None = None
    resume: OtherClocks | None = None


#: Secrets of one scheme that sign at the same time: the newest, and those that it and the one before replaced.
MOST_SECRETS = 3


_AS_EVER = OtherClocks()


class Partner(Data):
    """The whole state of a partner; every event about a partner carries it, so that the newest is enough."""

    id: PartnerId
    name: Annotated[str, Field(min_length=1, max_length=200)]
    url: Annotated[str, Field(max_length=2000)]
    purposes: tuple[Purpose, ...] = Field(min_length=1, max_length=1000)
    #: Empty means every kind.
    subject_kinds: tuple[SubjectKind, ...] = Field(default=(), max_length=100)
    lane: Lane
    #: A wide partner's other lanes; a subject always goes by the same one.
    more_lanes: tuple[Lane, ...] = Field(default=(), max_length=15)
    batch_size: Annotated[int, Field(ge=1, le=1000)] = 100
    #: Milliseconds that a busy lane waits for more, to fill a request.
    linger_ms: Annotated[int, Field(ge=0, le=5000)] = 50
    gzip: bool = False
    #: Requests a second, of all its lanes together; None means as many as it takes.
    max_requests_per_second: Annotated[float, Field(gt=0, le=10_000)] | None = None
    #: Requests at once; there is one a lane at most anyway. With several workers, each counts for itself.
    max_in_flight: Annotated[int, Field(ge=1, le=16)] | None = None
    #: Bytes of a request's body, before gzip; a single notice goes out whatever it weighs.
    max_body_bytes: Annotated[int, Field(ge=1024, le=8 * 1024 * 1024)] = 1024 * 1024
    #: From acceptance until the partner must have answered 2xx, and until it must have completed.
    receive_within: ReceiveClock = RECEIVE_WITHIN
    complete_within: Clock = COMPLETE_WITHIN
    clocks: ClocksByAction = ClocksByAction()
    #: None means as usual.
    watch: Watch | None = None
    #: Does it get no export while anything of its is overdue?
    suspend_exports_when_overdue: bool = False
    #: Does `suppressed` complete an `erase`? Only where a contract allows it: the data is still there.
    suppression_completes: bool = False
    status: PartnerStatus = PartnerStatus.ACTIVE
    status_reason: Annotated[str, Field(max_length=500)] | None = None
    #: What was accepted from then on is not issued to it: its lane runs empty, so that it can be removed.
    draining_since: Moment | None = None
    #: The newest first.
    secrets: tuple[SealedSecret, ...] = Field(min_length=1, max_length=MOST_SECRETS * len(Scheme))
    created_at: Moment
    updated_at: Moment
    #: Counts the changes, from 1.
    revision: Annotated[int, Field(ge=1)] = 1

    def key(self) -> str:
        return self.id

    @model_validator(mode="before")
    @classmethod
    def _of_one_secret(cls, given: Any) -> Any:
        """Logs hold partners from when each had one secret, for `v1`."""
        if not isinstance(given, dict) or "sealed_secret" not in given or "secrets" in given:
            return given
        others = {name: value for name, value in given.items() if name != "sealed_secret"}
        return others | {"secrets": [{"scheme": Scheme.V1, "sealed": given["sealed_secret"]}]}

    @property
    def signature_schemes(self) -> tuple[Scheme, ...]:
        """Those that stay."""
        return tuple(secret.scheme for secret in self.secrets if secret.expires_at is None)

    def live_secrets(self, now: datetime) -> tuple[SealedSecret, ...]:
        """Those that sign what is sent now."""
        return tuple(secret for secret in self.secrets if secret.expires_at is None or secret.expires_at > now)

    @property
    def lanes(self) -> tuple[int, ...]:
        return (self.lane, *self.more_lanes)

    def lane_of(self, subject: str) -> int:
        """A subject always goes by the same lane, so that its notices keep their order."""
        return self.lane if not self.more_lanes else self.lanes[partition_of(subject.encode(), len(self.lanes))]

    def clocks_of(self, action: Action) -> Clocks:
        other = getattr(self.clocks, action) or _AS_EVER
        return Clocks(other.receive or self.receive_within, other.complete or self.complete_within)

    def in_scope(self, purpose: str, kind: str, accepted_at: datetime) -> bool:
        """Must it hear of a choice that was accepted then?"""
        return (
            self.hears(accepted_at)
            and purpose in self.purposes
            and (not self.subject_kinds or kind in self.subject_kinds)
        )

    def hears(self, accepted_at: datetime) -> bool:
        """Is anything that was accepted then still issued to it?"""
        return self.status is not PartnerStatus.REMOVED and (
            self.draining_since is None or accepted_at < self.draining_since
        )


class PartnerRegistered(Partner):
    TYPE: ClassVar[str] = "io.rescind.partner.registered"


class PartnerChanged(Partner):
    TYPE: ClassVar[str] = "io.rescind.partner.changed"


class PartnerRemoved(Partner):
    TYPE: ClassVar[str] = "io.rescind.partner.removed"


class PartnerTried(Data):
    """Whatever waits for this partner to be tried again is tried now: an operator asked for that, or the partner took
    a test. It has a key of its own, as `PartnerSuspended` has."""

    TYPE: ClassVar[str] = "io.rescind.partner.tried"
    partner: PartnerId
    tried_at: Moment

    def key(self) -> str:
        return f"{self.partner}/tried"


class PartnerSuspended(Data):
    """A worker gave a partner up, as it was in this revision; any later one, by an operator, ends that. It has a key
    of its own, so that neither writer can undo what the other one did."""

    TYPE: ClassVar[str] = "io.rescind.partner.suspended"
    partner: PartnerId
    revision: Annotated[int, Field(ge=1)]
    reason: Annotated[str, Field(max_length=500)]
    status_code: int | None = None
    suspended_at: Moment

    def key(self) -> str:
        return f"{self.partner}/suspended"


def with_suspension(partner: Partner, suspension: PartnerSuspended | None) -> Partner:
    """A partner as it counts."""
    if suspension is None or suspension.revision != partner.revision or partner.status is not PartnerStatus.ACTIVE:
        return partner
    return partner.model_copy(update={"status": PartnerStatus.SUSPENDED, "status_reason": suspension.reason})


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
    #: By when, if the partner asks for more time before `complete_by` and says why; None if it cannot.
    extended_complete_by: Moment | None = None
    #: Of the choice that it comes from; None where there is none.
    rank: Rank | None = None
    #: How its deadlines are watched; None means as usual.
    watch: Watch | None = None
    #: Which reminder this is, from 1; None for the notice itself.
    reminder: Annotated[int, Field(ge=1)] | None = None
    #: In which datasets the partner was given the subject, as far as is known: the newest, and how many there are.
    datasets: Datasets | None = None
    datasets_count: Annotated[int, Field(ge=1)] | None = None
    #: Does `suppressed` complete this `erase`, as its partner was set when it was issued? None if not.
    suppression_completes: Literal[True] | None = None
    #: The dates by the person's request, where they had passed already when the notice was issued. The platform missed
    #: them; the partner is judged by `receive_by` and `complete_by`, which are counted from the issue then.
    legal_receive_by: Moment | None = None
    legal_complete_by: Moment | None = None


class Actor(BaseModel):
    """Whose API key did something; never the key itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    key: Annotated[str, Field(max_length=64)]
    role: Annotated[str, Field(max_length=32)]
    label: Annotated[str, Field(max_length=200)] | None = None

    @property
    def words(self) -> str:
        return f"{self.label} (key {self.key})" if self.label else f"key {self.key}"


class Again(BaseModel):
    """Why notices that were issued before are issued once more, and by whom."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    how: Literal["replay", "redrive", "reminder", "retry"]
    by: Actor


class Failing(BaseModel):
    """What came of one notice that its partner did not take, each time that it was sent alone, while the partner's
    endpoint took others. `lane` and `offset` say where the notice was issued first."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    lane: Lane
    offset: Offset
    #: Attempts, and how many of them were answered 400, 413 or 422.
    failures: Annotated[int, Field(ge=1)]
    refusals: Annotated[int, Field(ge=0)]
    first_refused_at: Moment | None = None
    #: Has the endpoint taken another notice of the same action meanwhile? Only then the notice itself is at fault.
    others_taken: bool


class NoticesIssued(Data):
    """A pack: one or more notices for one partner, in the partner's lane. One that is issued again keeps its id, its
    clocks and everything else."""

    TYPE: ClassVar[str] = "io.rescind.notices.issued"
    partner: PartnerId
    lane: Lane
    notices: tuple[Notice, ...] = Field(min_length=1, max_length=1000)
    again: Again | None = None
    #: Where notices are issued again: the offset of the lane below which whoever issues them has looked for later ones
    #: that reverse them. From there on the lane's worker looks.
    checked: Offset | None = None
    #: Where the one notice is one that was parked: what came of it so far.
    failing: Failing | None = None
    #: Where each of them stands in a trace, as `streams.tracing.Trace.text` says it, empty for none; None if none does.
    traces: Annotated[tuple[str, ...], Field(max_length=1000)] | None = None


#: Bytes that are kept of a reply that was not understood.
EXCERPT_CAP = 200


class ReplyProblem(BaseModel):
    """Why a reply, or a part of it, was not understood: in words, and the first 200 bytes of it as text."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    reason: Annotated[str, Field(min_length=1, max_length=500)]
    excerpt: Annotated[str, Field(max_length=EXCERPT_CAP)]


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
    #: Of how many notices the reply said something that we understand, and of how many something that we do not. It
    #: said nothing of the others.
    acknowledged: Annotated[int, Field(ge=0)] = 0
    not_understood: Annotated[int, Field(ge=0)] = 0
    #: What was not understood of the reply; None if it was understood, or said nothing.
    reply_problem: ReplyProblem | None = None

    def key(self) -> str:
        return self.partner


class NoticesSuperseded(Data):
    """What stands in a lane and was never taken: the user chose otherwise before it was delivered, and a later notice
    in the lane says so. `BatchDelivered` names them as `undelivered`, too, if anything else was delivered there."""

    TYPE: ClassVar[str] = "io.rescind.notices.superseded"
    partner: PartnerId
    lane: Lane
    #: The ids of notices.
    superseded: tuple[EventId, ...] = Field(min_length=1, max_length=1000)
    superseded_at: Moment

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


#: Bytes of evidence as JSON; whoever takes it in sees to it.
EVIDENCE_CAP = 16 * 1024
#: What a partner calls its answer itself.
Code = Annotated[str, Field(min_length=1, max_length=200)]


class Acknowledged(Data):
    """A partner's answer about one notice. `via` says how it came. `code` is the partner's own word for it, of a
    public vocabulary if one is named. With `amends` a final answer takes the place of an earlier one, and `detail` says
    why."""

    TYPE: ClassVar[str] = "io.rescind.notice.acknowledged"
    notice_id: EventId
    partner: PartnerId
    subject: Subject
    status: AckStatus
    outcome: Outcome | None = None
    reason: RefusalReason | None = None
    detail: Annotated[str, Field(max_length=1000)] | None = None
    expected_by: Moment | None = None
    #: Does it ask for the one extension of the notice's clock? `detail` says why.
    extend: Literal[True] | None = None
    occurred_at: Moment
    evidence: Annotated[dict[str, Any], AfterValidator(_writable)] | None = None
    via: Literal["reply", "api", "callback"]
    #: Where it was signed: the id of the `StatementReceived` that says it.
    statement: EventId | None = None
    vocabulary: Vocabulary | None = None
    code: Code | None = None
    amends: Literal[True] | None = None

    def key(self) -> str:
        # All that a partner says stands in one partition, so every ledger reads it in the same order.
        return self.partner

    @property
    def content(self) -> list[str]:
        """What it says, for its id."""
        return content_of(**{name: getattr(self, name) for name in _SAID})


def content_of(
    *,
    status: AckStatus,
    outcome: Outcome | None,
    reason: RefusalReason | None,
    detail: str | None,
    expected_by: datetime | None,
    evidence: dict[str, Any] | None,
    vocabulary: Vocabulary | None,
    code: str | None,
    extend: bool | None,
    amends: bool | None,
) -> list[str]:
    """What an acknowledgement says, for its id: who says the same again says nothing new."""
    expected = "" if expected_by is None else expected_by.isoformat().replace("+00:00", "Z")
    said = [status, outcome or "", reason or "", detail or "", expected]
    if evidence is not None:
        # Another piece of evidence is another statement; without this it would be dropped as a repetition.
        said.append(orjson.dumps(evidence, option=orjson.OPT_SORT_KEYS).decode())
    if code is not None:
        said.append(f"{vocabulary or ''}:{code}")
    if extend:
        said.append("extend")
    if amends:
        said.append("amends")
    return said


_SAID = ("status", "outcome", "reason", "detail", "expected_by", "evidence", "vocabulary", "code", "extend", "amends")


class AcknowledgedItem(BaseModel):
    """What a reply says of one notice. `id` is as unique as what is said: see `streams.ids.acknowledgement_id`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: EventId
    notice_id: EventId
    subject: Subject
    status: AckStatus
    outcome: Outcome | None = None
    reason: RefusalReason | None = None
    detail: Annotated[str, Field(max_length=1000)] | None = None
    extend: Literal[True] | None = None
    expected_by: Moment | None = None
    evidence: Annotated[dict[str, Any], AfterValidator(_writable)] | None = None
    vocabulary: Vocabulary | None = None
    code: Code | None = None
    amends: Literal[True] | None = None


class ReplyAcknowledged(Data):
    """What a partner's reply to a request says of the notices in it, in order. One event for many notices: each by
    itself would cost the log and its readers more than the delivery did."""

    TYPE: ClassVar[str] = "io.rescind.reply.acknowledged"
    partner: PartnerId
    occurred_at: Moment
    items: tuple[AcknowledgedItem, ...] = Field(min_length=1, max_length=1000)

    def key(self) -> str:
        return self.partner

    def each(self) -> Iterator[tuple[str, Acknowledged]]:
        """As if each had been said by itself, with its id."""
        for item in self.items:
            said = dict(item.__dict__)
            identity = said.pop("id")
            yield identity, _acknowledged(partner=self.partner, occurred_at=self.occurred_at, via="reply", **said)


_acknowledged = trusted(Acknowledged)


#: Characters of a callback's headers.
MOST_OF_HEADERS = {"webhook-id": 200, "webhook-timestamp": 100, "webhook-signature": 2000}


class StatementReceived(Data):
    """What a partner signed, as it stood (base64): a callback, in which it acknowledges notices. Its headers are those
    of Standard Webhooks."""

    TYPE: ClassVar[str] = "io.rescind.statement.received"
    partner: PartnerId
    webhook_id: Annotated[str, Field(max_length=MOST_OF_HEADERS["webhook-id"])]
    webhook_timestamp: Annotated[str, Field(max_length=MOST_OF_HEADERS["webhook-timestamp"])]
    webhook_signature: Annotated[str, Field(max_length=MOST_OF_HEADERS["webhook-signature"])]
    body_base64: Annotated[str, Field(max_length=2 * 1024 * 1024)]
    received_at: Moment

    def key(self) -> str:
        return self.partner


class NoticeParked(Data):
    """The partner did not take this notice alone, as it stands at this place, though its endpoint takes others. Its
    lane goes on without it. It is issued again from `retry_at` on."""

    TYPE: ClassVar[str] = "io.rescind.notice.parked"
    partner: PartnerId
    lane: Lane
    offset: Offset
    notice_id: EventId
    subject: Subject
    status_code: int | None = None
    detail: Annotated[str, Field(max_length=1000)]
    failing: Failing
    parked_at: Moment
    retry_at: Moment

    def key(self) -> str:
        return self.partner


class NoticeUndeliverable(Data):
    """The partner refuses this notice for good, as it stands at this place, in its own words."""

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
    """A message that we could not process, as it stood (base64), and why. `headers` are names with their values in
    base64."""

    TYPE: ClassVar[str] = "io.rescind.message.poisoned"
    topic: str
    partition: int
    offset: Offset
    reason: Annotated[str, Field(max_length=2000)]
    key_base64: str | None = None
    value_base64: str | None = None
    headers: tuple[tuple[str, str | None], ...] | None = None
    poisoned_at: Moment


class Act(StrEnum):
    """What somebody did by hand."""

    REGISTER = "register"
    CHANGE = "change"
    PAUSE = "pause"
    RESUME = "resume"
    SUSPEND = "suspend"
    DRAIN = "drain"
    UNDRAIN = "undrain"
    ROTATE = "rotate"
    REMOVE = "remove"
    TRY = "try"
    REPLAY = "replay"
    REDRIVE = "redrive"
    DISCARD = "discard"
    MARK_REPLIES_SEEN = "mark_replies_seen"  #: the replies of a partner that were not understood until then


class OperatorActed(Data):
    """Somebody did something by hand. `details` are for whoever looks back."""

    TYPE: ClassVar[str] = "io.rescind.operator.acted"
    act: Act
    by: Actor
    partner: PartnerId | None = None
    details: Annotated[dict[str, Any], AfterValidator(_writable)] = Field(default={})
    #: The ids of `MessagePoisoned` that are done with by this.
    poisoned: tuple[EventId, ...] = Field(default=(), max_length=1000)
    #: The ids of the partner's notices that are given up by this: nothing is asked of them any more.
    notices: tuple[EventId, ...] = Field(default=(), max_length=1000)
    reason: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    #: When the last reply came that is marked as seen by this, by the clock of who got it, which may differ from that
    #: of `acted_at`.
    seen_until: Moment | None = None
    acted_at: Moment
