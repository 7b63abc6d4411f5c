"""Lag over HTTP, and health."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from gateway.auth import OperatorOrPartner
from gateway.context import context_of
from gateway.problems import RESPONSES
from ledger import Role

router = APIRouter(tags=["operators"])


class Lag(BaseModel):
    """Totals are for operators only."""

    partners: list[Any]
    totals: Any = None


@router.get("/v1/lag", summary="Acknowledgement lag", responses=RESPONSES)
async def get_lag(request: Request, key: OperatorOrPartner) -> Lag:
    """Open, oldest open, percentiles over the last day, overdue and backlog of each partner. A partner's
    key shows that partner only. Seconds throughout."""
    context = context_of(request)
    rows, totals = await asyncio.to_thread(context.ledger.overview, context.clock())
    if key.role is Role.PARTNER:
        return Lag(partners=[row for row in rows if row.partner == key.partner])
    return Lag(partners=list(rows), totals=totals)


@router.get("/health/live", summary="Is the process alive?")
async def live() -> dict[str, str]:
    return {"status": "alive"}


@router.get("/health/ready", summary="Does it do its work?", response_model=None)
async def ready(request: Request) -> Response:
    """503, with reasons, while tables recover or after a part has failed."""
    readiness = context_of(request).ready()
    body = {"status": "ready" if readiness.ready else "not ready", "reasons": list(readiness.reasons)}
    return JSONResponse(body, 200 if readiness.ready else 503)
