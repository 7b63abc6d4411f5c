"""Notices issued again, under their own ids, into the lanes that their partner has now."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from gateway.context import Context
from gateway.standing import present
from ledger import Askable
from streams.events import Again, Notice, Partner
from streams.packs import packed_again
from streams.records import Position, behind
from streams.topics import NOTICES, PARTNERS


async def addressee(context: Context, partner: str) -> Partner:
    """Whom notices may be issued to, as of now; and the ledger knows of all that were. Raises `LedgerBehind`, and
    `Problem` if there is no such partner."""
    for topic in (PARTNERS, NOTICES):
        await context.caught_up(topic.name)
    return await present(context, partner)


class Reissued(NamedTuple):
    """How many packs it was, and where those notices stand now that it was about."""

    packs: int
    places: list[tuple[Notice, Position]]


async def issue_again(context: Context, partner: Partner, wanted: Askable, again: Again, cause: str) -> Reissued:
    """Put notices into their lanes once more. They are durable on return.

    The same `cause` gives the same ids: who does not know whether it worked repeats it.
    """
    count, places = 0, list[tuple[Notice, Position]]()
    while wanted.notices:
        packs = await asyncio.to_thread(packed_again, partner, *wanted, again, cause, context.clock())
        positions = await context.appender.append([pack.record for pack in packs])
        if not places:
            places = [(notice, place) for pack, place in zip(packs, positions, strict=True) for notice in pack.notices]
        count += len(packs)
        # Somebody may have chosen otherwise while we looked. Then what the partner hears last from us is an old word,
        # so the new one is said once more, behind it.
        await context.ledger.reached(behind(positions), context.catch_up)
        wanted = await asyncio.to_thread(context.ledger.overtaking, [notice.id for notice in wanted.notices])
    return Reissued(count, places)
