"""What stands in the log, byte by byte: the encoder takes a short cut past pydantic, and nobody may see it."""

from __future__ import annotations

import typing
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from streams.clocks import Clock, Watch
from streams.cloudevents import TYPES, Envelope, decode, encode
from streams.events import (
    AcknowledgedItem,
    Actor,
    Again,
    ClocksByAction,
    DatasetVersion,
    Failing,
    Notice,
    OtherClocks,
    ReplyProblem,
    SealedSecret,
)
from streams.exports import Output, Rows, Withdrawn
from streams.names import EventId
from streams.trusting import trusted

NAMES = st.from_regex(r"[a-z][a-z0-9]{0,20}", fullmatch=True)
TEXT = st.text(max_size=100)
IDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
#: In UTC and in other zones.
TIMES = st.datetimes(timezones=st.just(UTC)) | st.builds(
    lambda seconds, hours: datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=hours))) + timedelta(seconds=seconds),
    st.integers(0, 10**8),
    st.integers(-12, 14),
)
NAMED = st.text("aé漢 .", max_size=50).map(lambda name: f"x{name}")
#: Fields whose type does not say all; the numbers below fit every other.
BY_NAME: dict[str, st.SearchStrategy[Any]] = {
    "subject": st.tuples(NAMES, st.text('aé漢.:"\\', min_size=1, max_size=50)).map(":".join),
    "id": NAMES,
    "partner": NAMES,
    "purpose": NAMES,
    "purposes": st.lists(NAMES, min_size=1, max_size=3),
    "subject_kinds": st.lists(NAMES, max_size=3),
    "notice_id": IDS,
    "toggle_id": IDS,
    "cause_id": IDS,
    "undelivered": st.lists(IDS, max_size=3),
    "traces": st.lists(TEXT, max_size=3),
    "superseded": st.lists(IDS, min_size=1, max_size=3),
    "statement": IDS,
    "code": st.text(min_size=1, max_size=50),
    "version": st.integers(0, 2**63 - 1),
    "more_lanes": st.lists(st.integers(0, 1000), max_size=3),
    "max_requests_per_second": st.floats(0.01, 10_000),
    "max_in_flight": st.integers(1, 16),
    "max_body_bytes": st.integers(1024, 8 * 1024 * 1024),
    "name": st.text("aé漢 .", min_size=1, max_size=50).map(lambda name: f"x{name}"),
    "evidence": st.dictionaries(TEXT, JSON, max_size=3),
    "via": st.sampled_from(["reply", "api", "callback"]),
    "how": st.sampled_from(["replay", "redrive", "reminder", "retry"]),
    "key": NAMES,
    "role": NAMES,
    "details": st.dictionaries(TEXT, JSON, max_size=3),
    "poisoned": st.lists(IDS, max_size=3),
    "extend": st.just(True),
    "amends": st.just(True),
    "suppression_completes": st.just(True),
    "rank": st.just("00000000000000000008/2026-01-31T12:00:00.000000Z/2"),
    "escalation": IDS,
    "claim": IDS,
    "rule": IDS,
    "receive_within": st.builds(Clock, within=st.sampled_from(["PT24H", "P30D"])),
    "block": st.text(min_size=1, max_size=50),
    "dataset": NAMED,
    "export": IDS,
    "regime": st.sampled_from(["opt-out", "opt-in"]),
    "imported": st.just(True),
    "watermark": st.dictionaries(NAMES, st.dictionaries(NAMES, st.integers(0, 2**62), max_size=2), max_size=2),
    "rows": st.builds(Rows, read=st.integers(0, 9), cleared=st.integers(0, 9), dropped=st.just({"opted-out": 3})),
    "output": st.builds(Output, sha256=st.just("0" * 64), bytes=st.integers(0, 2**62), format=NAMES),
    "withdrawal": st.just("f" * 64),
    "withdrawn": st.builds(Withdrawn, count=st.integers(0, 9), sha256=st.just("f" * 64)),
    "headers": st.lists(st.tuples(TEXT, st.none() | TEXT), max_size=3),
}
CLOCKS = st.sampled_from(
    [
        Clock(within="P30D"),
        Clock(within="P1M", extension="P2M", calendar="IE", time_zone="Europe/Dublin"),
        Clock(within="15 business days", week=("mon", "sat")),
        Clock(within="P45D", inclusive=True, since="occurred_at"),
    ]
)
BY_TYPE: dict[type, st.SearchStrategy[Any]] = {
    str: TEXT,
    int: st.integers(1, 1000),
    float: st.floats(0, 1e300),
    bool: st.booleans(),
    datetime: TIMES,
    Clock: CLOCKS,
    ClocksByAction: st.builds(lambda clock: ClocksByAction(erase=OtherClocks(complete=clock)), CLOCKS),
    Watch: st.builds(lambda at_risk: Watch(at_risk=at_risk, remind=(0.25,)), st.floats(0.001, 0.999)),
}


def values(name: str, annotation: Any) -> st.SearchStrategy[Any]:
    if name == "version" and annotation is str:
        return NAMED
    if name == "reason" and annotation is str:
        return NAMED
    if name in BY_NAME:
        return BY_NAME[name]
    if annotation == tuple[EventId, ...]:
        return st.lists(IDS, min_size=1, max_size=3)
    if name == "notices" and annotation is not int:
        return st.lists(made(Notice), min_size=1, max_size=3)
    if name == "items":
        return st.lists(made(AcknowledgedItem), min_size=1, max_size=3)
    if name == "secrets":
        return st.lists(made(SealedSecret), min_size=1, max_size=3)
    if name == "datasets":
        return st.lists(made(DatasetVersion), min_size=1, max_size=3)
    if name == "failing":
        return made(Failing)
    if name == "reply_problem":
        return made(ReplyProblem)
    if name in ("again", "by"):
        return made(Again if name == "again" else Actor)
    for inner in typing.get_args(annotation):  # an optional one, or one with bounds
        if inner is not type(None):
            return values(name, inner)
    return st.sampled_from(annotation) if issubclass(annotation, Enum) else BY_TYPE[annotation]


def made(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Valid ones, with and without what may be left out."""
    fields = {name: values(name, field.annotation) for name, field in model.model_fields.items()}
    required = {name: fields.pop(name) for name, field in model.model_fields.items() if field.is_required()}
    return st.fixed_dictionaries(required, optional=fields).map(model.model_validate)


def by_pydantic(envelope: Envelope) -> bytes:
    data = envelope.data
    attributes = {
        "specversion": "1.0",
        "id": envelope.id,
        "source": envelope.source,
        "type": data.TYPE,
        "time": envelope.time.isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": data.model_dump(mode="json", exclude_none=True),
    }
    return orjson.dumps(attributes | ({} if data.key() is None else {"subject": data.key()}))


@pytest.mark.parametrize("model", TYPES.values(), ids=lambda model: model.__name__)
@given(st.data())
@settings(max_examples=50)
def test_an_event_is_written_as_pydantic_would_write_it(model: Any, data: st.DataObject) -> None:
    time = data.draw(st.datetimes(timezones=st.just(UTC)))
    envelope = Envelope("e", time, data.draw(made(model)), data.draw(st.sampled_from(["/rescind", "é\"'"])))
    written = encode(envelope)
    assert written == by_pydantic(envelope)
    assert decode(written) == envelope


@pytest.mark.parametrize("model", [*TYPES.values(), Notice], ids=lambda model: model.__name__)
@given(st.data())
@settings(max_examples=50)
def test_a_model_that_is_trusted_is_the_one_that_would_be_valid(model: Any, data: st.DataObject) -> None:
    valid = data.draw(made(model))
    given_fields = {name: getattr(valid, name) for name in sorted(valid.model_fields_set)}
    believed = trusted(model)(**given_fields)
    assert believed == valid
    assert (repr(believed), believed.model_fields_set) == (repr(valid), valid.model_fields_set)
    assert believed.model_dump_json() == valid.model_dump_json()
