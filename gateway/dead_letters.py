"""Dead letters of ours: what we could not process; and what their list and that of partners have in common.

What partners do not take is in `gateway.undeliverable`.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from gateway.actions import acted
from gateway.auth import OperatorOnly
from gateway.bodies import parse_each, read_json, strictly
from gateway.context import Context, context_of
from gateway.cursors import MOST, USUAL, After, Cursor, Limit, Number, read, written
from gateway.openapi import body_of
from gateway.problems import problems
from gateway.resending import Unsendable, sorted_out
from ledger import ApiKey, Poisoned
from ledger.again import PoisonedAt
from ledger.times import micros
from streams import ids
from streams.events import Act
from streams.names import EventId

router = APIRouter(tags=["operators"], prefix="/v1/dead-letters")
_OURS: TypeAdapter[tuple[Number, str]] = TypeAdapter(tuple[Number, str])
# Whoever takes all takes what was there when he began: what comes back at once must not be taken again and again.
_ALL_OURS: TypeAdapter[tuple[Number, tuple[Number, str]]] = TypeAdapter(tuple[Number, tuple[Number, str]])

Ids = Annotated[tuple[EventId, ...], Field(max_length=MOST)]


class Header(BaseModel):
    name: str
    value_base64: str | None


class PoisonedMessage(BaseModel):
    """`value_text` is the value where it is UTF-8. `headers` is null where they were not recorded."""

    id: str
    topic: str
    partition: int
    offset: int
    reason: str
    poisoned_at: datetime
    key_base64: str | None
    value_base64: str | None
    value_text: str | None
    headers: list[Header] | None


class PoisonedList(BaseModel):
    """Oldest first; a page of large messages may hold fewer than asked for. `next` is null on the last page."""

    dead_letters: list[PoisonedMessage]
    next: str | None


class Which(BaseModel):
    """Some by their ids, or with `all` a page of them; then `after` is `next` of the answer before. What is repeated
    under the same `id` repeats the ids of what it causes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    all: Literal[True] | None = None
    after: Cursor | None = None
    id: EventId | None = None

    def one_of(self, named: Sequence[str]) -> None:
        if bool(named) == bool(self.all):
            raise ValueError("name ids, or say all: true")
        if self.after is not None and not self.all:
            raise ValueError("after belongs to all: true")


class WhichPoisoned(Which):
    """The messages of `ids`, or `all`."""

    ids: Ids = ()

    @model_validator(mode="after")
    def _fits(self) -> WhichPoisoned:
        self.one_of(self.ids)
        return self


class Skipped(BaseModel):
    id: str
    reason: str


class Settled(BaseModel):
    """How many left the list, and which did not. Unless `next` is null, there are more: ask again, `after` it."""

    id: str
    done: int
    skipped: list[Skipped]
    next: str | None


@router.get("/poisoned", summary="Messages that could not be processed", responses=problems(422))
async def list_poisoned(request: Request, key: OperatorOnly, limit: Limit = USUAL, after: After = None) -> PoisonedList:
    """Each as it stood, with where it stood and what was wrong with it."""
    return await poisoned(context_of(request), limit, after)


async def poisoned(context: Context, limit: int, after: str | None) -> PoisonedList:
    """A page of ours. Raises `Problem` if `after` is no cursor."""
    page, following = await _poisoned(context, read(after, _OURS), limit)
    shown = await asyncio.to_thread(lambda: [_shown(letter) for letter in page])
    return PoisonedList(dead_letters=shown, next=None if following is None else written(following))


@router.post(
    "/poisoned/redrive",
    status_code=202,
    summary="Process poisoned messages again",
    responses=problems(400, 413, 415, 422),
    openapi_extra=body_of(WhichPoisoned, example={"all": True}),
)
async def redrive_poisoned(request: Request, key: OperatorOnly) -> Settled:
    """Each is appended to its topic and partition once more, as it stood. What still cannot be processed comes back,
    under a new place. What by now might undo something newer is left in the list."""
    return await settle(context_of(request), key, Act.REDRIVE, await _which(request))


@router.post(
    "/poisoned/discard",
    status_code=202,
    summary="Be done with poisoned messages",
    responses=problems(400, 413, 415, 422),
    openapi_extra=body_of(WhichPoisoned, example={"ids": ["6f1c0a34-..."]}),
)
async def discard_poisoned(request: Request, key: OperatorOnly) -> Settled:
    """They leave the list, and nothing else becomes of them."""
    return await settle(context_of(request), key, Act.DISCARD, await _which(request))


async def _poisoned(context: Context, after: PoisonedAt | None, limit: int) -> tuple[list[Poisoned], PoisonedAt | None]:
    page = await asyncio.to_thread(context.ledger.poisoned, after, limit)
    if not page:
        return page, None
    last = micros(page[-1].poisoned_at), page[-1].id
    return page, last if await asyncio.to_thread(context.ledger.poisoned, last, 1) else None


async def _which(request: Request) -> WhichPoisoned:
    body, _ = await read_json(request)
    (wanted,) = parse_each([body], strictly(WhichPoisoned), "requests")
    return wanted


async def settle(context: Context, key: ApiKey, act: Act, wanted: WhichPoisoned) -> Settled:
    """Of ours, what left the list. Raises `Problem`."""
    identity, following = wanted.id or context.new_id(), None
    done, skipped = 0, list[Skipped]()
    if wanted.all:
        until, after = read(wanted.after, _ALL_OURS) or (micros(context.clock()), None)
        page, place = await _poisoned(context, after, MOST)
        letters = [letter for letter in page if micros(letter.poisoned_at) <= until]
        following = written((until, place)) if place is not None and letters == page else None
        done, skipped = await _take(context, key, act, letters, identity)
    else:
        left = set(wanted.ids)
        while left and (letters := await asyncio.to_thread(context.ledger.poisoned_ones, left)):
            count, kept = await _take(context, key, act, letters, identity)
            done, skipped = done + count, skipped + kept
            left -= {letter.id for letter in letters}
        skipped += [Skipped(id=each, reason="no dead letter") for each in wanted.ids if each in left]
    return Settled(id=identity, done=done, skipped=skipped, next=following)


async def _take(
    context: Context, key: ApiKey, act: Act, letters: Sequence[Poisoned], identity: str
) -> tuple[int, list[Skipped]]:
    """What is to be processed again is durable before it leaves the list: whoever is interrupted in between finds it
    there, and a message that comes twice is one."""
    gone = [letter.id for letter in letters]
    kept: list[Unsendable] = []
    if act is Act.REDRIVE:
        records, kept = await asyncio.to_thread(sorted_out, context.ledger, letters)
        await context.appender.append(records)
        gone = [each for each in gone if each not in {letter.id for letter in kept}]
    if gone:
        name = ids.derive("acted", identity, *gone)
        await context.shown(await context.appender.append([acted(context, key, act, name, poisoned=tuple(gone))]))
    return len(gone), [Skipped(id=letter.id, reason=letter.reason) for letter in kept]


def _shown(letter: Poisoned) -> PoisonedMessage:
    named = None
    if letter.headers is not None:
        named = [Header(name=name, value_base64=value) for name, value in letter.headers]
    return PoisonedMessage(**asdict(letter) | {"value_text": _text(letter.value_base64), "headers": named})


def _text(value: str | None) -> str | None:
    try:
        return None if value is None else base64.b64decode(value).decode()
    except UnicodeDecodeError:
        return None
