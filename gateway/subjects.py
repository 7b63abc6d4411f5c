"""What is known of a subject."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel

from gateway.auth import PlatformOrOperator
from gateway.context import context_of
from gateway.handing_over import up_to_date
from gateway.problems import problems
from ledger import Consent, Disclosure, TimelineEntry
from streams.names import Subject

router = APIRouter(tags=["platform"])
SubjectPath = Annotated[Subject, Path(description="`kind:id`, URL-encoded", examples=["blog:staff.example.com"])]


class Consents(BaseModel):
    """The state of each purpose that the subject ever chose about."""

    subject: str
    consents: list[Consent]


class Timeline(BaseModel):
    subject: str
    entries: list[TimelineEntry]


@router.get("/v1/consents/{subject:path}", summary="A subject's consents", responses=problems(422))
async def get_consents(request: Request, subject: SubjectPath, key: PlatformOrOperator) -> Consents:
    """Empty for a subject that was never seen."""
    consents = await asyncio.to_thread(context_of(request).ledger.consents, subject)
    return Consents(subject=subject, consents=consents)


@router.get("/v1/subjects/{subject:path}/timeline", summary="Everything that happened", responses=problems(422))
async def get_timeline(request: Request, subject: SubjectPath, key: PlatformOrOperator) -> Timeline:
    """Toggles, decisions, disclosures, notices, deliveries and acknowledgements of a subject, in order."""
    context = context_of(request)
    await up_to_date(context)
    entries = await asyncio.to_thread(context.ledger.timeline, subject)
    given = await asyncio.to_thread(context.disclosures.of, subject)
    entries += [entry for disclosure in given if (entry := _disclosed(disclosure)) is not None]
    return Timeline(subject=subject, entries=sorted(entries, key=lambda entry: entry.at))


def _disclosed(disclosure: Disclosure) -> TimelineEntry | None:
    export = disclosure.export
    if export.disclosed_at is None:
        return None
    but = ", though the user had chosen otherwise by then" if disclosure.withdrawn else ""
    return TimelineEntry(
        at=export.disclosed_at,
        kind="disclosed",
        summary=f"{export.partner} was given {export.dataset} {export.version}, with the user in it{but}.",
        partner=export.partner,
        purpose=export.purpose,
        event_id=export.id,
        detail={
            "dataset": export.dataset,
            "version": export.version,
            "imported": export.imported,
            "withdrawn": disclosure.withdrawn,
        },
    )
