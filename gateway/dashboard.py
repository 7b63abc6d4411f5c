"""`/dashboard`: one row a partner, who needs attention first, and live."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from gateway.door import home
from gateway.live import Live
from gateway.rooms import Room, room, to
from gateway.sessions import AnySession, OperatorSession, session_of

router = APIRouter(include_in_schema=False, route_class=Room)


def live_of(request: Request) -> Live:
    live: Live = request.app.state.live
    return live


@router.get("/dashboard")
async def dashboard(request: Request, session: AnySession) -> Response:
    if not session.operator:
        return to(home(session.key))
    return room(request, session, "overview.html", seen=await live_of(request).fresh())


@router.get("/dashboard/events")
async def events(
    request: Request,
    session: OperatorSession,
    since: Annotated[str, Query(max_length=100)] = "",
    last_event_id: Annotated[str | None, Header(max_length=100)] = None,
) -> Response:
    """Rows as they change, as server-sent events; `since` is the cursor of the page."""

    async def still() -> bool:
        return await session_of(request) is not None

    # Who serves us says when it stops; a test need not.
    stopping: asyncio.Event = request.scope.get("rescind.stopping") or asyncio.Event()
    stream = live_of(request).events(last_event_id or since, still, stopping)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no", "x-content-type-options": "nosniff"}
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)
