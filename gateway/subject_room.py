"""`/dashboard/subject`: what happened to a subject, at every partner.

A subject is asked for by a form's body and never by an address: addresses end up in logs and histories.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter, ValidationError

from gateway.context import context_of
from gateway.forms import form_of
from gateway.rooms import Room, room
from gateway.sessions import OperatorSession, Session
from streams.explaining import in_words
from streams.names import Subject

router = APIRouter(include_in_schema=False, route_class=Room)
_SUBJECT: TypeAdapter[str] = TypeAdapter(Subject)


@router.get("/dashboard/subject")
async def show(request: Request, session: OperatorSession) -> Response:
    return _page(request, session, "")


@router.post("/dashboard/subject")
async def look_up(request: Request, session: OperatorSession) -> Response:
    form = await form_of(request, session)
    text = (form.one("subject") or "").strip()
    try:
        subject = _SUBJECT.validate_python(text)
    except ValidationError as error:
        return _page(request, session, text, trouble=in_words(error.errors()[0]), status=422)
    ledger = context_of(request).ledger
    entries = await asyncio.to_thread(ledger.timeline, subject)
    consents = await asyncio.to_thread(ledger.consents, subject)
    return _page(request, session, subject, entries=entries, consents=consents, asked=True)


def _page(request: Request, session: Session, subject: str, status: int = 200, **found: Any) -> Response:
    shown = {"entries": (), "consents": (), "asked": False, "trouble": None} | found
    return room(request, session, "subject.html", status, subject=subject, **shown)
