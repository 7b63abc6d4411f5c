"""Dead letters of partners': notices that they do not take. They are listed, issued again, and given up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, model_validator

from gateway.actions import acted, actor
from gateway.auth import OperatorOnly
from gateway.bodies import parse_each, read_json, strictly
from gateway.context import Context, context_of
from gateway.cursors import MOST, USUAL, After, Limit, Number, cut, read, written
from gateway.dead_letters import Ids, Settled, Skipped, Which
from gateway.openapi import body_of
from gateway.problems import problems
from gateway.reissuing import addressee, issue_again
from ledger import ApiKey, Redriven, Refused
from ledger.again import RefusedAt
from ledger.times import micros
from streams import ids
from streams.events import Act, Again
from streams.names import EventId, PartnerId
from streams.topics import NOTICES

router = APIRouter(tags=["operators"], prefix="/v1/dead-letters/undeliverable")
_PLACE: TypeAdapter[tuple[str, Number, str]] = TypeAdapter(tuple[str, Number, str])
# Whoever takes all takes what was there when he began: what comes back at once must not be taken again and again.
_ALL: TypeAdapter[tuple[Number, tuple[str, Number, str]]] = TypeAdapter(tuple[Number, tuple[str, Number, str]])
#: Of an operator, for whoever looks back.
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
_REVERSED = "a later notice asks for the opposite"


class UndeliverableList(BaseModel):
    """By partner and time. `next` is null on the last page."""

    dead_letters: list[Refused]
    next: str | None


class RedriveNotices(Which):
    """The notices of `notice_ids`, or `all` of `partner`."""

    notice_ids: Ids = ()
    partner: PartnerId | None = None

    @model_validator(mode="after")
    def _fits(self) -> RedriveNotices:
        self.one_of(self.notice_ids)
        if (self.partner is not None) != bool(self.all):
            raise ValueError("partner belongs to all: true, which needs one")
        return self


class DiscardNotices(RedriveNotices):
    """The same, and why: it stays on the record."""

    reason: Reason


class Place(BaseModel):
    """Where a notice was issued again."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    notice_id: EventId
    lane: Number
    offset: Number


class RedrivenNotices(Settled):
    """`issued` says where each of them stands now: by that it can be asked what became of it."""

    issued: list[Place]


class WhichOutcomes(BaseModel):
    """As `issued` of a redrive names them."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    issued: Annotated[tuple[Place, ...], Field(min_length=1, max_length=MOST)]


class Outcomes(BaseModel):
    """One for each notice that there is."""

    outcomes: list[Redriven]


@router.get("", summary="Notices that partners do not take", responses=problems(422))
async def list_undeliverable(
    request: Request, key: OperatorOnly, partner: str | None = None, limit: Limit = USUAL, after: After = None
) -> UndeliverableList:
    """Each with the partner's last words. All of them are open. What a partner refuses for good waits for an operator;
    one that is `parked` is tried again by itself. What a later notice reverses is not listed: it is cancelled."""
    return await undeliverable(context_of(request), partner, limit, after)


async def undeliverable(context: Context, partner: str | None, limit: int, after: str | None) -> UndeliverableList:
    """A page of theirs. Raises `Problem` if `after` is no cursor."""
    page, following = await _undeliverable(context, partner, read(after, _PLACE), limit)
    return UndeliverableList(dead_letters=page, next=None if following is None else written(following))


@router.post(
    "/redrive",
    status_code=202,
    summary="Issue refused notices again",
    responses=problems(400, 404, 413, 415, 422),
    openapi_extra=body_of(RedriveNotices, example={"partner": "acme", "all": True}),
)
async def redrive_undeliverable(request: Request, key: OperatorOnly) -> RedrivenNotices:
    """They go into their partners' lanes once more, under their own ids. Up to 1,000 a request."""
    body, _ = await read_json(request)
    (wanted,) = parse_each([body], strictly(RedriveNotices), "redrives")
    return await redrive(context_of(request), key, wanted)


@router.post(
    "/outcomes",
    summary="What became of notices that were issued again",
    responses=problems(400, 413, 415, 422),
    openapi_extra=body_of(WhichOutcomes, example={"issued": [{"notice_id": "6f1c0a34-...", "lane": 0, "offset": 7}]}),
)
async def outcomes(request: Request, key: OperatorOnly) -> Outcomes:
    """`waiting` until its partner takes the notice, or does not: then it is a dead letter again, `refused` or `parked`,
    with the partner's words. Up to 1,000 a request."""
    body, _ = await read_json(request)
    (wanted,) = parse_each([body], strictly(WhichOutcomes), "requests")
    places = [(each.notice_id, each.lane, each.offset) for each in wanted.issued]
    return Outcomes(outcomes=await asyncio.to_thread(context_of(request).ledger.outcomes, places))


@router.post(
    "/discard",
    status_code=202,
    summary="Give notices up that partners do not take",
    responses=problems(400, 404, 413, 415, 422),
    openapi_extra=body_of(DiscardNotices, example={"notice_ids": ["6f1c0a34-..."], "reason": "the contract ended"}),
)
async def discard_undeliverable(request: Request, key: OperatorOnly) -> Settled:
    """They are cancelled, and not sent any more; who did it, when and why stays on the record. Up to 1,000 a
    request."""
    body, _ = await read_json(request)
    (wanted,) = parse_each([body], strictly(DiscardNotices), "discards")
    return await give_up(context_of(request), key, wanted)


async def redrive(context: Context, key: ApiKey, wanted: RedriveNotices) -> RedrivenNotices:
    """Of theirs, what was issued again. Raises `Problem`."""
    identity = wanted.id or context.new_id()
    letters, skipped, following = await _chosen(context, wanted)
    issued: list[Place] = []
    for partner, chosen in _by_partner(letters).items():
        issued += await _redrive(context, key, partner, chosen, identity)
    done = {place.notice_id for place in issued}
    skipped += [Skipped(id=each.notice_id, reason=_REVERSED) for each in letters if each.notice_id not in done]
    return RedrivenNotices(id=identity, done=len(done), skipped=skipped, next=following, issued=issued)


async def give_up(context: Context, key: ApiKey, wanted: DiscardNotices) -> Settled:
    """Of theirs, what was discarded. Raises `Problem`."""
    identity = wanted.id or context.new_id()
    letters, skipped, following = await _chosen(context, wanted)
    records = []
    for partner, chosen in _by_partner(letters).items():
        name, details = ids.derive("acted", identity, *chosen), {"undeliverable": list(chosen)}
        records.append(
            acted(
                context,
                key,
                Act.DISCARD,
                name,
                partner=partner,
                details=details,
                notices=tuple(chosen),
                reason=wanted.reason,
            )
        )
    if records:
        await context.shown(await context.appender.append(records))
    return Settled(id=identity, done=len(letters), skipped=skipped, next=following)


async def _undeliverable(
    context: Context, partner: str | None, after: RefusedAt | None, limit: int
) -> tuple[list[Refused], RefusedAt | None]:
    found = await asyncio.to_thread(context.ledger.refused, partner, after, limit + 1)
    return cut(found, limit, lambda letter: (letter.partner, micros(letter.refused_at), letter.notice_id))


async def _chosen(context: Context, wanted: RedriveNotices) -> tuple[list[Refused], list[Skipped], str | None]:
    """Which dead letters are meant, what is none, and where the next page begins. Raises `Problem`."""
    if wanted.partner is not None:
        await addressee(context, wanted.partner)
        until, after = read(wanted.after, _ALL) or (micros(context.clock()), None)
        page, place = await _undeliverable(context, wanted.partner, after, MOST)
        letters = [letter for letter in page if micros(letter.refused_at) <= until]
        return letters, [], written((until, place)) if place is not None and letters == page else None
    await context.caught_up(NOTICES.name)
    letters = await asyncio.to_thread(context.ledger.refused_ones, wanted.notice_ids)
    found = {letter.notice_id for letter in letters}
    return letters, [Skipped(id=each, reason="no dead letter") for each in wanted.notice_ids if each not in found], None


def _by_partner(letters: Sequence[Refused]) -> dict[str, list[str]]:
    chosen: dict[str, list[str]] = {}
    for letter in letters:
        chosen.setdefault(letter.partner, []).append(letter.notice_id)
    return chosen


async def _redrive(context: Context, key: ApiKey, partner: str, chosen: Sequence[str], identity: str) -> list[Place]:
    whom = await addressee(context, partner)
    wanted = await asyncio.to_thread(context.ledger.askable, chosen)
    if not wanted.notices:
        return []
    named = [notice.id for notice in wanted.notices]
    name = ids.derive("acted", identity, *named)
    act = acted(context, key, Act.REDRIVE, name, partner=partner, details={"undeliverable": named})
    await context.appender.append([act])
    again = await issue_again(context, whom, wanted, Again(how="redrive", by=actor(key)), identity)
    return [Place(notice_id=each.id, lane=at.partition, offset=at.offset) for each, at in again.places]
