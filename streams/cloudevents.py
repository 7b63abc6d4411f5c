"""CloudEvents 1.0 on the log: JSON in structured mode out, structured or binary mode in.

Spec: CloudEvents 1.0.2 (core, JSON format, Kafka protocol binding section 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
from pydantic import BaseModel, TypeAdapter, ValidationError

from streams import deadlines, events, exports
from streams.errors import Undecodable
from streams.explaining import explain
from streams.moments import in_utc
from streams.names import EventId
from streams.tracing import Trace, attributes_of, trace_of

CONTENT_TYPE = b"application/cloudevents+json"
STRUCTURED_HEADERS: tuple[tuple[str, bytes], ...] = (("content-type", CONTENT_TYPE),)
#: The same, as the embedded log gives them back, and kafka-python; aiokafka gives a tuple.
OUR_HEADERS = list(STRUCTURED_HEADERS)
OURS = (OUR_HEADERS, STRUCTURED_HEADERS)
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
        events.PartnerSuspended,
        events.PartnerTried,
        events.NoticesIssued,
        events.BatchDelivered,
        events.BatchFailed,
        events.NoticesSuperseded,
        events.Acknowledged,
        events.ReplyAcknowledged,
        events.StatementReceived,
        events.NoticeParked,
        events.NoticeUndeliverable,
        events.MessagePoisoned,
        events.OperatorActed,
        deadlines.DeadlineReached,
        deadlines.EscalationClaimed,
        deadlines.EscalationEnded,
        *exports.EXPORTS,
    )
}

_EVENT_ID: TypeAdapter[str] = TypeAdapter(EventId)


class Envelope(NamedTuple):
    """An event with its CloudEvents attributes. `time` is when it came to be, in UTC; `trace` what it belongs to."""

    id: str
    time: datetime
    data: events.Data
    source: str = SOURCE
    trace: Trace | None = None


def encode(envelope: Envelope) -> bytes:
    """Structured mode: the whole event as one JSON object."""
    data = envelope.data
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": envelope.id,
        "source": envelope.source,
        "type": data.TYPE,
        "time": envelope.time,
        "datacontenttype": "application/json",
        "data": given(data),
    }
    key = data.key()
    if key is not None:
        attributes["subject"] = key
    if envelope.trace is not None:
        attributes |= attributes_of(envelope.trace)
    return orjson.dumps(attributes, default=given, option=orjson.OPT_UTC_Z)


def given(model: BaseModel) -> dict[str, Any]:
    """A model's fields without those that are None. The same comes of pydantic's own `model_dump`, in three times
    the time: what is valid already is plain JSON, but for times and enums, which orjson writes."""
    return {name: value for name, value in model.__dict__.items() if value is not None}


def decode(value: bytes | None, headers: Headers = None) -> Envelope:
    """Read an event in either mode.

    Raises `Undecodable` with a reason that a person can act on.
    """
    if value is None:
        raise Undecodable("the message has no value")
    if headers in OURS:
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
    # Other extension attributes than those of a trace may ride along; they are not ours to judge.
    try:
        # The validators themselves: what pydantic wraps around them takes a third of the time.
        identity = _EVENT_ID.validator.validate_python(attributes.get("id"))
        data = model.__pydantic_validator__.validate_python(attributes.get("data"))
        time = _time(attributes.get("time"))
    except ValidationError as error:
        raise Undecodable(explain(error)) from None
    traceparent = attributes.get("traceparent")
    trace = None if traceparent is None else trace_of(traceparent, attributes.get("tracestate"))
    return Envelope(identity, time, data, source, trace)


def rfc3339(time: datetime) -> str:
    """UTC, with a `Z`, RFC 3339."""
    # `isoformat` takes four times as long.
    return orjson.dumps(time.astimezone(UTC), option=orjson.OPT_UTC_Z)[1:-1].decode()


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
