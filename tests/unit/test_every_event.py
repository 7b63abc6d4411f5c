"""Every event of the log is read as it was written, with each of its optional fields absent or present."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.cloudevents import TYPES, Envelope, decode, encode
from streams.events import Data, Notice

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

#: One valid value for each field that has no default of None; the test varies those that have.
VALUES: dict[str, Any] = {
    "subject": "user:1",
    "purpose": "ai-training",
    "choice": "opt_out",
    "previous": "opt_in",
    "retroactive": True,
    "toggle_id": "t1",
    "cause_id": "c1",
    "version": 7,
    "source": "settings page",
    "id": "some-id",
    "name": "Some name",
    "url": "https://p.example/",
    "purposes": ["ai-training"],
    "subject_kinds": ["user"],
    "lane": 3,
    "batch_size": 10,
    "receive_within": 60,
    "complete_within": 600,
    "status_reason": "a reason",
    "sealed_secret": "sealed",
    "revision": 2,
    "partner": "p",
    "offset": 4,
    "first_offset": 4,
    "last_offset": 5,
    "webhook_id": "msg_1",
    "attempt": 2,
    "status_code": 503,
    "error": "HTTP 503",
    "duration_ms": 1.5,
    "undelivered": ["n1"],
    "notice_id": "n1",
    "outcome": "deleted",
    "reason": "other",
    "detail": "some words",
    "evidence": {"posts": 3, "nested": {"a": [1, None]}},
    "via": "api",
    "topic": "rescind.toggles",
    "partition": 1,
    "key_base64": "a2V5",
    "value_base64": "dmFsdWU=",
}
NOTICE = {
    **{name: VALUES[name] for name in ("id", "cause_id", "toggle_id", "subject", "purpose")},
    "action": "erase",
    **dict.fromkeys(("occurred_at", "issued_at", "receive_by", "complete_by"), NOON.isoformat()),
}


def value_of(model: type[Data], name: str) -> Any:
    if name == "notices":
        return [NOTICE] if model.TYPE.endswith("issued") else 1
    if name == "status":
        return "active" if "partner" in model.TYPE else "completed"
    return VALUES.get(name, NOON.isoformat())


@pytest.mark.parametrize("model", TYPES.values(), ids=lambda model: model.__name__)
@settings(max_examples=50)
@given(data=st.data())
def test_is_read_as_it_was_written(model: type[Data], data: st.DataObject) -> None:
    optional = [name for name, field in model.model_fields.items() if not field.is_required()]
    nullable = [
        name for name, field in model.model_fields.items() if type(None) in getattr(field.annotation, "__args__", ())
    ]
    absent = set(data.draw(st.lists(st.sampled_from(optional), unique=True))) if optional else set()
    null = set(data.draw(st.lists(st.sampled_from(nullable), unique=True))) if nullable else set()
    fields = {
        name: None if name in null else value_of(model, name) for name in model.model_fields if name not in absent
    }
    envelope = Envelope("e1", NOON, model.model_validate(fields))
    assert decode(encode(envelope)) == envelope


def test_a_notice_has_no_field_that_may_be_missing() -> None:
    assert all(field.is_required() for field in Notice.model_fields.values())
