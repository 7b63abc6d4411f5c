"""`POST /v1/partners/{partner}/replies/seen`: an operator has seen which replies were not understood."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request

from gateway.actions import acted
from gateway.auth import OperatorOnly
from gateway.context import Context, context_of
from gateway.problems import problems
from gateway.standing import PartnerPath, present
from ledger import ApiKey, Replies
from streams.events import Act

router = APIRouter(tags=["partners"])


@router.post(
    "/v1/partners/{partner}/replies/seen", summary="Mark replies not understood as seen", responses=problems(404, 422)
)
async def mark_replies_seen(request: Request, partner: PartnerPath, key: OperatorOnly) -> Replies:
    """Marks every reply of the partner that was not understood until now as seen, which ends the warning in its state.
    The next such reply warns again. The counts stay as they are."""
    return await marked_seen(context_of(request), key, partner)


async def marked_seen(context: Context, key: ApiKey, partner: str) -> Replies:
    """Record that an operator has seen what was not understood. Returns how the partner's replies stand then. Raises
    `Problem`."""
    await present(context, partner)
    unclear = (await _replies(context, partner)).unclear
    # Not its words: they may name a subject.
    details = {} if unclear is None else {"webhook_id": unclear.webhook_id}
    by = acted(
        context,
        key,
        Act.MARK_REPLIES_SEEN,
        context.new_id(),
        partner=partner,
        details=details,
        seen_until=None if unclear is None else unclear.at,
    )
    await context.shown(await context.appender.append([by]))
    return await _replies(context, partner)


async def _replies(context: Context, partner: str) -> Replies:
    rows = await asyncio.to_thread(context.ledger.lag, context.clock(), partner=partner)
    return rows[0].replies if rows else Replies()
