"""Partners: registered, changed and removed by operators."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from gateway.actions import acted
from gateway.auth import OperatorOnly, OperatorOrPartner
from gateway.bodies import parse_each, read_json, strictly
from gateway.context import Context, context_of
from gateway.openapi import body_of
from gateway.problems import Problem, problems
from gateway.registering import changed, check_url, removed
from gateway.rotating import new_secrets, rotated
from gateway.standing import Sign, amended, append, check_own, existing, lanes_for, look, settled, unknown
from ledger import ApiKey, Role
from streams.clocks import Clock, Watch
from streams.errors import LogUnavailable
from streams.events import (
    COMPLETE_WITHIN,
    RECEIVE_WITHIN,
    Act,
    ClocksByAction,
    Partner,
    PartnerRegistered,
    PartnerStatus,
    ReceiveClock,
)
from streams.names import Name, PartnerId, Purpose, Reason, SubjectKind
from streams.signing import Scheme

log = logging.getLogger(__name__)
router = APIRouter(tags=["partners"], prefix="/v1/partners")
V = TypeVar("V", bound=str)


def _once_each(values: tuple[V, ...]) -> tuple[V, ...]:
    if len(set(values)) != len(values):
        raise ValueError("an entry is repeated")
    return values


Purposes = Annotated[tuple[Purpose, ...], Field(min_length=1, max_length=1000), AfterValidator(_once_each)]
SubjectKinds = Annotated[tuple[SubjectKind, ...], Field(max_length=100), AfterValidator(_once_each)]
SignatureSchemes = Annotated[tuple[Scheme, ...], Field(min_length=1), AfterValidator(_once_each)]
Url = Annotated[str, Field(max_length=2000)]
BatchSize = Annotated[int, Field(ge=1, le=1000)]
LingerMs = Annotated[int, Field(ge=0, le=5000)]
RequestRate = Annotated[float, Field(gt=0, le=10_000)]
InFlight = Annotated[int, Field(ge=1, le=16)]
BodyBytes = Annotated[int, Field(ge=1024, le=8 * 1024 * 1024)]


class PartnerIn(BaseModel):
    """A registration. A clock is a period (`PT24H`, `P30D`, `P1M`, `15 business days`, which are Monday to Friday), a
    number of seconds, or an object, which may say what it runs from (`since`: `accepted_at`, the acceptance of the
    toggle, or `occurred_at`, the person's request), which days count (`week`: `mon-sat`), and whether the day of the
    start is the first (`inclusive`). `clocks` are those of a kind of notice alone; `watch` is when a
    notice is at risk, and reminded of, in fractions of its time. With `suspend_exports_when_overdue` it gets no
    export while anything of its is overdue. `suppression_completes` says that a contract lets `suppressed` complete an
    `erase`. `linger_ms` is how long a busy lane waits to fill a request, and
    `max_body_bytes` counts before gzip. `lanes` are requests that may go to the partner at once; a subject always
    goes by the same one. Signatures are those of Standard Webhooks: `v1` is HMAC-SHA256, `v1a` Ed25519; with both,
    each request has one of each."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: PartnerId
    name: Name
    url: Url
    purposes: Purposes
    subject_kinds: SubjectKinds = ()
    lanes: Annotated[int, Field(ge=1, le=16)] = 1
    batch_size: BatchSize = 100
    linger_ms: LingerMs = 50
    gzip: bool = False
    max_requests_per_second: RequestRate | None = None
    max_in_flight: InFlight | None = None
    max_body_bytes: BodyBytes = 1024 * 1024
    receive_within: ReceiveClock = RECEIVE_WITHIN
    complete_within: Clock = COMPLETE_WITHIN
    clocks: ClocksByAction = ClocksByAction()
    watch: Watch | None = None
    suspend_exports_when_overdue: bool = False
    suppression_completes: bool = False
    signature_schemes: SignatureSchemes = (Scheme.V1,)


def _without_defaults(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)


class PartnerPatch(BaseModel):
    """What may change; what is left out stays, `clocks` change as a whole, and null is a value of limits (none) and of
    `watch` (as usual). What was issued before keeps its deadlines, and is judged by `suppression_completes` as it was
    then. The lane of a partner that is paused, or suspended for a reason, waits; nothing in it is lost; `active` ends
    either. To one that is draining nothing new is issued, now or later: its lane runs empty, so that it can be
    removed."""

    # The defaults only let a field be left out; they are neither used nor shown.
    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_without_defaults)
    name: Name = ""
    url: Url = ""
    purposes: Purposes = ()
    subject_kinds: SubjectKinds = ()
    batch_size: BatchSize = 0
    linger_ms: LingerMs = 0
    gzip: bool = False
    max_requests_per_second: RequestRate | None = None
    max_in_flight: InFlight | None = None
    max_body_bytes: BodyBytes = 1024
    receive_within: ReceiveClock = RECEIVE_WITHIN
    complete_within: Clock = COMPLETE_WITHIN
    clocks: ClocksByAction = ClocksByAction()
    watch: Watch | None = None
    suspend_exports_when_overdue: bool = False
    suppression_completes: bool = False
    status: Literal["active", "paused", "suspended"] = "active"
    status_reason: Reason = ""
    draining: bool = False

    @model_validator(mode="after")
    def _fits(self) -> PartnerPatch:
        if "status_reason" in self.model_fields_set and "status" not in self.model_fields_set:
            raise ValueError("status_reason belongs to a status")
        if self.status == "suspended" and "status_reason" not in self.model_fields_set:
            raise ValueError("suspended needs a status_reason")
        return self


class RotationIn(BaseModel):
    """`overlap` is in seconds. Without `signature_schemes` they stay what they are."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    overlap: Annotated[int, Field(ge=0, le=30 * 86_400)] = 86_400
    signature_schemes: SignatureSchemes | None = None


class SigningKey(BaseModel):
    """Something that requests are signed with now. `public_key` (`whpk_...`) checks that, for `v1a`; what is replaced
    has an end."""

    scheme: Scheme
    public_key: str | None
    expires_at: datetime | None


class PartnerOut(BaseModel):
    id: str
    name: str
    url: str
    purposes: tuple[str, ...]
    subject_kinds: tuple[str, ...]
    lane: int
    more_lanes: tuple[int, ...]
    batch_size: int
    linger_ms: int
    gzip: bool
    max_requests_per_second: float | None
    max_in_flight: int | None
    max_body_bytes: int
    receive_within: Clock
    complete_within: Clock
    clocks: ClocksByAction
    watch: Watch | None
    suspend_exports_when_overdue: bool
    suppression_completes: bool
    status: PartnerStatus
    status_reason: str | None
    draining_since: datetime | None
    created_at: datetime
    updated_at: datetime
    revision: int
    signature_schemes: tuple[Scheme, ...]
    signing_keys: tuple[SigningKey, ...]


class PartnerRotated(PartnerOut):
    """`signing_secret` is the partner's, and shown only now. There is none without `v1`."""

    signing_secret: str | None


class PartnerCreated(PartnerRotated):
    """`signing_secret` and `api_key` are the partner's, and shown only now. There is no secret without `v1`."""

    api_key: str


class PartnerList(BaseModel):
    partners: list[PartnerOut]


@router.post(
    "",
    status_code=201,
    summary="Register a partner",
    responses=problems(400, 409, 413, 415, 422),
    openapi_extra=body_of(PartnerIn),
)
async def register(request: Request, key: OperatorOnly) -> PartnerCreated:
    """The partner gets a lane of its own, an API key, and a signing secret for `v1` or a public key for `v1a`. An id is
    never used again."""
    context = context_of(request)
    body, _ = await read_json(request)
    (wanted,) = parse_each([body], strictly(PartnerIn), "partners")
    _checked_url(context, wanted.url)
    async with context.registering:
        seen, lanes = await look(context), await lanes_for(context, wanted.id, wanted.lanes)
        secrets, secret = new_secrets(wanted.signature_schemes, context.sealer)
        now = context.clock()
        partner: Partner = PartnerRegistered(
            **wanted.model_dump(exclude={"lanes", "signature_schemes"}),
            lane=lanes[0],
            more_lanes=lanes[1:],
            secrets=secrets,
            created_at=now,
            updated_at=now,
        )
        # The key first: a crash in between leaves a key that opens nothing, and never a partner without one.
        made, plain = await asyncio.to_thread(
            context.keys.create, Role.PARTNER, now, partner.id, "made at registration"
        )
        try:
            position = await append(context, partner, _by(context, key, Act.REGISTER))
            if position.offset != seen:
                partner = await settled(context, partner, position)
        except (LogUnavailable, Problem):
            await asyncio.to_thread(context.keys.revoke, made.id, now)  # nobody was shown it
            raise
        await context.shown([position])
    return PartnerCreated(**_public(partner, now), signing_secret=secret, api_key=plain)


@router.get("", summary="All partners", responses=problems())
async def list_partners(request: Request, key: OperatorOnly) -> PartnerList:
    """Removed ones too, by id."""
    context = context_of(request)
    partners = await asyncio.to_thread(context.ledger.partners)
    return PartnerList(partners=[PartnerOut(**_public(partner, context.clock())) for partner in partners])


@router.get("/{partner}", summary="One partner", responses=problems(404, 422))
async def show(request: Request, partner: str, key: OperatorOrPartner) -> PartnerOut:
    """A partner's key shows that partner only."""
    check_own(key, partner)
    context = context_of(request)
    return PartnerOut(**_public(await existing(context, partner), context.clock()))


@router.patch(
    "/{partner}",
    summary="Change a partner",
    responses=problems(400, 404, 413, 415, 422),
    openapi_extra=body_of(PartnerPatch),
)
async def change(request: Request, partner: str, key: OperatorOnly) -> PartnerOut:
    """Takes effect at once, also for what waits in the partner's lane."""
    body, _ = await read_json(request)
    (patch,) = parse_each([body], strictly(PartnerPatch), "changes")
    return await patched(context_of(request), key, partner, patch)


async def patched(context: Context, key: ApiKey, partner: str, patch: PartnerPatch) -> PartnerOut:
    """A partner as a patch makes it. Raises `Problem`."""
    changes = patch.model_dump(exclude_unset=True)
    if not changes:
        raise Problem(422, "invalid", "the body names nothing that is to change")
    if "status" in changes:
        changes.setdefault("status_reason", None)  # it was the reason of the status before
    if "url" in changes:
        _checked_url(context, changes["url"])
    details = patch.model_dump(mode="json", exclude_unset=True)
    by = _by(context, key, _act_of(changes), details)
    async with context.registering:
        after, position = await amended(context, partner, lambda before, now: changed(before, now, **changes), by)
        if position is None:
            raise unknown(partner)
        await context.shown([position])
    return PartnerOut(**_public(after, after.updated_at))


@router.post(
    "/{partner}/rotate-secret",
    summary="Replace a partner's signing secret",
    responses=problems(400, 404, 413, 415, 422),
    openapi_extra=body_of(RotationIn, example={"overlap": 86_400}),
)
async def rotate_secret(request: Request, partner: str, key: OperatorOrPartner) -> PartnerRotated:
    """Takes effect at once, also for what waits in the partner's lane. Until the overlap ends (a day later, unless the
    body says otherwise; 0 is now), requests are signed with what signed before, too. That may be repeated: three
    secrets of a scheme sign at most, and the oldest is dropped; no repetition lets an older one sign for longer. So
    whoever lost the answer, or the secret, asks again. A partner's key rotates that partner's secret only."""
    check_own(key, partner)
    body, _ = await read_json(request)
    (wanted,) = parse_each([body], strictly(RotationIn), "rotations")
    return await rotate(context_of(request), key, partner, wanted)


async def rotate(context: Context, key: ApiKey, partner: str, wanted: RotationIn) -> PartnerRotated:
    """A partner with a new secret, which is shown only now. Raises `Problem`."""
    secret: str | None = None

    def amend(before: Partner, now: datetime) -> Partner:
        nonlocal secret
        made, secret = new_secrets(wanted.signature_schemes or before.signature_schemes, context.sealer)
        return changed(before, now, secrets=rotated(before.secrets, made, now, timedelta(seconds=wanted.overlap)))

    async with context.registering:
        after, position = await amended(context, partner, amend, _by(context, key, Act.ROTATE))
        if position is None:
            raise unknown(partner)
        log.info("the signing secret of partner %s was rotated with key %s (%s)", partner, key.id, key.role)
        await context.shown([position])
    return PartnerRotated(**_public(after, after.updated_at), signing_secret=secret)


@router.delete("/{partner}", status_code=204, summary="Remove a partner", responses=problems(404, 422))
async def remove(request: Request, partner: str, key: OperatorOnly) -> Response:
    """It gets nothing any more; its open notices are cancelled, and its keys are revoked."""
    context = context_of(request)
    async with context.registering:
        _, position = await amended(context, partner, removed, _by(context, key, Act.REMOVE))
        # Also if it was removed before: that may have failed between the log and the keys.
        await asyncio.to_thread(_revoke_keys, context, partner)
        if position is None:
            raise unknown(partner)
        await context.shown([position])
    return Response(status_code=204)


def _checked_url(context: Context, url: str) -> None:
    try:
        settings = context.settings
        check_url(url, allow_private=settings.allow_private_partners, networks=settings.allowed_networks)
    except ValueError as error:
        errors = [{"index": 0, "pointer": "/url", "detail": str(error)}]
        raise Problem(422, "invalid", str(error), errors=errors) from None


def _public(partner: Partner, now: datetime) -> dict[str, Any]:
    keys = [secret.model_dump(exclude={"sealed"}) for secret in partner.live_secrets(now)]
    shown = partner.model_dump(exclude={"secrets"})
    return shown | {"signature_schemes": partner.signature_schemes, "signing_keys": keys}


def _by(context: Context, key: ApiKey, act: Act, details: dict[str, Any] | None = None) -> Sign:
    identity = context.new_id()  # one, however often this is tried
    return lambda partner: acted(context, key, act, identity, partner=partner.id, details=details)


def _act_of(changes: dict[str, Any]) -> Act:
    """What a change is called by whoever looks back."""
    if "status" in changes:
        return {"active": Act.RESUME, "paused": Act.PAUSE, "suspended": Act.SUSPEND}[changes["status"]]
    if "draining" in changes:
        return Act.DRAIN if changes["draining"] else Act.UNDRAIN
    return Act.CHANGE


def _revoke_keys(context: Context, partner: str) -> None:
    held: list[ApiKey] = [key for key in context.keys.list() if key.partner == partner]
    for key in held:
        context.keys.revoke(key.id, context.clock())
