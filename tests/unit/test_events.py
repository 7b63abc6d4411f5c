"""The events: whatever we write we can read, and times can be calculated with."""

from __future__ import annotations

import types
import typing
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streams.cloudevents import TYPES, Envelope, decode, encode, explain, rfc3339
from streams.events import (
    BatchFailed,
    Choice,
    ConsentChanged,
    ConsentToggled,
    Data,
    MessagePoisoned,
    PartnerChanged,
)
from tests.unit.fakes import NOON, partner


@pytest.mark.parametrize("model", TYPES.values(), ids=lambda model: model.__name__)
def test_what_may_be_left_out_may_be_missing(model: type[Data]) -> None:
    for name, field in model.model_fields.items():
        origin = typing.get_origin(field.annotation)
        if origin in (typing.Union, types.UnionType) and type(None) in typing.get_args(field.annotation):
            assert not field.is_required(), name


@pytest.mark.parametrize(
    "data",
    [
        ConsentChanged(
            subject="user:1", purpose="ai", choice=Choice.OPT_OUT, previous=None, retroactive=False,
            toggle_id="t", occurred_at=NOON, accepted_at=NOON,
        ),
        BatchFailed(
            partner="p", lane=0, first_offset=0, last_offset=0, notices=1, webhook_id="w", attempt=1,
            status_code=None, error="refused", duration_ms=1, failed_at=NOON, next_attempt_at=None,
        ),
        MessagePoisoned(
            topic="t", partition=0, offset=0, reason="r", key_base64=None, value_base64=None, poisoned_at=NOON
        ),
        partner(),
    ],
    ids=lambda data: type(data).__name__,
)  # fmt: skip
def test_nothing_is_lost_on_the_way(data: Data) -> None:
    envelope = Envelope("e", NOON, data)
    assert decode(encode(envelope)) == envelope


zones = st.integers(-24 * 60 + 1, 24 * 60 - 1).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(timezones=zones))
def test_a_time_is_refused_or_can_be_calculated_with(time: datetime) -> None:
    try:
        toggle = ConsentToggled(subject="user:1", purpose="ai", choice=Choice.OPT_OUT, occurred_at=time)
    except ValidationError:
        assert not 2 <= time.year <= 9998
        return
    assert toggle.occurred_at == time
    assert toggle.occurred_at.tzinfo is UTC
    assert rfc3339(toggle.occurred_at).endswith("Z")
    assert decode(encode(Envelope("e", NOON, toggle))).data == toggle


@pytest.mark.parametrize("within", [0, -1, 10**12])
def test_a_deadline_is_always_a_date(within: int) -> None:
    fields: dict[str, Any] = partner().model_dump()
    for name in ("receive_within", "complete_within"):
        with pytest.raises(ValidationError, match=name):
            PartnerChanged.model_validate(fields | {name: within})


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("subject", "nokind", "subject: not a subject, which is kind:id without white space, such as blog:"),
        ("purpose", "A B", "purpose: not a purpose, which is a slug of up to 64 characters, such as ai-training"),
        ("occurred_at", "yesterday", "occurred_at: not a time by RFC 3339 with its zone"),
    ],
)
def test_what_is_wrong_is_told_in_words(field: str, value: str, told: str) -> None:
    fields = {"subject": "user:1", "purpose": "ai", "choice": "opt_out", "occurred_at": "2026-01-01T00:00:00Z"}
    with pytest.raises(ValidationError) as caught:
        ConsentToggled.model_validate(fields | {field: value})
    assert explain(caught.value).startswith(told)
