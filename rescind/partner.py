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
from streams.signing import InvalidSignature

__all__ = ["Delivery", "InvalidInput", "InvalidSignature", "ReceivedNotice", "completed", "receive", "reply"]

#: What may be asked, and the outcome of doing just that.
ACTIONS = {"stop": "suppressed", "erase": "deleted", "resume": "resumed"}


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
    """Check and read a webhook. `now` is an aware time.

    Raises `InvalidSignature` (answer 401) or `InvalidInput` (answer 400), and nothing else.
    """
    webhook_id = _verified(secret, headers, body, now)
    try:
        parsed = json.loads(body)
        events = parsed if isinstance(parsed, list) else [parsed]
        return Delivery(webhook_id, tuple(_notice(event) for event in events))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidInput(f"the body is no batch of notices: {error!r}") from None


def _verified(secret: str, headers: Mapping[str, str], body: bytes, now: datetime) -> str:
    lowered = {name.lower(): value for name, value in headers.items()}
    try:
        return signing.verify(secret, lowered, body, now)
    except (ValueError, OverflowError):
        # Anybody may send us headers: a timestamp of a thousand digits, say, or bytes that are no text.
        raise InvalidSignature("a webhook header, or the secret, is malformed") from None


def reply(results: Iterable[Mapping[str, Any]]) -> bytes:
    """The body of a 2xx that acknowledges right there: `{"id", "status", "outcome"?, "reason"?}` each."""
    return json.dumps({"results": [dict(result) for result in results]}).encode()


def completed(notice: ReceivedNotice) -> dict[str, str]:
    """The answer of a partner that did what was asked: `{"id": notice.id, **completed(notice)}` in a reply,
    `{"notice_id": notice.id, **completed(notice)}` to `POST /v1/acknowledgements`."""
    return {"status": "completed", "outcome": ACTIONS[notice.action]}


def _notice(event: Any) -> ReceivedNotice:
    data = event["data"]
    if data["action"] not in ACTIONS:
        # Whoever does not know what is asked must not answer that it was received.
        raise ValueError(f"unknown action {data['action']!r}")
    return ReceivedNotice(
        id=_text(event, "id"),
        action=data["action"],
        subject=_text(data, "subject"),
        purpose=_text(data, "purpose"),
        occurred_at=_time(data, "occurred_at"),
        issued_at=_time(data, "issued_at"),
        receive_by=_time(data, "receive_by"),
        complete_by=_time(data, "complete_by"),
    )


def _text(fields: Any, name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    return value


def _time(fields: Any, name: str) -> datetime:
    value = datetime.fromisoformat(_text(fields, name))
    if value.tzinfo is None:
        raise ValueError(f"{name} has no zone")
    return value
