"""Lag over HTTP, and health."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from gateway.auth import OperatorOrPartner
from gateway.context import context_of
from gateway.problems import Problem, problems, respond
from ledger import PartnerLag, Role, Totals

router = APIRouter(tags=["operators"])


class Lag(BaseModel):
    """Totals are for operators only."""

    partners: list[PartnerLag]
    totals: Totals | None = None


@router.get("/v1/lag", summary="Acknowledgement lag", responses=problems())
async def get_lag(request: Request, key: OperatorOrPartner) -> Lag:
    """Open, oldest open, percentiles over the last day, overdue and backlog of each partner. A partner's
    key shows that partner only. Seconds throughout."""
    context = context_of(request)
    rows, totals = await asyncio.to_thread(context.ledger.overview, context.clock())
    if key.role is Role.PARTNER:
        return Lag(partners=[row for row in rows if row.partner == key.partner])
    return Lag(partners=rows, totals=totals)


# HEAD too, because that is what many load balancers ask.
@router.head("/health/live", include_in_schema=False)
@router.get("/health/live", summary="Is the process alive?")
async def live() -> dict[str, str]:
    return {"status": "alive"}


@router.head("/health/ready", include_in_schema=False)
@router.get("/health/ready", summary="Does it do its work?", responses={503: problems()[503]})
async def ready(request: Request) -> Response:
    """503, with reasons, while tables recover or after a part has failed."""
    readiness = context_of(request).ready()
    if readiness.ready:
        return JSONResponse({"status": "ready"})
    errors = [{"detail": reason} for reason in readiness.reasons]
    detail = "; ".join(readiness.reasons) or "the service does not do its work yet"
    return respond(Problem(503, "not-ready", detail, errors=errors, headers={"retry-after": "1"}))
