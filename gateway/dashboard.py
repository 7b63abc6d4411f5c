"""The status page: plain, correct, and without a script."""

from __future__ import annotations

import asyncio
from datetime import datetime

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from gateway.auth import DashboardUser
from gateway.context import context_of
from ledger import LagState, PartnerLag

router = APIRouter(include_in_schema=False)

_SEVERITY = {LagState.STOP: 0, LagState.STALL: 1, LagState.WARN: 2, LagState.OK: 3}
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def duration(seconds: float | None) -> str:
    """A span of time for people: `3 min 20 s`, `2 d 4 h`; `–` for none."""
    if seconds is None:
        return "–"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, smaller, smaller_unit in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
    return f"{whole} s"


def ago(then: datetime | None, now: datetime) -> str:
    return "never" if then is None else f"{duration(max(0.0, (now - then).total_seconds()))} ago"


def ahead(then: datetime | None, now: datetime) -> str:
    return "" if then is None else f"in {duration(max(0.0, (then - now).total_seconds()))}"


def by_need(rows: list[PartnerLag]) -> list[PartnerLag]:
    """Who needs attention first, first."""
    return sorted(rows, key=lambda row: (_SEVERITY[row.state], -(row.oldest_open_seconds or 0), row.partner))


_templates = Environment(
    loader=PackageLoader("gateway"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_templates.filters["duration"] = duration
_templates.filters["count"] = lambda number: f"{number:,}"


@router.get("/")
async def home() -> RedirectResponse:
    return RedirectResponse("/dashboard")


@router.get("/dashboard")
async def dashboard(request: Request, key: DashboardUser) -> HTMLResponse:
    context = context_of(request)
    now = context.clock()
    rows, totals = await asyncio.to_thread(context.ledger.overview, now)
    page = _templates.get_template("dashboard.html").render(
        rows=by_need(rows),
        totals=totals,
        overdue=sum(row.overdue for row in rows),
        now=now,
        ago=lambda then: ago(then, now),
        ahead=lambda then: ahead(then, now),
    )
    return HTMLResponse(page, headers=_HEADERS)
