"""What stands in `rescind.partners`, though gateways of other hosts write there too.

Each looks at what stands, decides, and appends. Whether nobody came in between shows by the offset that the record
got. If somebody did, the log's order settles it, for every reader alike: of two records of a partner with the same
revision the first counts, and the other is as if it had never been (`ledger.projecting`, `agents.directory`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated

from fastapi import Path

from gateway.context import Context
from gateway.problems import Problem
from gateway.registering import changed, free_lanes, held, removed
from ledger import ApiKey, Role
from streams import ids
from streams.cloudevents import Envelope
from streams.errors import LedgerBehind, LogUnavailable, StorageUnusable
from streams.events import Partner, PartnerStatus
from streams.records import Position, Record, TopicPartition, record
from streams.topics import NOTICES, PARTNERS

log = logging.getLogger(__name__)
_TP = TopicPartition(PARTNERS.name, 0)

PartnerPath = Annotated[str, Path(description="A partner's id.")]
#: The record of who made a partner what it is.
Sign = Callable[[Partner], Record]


async def look(context: Context) -> int:
    """Let the ledger show every registration there is; the offset that the next will get. Raises `LedgerBehind`."""
    return (await context.caught_up(PARTNERS.name))[_TP]


async def append(context: Context, partner: Partner, by: Sign | None = None) -> Position:
    """Where a partner came to stand. With it goes who did this by hand."""
    identity = ids.derive("partner", partner.id, str(partner.revision))
    envelope = Envelope(identity, partner.updated_at, partner)
    signed = [] if by is None else [by(partner)]
    position, *_ = await context.appender.append([record(PARTNERS.name, envelope), *signed])
    return position


async def stands(context: Context, partner: Partner, position: Position) -> bool:
    """Whether this is how the partner stands, as of its own place in the log or later. Raises `LedgerBehind`."""
    await context.ledger.reached({_TP: position.offset + 1}, context.catch_up)
    standing = await asyncio.to_thread(context.ledger.partner, partner.id)
    return standing is not None and standing.model_dump() == partner.model_dump()


async def amended(
    context: Context, partner: str, amend: Callable[[Partner, datetime], Partner], by: Sign | None = None
) -> tuple[Partner, Position | None]:
    """Put what `amend` makes of a partner, as it stands now, in its place; if somebody was faster, of what that one
    made. Where it stood, which is None if `amend` left all as it was.

    Raises `LedgerBehind` and `LogUnavailable`; a change may then have happened nevertheless.
    """
    while True:
        seen = await look(context)
        before = await existing(context, partner)
        after = amend(before, context.clock())
        if after is before:
            return before, None
        position = await append(context, after, by)
        if position.offset == seen or await stands(context, after, position):
            return after, position


async def lanes_for(context: Context, partner: str, wanted: int) -> tuple[int, ...]:
    """Lanes for a new partner. Raises `Problem` if the id is taken, or too many lanes are."""
    known = await asyncio.to_thread(context.ledger.partner, partner)
    if known is not None:
        raise _exists(known)
    lanes = await _lanes(context)
    free = free_lanes(*await _others(context, partner), lanes, wanted)
    if free is None:
        raise _no_lane(lanes, wanted)
    return free


async def settled(context: Context, partner: Partner, position: Position) -> Partner:
    """A new partner as it stands after all, since somebody wrote right before it. Raises `Problem` if it does not."""
    try:
        first = await stands(context, partner, position)
    except (LedgerBehind, StorageUnusable) as error:
        log.warning("whether %s is the only partner in lane %d is not known: %s", partner.id, partner.lane, error)
        return partner
    if not first:
        # The newest record of a key outlives the others, so the one that counts is said again behind ours.
        known, _ = await amended(context, partner.id, changed)
        raise _exists(known)
    try:
        return await _alone_in_its_lane(context, partner)
    except (LedgerBehind, StorageUnusable, LogUnavailable) as error:
        # It is registered, and its secret exists only in our answer.
        log.warning("partner %s shares lane %d: %s", partner.id, partner.lane, error)
        return partner


async def _alone_in_its_lane(context: Context, partner: Partner) -> Partner:
    while True:
        others, owing = await _others(context, partner.id)
        if held(others, owing).isdisjoint(partner.lanes):
            return partner
        lanes = await _lanes(context)
        free = free_lanes(others, owing, lanes, len(partner.lanes))
        if free is None:
            await amended(context, partner.id, removed)
            raise _no_lane(lanes, len(partner.lanes))
        partner, _ = await amended(context, partner.id, partial(changed, lane=free[0], more_lanes=free[1:]))


async def _lanes(context: Context) -> int:
    # Asked each time: an operator may add lanes while all runs.
    return await context.appender.partitions(NOTICES.name)


async def _others(context: Context, partner: str) -> tuple[list[Partner], set[str]]:
    """All partners but one, and who owes something."""
    partners = await asyncio.to_thread(context.ledger.partners)
    owing = {row.partner for row in await asyncio.to_thread(context.ledger.lag, context.clock())}
    return [known for known in partners if known.id != partner], owing


async def existing(context: Context, partner: str) -> Partner:
    """As it stands, also if it is removed. Raises `Problem` if there was never such a partner."""
    found = await asyncio.to_thread(context.ledger.partner, partner)
    if found is None:
        raise unknown(partner)
    return found


async def present(context: Context, partner: str) -> Partner:
    """As it stands. Raises `Problem` if there is no such partner, or no longer."""
    found = await existing(context, partner)
    if found.status is PartnerStatus.REMOVED:
        raise unknown(partner)
    return found


def check_own(key: ApiKey, partner: str) -> None:
    """A partner's key does not even tell whether there are others."""
    if key.role is Role.PARTNER and key.partner != partner:
        raise unknown(partner)


def unknown(partner: str) -> Problem:
    return Problem(404, "unknown-partner", f"there is no partner {partner!r}")


def _exists(known: Partner) -> Problem:
    detail = f"there is, or was, a partner {known.id}; an id is never used again"
    if known.status is not PartnerStatus.REMOVED:
        # A registration that got no answer may be durable all the same; what it would have shown is lost.
        detail += (
            ". If its registration got no answer, it needs no other: `rescind partners rotate-secret` gives it a new "
            "signing secret, and `rescind keys create --role partner` an API key"
        )
    return Problem(409, "exists", detail)


def _no_lane(lanes: int, wanted: int) -> Problem:
    words = f"all {lanes} lanes are taken" if wanted == 1 else f"of {lanes} lanes fewer than {wanted} are free"
    return Problem(409, "no-lane", f"{words}; remove a partner first")
