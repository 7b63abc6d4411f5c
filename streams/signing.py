"""Standard Webhooks signatures, scheme `v1`: HMAC-SHA256 over `id.timestamp.body`.

Spec: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta

from streams.errors import RescindError

PREFIX = "whsec_"
#: How far a timestamp may lie from the receiver's clock; the spec's libraries allow five minutes.
TOLERANCE = timedelta(minutes=5)


class InvalidSignature(RescindError):
    """The request does not prove that it comes from whom it claims."""


def new_secret() -> str:
    """A fresh secret: `whsec_` and 32 random bytes in base64 (the spec asks for 24 to 64)."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def sign(secret: str, webhook_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`. `timestamp` is in seconds since the epoch."""
    signed = b".".join((webhook_id.encode(), str(timestamp).encode(), body))
    digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def headers(secret: str, webhook_id: str, now: datetime, body: bytes) -> dict[str, str]:
    """The three headers of a signed request."""
    timestamp = int(now.timestamp())
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secret, webhook_id, timestamp, body),
    }


def verify(secret: str, received: Mapping[str, str], body: bytes, now: datetime) -> str:
    """Check a received request and return its `webhook-id`. Raises `InvalidSignature`.

    Header names are looked up in lower case, as `http.client`, aiohttp and Starlette offer them.
    """
    try:
        webhook_id = received["webhook-id"]
        timestamp = int(received["webhook-timestamp"])
        candidates = received["webhook-signature"].split(" ")
    except (KeyError, ValueError):
        raise InvalidSignature("a webhook header is missing or malformed") from None
    if abs(now.timestamp() - timestamp) > TOLERANCE.total_seconds():
        raise InvalidSignature("the timestamp is too far from now")
    expected = sign(secret, webhook_id, timestamp, body)
    if not any(hmac.compare_digest(expected.encode(), candidate.encode()) for candidate in candidates):
        raise InvalidSignature("no signature matches")
    return webhook_id


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        raise InvalidSignature("the secret is not base64") from None
