"""The gate: whose posts may go out for a purpose, as of a known place in the log.

Where it cannot be told, nothing is cleared; see `gateway.freshness`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from tempfile import TemporaryFile
from typing import IO, Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gateway.auth import PlatformOrOperator
from gateway.bodies import read_json
from gateway.context import Context, context_of
from gateway.freshness import all_shown, recently_shown
from gateway.handing_over import allowed, receiver
from gateway.openapi import body_of
from gateway.problems import Problem, pointer, problems
from streams.errors import StorageUnusable
from streams.explaining import in_words
from streams.kinds import Choice
from streams.names import PartnerId, Purpose, Subject
from streams.records import TopicPartition
from streams.topics import DECISIONS

router = APIRouter(tags=["platform"])
#: Rows of a question at most, and errors of one that an answer names.
MOST, _TOLD = 10_000, 100
#: Bytes of a snapshot that are sent together.
_PIECE = 256 * 1024


class Regime(StrEnum):
    """What silence means."""

    OPT_OUT = "opt-out"  #: whoever has not opted out is in
    OPT_IN = "opt-in"  #: whoever has not opted in is out

    @property
    def exception(self) -> Choice:
        """The choice of those who are not as silence has it."""
        return Choice.OPT_OUT if self is Regime.OPT_OUT else Choice.OPT_IN


class GateQuestion(BaseModel):
    """`rows` have the subjects of a row each, all of whom must allow it; `subjects` is short for rows of one."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    purpose: Purpose
    partner: PartnerId | None = None
    subjects: tuple[Subject, ...] | None = Field(default=None, min_length=1, max_length=MOST)
    rows: tuple[Annotated[tuple[Subject, ...], Field(min_length=1, max_length=100)], ...] | None = Field(
        default=None, min_length=1, max_length=MOST
    )

    @model_validator(mode="after")
    def _either(self) -> GateQuestion:
        if (self.subjects is None) == (self.rows is None):
            raise ValueError("either subjects or rows")
        return self

    def asked(self) -> Iterable[tuple[str, ...]]:
        return self.rows if self.rows is not None else ((subject,) for subject in self.subjects or ())


class GateAnswer(BaseModel):
    """`passes` in the order of the question. `watermark` says, by topic and partition, up to which offset (exclusive)
    choices are in it."""

    purpose: str
    regime: Regime
    watermark: dict[str, dict[str, int]]
    passes: list[bool]
    cleared: int
    dropped: int


class SnapshotHead(BaseModel):
    """The first line of a snapshot."""

    purpose: str
    regime: Regime
    watermark: dict[str, dict[str, int]]
    taken_at: datetime


class SnapshotQuery(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    purpose: Annotated[Purpose, Field(description="A slug, for instance ai-training.")]


_LINES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
        "description": "A line that says what it is, a line (a JSON string) a subject, and a line that ends it.",
    }
}


@router.get(
    "/v1/consents/snapshot",
    summary="Who is an exception",
    responses=problems(422) | _LINES,
    response_class=Response,
)
async def get_snapshot(request: Request, key: PlatformOrOperator, query: Annotated[SnapshotQuery, Query()]) -> Response:
    """Everybody who is not as silence has it, in order, as of one moment: who opted out of the purpose, or, for a
    purpose that needs a yes, who opted in. The first line has `purpose`, `regime`, `watermark` and `taken_at`, the last
    one `{"end": true, "count": n}`; whoever does not get that line, or another number of subjects, has nothing. All
    that was accepted before the question is in it; while that cannot be had, the answer is 503."""
    context = context_of(request)
    await all_shown(context)
    file = await asyncio.to_thread(_spooled, context, query.purpose, await _beginning(context))
    size = file.seek(0, 2)
    file.seek(0)
    headers = {"content-length": str(size), "cache-control": "no-store"}
    return StreamingResponse(_pieces(file), media_type="application/x-ndjson", headers=headers)


@router.post(
    "/v1/gate",
    summary="May these go out?",
    responses=problems(400, 404, 409, 413, 415, 422),
    openapi_extra=body_of(
        GateQuestion, example={"purpose": "ai-training", "subjects": ["blog:staff.example.com", "user:123"]}
    ),
)
async def ask_gate(request: Request, key: PlatformOrOperator) -> GateAnswer:
    """Up to 10,000 rows. A row passes if the purpose is allowed by every one of its subjects. The answer is no older
    than the gate may lag behind (`RESCIND_GATE_MAX_LAG_SECONDS`); while that cannot be had, it is 503. Nothing is
    recorded: what goes out by this answer is nobody's export."""
    context = context_of(request)
    question = _question((await read_json(request))[0])
    if question.partner is not None:
        await allowed(context, await receiver(context, question.partner, question.purpose))
    await recently_shown(context)
    regime = regime_of(context, question.purpose)
    rows = list(question.asked())
    everybody = {subject for row in rows for subject in row}
    watermark, found = await asyncio.to_thread(context.ledger.who_chose, question.purpose, regime.exception, everybody)
    fine = everybody - found if regime is Regime.OPT_OUT else found
    passes = [fine.issuperset(row) for row in rows]
    return GateAnswer(
        purpose=question.purpose,
        regime=regime,
        watermark=written(await _beginning(context) | watermark),
        passes=passes,
        cleared=sum(passes),
        dropped=len(passes) - sum(passes),
    )


def regime_of(context: Context, purpose: str) -> Regime:
    return Regime.OPT_IN if purpose in context.settings.opt_in_purposes else Regime.OPT_OUT


def written(watermark: Mapping[TopicPartition, int]) -> dict[str, dict[str, int]]:
    """A watermark as JSON has it, by topic and partition."""
    found: dict[str, dict[str, int]] = {}
    for tp, offset in sorted(watermark.items()):
        found.setdefault(tp.topic, {})[str(tp.partition)] = offset
    return found


def _question(body: Any) -> GateQuestion:
    try:
        return GateQuestion.model_validate_json(orjson.dumps(body), strict=True)
    except ValidationError as error:
        errors = [
            {"pointer": pointer(found["loc"]), "detail": in_words(found)}
            for found in error.errors(include_url=False, include_input=False)[:_TOLD]
        ]
        raise Problem(422, "invalid", "the question is not valid; nothing is cleared", errors=errors) from None


async def _beginning(context: Context) -> dict[TopicPartition, int]:
    """The watermark of a ledger that has read nothing: it names every partition, so that none can be overlooked."""
    return dict.fromkeys(await context.appender.end_offsets(DECISIONS.name), 0)


def _spooled(context: Context, purpose: str, beginning: Mapping[TopicPartition, int]) -> IO[bytes]:
    """A snapshot in a file that nobody else sees, so that a slow client holds back no writer of the ledger."""
    regime, count = regime_of(context, purpose), 0
    try:
        file = TemporaryFile(dir=context.settings.data_dir)  # noqa: SIM115 - it outlives this
        try:
            with context.ledger.all_who_chose(purpose, regime.exception) as (watermark, pages):
                head = SnapshotHead(
                    purpose=purpose,
                    regime=regime,
                    watermark=written({**beginning, **watermark}),
                    taken_at=context.clock(),
                )
                file.write(head.model_dump_json().encode() + b"\n")
                for page in pages:
                    count += len(page)
                    file.writelines(orjson.dumps(subject) + b"\n" for subject in page)
            file.write(orjson.dumps({"end": True, "count": count}) + b"\n")
            file.flush()
        except BaseException:
            file.close()
            raise
    except OSError as error:
        raise StorageUnusable(f"the snapshot finds no room in {context.settings.data_dir}: {error}") from None
    return file


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    with file:
        while piece := await asyncio.to_thread(file.read, _PIECE):
            yield piece
