"""What partners say against what they said before, for operators to look at."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from pydantic import BaseModel, TypeAdapter

from gateway.auth import OperatorOnly
from gateway.context import context_of
from gateway.cursors import USUAL, After, Limit, Number, cut, read, written
from gateway.problems import problems
from ledger import Contradiction
from ledger.times import micros

router = APIRouter(tags=["operators"])
_PLACE: TypeAdapter[tuple[Number, str]] = TypeAdapter(tuple[Number, str])


class ContradictionList(BaseModel):
    """`next` is null on the last page."""

    contradictions: list[Contradiction]
    next: str | None


@router.get("/v1/contradictions", summary="Final answers after other final ones", responses=problems(422))
async def list_contradictions(
    request: Request, key: OperatorOnly, partner: str | None = None, limit: Limit = USUAL, after: After = None
) -> ContradictionList:
    """The newest first. What was said first stands; `status`, `outcome` and `reason` are what was said later, which
    undid nothing. Whom to believe is to be found out with the partner."""
    ledger = context_of(request).ledger
    found = await asyncio.to_thread(ledger.contradictions, partner, read(after, _PLACE), limit + 1)
    page, place = cut(found, limit, lambda each: (micros(each.at), each.id))
    return ContradictionList(contradictions=page, next=None if place is None else written(place))
