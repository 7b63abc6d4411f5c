"""`GET /v1/partners/{partner}/report`: what a partner was asked in some time, and what became of it."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.auth import OperatorOrPartner
from gateway.context import Context, context_of
from gateway.pages import page
from gateway.problems import problems
from gateway.standing import PartnerPath, check_own, existing
from ledger import ReportRow, ReportTotals, Span
from ledger.reporting import SPELT_OUT, ReportPage
from streams.moments import Moment

router = APIRouter(tags=["operators"])
#: Notices that are read and sent together. So a report of any size takes the memory of these.
_TOGETHER = 1_000


class Format(StrEnum):
    JSON = "json"
    CSV = "csv"
    HTML = "html"


class ReportQuery(BaseModel):
    """The time is when notices were issued: from `from` on, and before `to`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    from_: Annotated[Moment, Field(alias="from", description="Issued then or later.")]
    to: Annotated[Moment, Field(description="Issued before then.")]
    format: Format = Format.JSON

    @model_validator(mode="after")
    def _forward(self) -> ReportQuery:
        if self.from_ >= self.to:
            raise ValueError("from must be before to")
        return self


class ReportedNotice(BaseModel):
    """`words` are the partner's own, where it refused or does not take the notice; of one that was discarded they say
    by whom and why. The answer that counts came at `completed_at`, be it done or refused; where it took the place of an
    earlier one, the first came at `answered_first_at`. `parked` is one that waits to be sent again, from `retry_at` on.
    An open notice whose outcome is `suppressed` is one to erase, of which the data is still there. `issued_late` is the
    platform's own: it issued the notice after `legal_receive_by` or `legal_complete_by`, the dates by the person's
    request."""

    notice: str
    subject: str
    purpose: str
    action: str
    status: str
    outcome: str | None
    reason: str | None
    words: str | None
    occurred_at: datetime
    issued_at: datetime
    receive_by: datetime
    delivered_at: datetime | None
    received_late: bool
    received_at: datetime | None
    complete_by: datetime
    completed_at: datetime | None
    answered_late: bool
    overdue: bool
    undeliverable_at: datetime | None
    parked: bool
    retry_at: datetime | None
    cancelled_at: datetime | None
    cancelled_because: str | None
    answered_first_at: datetime | None
    suppression_completes: bool
    legal_receive_by: datetime | None
    legal_complete_by: datetime | None
    issued_late: bool


COLUMNS = tuple(ReportedNotice.model_fields)
# Where a row's values are found; a report may have a million rows.
_OF_NOTICE = tuple("id" if name == "notice" else name for name in COLUMNS)
_OF_ROW = [
    (place, name) for place, name in enumerate(COLUMNS) if name in ReportRow.__dataclass_fields__ and name != "notice"
]


class Report(BaseModel):
    """`totals` come behind the notices, of which they are the sums: `asked` is `completed` + `refused` + `open` +
    `cancelled`."""

    partner: str
    name: str
    from_: datetime = Field(alias="from")
    to: datetime
    as_of: datetime
    notices: list[ReportedNotice]
    totals: ReportTotals


_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": Report,
        "content": {kind: {"schema": {"type": "string"}} for kind in ("text/csv", "text/html")},
        "description": "The report; as CSV the notices alone, as HTML a page to print.",
    }
}


@router.get(
    "/v1/partners/{partner}/report",
    summary="A report on a partner",
    responses=problems(404, 422) | _ANSWERS,
    response_class=Response,
)
async def get_report(
    request: Request, partner: PartnerPath, key: OperatorOrPartner, query: Annotated[ReportQuery, Query()]
) -> Response:
    """Every notice that was issued to a partner in a time: what was asked, answered, late, refused and why. A partner's
    key shows its own. A long report is sent while it is read, and what changes meanwhile is as it is when it is read;
    what is late is late as of the beginning, `as_of`."""
    context = context_of(request)
    check_own(key, partner)
    whom = await existing(context, partner)
    as_of = context.clock()
    span = Span(whom.id, query.from_, query.to)
    if query.format is Format.HTML:
        summary = await asyncio.to_thread(context.ledger.report_summary, span, as_of)
        return page("report.html", partner=whom, span=span, as_of=as_of, summary=summary, spelt_out=SPELT_OUT)
    # The first page is read before the answer begins, so that a ledger that cannot be read is a problem like any other.
    first = await asyncio.to_thread(context.ledger.report_page, span, as_of, None, _TOGETHER)
    pages = _pages(context, span, as_of, first)
    name = f"rescind-{whom.id}-{query.from_:%Y%m%d}-{query.to:%Y%m%d}.{query.format}"
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    if query.format is Format.CSV:
        return StreamingResponse(_csv(pages), media_type="text/csv", headers=headers)
    head = {"partner": whom.id, "name": whom.name, "from": span.start, "to": span.end, "as_of": as_of}
    return StreamingResponse(_json(head, pages), media_type="application/json", headers=headers)


async def _pages(
    context: Context, span: Span, as_of: datetime, first: ReportPage
) -> AsyncIterator[Sequence[ReportRow]]:
    rows, after = first
    while True:
        yield rows
        if after is None:
            return
        rows, after = await asyncio.to_thread(context.ledger.report_page, span, as_of, after, _TOGETHER)


async def _csv(pages: AsyncIterator[Sequence[ReportRow]]) -> AsyncIterator[bytes]:
    def written(rows: Iterable[Iterable[Any]]) -> bytes:
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        return text.getvalue().encode()

    yield written([COLUMNS])
    async for rows in pages:
        yield await asyncio.to_thread(lambda rows: written(map(_cells, rows)), rows)


async def _json(head: dict[str, Any], pages: AsyncIterator[Sequence[ReportRow]]) -> AsyncIterator[bytes]:
    totals, comma = ReportTotals(), b""

    def written(rows: Sequence[ReportRow]) -> bytes:
        for row in rows:
            totals.add(row)
        return b",\n".join(orjson.dumps(_reported(row)) for row in rows)

    yield orjson.dumps(head)[:-1] + b',"notices":[\n'
    async for rows in pages:
        if rows:
            yield comma + await asyncio.to_thread(written, rows)
            comma = b",\n"
    yield b'],\n"totals":' + orjson.dumps(totals, option=orjson.OPT_NON_STR_KEYS) + b"}\n"


def _reported(row: ReportRow) -> dict[str, Any]:
    return dict(zip(COLUMNS, _values(row), strict=True))


def _values(row: ReportRow) -> list[Any]:
    values = [getattr(row.notice, name, None) for name in _OF_NOTICE]
    for place, name in _OF_ROW:
        values[place] = getattr(row, name)
    return values


def _cells(row: ReportRow) -> list[str]:
    return [_cell(value) for value in _values(row)]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    # What others wrote must not be run by a spreadsheet (OWASP, CSV injection).
    return f"'{value}" if str(value).startswith(("=", "+", "-", "@", "\t", "\r")) else str(value)
