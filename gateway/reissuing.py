"""Notices issued again, under their own ids, into the lanes that their partner has now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.context import Context
from gateway.standing import present
from streams.events import Again, Notice, Partner
from streams.packs import packed_again
from streams.records import behind
from streams.topics import NOTICES, PARTNERS


async def addressee(context: Context, partner: str) -> Partner:
    """Whom notices may be issued to, as of now; and the ledger knows of all that were. Raises `LedgerBehind`, and
    `Problem` if there is no such partner."""
    for topic in (PARTNERS, NOTICES):
        await context.caught_up(topic.name)
    return await present(context, partner)


async def issue_again(context: Context, partner: Partner, notices: Sequence[Notice], again: Again, cause: str) -> int:
    """Put notices, none of them superseded, into their lanes. They are durable on return. How many packs they are.

    The same `cause` gives the same ids: who does not know whether it worked repeats it.
    """
    packs = 0
    while notices:
        records = await asyncio.to_thread(packed_again, partner, notices, again, cause, context.clock())
        positions = await context.appender.append(records)
        packs += len(records)
        # Somebody may have chosen otherwise while we looked. Then what the partner hears last from us is an old word,
        # so the new one is said once more, behind it.
        await context.ledger.reached(behind(positions), context.catch_up)
        notices = await asyncio.to_thread(context.ledger.overtaking, [notice.id for notice in notices])
    return packs
