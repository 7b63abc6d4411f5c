"""Who did what by hand, and when."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, TypeAdapter

from gateway.auth import OperatorOnly
from gateway.context import Context, context_of
from gateway.cursors import USUAL, After, Limit, Number, cut, read, written
from gateway.problems import problems
from ledger import ApiKey, Done
from ledger.times import micros
from streams.cloudevents import Envelope
from streams.events import Act, Actor, OperatorActed
from streams.records import Record, record
from streams.topics import ACTIONS

router = APIRouter(tags=["operators"])
_PLACE: TypeAdapter[tuple[Number, str]] = TypeAdapter(tuple[Number, str])


class Actions(BaseModel):
    """The newest first. `next` is null on the last page."""

    actions: list[Done]
    next: str | None


@router.get("/v1/actions", summary="What was done by hand", responses=problems(422))
async def get_actions(
    request: Request, key: OperatorOnly, partner: str | None = None, limit: Limit = USUAL, after: After = None
) -> Actions:
    """Who registered, changed, paused, replayed, redrove what, and when; with `partner`, to that partner."""
    ledger, place = context_of(request).ledger, read(after, _PLACE)
    found = await asyncio.to_thread(ledger.actions, partner, place, limit + 1)
    page, following = cut(found, limit, lambda done: (micros(done.at), done.id))
    return Actions(actions=page, next=None if following is None else written(following))


def actor(key: ApiKey) -> Actor:
    return Actor(key=key.id, role=key.role, label=None if key.label is None else key.label[:200])


def acted(
    context: Context,
    key: ApiKey,
    act: Act,
    identity: str,
    *,
    partner: str | None = None,
    details: dict[str, Any] | None = None,
    poisoned: tuple[str, ...] = (),
    notices: tuple[str, ...] = (),
    reason: str | None = None,
    seen_until: datetime | None = None,
) -> Record:
    """The record of an act. Its id is given, so that a repeated request is one act."""
    now = context.clock()
    data = OperatorActed(
        act=act,
        by=actor(key),
        partner=partner,
        details=details or {},
        poisoned=poisoned,
        notices=notices,
        reason=reason,
        seen_until=seen_until,
        acted_at=now,
    )
    return record(ACTIONS.name, Envelope(identity, now, data))
