"""`POST /v1/partners/{partner}/test`: one signed event to a partner, right now, and what its answer means."""

from __future__ import annotations

import logging

from fastapi import APIRouter, Request

from gateway.auth import OperatorOrPartner
from gateway.context import Context, Trial, context_of
from gateway.problems import Problem, problems
from gateway.standing import PartnerPath, check_own, present
from gateway.tries import tried_record
from streams import ids
from streams.errors import LogUnavailable
from streams.events import Partner, PartnerStatus

log = logging.getLogger(__name__)
router = APIRouter(tags=["partners"])


@router.post("/v1/partners/{partner}/test", summary="Send a test event", responses=problems(404, 422, 429))
async def test(request: Request, partner: PartnerPath, key: OperatorOrPartner) -> Trial:
    """A CloudEvent of type `io.rescind.test`, signed as everything else and under a webhook-id of its own, also if the
    partner is paused or suspended. It asks for nothing and is not repeated. If it is taken, whatever waits for the
    partner to be tried again is tried at once. One at a time for each partner. A partner's key tests that partner
    only."""
    check_own(key, partner)
    return await tried(context_of(request), partner)


async def tried(context: Context, partner: str) -> Trial:
    """What came of a test event. Raises `Problem`."""
    whom = await present(context, partner)
    if partner in context.trying:
        raise Problem(429, "busy", f"{partner} is being tested right now", headers={"retry-after": "1"})
    webhook_id = "msg_" + ids.derive("test", context.new_id()).replace("-", "")
    context.trying.add(partner)
    try:
        trial = await context.try_partner(whom, webhook_id)
    finally:
        context.trying.discard(partner)
    return await _followed(context, whom, trial) if trial.ok and whom.status is PartnerStatus.ACTIVE else trial


async def _followed(context: Context, partner: Partner, trial: Trial) -> Trial:
    """The partner is there: let what waits for it know. The answer to the test is told even if that fails."""
    try:
        await context.appender.append([tried_record(context, partner.id)])
    except LogUnavailable as error:
        log.warning("what waits for %s is not tried at once, though it took a test: %s", partner.id, error)
        words = f"What waits for it is not tried at once, but when its time comes: {error}."
    else:
        words = "What waits for it, if anything does, is tried now."
    return trial.model_copy(update={"explanation": (*trial.explanation, words)})
