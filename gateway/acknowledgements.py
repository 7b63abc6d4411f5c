"""`POST /v1/acknowledgements`: what partners say about their notices."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.auth import PartnerOnly
from gateway.bodies import items_of, parse_each, read_json, strictly
from gateway.context import Context, context_of
from gateway.openapi import body_of
from gateway.problems import Problem, problems
from ledger import NoticeRow, fits
from streams import ids
from streams.cloudevents import Envelope, rfc3339
from streams.events import Acknowledged, AckStatus, Outcome, RefusalReason
from streams.moments import Moment
from streams.names import EventId
from streams.records import record
from streams.topics import ACKNOWLEDGEMENTS, NOTICES

router = APIRouter(tags=["partners"])
#: Bytes of evidence as JSON.
EVIDENCE_CAP = 16 * 1024


class AcknowledgementIn(BaseModel):
    """`completed` needs an `outcome`, `refused` a `reason`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    notice_id: EventId
    status: AckStatus
    outcome: Outcome | None = None
    reason: RefusalReason | None = None
    detail: Annotated[str, Field(max_length=1000)] | None = None
    expected_by: Moment | None = None
    occurred_at: Moment | None = None
    evidence: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _fits(self) -> AcknowledgementIn:
        if (self.status is AckStatus.COMPLETED) != (self.outcome is not None):
            raise ValueError("an outcome belongs to status completed, and completed needs one")
        if (self.status is AckStatus.REFUSED) != (self.reason is not None):
            raise ValueError("a reason belongs to status refused, and refused needs one")
        if self.expected_by is not None and self.status is not AckStatus.IN_PROGRESS:
            raise ValueError("expected_by belongs to status in_progress")
        if self.evidence is not None and len(orjson.dumps(self.evidence)) > EVIDENCE_CAP:
            raise ValueError(f"evidence is larger than {EVIDENCE_CAP} bytes")
        return self


class ItemResult(BaseModel):
    notice_id: str
    result: Literal["accepted", "unknown_notice", "not_yours", "wrong_outcome"]
    detail: str | None = None


class Results(BaseModel):
    """In the order of the request."""

    results: list[ItemResult]


_EXAMPLE = [{"notice_id": "6f1c0a34-...", "status": "completed", "outcome": "deleted"}]


@router.post(
    "/v1/acknowledgements",
    status_code=202,
    summary="Acknowledge notices",
    responses=problems(400, 413, 415, 422),
    openapi_extra=body_of(AcknowledgementIn, many=True, example=_EXAMPLE),
)
async def post_acknowledgements(request: Request, key: PartnerOnly) -> Results:
    """One acknowledgement, or up to 1,000. Each is judged by itself; what is accepted is durable. An equal
    one may be repeated and changes nothing. 422 if none of them is accepted."""
    context = context_of(request)
    body, _ = await read_json(request)
    said = parse_each(items_of(body, "acknowledgements"), strictly(AcknowledgementIn), "acknowledgements")
    known = await _notices(context, [item.notice_id for item in said])
    partner = key.partner or ""
    results = [_result(item, known.get(item.notice_id), partner) for item in said]
    records = [
        record(ACKNOWLEDGEMENTS.name, _event(context, item, known[item.notice_id]))
        for item, result in zip(said, results, strict=True)
        if result.result == "accepted"
    ]
    if not records:
        errors = [{"index": index, **result.model_dump()} for index, result in enumerate(results)]
        raise Problem(422, "not-accepted", "none of the acknowledgements can be taken", errors=errors)
    await context.appender.append(records)
    return Results(results=results)


async def _notices(context: Context, wanted: list[str]) -> dict[str, NoticeRow]:
    """The notices by id. A partner may be faster than our ledger: an id is unknown only when the ledger
    has read everything that was issued up to now."""
    found = await asyncio.to_thread(context.ledger.notices, wanted)
    if len(found) < len(set(wanted)):
        await context.caught_up(NOTICES.name)
        found = await asyncio.to_thread(context.ledger.notices, wanted)
    return found


def _result(item: AcknowledgementIn, notice: NoticeRow | None, partner: str) -> ItemResult:
    if notice is None:
        detail = "there is no such notice"
        return ItemResult(notice_id=item.notice_id, result="unknown_notice", detail=detail)
    if notice.partner != partner:
        detail = "this notice is for another partner"
        return ItemResult(notice_id=item.notice_id, result="not_yours", detail=detail)
    if item.outcome is not None and not fits(item.outcome, notice.action):
        detail = f"{item.outcome} is no outcome of what was asked, which is {notice.action}"
        return ItemResult(notice_id=item.notice_id, result="wrong_outcome", detail=detail)
    return ItemResult(notice_id=item.notice_id, result="accepted")


def _event(context: Context, item: AcknowledgementIn, notice: NoticeRow) -> Envelope:
    now = context.clock()
    expected = "" if item.expected_by is None else rfc3339(item.expected_by)
    content = [item.status, item.outcome or "", item.reason or "", item.detail or "", expected]
    if item.evidence is not None:
        # Another piece of evidence is another statement; without this it would be dropped as a repetition.
        content.append(orjson.dumps(item.evidence, option=orjson.OPT_SORT_KEYS).decode())
    data = Acknowledged(
        notice_id=item.notice_id,
        partner=notice.partner,
        subject=notice.subject,
        status=item.status,
        outcome=item.outcome,
        reason=item.reason,
        detail=item.detail,
        expected_by=item.expected_by,
        # A partner's clock is its own; what it says cannot lie after now.
        occurred_at=min(item.occurred_at or now, now),
        evidence=item.evidence,
        via="api",
    )
    return Envelope(ids.acknowledgement_id(item.notice_id, notice.partner, *content), now, data)
