"""CloudEvents 1.0 on the log: JSON in structured mode out, structured or binary mode in.

Spec: CloudEvents 1.0.2 (core, JSON format, Kafka protocol binding section 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError

from streams import events
from streams.errors import Undecodable
from streams.moments import in_utc
from streams.names import MEANINGS, EventId

CONTENT_TYPE = b"application/cloudevents+json"
STRUCTURED_HEADERS: tuple[tuple[str, bytes], ...] = (("content-type", CONTENT_TYPE),)
#: The same, as an engine of the log gives them back.
OUR_HEADERS = list(STRUCTURED_HEADERS)
SOURCE = "/rescind"

Headers = Iterable[tuple[str, bytes]] | Mapping[str, bytes] | None

TYPES: dict[str, type[events.Data]] = {
    model.TYPE: model
    for model in (
        events.ConsentToggled,
        events.ConsentChanged,
        events.DeletionRequested,
        events.PartnerRegistered,
        events.PartnerChanged,
        events.PartnerRemoved,
        events.NoticesIssued,
        events.BatchDelivered,
        events.BatchFailed,
        events.Acknowledged,
        events.NoticeUndeliverable,
        events.MessagePoisoned,
    )
}

_EVENT_ID: TypeAdapter[str] = TypeAdapter(EventId)
D = TypeVar("D", bound=events.Data)


@dataclass(frozen=True, slots=True)
class Envelope:
    """An event with its CloudEvents attributes. `time` is when it came to be."""

    id: str
    time: datetime
    data: events.Data
    source: str = SOURCE


def encode(envelope: Envelope) -> bytes:
    """Structured mode: the whole event as one JSON object."""
    return orjson.dumps(as_dict(envelope))


def as_dict(envelope: Envelope) -> dict[str, Any]:
    """The JSON object of an event."""
    data = envelope.data
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": envelope.id,
        "source": envelope.source,
        "type": data.TYPE,
        "time": rfc3339(envelope.time),
        "datacontenttype": "application/json",
        "data": data.model_dump(mode="json", exclude_none=True),
    }
    key = data.key()
    if key is not None:
        attributes["subject"] = key
    return attributes


def decode(value: bytes | None, headers: Headers = None) -> Envelope:
    """Read an event in either mode.

    Raises `Undecodable` with a reason that a person can act on.
    """
    if value is None:
        raise Undecodable("the message has no value")
    if headers == OUR_HEADERS:
        return from_dict(_structured(value))
    lowered = _headers(headers)
    return from_dict(_binary(value, lowered) if "ce_specversion" in lowered else _structured(value))


def from_dict(attributes: Mapping[str, Any]) -> Envelope:
    """Read the JSON object of an event. Raises `Undecodable`."""
    if attributes.get("specversion") != "1.0":
        raise Undecodable("specversion is not 1.0")
    model = TYPES.get(str(attributes.get("type")))
    if model is None:
        raise Undecodable(f"unknown event type {attributes.get('type')!r}")
    source = attributes.get("source")
    if not isinstance(source, str) or not source:
        raise Undecodable("source is missing")
    # CloudEvents extension attributes (a traceparent, say) may ride along; they are not ours to judge.
    try:
        identity = _EVENT_ID.validate_python(attributes.get("id"))
        data = model.model_validate(attributes.get("data"))
        time = _time(attributes.get("time"))
    except ValidationError as error:
        raise Undecodable(explain(error)) from None
    return Envelope(id=identity, time=time, data=data, source=source)


def explain(error: ValidationError) -> str:
    """A pydantic error in one line."""
    parts = []
    for problem in error.errors(include_url=False)[:5]:
        where = ".".join(str(step) for step in problem["loc"])
        parts.append(f"{where}: {in_words(problem)}" if where else in_words(problem))
    return "; ".join(parts)


def in_words(problem: Mapping[str, Any]) -> str:
    """One of pydantic's errors, for people: what a name looks like, and not the pattern that says so."""
    context = problem.get("ctx", {})
    if problem["type"] == "value_error":
        return str(context["error"])
    return MEANINGS.get(context.get("pattern", ""), str(problem["msg"]))


def rfc3339(time: datetime) -> str:
    """UTC, with a `Z`, RFC 3339."""
    if time.tzinfo is not UTC:
        time = time.astimezone(UTC)
    return time.isoformat()[:-6] + "Z"


def _structured(value: bytes) -> Mapping[str, Any]:
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise Undecodable(f"not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise Undecodable("not a JSON object")
    return parsed


def _binary(value: bytes, headers: Mapping[str, bytes]) -> Mapping[str, Any]:
    attributes: dict[str, Any] = {}
    for name, raw in headers.items():
        if name.startswith("ce_"):
            try:
                attributes[name[3:]] = raw.decode("utf-8")
            except UnicodeDecodeError:
                raise Undecodable(f"header {name} is not UTF-8") from None
    try:
        attributes["data"] = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise Undecodable(f"not JSON: {error}") from None
    return attributes


def _headers(headers: Headers) -> dict[str, bytes]:
    if headers is None:
        return {}
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    # Kafka allows a header without a value.
    return {name.lower(): value or b"" for name, value in pairs}


def _time(value: Any) -> datetime:
    if not isinstance(value, str):
        raise Undecodable("time is missing")
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        raise Undecodable("time is not RFC 3339") from None
    if parsed.tzinfo is None:
        raise Undecodable("time has no zone")
    try:
        return in_utc(parsed)
    except ValueError as error:
        raise Undecodable(f"time lies {error}") from None
