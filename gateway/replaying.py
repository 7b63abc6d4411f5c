"""`POST /v1/partners/{partner}/replay`: what was issued to a partner at some time, once more."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from gateway.actions import acted, actor
from gateway.auth import OperatorOnly
from gateway.bodies import parse_each, read_json, strictly
from gateway.context import Context, context_of
from gateway.cursors import Cursor, Number, read, written
from gateway.openapi import body_of
from gateway.problems import problems
from gateway.reissuing import addressee, issue_again
from gateway.standing import PartnerPath
from ledger import Amount, ApiKey, Askable, Span
from streams import ids
from streams.events import Act, Again
from streams.moments import Moment
from streams.names import EventId

router = APIRouter(tags=["operators"])
_PLACE: TypeAdapter[tuple[Number, Number]] = TypeAdapter(tuple[Number, Number])
#: Notices that are looked at together, and in one request before it answers. What is appended together holds up the
#: log for others; and clients, and what stands between, give up after half a minute.
_TOGETHER, _AT_ONCE = 1_000, 10_000


class ReplayIn(BaseModel):
    """The time is when notices were issued: from `from` on, and before `to`. `after` is `next` of the answer before;
    a replay that is repeated under the same `id` repeats the ids of what it issues."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    from_: Moment = Field(alias="from")
    to: Moment
    dry_run: bool = False
    after: Cursor | None = None
    id: EventId | None = None

    @model_validator(mode="after")
    def _forward(self) -> ReplayIn:
        if self.from_ >= self.to:
            raise ValueError("from must be before to")
        return self


class Replay(BaseModel):
    """`notices` are issued again, in about so many `requests`; `superseded` are left out, since a later notice asks
    for the opposite. Unless `next` is null, there are more: ask again, `after` it and under the same `id`."""

    id: str
    notices: int
    requests: int
    superseded: int
    next: str | None


_EXAMPLE = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z", "dry_run": True}


@router.post(
    "/v1/partners/{partner}/replay",
    status_code=202,
    summary="Issue notices again",
    responses=problems(400, 404, 413, 415, 422) | {200: {"model": Replay, "description": "What it would be"}},
    openapi_extra=body_of(ReplayIn, example=_EXAMPLE),
)
async def replay(request: Request, response: Response, partner: PartnerPath, key: OperatorOnly) -> Replay:
    """Every notice that was issued to a partner in this time, whatever became of it, goes into its lane once more,
    under its own id and with its old clocks. What was completed stays so. 202 means that it is durable; up to some
    10,000 notices a request. `dry_run` only counts."""
    body, _ = await read_json(request)
    (wanted,) = parse_each([body], strictly(ReplayIn), "replays")
    if wanted.dry_run:
        response.status_code = 200
    return await replayed(context_of(request), key, partner, wanted)


async def replayed(context: Context, key: ApiKey, partner: str, wanted: ReplayIn) -> Replay:
    """What was issued again, or with `dry_run` would be. Raises `Problem`."""
    after = read(wanted.after, _PLACE)
    whom = await addressee(context, partner)
    identity = wanted.id or context.new_id()
    span = Span(whom.id, wanted.from_, wanted.to)
    if wanted.dry_run:
        amount = await asyncio.to_thread(context.ledger.amount, span, whom.batch_size)
        return _answer(identity, amount, None)
    if after is None:
        details = {"from": wanted.from_.isoformat(), "to": wanted.to.isoformat()}
        act = acted(context, key, Act.REPLAY, ids.derive("acted", identity, whom.id), partner=whom.id, details=details)
        await context.appender.append([act])
    again = Again(how="replay", by=actor(key))
    notices = requests = superseded = 0
    while True:
        page = await asyncio.to_thread(context.ledger.issued, span, after, _TOGETHER)
        wanted_now = Askable(page.notices, page.checked)
        requests += (await issue_again(context, whom, wanted_now, again, identity)).packs
        notices, superseded, after = notices + len(page.notices), superseded + page.superseded, page.next
        if after is None or notices + superseded >= _AT_ONCE:
            return _answer(identity, Amount(notices, requests, superseded), after)


def _answer(identity: str, amount: Amount, after: tuple[int, int] | None) -> Replay:
    return Replay(
        id=identity,
        notices=amount.notices,
        requests=amount.requests,
        superseded=amount.superseded,
        next=None if after is None else written(after),
    )
