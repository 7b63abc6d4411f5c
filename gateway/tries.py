"""`POST /v1/partners/{partner}/try`: whatever waits for a partner to be tried again is tried now."""

from __future__ import annotations

import asyncio
from datetime import datetime

from fastapi import APIRouter, Request
from pydantic import BaseModel

from gateway.actions import acted
from gateway.auth import OperatorOnly
from gateway.context import Context, context_of
from gateway.problems import Problem, problems
from gateway.standing import PartnerPath, present
from ledger import ApiKey
from streams import ids
from streams.cloudevents import Envelope
from streams.events import Act, PartnerStatus, PartnerTried
from streams.records import Record, record
from streams.topics import PARTNERS

router = APIRouter(tags=["partners"])


class Try(BaseModel):
    """How many notices wait for the partner, as of the ledger, and when the next attempt would have been; null if none
    was waited for."""

    partner: str
    waiting: int
    next_attempt_at: datetime | None


@router.post("/v1/partners/{partner}/try", summary="Try a partner now", responses=problems(404, 409, 422))
async def try_partner(request: Request, partner: PartnerPath, key: OperatorOnly) -> Try:
    """Ends every wait for the next attempt at once, as after a partner has mended its endpoint. It does not reset what
    is known of the partner: if this attempt fails, the next one follows as if it had come by itself."""
    return await tried_now(context_of(request), key, partner)


async def tried_now(context: Context, key: ApiKey, partner: str) -> Try:
    """Record that an operator wants a partner to be tried. Raises `Problem` if it is not active."""
    whom = await present(context, partner)
    if whom.status is not PartnerStatus.ACTIVE:
        detail = (
            f"{partner} is {whom.status}, so nothing is sent to it; `rescind partners resume {partner}` tries it, too"
        )
        raise Problem(409, "not-active", detail)
    waiting = await waiting_for(context, partner)
    identity = context.new_id()
    details = waiting.model_dump(mode="json", exclude={"partner"}, exclude_none=True)
    by = acted(context, key, Act.TRY, identity, partner=partner, details=details)
    positions = await context.appender.append([tried_record(context, partner), by])
    await context.shown(positions)
    return waiting


async def waiting_for(context: Context, partner: str) -> Try:
    """What a try would find, as of the ledger."""
    now = context.clock()
    rows = await asyncio.to_thread(context.ledger.lag, now, partner=partner)
    if not rows:
        return Try(partner=partner, waiting=0, next_attempt_at=None)
    row = rows[0]
    again = row.next_attempt_at if row.next_attempt_at is not None and row.next_attempt_at > now else None
    return Try(partner=partner, waiting=row.backlog, next_attempt_at=again)


def tried_record(context: Context, partner: str) -> Record:
    """What tells the workers to try a partner now."""
    now = context.clock()
    identity = ids.derive("tried", partner, context.new_id())
    return record(PARTNERS.name, Envelope(identity, now, PartnerTried(partner=partner, tried_at=now)))
