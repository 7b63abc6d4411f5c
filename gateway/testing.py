"""`POST /v1/partners/{partner}/test`: one signed event to a partner, right now, and what its answer means."""

from __future__ import annotations

from fastapi import APIRouter, Request

from gateway.auth import OperatorOrPartner
from gateway.context import Context, Trial, context_of
from gateway.problems import Problem, problems
from gateway.standing import PartnerPath, check_own, present
from streams import ids

router = APIRouter(tags=["partners"])


@router.post("/v1/partners/{partner}/test", summary="Send a test event", responses=problems(404, 422, 429))
async def test(request: Request, partner: PartnerPath, key: OperatorOrPartner) -> Trial:
    """A CloudEvent of type `io.rescind.test`, signed as everything else and under a webhook-id of its own, also if the
    partner is paused or suspended. It asks for nothing, is not repeated and not recorded. One at a time for each
    partner. A partner's key tests that partner only."""
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
        return await context.try_partner(whom, webhook_id)
    finally:
        context.trying.discard(partner)
