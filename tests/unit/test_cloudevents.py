"""CloudEvents in and out: what we write we read, and what we cannot read says why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.cloudevents import Envelope, decode, encode
from streams.errors import Undecodable
from streams.events import ConsentToggled
from streams.kinds import Choice

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EVENT = Envelope(
    "t1",
    NOON,
    ConsentToggled(subject="blog:a.example", purpose="ai-training", choice=Choice.OPT_OUT, occurred_at=NOON),
)
DATA = orjson.loads(encode(EVENT))["data"]


def changed(**attributes: object) -> bytes:
    found = orjson.loads(encode(EVENT)) | attributes
    return orjson.dumps({key: value for key, value in found.items() if value is not None})


def test_round_trip_in_structured_mode() -> None:
    assert decode(encode(EVENT)) == EVENT


def test_binary_mode_is_read() -> None:
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_type", b"io.rescind.consent.toggled"),
        ("ce_id", b"t1"),
        ("ce_source", b"/rescind"),
        ("ce_time", b"2026-01-01T12:00:00Z"),
        ("content-type", b"application/json"),
    ]
    assert decode(orjson.dumps(DATA), headers) == EVENT


def test_a_header_without_a_value_breaks_nothing() -> None:
    # Kafka allows it, though its Python types do not say so.
    headers: list[tuple[str, Any]] = [("ce_specversion", None), ("content-type", None)]
    with pytest.raises(Undecodable, match="specversion"):
        decode(b"{}", headers)
    assert decode(encode(EVENT), headers[1:]) == EVENT


def test_times_come_in_any_zone_and_leave_in_utc() -> None:
    taken = decode(changed(time="2026-01-01T14:00:00+02:00", data=DATA | {"occurred_at": EARLY}))
    assert taken == EVENT
    assert encode(taken) == encode(EVENT)


EARLY = "2026-01-01T01:00:00-11:00"


def test_extension_attributes_ride_along() -> None:
    assert decode(changed(traceparent="00-aa-bb-01")) == EVENT


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no value"),
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"\xff\xfe", "not JSON"),
        (changed(specversion="0.3"), "specversion"),
        (changed(type="io.rescind.nothing"), "unknown event type"),
        (changed(source=""), "source"),
        (changed(id=None), "not text"),
        (changed(id="white space"), "^not an id, "),
        (changed(time=None), "time is missing"),
        (changed(time="yesterday"), "RFC 3339"),
        (changed(time="2026-01-01T12:00:00"), "zone"),
        (changed(time="0001-01-01T00:00:00+23:59"), "time lies beyond"),
        (changed(time="9999-12-31T23:59:59-23:59"), "time lies beyond"),
        (changed(data=DATA | {"occurred_at": "0001-01-01T00:00:00+01:00"}), "occurred_at"),
        (changed(data=0).replace(b'"data":0', b'"data":' + b"[" * 500 + b"]" * 500), "not a JSON object"),
        (b"[" * 100_000, "not JSON"),
        (changed(data={}), "subject"),
        (changed(data=DATA | {"retroactiv": True}), "retroactiv"),
    ],
)
def test_what_cannot_be_read_says_why(value: bytes | None, reason: str) -> None:
    with pytest.raises(Undecodable, match=reason):
        decode(value)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(value: bytes) -> None:
    with pytest.raises(Undecodable):
        decode(value)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("0001-01-01T00:00:00+14:00", "beyond the years"),
        ("9999-12-31T23:59:59-14:00", "beyond the years"),
        ("2026-01-01T12:00:00", "RFC 3339"),
        ("20260101", "RFC 3339"),
        (1_767_268_800, "RFC 3339"),
        ("2026-02-30T12:00:00Z", "date"),
    ],
)
def test_a_time_that_cannot_be_told_is_refused(written: object, reason: str) -> None:
    data = DATA | {"occurred_at": written}
    with pytest.raises(Undecodable, match=reason):
        decode(changed(data=data))


def test_times_are_in_utc_from_here_on() -> None:
    data = DATA | {"occurred_at": "2026-01-01T13:00:00+01:00"}
    read = decode(changed(data=data)).data
    assert isinstance(read, ConsentToggled)
    assert (read.occurred_at, read.occurred_at.tzinfo) == (NOON, UTC)
