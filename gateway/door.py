"""In and out of the dashboard: `/dashboard/login` and `/dashboard/logout`."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from gateway.context import context_of
from gateway.forms import form_of
from gateway.rooms import Room, room, to
from gateway.sessions import PATH, AnySession, begin, end, session_of
from ledger import ApiKey, Role

router = APIRouter(include_in_schema=False, route_class=Room)
#: Where somebody may be sent on to: a page of ours, and never what browsers take for another site.
_OURS = re.compile(r"/dashboard(/[A-Za-z0-9][A-Za-z0-9._-]*)*")


def home(key: ApiKey) -> str:
    """Where somebody with this key belongs."""
    return PATH if key.role is Role.OPERATOR else f"{PATH}/mine"


@router.get("/")
async def root() -> Response:
    return RedirectResponse(PATH)


@router.get("/dashboard/login")
async def show_login(request: Request, following: Annotated[str, Query(alias="next")] = PATH) -> Response:
    session = await session_of(request)
    if session is not None:
        return to(home(session.key))
    return _form(request, following)


@router.post("/dashboard/login")
async def login(request: Request) -> Response:
    """A wrong key is worth no more than a wrong guess: it has 256 random bits."""
    form = await form_of(request, None)
    following = form.one("next") or PATH
    key = await asyncio.to_thread(context_of(request).keys.authenticate, (form.one("key") or "").strip())
    if key is None:
        return _form(request, following, "This key is unknown or revoked.", 401)
    if key.role is Role.PLATFORM:
        return _form(request, following, "This is a platform's key. The dashboard is for operators and partners.", 403)
    goes_on = key.role is Role.OPERATOR and _OURS.fullmatch(following) is not None
    answer = to(following if goes_on else home(key))
    begin(context_of(request), key, request, answer)
    return answer


@router.post("/dashboard/logout")
async def logout(request: Request, session: AnySession) -> Response:
    await form_of(request, session)
    answer = to(f"{PATH}/login")
    end(answer)
    return answer


def _form(request: Request, following: str, trouble: str | None = None, status: int = 200) -> Response:
    return room(request, None, "login.html", status, following=following, trouble=trouble)
