"""`/dashboard/mine`: a partner's own page. Whose it is, only the session says; so there is nobody else's to ask for."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from gateway.context import context_of
from gateway.cursors import Cursor, Number, read, written
from gateway.forms import form_of
from gateway.partner_acts import tested
from gateway.partner_room import WINDOWS, close_up, shown
from gateway.rooms import Room, ask, room
from gateway.sessions import PATH, PartnerSession
from gateway.testing import tried
from ledger import Listed, NoticeStatus, Wanted, Window
from ledger.views import OPEN

router = APIRouter(include_in_schema=False, route_class=Room)
_PAGE = f"{PATH}/mine"
_TOGETHER = 25
_PLACE: TypeAdapter[tuple[str, str, Number, str]] = TypeAdapter(tuple[str, str, Number, str])


class Which(StrEnum):
    """Of its notices."""

    OPEN = "open"
    OVERDUE = "overdue"
    COMPLETED = "completed"
    REFUSED = "refused"
    UNDELIVERABLE = "undeliverable"
    ALL = "all"

    @property
    def statuses(self) -> frozenset[NoticeStatus]:
        if self is Which.OPEN:
            return frozenset(OPEN)
        return frozenset() if self in (Which.ALL, Which.OVERDUE) else frozenset({NoticeStatus(self)})


@router.get(_PAGE)
async def show(
    request: Request,
    session: PartnerSession,
    which: Which = Which.OPEN,
    after: Annotated[Cursor | None, Query()] = None,
    window: Window = Window.DAY,
) -> Response:
    context, own = context_of(request), session.key.partner or ""
    window = window if window in WINDOWS else Window.DAY
    seen = await close_up(context, own, window)
    # The cursor names a partner too, and counts only behind the one that is asked for.
    wanted = Wanted(partner=own, statuses=which.statuses, overdue=which is Which.OVERDUE)
    place = read(after, _PLACE)
    page = await asyncio.to_thread(
        context.ledger.listed, wanted, context.clock(), None if place is None else Listed(*place), _TOGETHER
    )
    following = None if page.next is None else written(tuple(page.next))
    return room(
        request, session, "own.html", **shown(context, seen, window), notices=page.notices, following=following,
        which=which, kinds=tuple(Which),
    )  # fmt: skip


@router.post(f"{_PAGE}/test")
async def test(request: Request, session: PartnerSession) -> Response:
    form, context = await form_of(request, session), context_of(request)
    if not form.confirmed:
        question = (
            "Send your endpoint a test event? It is signed, and asks for nothing. If you take it, what waits comes now."
        )
        return ask(request, session, question, "Send test", form.kept(), back=_PAGE)
    return tested(request, session, await tried(context, session.key.partner or ""), back=_PAGE)
