"""What must hold before a dataset is handed over. It fails closed: who cannot tell hands over nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from gateway.context import Context
from gateway.problems import Problem
from gateway.standing import existing
from ledger import Export
from streams.errors import LedgerBehind
from streams.events import Partner, PartnerStatus
from streams.records import Position, TopicPartition, behind
from streams.topics import DISCLOSURES, PARTNERS

#: Seconds between two looks at what another process writes.
_LOOK_AGAIN = 0.03


async def receiver(context: Context, partner: str, purpose: str) -> Partner:
    """The partner, if the purpose is one of its. Raises `Problem`."""
    await context.caught_up(PARTNERS.name)
    whom = await existing(context, partner)
    if purpose not in whom.purposes:
        errors = [{"pointer": "/purpose", "detail": f"it has {', '.join(whom.purposes)}"}]
        raise Problem(422, "invalid", f"{partner} is not registered for {purpose}", errors=errors)
    return whom


async def allowed(context: Context, whom: Partner) -> None:
    """Return if the partner may be given anything now. Raises `Problem` that says why not, and how that is lifted."""
    reason = _barred(whom)
    if reason is None and whom.suspend_exports_when_overdue:
        rows = await asyncio.to_thread(context.ledger.lag, context.clock(), partner=whom.id)
        overdue = sum(row.overdue for row in rows)
        if overdue:
            reason = (
                f"{overdue} of its notices are past their deadline, and it gets no export while that is so: it must "
                f"answer them, or `rescind partners exports {whom.id} --when-overdue allow` lifts it"
            )
    if reason is not None:
        raise Problem(409, "partner-barred", f"nothing is handed over to {whom.id}: {reason}")


def _barred(whom: Partner) -> str | None:
    if whom.status is PartnerStatus.REMOVED:
        return "it is removed, for good"
    if whom.status is PartnerStatus.SUSPENDED:
        why = f" ({whom.status_reason})" if whom.status_reason else ""
        return f"it is suspended{why}; `rescind partners resume {whom.id}` lifts that"
    if whom.draining_since is not None:
        return f"it is being drained; `rescind partners drain {whom.id} --undo` lifts that"
    return None


async def up_to_date(context: Context) -> None:
    """Wait for the index to show everything of `rescind.disclosures`. Raises `LedgerBehind`."""
    await shows(context, await context.appender.end_offsets(DISCLOSURES.name))


async def written(context: Context, positions: list[Position]) -> None:
    """Wait for the index to show what was just written. Raises `LedgerBehind`; it is durable all the same."""
    await shows(context, behind(positions))


async def shows(context: Context, wanted: Mapping[TopicPartition, int]) -> None:
    async def has() -> bool:
        known = await asyncio.to_thread(context.disclosures.offsets)
        return all(known.get(tp, 0) >= offset for tp, offset in wanted.items())

    if await has():
        return
    try:
        async with asyncio.timeout(context.catch_up):
            while not await has():  # noqa: ASYNC110 - another process is who knows
                await asyncio.sleep(_LOOK_AGAIN)
    except TimeoutError:
        raise LedgerBehind("the index of disclosures has not caught up with the log yet") from None


async def known_export(context: Context, identity: str) -> Export:
    """As the index shows it; it is waited for if need be. Raises `Problem` if there is none."""
    found = await asyncio.to_thread(context.disclosures.export, identity)
    if found is None:
        await up_to_date(context)
        found = await asyncio.to_thread(context.disclosures.export, identity)
    if found is None:
        raise Problem(404, "unknown-export", "there is no such export")
    return found
