"""The partner's kit: check a webhook, read its notices, reply, acknowledge later.

Needs neither Faust nor FastAPI.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from streams import signing
from streams.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class ReceivedNotice:
    """What a partner is asked. `action` is `stop`, `erase` or `resume`; drop a notice whose `id` is known."""

    id: str
    action: str
    subject: str
    purpose: str
    occurred_at: datetime
    issued_at: datetime
    receive_by: datetime
    complete_by: datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook whose signature holds."""

    webhook_id: str
    notices: tuple[ReceivedNotice, ...]


def receive(secret: str, headers: Mapping[str, str], body: bytes, now: datetime) -> Delivery:
    """Check and read a webhook.

    Raises `signing.InvalidSignature` (answer 401) or `InvalidInput` (answer 400).
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    webhook_id = signing.verify(secret, lowered, body, now)
    try:
        parsed = json.loads(body)
        events = parsed if isinstance(parsed, list) else [parsed]
        return Delivery(webhook_id, tuple(_notice(event) for event in events))
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"the body is no batch of notices: {error!r}") from None


def reply(results: Iterable[Mapping[str, Any]]) -> bytes:
    """The body of a 2xx that acknowledges right there: `{"id", "status", "outcome"?, "reason"?}` each."""
    return json.dumps({"results": [dict(result) for result in results]}).encode()


def _notice(event: Mapping[str, Any]) -> ReceivedNotice:
    data = event["data"]
    times = {
        name: datetime.fromisoformat(data[name]) for name in ("occurred_at", "issued_at", "receive_by", "complete_by")
    }
    return ReceivedNotice(
        id=event["id"], action=data["action"], subject=data["subject"], purpose=data["purpose"], **times
    )
