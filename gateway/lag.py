"""Lag over HTTP."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from gateway.auth import OperatorOrPartner
from gateway.context import context_of
from gateway.problems import problems
from gateway.standing import PartnerPath, check_own, unknown
from ledger import PartnerLag, Role, Totals, Window

router = APIRouter(tags=["operators"])


class Lag(BaseModel):
    """Totals are for operators only."""

    partners: list[PartnerLag]
    totals: Totals | None = None


@router.get("/v1/lag", summary="Acknowledgement lag", responses=problems(422))
async def get_lag(
    request: Request,
    key: OperatorOrPartner,
    window: Annotated[Window, Query(description="What the percentiles are over.")] = Window.DAY,
) -> Lag:
    """Of each partner its state with the reason for it; of each partner and each kind of notice what is open, since
    when, overdue, at risk, undeliverable, parked and not delivered yet; and over a window how many came, how many were
    answered in time, late or with a refusal, and how long it took. A partner's key shows that partner only. Seconds
    throughout; shares are from 0 to 1."""
    context = context_of(request)
    if key.role is Role.PARTNER:
        return Lag(
            partners=await asyncio.to_thread(context.ledger.lag, context.clock(), window, (window,), key.partner)
        )
    rows, totals = await asyncio.to_thread(context.ledger.overview, context.clock(), window, (window,))
    return Lag(partners=rows, totals=totals)


@router.get("/v1/lag/{partner}", summary="A partner's lag", responses=problems(404, 422))
async def get_partner_lag(request: Request, partner: PartnerPath, key: OperatorOrPartner) -> PartnerLag:
    """The same of one partner, over the last hour, day, week and 30 days."""
    context = context_of(request)
    check_own(key, partner)
    rows = await asyncio.to_thread(context.ledger.lag, context.clock(), Window.DAY, tuple(Window), partner)
    if not rows:
        raise unknown(partner)
    return rows[0]
