"""Partners: registered, changed and removed by operators."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gateway.auth import OperatorOnly, OperatorOrPartner
from gateway.bodies import parse_each, read_json, strictly
from gateway.context import Context, context_of
from gateway.openapi import body_of
from gateway.problems import Problem, problems
from gateway.registering import check_url, free_lane
from ledger import ApiKey, Role
from streams import ids, signing
from streams.cloudevents import Envelope
from streams.errors import LogUnavailable
from streams.events import Partner, PartnerChanged, PartnerRegistered, PartnerRemoved, PartnerStatus
from streams.names import Name, PartnerId, Purpose, SubjectKind
from streams.records import Position, record
from streams.topics import LANES, PARTNERS

router = APIRouter(tags=["partners"], prefix="/v1/partners")


def _once_each(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) != len(values):
        raise ValueError("an entry is repeated")
    return values


Purposes = Annotated[tuple[Purpose, ...], Field(min_length=1, max_length=1000), AfterValidator(_once_each)]
SubjectKinds = Annotated[tuple[SubjectKind, ...], Field(max_length=100), AfterValidator(_once_each)]
Url = Annotated[str, Field(max_length=2000)]
BatchSize = Annotated[int, Field(ge=1, le=1000)]
Seconds = Annotated[int, Field(gt=0, le=10 * 366 * 86_400)]


class PartnerIn(BaseModel):
    """A registration. Durations are in seconds from the acceptance of a toggle."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: PartnerId
    name: Name
    url: Url
    purposes: Purposes
    subject_kinds: SubjectKinds = ()
    batch_size: BatchSize = 100
    receive_within: Seconds = 86_400
    complete_within: Seconds = 30 * 86_400


def _without_defaults(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)


class PartnerPatch(BaseModel):
    """What may change; what is left out stays, and null is no value. A paused partner's lane waits; nothing
    in it is lost."""

    # The defaults only let a field be left out; they are neither used nor shown.
    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_without_defaults)
    name: Name = ""
    url: Url = ""
    purposes: Purposes = ()
    subject_kinds: SubjectKinds = ()
    batch_size: BatchSize = 0
    receive_within: Seconds = 0
    complete_within: Seconds = 0
    status: Literal["active", "paused"] = "active"


class PartnerOut(BaseModel):
    id: str
    name: str
    url: str
    purposes: tuple[str, ...]
    subject_kinds: tuple[str, ...]
    lane: int
    batch_size: int
    receive_within: int
    complete_within: int
    status: PartnerStatus
    created_at: datetime
    updated_at: datetime
    revision: int


class PartnerCreated(PartnerOut):
    """`signing_secret` and `api_key` are the partner's, and shown only now."""

    signing_secret: str
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
    """The partner gets a lane of its own, a signing secret and an API key. An id is never used again."""
    context = context_of(request)
    body, _ = await read_json(request)
    (wanted,) = parse_each([body], strictly(PartnerIn), "partners")
    _checked_url(context, wanted.url)
    async with context.registering:
        lane = await _lane_for(context, wanted.id)
        secret = signing.new_secret()
        now = context.clock()
        partner = PartnerRegistered(
            **wanted.model_dump(),
            lane=lane,
            sealed_secret=context.sealer.seal(secret),
            created_at=now,
            updated_at=now,
        )
        # The key first: a crash in between leaves a key that opens nothing, and never a partner without one.
        made, plain = await asyncio.to_thread(
            context.keys.create, Role.PARTNER, now, partner.id, "made at registration"
        )
        try:
            positions = await _append(context, partner)
        except LogUnavailable:
            await asyncio.to_thread(context.keys.revoke, made.id, now)  # nobody was shown it
            raise
        await context.shown(positions)
    return PartnerCreated(**_public(partner), signing_secret=secret, api_key=plain)


@router.get("", summary="All partners", responses=problems())
async def list_partners(request: Request, key: OperatorOnly) -> PartnerList:
    """Removed ones too, by id."""
    partners = await asyncio.to_thread(context_of(request).ledger.partners)
    return PartnerList(partners=[PartnerOut(**_public(partner)) for partner in partners])


@router.get("/{partner}", summary="One partner", responses=problems(404, 422))
async def show(request: Request, partner: str, key: OperatorOrPartner) -> PartnerOut:
    """A partner's key shows that partner only."""
    if key.role is Role.PARTNER and key.partner != partner:
        raise _unknown(partner)
    return PartnerOut(**_public(await _existing(context_of(request), partner)))


@router.patch(
    "/{partner}",
    summary="Change a partner",
    responses=problems(400, 404, 413, 415, 422),
    openapi_extra=body_of(PartnerPatch),
)
async def change(request: Request, partner: str, key: OperatorOnly) -> PartnerOut:
    """Takes effect at once, also for what waits in the partner's lane."""
    context = context_of(request)
    body, _ = await read_json(request)
    (patch,) = parse_each([body], strictly(PartnerPatch), "changes")
    changes = patch.model_dump(exclude_unset=True)
    if not changes:
        raise Problem(422, "invalid", "the body names nothing that is to change")
    if "status" in changes:
        changes["status_reason"] = None  # it was the reason of the status before
    if "url" in changes:
        _checked_url(context, changes["url"])
    async with context.registering:
        before = await _current(context, partner)
        if before.status is PartnerStatus.REMOVED:
            raise _unknown(partner)
        after = PartnerChanged.model_validate(_next(before, context.clock()) | changes)
        await context.shown(await _append(context, after))
    return PartnerOut(**_public(after))


@router.delete("/{partner}", status_code=204, summary="Remove a partner", responses=problems(404, 422))
async def remove(request: Request, partner: str, key: OperatorOnly) -> Response:
    """It gets nothing any more; its open notices are cancelled, and its keys are revoked."""
    context = context_of(request)
    async with context.registering:
        before = await _current(context, partner)
        if before.status is PartnerStatus.REMOVED:
            # An earlier removal may have failed between the log and the keys.
            await asyncio.to_thread(_revoke_keys, context, partner)
            raise _unknown(partner)
        fields = _next(before, context.clock()) | {"status": PartnerStatus.REMOVED}
        positions = await _append(context, PartnerRemoved.model_validate(fields))
        await asyncio.to_thread(_revoke_keys, context, partner)
        await context.shown(positions)
    return Response(status_code=204)


def _checked_url(context: Context, url: str) -> None:
    try:
        check_url(url, allow_private=context.settings.allow_private_partners)
    except ValueError as error:
        errors = [{"index": 0, "pointer": "/url", "detail": str(error)}]
        raise Problem(422, "invalid", str(error), errors=errors) from None


async def _lane_for(context: Context, partner: str) -> int:
    # Two partners that do not see each other would get the same lane.
    await context.caught_up(PARTNERS.name)
    partners = await asyncio.to_thread(context.ledger.partners)
    if any(known.id == partner for known in partners):
        raise Problem(409, "exists", f"there is, or was, a partner {partner}; an id is never used again")
    owing = {row.partner for row in await asyncio.to_thread(context.ledger.lag, context.clock())}
    lane = free_lane(partners, owing, LANES)
    if lane is None:
        raise Problem(409, "no-lane", f"all {LANES} lanes are taken; remove a partner first")
    return lane


async def _append(context: Context, partner: Partner) -> list[Position]:
    identity = ids.derive("partner", partner.id, str(partner.revision))
    envelope = Envelope(identity, partner.updated_at, partner)
    return await context.appender.append([record(PARTNERS.name, envelope)])


async def _existing(context: Context, partner: str) -> Partner:
    found = await asyncio.to_thread(context.ledger.partner, partner)
    if found is None:
        raise _unknown(partner)
    return found


async def _current(context: Context, partner: str) -> Partner:
    """The partner as the log has it: a change of what is out of date would undo what came between."""
    await context.caught_up(PARTNERS.name)
    return await _existing(context, partner)


def _unknown(partner: str) -> Problem:
    return Problem(404, "unknown-partner", f"there is no partner {partner!r}")


def _next(before: Partner, now: datetime) -> dict[str, Any]:
    return before.model_dump() | {"revision": before.revision + 1, "updated_at": now}


def _public(partner: Partner) -> dict[str, Any]:
    return partner.model_dump(exclude={"sealed_secret", "status_reason"})


def _revoke_keys(context: Context, partner: str) -> None:
    held: list[ApiKey] = [key for key in context.keys.list() if key.partner == partner]
    for key in held:
        context.keys.revoke(key.id, context.clock())
