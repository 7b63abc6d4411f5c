"""`GET /v1/notices`: what was asked of whom, and what became of it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from gateway.auth import OperatorOrPartner
from gateway.context import context_of
from gateway.cursors import MOST, USUAL, Cursor, Number, read, written
from gateway.problems import problems
from gateway.standing import check_own
from ledger import Listed, NoticeRow, NoticeStatus, Role, Wanted
from ledger.views import OPEN
from streams.events import Outcome
from streams.kinds import Action
from streams.moments import Moment
from streams.names import PartnerId, Purpose, Subject

router = APIRouter(tags=["operators"])
_PLACE: TypeAdapter[tuple[str, str, Number, str]] = TypeAdapter(tuple[str, str, Number, str])


class NoticesQuery(BaseModel):
    """What the list is narrowed by. A misspelt name is refused: it must not mean "all of them"."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    partner: Annotated[PartnerId | None, Field(description="Only this partner's.")] = None
    status: Annotated[
        tuple[NoticeStatus | Literal["open"], ...],
        Field(max_length=9, description="One status or several; `open` is every one that is neither done nor over."),
    ] = ()
    action: Action | None = None
    outcome: Annotated[
        Outcome | None, Field(description="Only with this outcome; an open one may be `suppressed`.")
    ] = None
    purpose: Purpose | None = None
    subject: Subject | None = None
    overdue: Annotated[bool, Field(description="Only what is open and past a clock that still runs.")] = False
    issued_from: Annotated[Moment | None, Field(description="Issued then or later.")] = None
    issued_to: Annotated[Moment | None, Field(description="Issued before then.")] = None
    limit: Annotated[int, Field(ge=1, le=MOST, description="Items at most.")] = USUAL
    after: Annotated[Cursor | None, Field(description="`next` of the page before.")] = None

    @model_validator(mode="after")
    def _forward(self) -> NoticesQuery:
        if self.issued_from is not None and self.issued_to is not None and self.issued_from >= self.issued_to:
            raise ValueError("issued_from must be before issued_to")
        return self

    def statuses(self) -> frozenset[NoticeStatus]:
        return frozenset(each for status in self.status for each in (OPEN if status == "open" else (status,)))


class NoticesPage(BaseModel):
    """By partner, then by action, then by time of issue. A page may hold fewer than asked for, even none, and not
    be the last: that is the one whose `next` is null."""

    notices: list[NoticeRow]
    next: str | None


@router.get("/v1/notices", summary="Notices", responses=problems(404, 422))
async def get_notices(request: Request, key: OperatorOrPartner, query: Annotated[NoticesQuery, Query()]) -> NoticesPage:
    """What was asked of whom, until when, and what became of it. A partner's key shows its own. A page looks at no more
    than 10,000 notices, so a list of which few fit comes in more pages."""
    context = context_of(request)
    if query.partner is not None:
        check_own(key, query.partner)
    wanted = Wanted(
        partner=key.partner if key.role is Role.PARTNER else query.partner,
        statuses=query.statuses(),
        action=query.action,
        purpose=query.purpose,
        outcome=query.outcome,
        subject=query.subject,
        overdue=query.overdue,
        start=query.issued_from,
        end=query.issued_to,
    )
    place = read(query.after, _PLACE)
    after = None if place is None else Listed(*place)
    page = await asyncio.to_thread(context.ledger.listed, wanted, context.clock(), after, query.limit)
    return NoticesPage(notices=page.notices, next=None if page.next is None else written(tuple(page.next)))
