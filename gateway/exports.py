"""`/v1/exports`: what is handed over to whom. An export is opened, told who is in it, and closed."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from gateway.auth import PlatformOrOperator
from gateway.bodies import parse_each, read_bytes, read_json, strictly
from gateway.context import Context, context_of
from gateway.cursors import USUAL, After, Limit, Number, cut, read
from gateway.cursors import written as cursor_of
from gateway.freshness import recently_shown
from gateway.gate import regime_of
from gateway.handing_over import allowed, known_export, receiver, up_to_date, written
from gateway.openapi import body_of
from gateway.problems import Problem, problems
from ledger import Export, ExportStatus
from ledger.disclosed import place
from streams import ids
from streams.blocks import decode_block
from streams.cloudevents import Envelope
from streams.errors import Undecodable
from streams.exports import (
    MOST_BLOCKS,
    Count,
    ExportClosed,
    ExportOpened,
    Output,
    Rows,
    Sha256,
    SubjectsDisclosed,
    Watermark,
    export_id,
)
from streams.manifests import listed
from streams.moments import Moment
from streams.names import Dataset, EventId, PartnerId, Purpose, Version
from streams.records import record
from streams.topics import DECISIONS, DISCLOSURES

router = APIRouter(tags=["platform"], prefix="/v1/exports")
#: Seconds between two looks at whether an export is settled.
_LOOK_AGAIN = 0.1
_PLACE: TypeAdapter[tuple[Number, str]] = TypeAdapter(tuple[Number, str])
ExportPath = Annotated[EventId, Path(description="An export's id.")]
BlockPath = Annotated[int, Path(ge=0, lt=MOST_BLOCKS, description="Which block, from 0.")]


class ExportIn(BaseModel):
    """What is to be handed over. One that left before Rescind was there is `imported`: then `exported_at` is when."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    dataset: Dataset
    version: Version
    partner: PartnerId
    purpose: Purpose
    imported: Literal[True] | None = None
    exported_at: Moment | None = None

    @model_validator(mode="after")
    def _fits(self) -> ExportIn:
        if (self.imported is None) != (self.exported_at is None):
            raise ValueError("imported and exported_at go together")
        return self


class CloseIn(BaseModel):
    """What was handed over: so many blocks of subjects; by which snapshot it was gated; what became of the rows; and
    the file. Of an import the first two are all."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    blocks: Annotated[int, Field(ge=0, le=MOST_BLOCKS)]
    subjects: Count
    watermark: Watermark | None = None
    rows_read: Count | None = None
    rows_cleared: Count | None = None
    dropped: Annotated[dict[str, Count], Field(max_length=100)] = {}
    sha256: Sha256 | None = None
    bytes: Count | None = None
    format: Annotated[str, Field(min_length=1, max_length=50)] | None = None

    @model_validator(mode="after")
    def _adds_up(self) -> CloseIn:
        told = (self.watermark, self.rows_read, self.rows_cleared, self.sha256, self.bytes, self.format)
        if any(part is None for part in told) and any(part is not None for part in told):
            raise ValueError("watermark, rows_read, rows_cleared, sha256, bytes and format go together")
        if self.rows_read is not None and self.rows_read != (self.rows_cleared or 0) + sum(self.dropped.values()):
            raise ValueError("rows_read is not rows_cleared and dropped together")
        return self

    @property
    def rows(self) -> Rows | None:
        if self.rows_read is None or self.rows_cleared is None:
            return None
        return Rows(read=self.rows_read, cleared=self.rows_cleared, dropped=self.dropped)

    @property
    def output(self) -> Output | None:
        if self.sha256 is None or self.bytes is None or self.format is None:
            return None
        return Output(sha256=self.sha256, bytes=self.bytes, format=self.format)


class ExportOut(BaseModel):
    """An export as it stands. `withdrawn` subjects had chosen otherwise before it was handed over: their list is at
    `withdrawals_url`, and its partner is asked to delete them. `disclosed_at` is when the partner had it. The
    `manifest` is there once it is settled, and never changes."""

    id: str
    dataset: str
    version: str
    partner: str
    purpose: str
    status: ExportStatus
    regime: str
    imported: bool
    exported_at: datetime | None
    opened_at: datetime
    closed_at: datetime | None
    settled_at: datetime | None
    requested_at: datetime | None
    disclosed_at: datetime | None
    watermark: Watermark | None
    rows: Rows | None
    output: Output | None
    subjects: int | None
    withdrawn: int | None
    withdrawals_url: str | None
    manifest: dict[str, Any] | None = None


class ExportList(BaseModel):
    """The newest first, without their manifests. `next` is null on the last page."""

    exports: list[ExportOut]
    next: str | None


class BlockTaken(BaseModel):
    export: str
    block: int
    subjects: int


@router.post(
    "",
    status_code=201,
    summary="Open an export",
    responses=problems(400, 404, 409, 413, 415, 422) | {200: {"model": ExportOut, "description": "Opened before"}},
    openapi_extra=body_of(
        ExportIn, example={"dataset": "posts", "version": "2026-01", "partner": "acme", "purpose": "ai-training"}
    ),
)
async def open_export(request: Request, response: Response, key: PlatformOrOperator) -> ExportOut:
    """One version of a dataset, for one partner and purpose. Opened again it is the same one (200), until it is
    closed (409; of an import what stands is told even then). A partner that is removed, suspended, being drained,
    or barred since it is overdue, gets none (409)."""
    context = context_of(request)
    (wanted,) = parse_each([(await read_json(request))[0]], strictly(ExportIn), "exports")
    if wanted.exported_at is not None and wanted.exported_at > context.clock():
        raise Problem(422, "invalid", "exported_at lies in the future")
    whom = await receiver(context, wanted.partner, wanted.purpose)
    await up_to_date(context)
    identity = export_id(wanted.dataset, wanted.version, wanted.partner, wanted.purpose)
    known = await asyncio.to_thread(context.disclosures.export, identity)
    if known is not None and known.imported is wanted.imported is True:
        response.status_code = 200
        return await _with_manifest(context, known)
    if known is not None and (known.status is not ExportStatus.OPEN or known.imported or wanted.imported):
        raise _over(known)
    if not wanted.imported:
        # What has left already is only written down, whatever its partner has come to since.
        await allowed(context, whom)
        await recently_shown(context)
    if known is not None:
        response.status_code = 200
        return _out(known)
    now = context.clock()
    data = ExportOpened(
        **wanted.model_dump(), export=identity, regime=regime_of(context, wanted.purpose).value, opened_at=now
    )
    event = Envelope(ids.derive("export-opened", identity), now, data)
    await written(context, await context.appender.append([record(DISCLOSURES.name, event)]))
    return _out(await known_export(context, identity))


@router.get("", summary="Exports", responses=problems(422))
async def list_exports(
    request: Request,
    key: PlatformOrOperator,
    partner: PartnerId | None = None,
    dataset: Annotated[Dataset | None, Query()] = None,
    limit: Limit = USUAL,
    after: After = None,
) -> ExportList:
    """The newest first, of all, or of one partner or dataset."""
    context, before = context_of(request), read(after, _PLACE)
    found = await asyncio.to_thread(context.disclosures.exports, limit + 1, before, partner, dataset)
    page, following = cut(found, limit, place)
    return ExportList(exports=list(map(_out, page)), next=None if following is None else cursor_of(following))


@router.get("/{export}", summary="One export", responses=problems(404, 422))
async def get_export(request: Request, export: ExportPath, key: PlatformOrOperator) -> ExportOut:
    """With its manifest, once it is settled."""
    context = context_of(request)
    return await _with_manifest(context, await known_export(context, export))


@router.put(
    "/{export}/subjects/{block}",
    status_code=202,
    summary="Say who is in an export",
    responses=problems(400, 404, 409, 413, 415, 422),
    openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": {}}}},
)
async def put_block(request: Request, export: ExportPath, block: BlockPath, key: PlatformOrOperator) -> BlockTaken:
    """Up to 8,192 subjects, sorted and distinct, as `streams.blocks` writes them; those of block 1 come behind those of
    block 0. The answer 202 means that they are durable. Until the export is closed a block takes the place of the one
    that had its number before, so after a lost answer it is sent again."""
    context = context_of(request)
    raw = await read_bytes(request)
    try:
        subjects = len(await asyncio.to_thread(decode_block, raw))
    except Undecodable as error:
        raise Problem(422, "invalid", str(error)) from None
    known = await known_export(context, export)
    if known.status is not ExportStatus.OPEN:
        raise _over(known)
    data = SubjectsDisclosed(
        export=export, dataset=known.dataset, number=block, subjects=subjects, block=base64.b64encode(raw).decode()
    )
    event = Envelope(ids.derive("subjects-disclosed", export, str(block), data.block), context.clock(), data)
    await context.appender.append([record(DISCLOSURES.name, event)])
    return BlockTaken(export=export, block=block, subjects=subjects)


@router.post(
    "/{export}/close",
    summary="Hand an export over",
    responses=problems(400, 404, 409, 413, 415, 422) | {202: {"model": ExportOut, "description": "Not settled yet"}},
    openapi_extra=body_of(CloseIn),
)
async def close_export(request: Request, response: Response, export: ExportPath, key: PlatformOrOperator) -> ExportOut:
    """To be asked before the partner gets anything. From the answer on, all blocks are disclosed. It waits up to 30 s
    for the export to be settled: 200, with the manifest; else the answer is 202, and `GET` tells when it is. The same
    again is answered alike; anything else, after that, is refused (409)."""
    context = context_of(request)
    (said,) = parse_each([(await read_json(request))[0]], strictly(CloseIn), "exports")
    await up_to_date(context)
    known = await known_export(context, export)
    if known.status is ExportStatus.OPEN:
        await _close(context, known, said)
    known = await known_export(context, export)
    if (known.subjects, known.rows, known.output) != (said.subjects, said.rows, said.output):
        raise _over(known)
    known = await _settled(context, known)
    if known.status is not ExportStatus.SETTLED:
        response.status_code = 202
    return await _with_manifest(context, known)


@router.get(
    "/{export}/withdrawals", summary="Who is withdrawn", responses=problems(404, 409, 422), response_class=Response
)
async def get_withdrawals(request: Request, export: ExportPath, key: PlatformOrOperator) -> Response:
    """A JSON string a line, sorted: who had chosen otherwise before the export was handed over. The manifest has the
    SHA-256 of just this."""
    context = context_of(request)
    known = await known_export(context, export)
    if known.status is not ExportStatus.SETTLED:
        raise Problem(409, "not-settled", "who is withdrawn is not known yet", headers={"retry-after": "1"})

    def lines() -> Iterator[bytes]:
        for some in context.disclosures.withdrawals(export):
            yield b"".join(listed(some))

    return StreamingResponse(lines(), media_type="application/x-ndjson", headers={"cache-control": "no-store"})


async def _close(context: Context, known: Export, said: CloseIn) -> None:
    """Return when the log has it; whether it counts, the index tells. Raises `Problem`."""
    if (said.rows is None) is not known.imported:
        detail = (
            "an import has no watermark, rows and file" if known.imported else "watermark, rows and file are missing"
        )
        raise Problem(422, "invalid", detail)
    if not known.imported:
        await _check_watermark(context, said.watermark or {})
        await allowed(context, await receiver(context, known.partner, known.purpose))
    reason = await asyncio.to_thread(context.disclosures.unfit, known.id, said.blocks, said.subjects)
    if reason is not None:
        raise Problem(409, "incomplete", f"the export cannot be closed: {reason}")
    now = context.clock()
    data = ExportClosed(
        export=known.id,
        dataset=known.dataset,
        watermark=said.watermark or {},
        blocks=said.blocks,
        subjects=said.subjects,
        rows=said.rows,
        output=said.output,
        closed_at=now,
    )
    content = orjson.dumps(said.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS).decode()
    event = Envelope(ids.derive("export-closed", known.id, content), now, data)
    await written(context, await context.appender.append([record(DISCLOSURES.name, event)]))
    if (await known_export(context, known.id)).status is ExportStatus.OPEN:
        raise Problem(409, "incomplete", "the export is not closed: somebody else changed it at the same time")


async def _check_watermark(context: Context, watermark: Watermark) -> None:
    """It says of each partition of the decisions how far it goes, and not beyond their end."""
    ends = await context.appender.end_offsets(DECISIONS.name)
    told = watermark.get(DECISIONS.name, {})
    for tp, end in ends.items():
        if told.get(str(tp.partition), 0 if end == 0 else -1) not in range(end + 1):
            detail = f"the watermark is none of this service: see {DECISIONS.name}[{tp.partition}]"
            raise Problem(422, "invalid", detail, errors=[{"pointer": "/watermark", "detail": detail}])


async def _settled(context: Context, known: Export) -> Export:
    """The export when it is settled, or after so long."""
    deadline = asyncio.get_running_loop().time() + context.settle
    while known.status is not ExportStatus.SETTLED and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(_LOOK_AGAIN)
        known = await known_export(context, known.id)
    return known


async def _with_manifest(context: Context, export: Export) -> ExportOut:
    manifest = await asyncio.to_thread(context.disclosures.manifest, export.id)
    out = _out(export)
    return out if manifest is None else out.model_copy(update={"manifest": orjson.loads(manifest)})


def _out(export: Export) -> ExportOut:
    settled = export.status is ExportStatus.SETTLED
    return ExportOut(
        **{name: value for name, value in asdict(export).items() if name not in ("rows", "output")},
        rows=export.rows,
        output=export.output,
        disclosed_at=export.disclosed_at,
        withdrawals_url=f"/v1/exports/{export.id}/withdrawals" if settled else None,
    )


def _over(known: Export) -> Problem:
    if known.status is ExportStatus.OPEN:
        kind = "an import" if known.imported else "an export"
        return Problem(409, "exists", f"{known.dataset} {known.version} is open as {kind}, which it stays")
    detail = (
        f"{known.dataset} {known.version} was handed over to {known.partner} for {known.purpose} already, and what "
        "was handed over does not change: give it another version"
    )
    return Problem(409, "closed", detail)
