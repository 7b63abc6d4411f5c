"""`POST /v1/callbacks/{partner}`: acknowledgements that are signed instead of carrying an API key.

Standard Webhooks, the other way round: a partner signs with the secret (`v1`) that its webhooks are signed with. What
one side signs makes no sense to the other, so neither can be fooled with the other's requests: a batch of notices is no
acknowledgement. With `v1a` we hold the private key, and a partner has nothing to sign with.

Whoever fails to sign learns nothing: a partner that there is not is answered alike, after the same work. Nothing is
logged of such a request but its count, in `rescind_http_requests`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Request, Security
from fastapi.security import APIKeyHeader

from gateway.ack_items import AcknowledgementIn
from gateway.acknowledgements import EXAMPLE, Results, take
from gateway.auth import OperatorOnly
from gateway.bodies import read_bytes, read_tolerantly
from gateway.context import Context, context_of
from gateway.openapi import body_of
from gateway.problems import Problem, problems
from gateway.standing import PartnerPath
from ledger import Statement
from streams import ids, signing
from streams.cloudevents import Envelope
from streams.events import MOST_OF_HEADERS, Partner, PartnerStatus, StatementReceived
from streams.keyring import live_secrets
from streams.names import EventId
from streams.sealing import SealBroken
from streams.signing import InvalidSignature

router = APIRouter(tags=["partners"])
#: Bytes of a body that is kept as it was signed.
MOST_BYTES = 1024 * 1024
#: Nobody's: what claims to come from a partner that there is not is checked with this one.
_NOBODY = signing.new_secret()
_SCHEME = "Standard-Webhooks"
_signature = APIKeyHeader(
    name="webhook-signature",
    scheme_name="StandardWebhooks",
    description="Standard Webhooks: with `webhook-id` and `webhook-timestamp`, `v1` by the partner's signing secret",
    auto_error=False,
)
#: Only tells what the route asks for; all three headers are checked together.
Signature = Annotated[str | None, Security(_signature)]
_DETAIL = (
    "no `v1` signature by a secret (whsec_...) of this partner holds, with a timestamp within five minutes of now; what"
    " is signed with anything else, `v1a` for one, is no callback"
)


@router.post(
    "/v1/callbacks/{partner}",
    status_code=202,
    summary="Acknowledge notices, signed",
    responses=problems(400, 413, 415, 422),
    openapi_extra=body_of(AcknowledgementIn, many=True, example=EXAMPLE),
)
async def post_callback(request: Request, partner: PartnerPath, signature: Signature) -> Results:
    """For partners who cannot hold an API key: what `POST /v1/acknowledgements` takes, with the headers `webhook-id`,
    `webhook-timestamp` and `webhook-signature` of Standard Webhooks, by the partner's own signing secret. Repeated, it
    changes nothing. The body is kept as it was signed; at most 1 MiB."""
    context = context_of(request)
    raw = await read_bytes(request)
    if len(raw) > MOST_BYTES:
        raise Problem(413, "too-large", f"a callback is at most {MOST_BYTES} bytes")
    webhook_id = await _verified(context, request, partner, raw)
    body = await read_tolerantly(request)
    statement = _statement(request, webhook_id, partner, raw, context.clock())
    return await take(context, body, partner, "callback", statement)


@router.get("/v1/statements/{statement}", tags=["operators"], summary="A signed callback", responses=problems(404, 422))
async def get_statement(request: Request, statement: EventId, key: OperatorOnly) -> Statement:
    """As it was signed, for whoever wants to check it: the timeline names it beside what it says."""
    found = await asyncio.to_thread(context_of(request).ledger.statement, statement)
    if found is None:
        raise Problem(404, "unknown-statement", "there is no such statement")
    return found


async def _verified(context: Context, request: Request, partner: str, body: bytes) -> str:
    known = await asyncio.to_thread(context.ledger.partner, partner)
    now = context.clock()
    try:
        return signing.verify(_secrets(context, known, now) or _NOBODY, request.headers, body, now)
    except (InvalidSignature, ValueError, OverflowError):
        # The latter two: a timestamp of a thousand digits, a signature that is no text.
        raise Problem(401, "unauthenticated", _DETAIL, headers={"www-authenticate": _SCHEME}) from None


def _secrets(context: Context, partner: Partner | None, now: datetime) -> list[str]:
    if partner is None or partner.status is PartnerStatus.REMOVED:
        return []
    try:
        opened = live_secrets(partner, context.sealer, now)
    except SealBroken:
        return []  # its webhooks cannot be signed either, which is reported there
    return [secret for secret in opened if secret.startswith(signing.SECRET)]


def _statement(request: Request, webhook_id: str, partner: str, body: bytes, now: datetime) -> Envelope:
    for name, most in MOST_OF_HEADERS.items():
        if len(request.headers[name]) > most:
            raise Problem(422, "invalid", f"a {name} is at most {most} characters")
    data = StatementReceived(
        partner=partner,
        webhook_id=webhook_id,
        webhook_timestamp=request.headers["webhook-timestamp"],
        webhook_signature=request.headers["webhook-signature"],
        body_base64=base64.b64encode(body).decode(),
        received_at=now,
    )
    identity = ids.derive("statement", partner, webhook_id, hashlib.sha256(body).hexdigest())
    return Envelope(identity, now, data)
