"""How far what we know of consents is behind what was accepted. It fails closed: who cannot tell is behind.

A choice comes to the ledger in two steps. An agent decides the toggle, and commits that it has; a ledger reads the
decision. So all that was accepted before a moment is shown once the toggles of that moment are committed, and after
that the decisions of then are read. This is exact on either engine, and whichever of the two is down, it shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta

from gateway.context import Context
from gateway.problems import Problem
from streams.errors import LedgerBehind, LogUnavailable
from streams.records import TopicPartition
from streams.topics import DECISIONS, TOGGLES

#: Seconds between two looks at what has been decided.
_LOOK_AGAIN = 0.05


async def all_shown(context: Context) -> None:
    """Return when the ledger shows every choice that was accepted before this was asked. Raises `Problem` if that
    takes longer than the ledger may be behind, or cannot be told."""
    asked = context.clock()
    try:
        async with asyncio.timeout(context.settings.gate_max_lag_seconds):
            await _decided(context, await context.appender.end_offsets(TOGGLES.name))
            ends = await context.appender.end_offsets(DECISIONS.name)
            await context.ledger.reached(ends, context.settings.gate_max_lag_seconds)
    except (TimeoutError, LedgerBehind):
        raise _behind(context) from None
    except LogUnavailable as error:
        raise Problem(503, "ledger-behind", f"how far the ledger is behind is not known: {error}") from None
    context.freshness.proved = asked


async def recently_shown(context: Context) -> None:
    """Return at once while it is known that the ledger is no further behind than it may be; else as `all_shown`."""
    if not _within(context.freshness.proved, context.clock(), context.settings.gate_max_lag_seconds):
        await all_shown(context)


def _within(proved: datetime | None, now: datetime, seconds: float) -> bool:
    # A clock that was set back proves nothing.
    return proved is not None and timedelta() <= now - proved < timedelta(seconds=seconds)


async def _decided(context: Context, accepted: Mapping[TopicPartition, int]) -> None:
    while True:
        # In this order: what comes in between can only make it look as if less were decided.
        ends = await context.appender.end_offsets(TOGGLES.name)
        left = await context.undecided()
        if all(ends.get(tp, 0) - left.get(tp, 0) >= end for tp, end in accepted.items()):
            return
        await asyncio.sleep(_LOOK_AGAIN)


def _behind(context: Context) -> Problem:
    detail = (
        f"choices that were accepted more than {context.settings.gate_max_lag_seconds:g} s ago are not in the ledger "
        "yet, so nothing is cleared; are the worker and the ledger running?"
    )
    return Problem(503, "ledger-behind", detail, headers={"retry-after": "5"})
