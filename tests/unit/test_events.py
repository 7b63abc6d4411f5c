"""The events: whatever we write we can read, and times can be calculated with."""

from __future__ import annotations

import types
import typing
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agents.projection import ANSWERS, EXPECTED
from streams.clocks import Clock
from streams.cloudevents import TYPES, Envelope, decode, encode, rfc3339
from streams.events import (
    Act,
    Actor,
    Again,
    BatchFailed,
    ConsentChanged,
    ConsentToggled,
    Data,
    MessagePoisoned,
    NoticesIssued,
    OperatorActed,
    Partner,
    PartnerChanged,
    SealedSecret,
)
from streams.explaining import explain
from streams.exports import EXPORTS
from streams.kinds import Action, Choice
from streams.signing import Scheme
from tests.unit.fakes import NOON, notice, partner

BY = Actor(key="k", role="operator")


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
        MessagePoisoned(
            topic="t", partition=0, offset=0, reason="r", headers=(("a", None), ("b", "eA==")), poisoned_at=NOON
        ),
        NoticesIssued(partner="p", lane=0, notices=(notice(),)),
        NoticesIssued(partner="p", lane=0, notices=(notice(),), again=Again(how="replay", by=BY)),
        OperatorActed(act=Act.PAUSE, by=BY, partner="p", details={"a": [1]}, poisoned=("x",), acted_at=NOON),
        partner(draining_since=NOON),
        partner(complete_within={"within": "P1M", "extension": "P2M"}, clocks={"stop": {"receive": "PT1H"}}),
        partner(),
    ],
    ids=lambda data: type(data).__name__,
)  # fmt: skip
def test_nothing_is_lost_on_the_way(data: Data) -> None:
    envelope = Envelope("e", NOON, data)
    assert decode(encode(envelope)) == envelope


def test_what_is_not_issued_again_is_written_as_ever() -> None:
    """Logs hold many; and who reads them, before he knows of this, finds nothing that he does not."""
    fields = orjson.loads(encode(Envelope("e", NOON, NoticesIssued(partner="p", lane=0, notices=(notice(),)))))["data"]
    assert set(fields) == {"partner", "lane", "notices"}


@pytest.mark.parametrize("kind", ["registered", "changed", "removed"])
def test_a_partner_of_when_each_had_one_secret_is_read(kind: str) -> None:
    """As it stands on logs that are older than this."""
    value = b"""{"specversion": "1.0", "id": "e", "source": "/rescind", "type": "io.rescind.partner.%s",
        "time": "2026-01-01T12:00:00Z", "datacontenttype": "application/json", "subject": "acme", "data": {
            "id": "acme", "name": "Acme", "url": "https://acme.example/", "purposes": ["ai"], "subject_kinds": [],
            "lane": 3, "batch_size": 100, "receive_within": 86400, "complete_within": 2592000, "status": "active",
            "sealed_secret": "gAAAAABsealed", "created_at": "2026-01-01T12:00:00Z",
            "updated_at": "2026-01-01T12:00:00Z", "revision": 1}}"""
    envelope = decode(value % kind.encode())
    assert isinstance(envelope.data, Partner)
    assert envelope.data.secrets == (SealedSecret(scheme=Scheme.V1, sealed="gAAAAABsealed"),)
    assert envelope.data.live_secrets(NOON) == envelope.data.secrets
    assert envelope.data.signature_schemes == (Scheme.V1,)
    assert envelope.data.clocks_of(Action.ERASE) == (Clock(within="P1D"), Clock(within="P30D"))
    # As the ledger kept it, too; and from here on it is written as it is now.
    assert (
        Partner.model_validate_json(orjson.dumps(orjson.loads(value % b"x")["data"])).secrets == envelope.data.secrets
    )
    assert b"sealed_secret" not in encode(envelope)
    assert decode(encode(envelope)) == envelope


@pytest.mark.parametrize(
    "secrets",
    [
        {},
        {"secrets": []},
        {"secrets": [{"scheme": "v1"}]},
        {"secrets": [{"scheme": "v2", "sealed": "x"}]},
        {"secrets": [{"scheme": "v1", "sealed": "x", "plain": "x"}]},
        {"secrets": [{"scheme": "v1", "sealed": "x"}], "sealed_secret": "x"},
        {"sealed_secret": None},
        {"sealed_secret": 7},
        {"secrets": [{"scheme": "v1", "sealed": "x"}] * 7},
    ],
)
def test_a_partner_has_secrets_in_one_form(secrets: dict[str, Any]) -> None:
    fields: dict[str, Any] = partner().model_dump(exclude={"secrets"})
    with pytest.raises(ValidationError):
        PartnerChanged.model_validate(fields | secrets)


def test_secrets_and_their_ends_survive_the_way() -> None:
    secrets = (
        SealedSecret(scheme=Scheme.V1A, sealed="new", public_key="whpk_x"),
        SealedSecret(scheme=Scheme.V1, sealed="old", expires_at=NOON + timedelta(hours=1)),
    )
    data = partner(secrets=secrets)
    found = decode(encode(Envelope("e", NOON, data))).data
    assert found == data
    assert data.live_secrets(NOON) == secrets
    assert data.live_secrets(NOON + timedelta(hours=1)) == secrets[:1]
    assert data.signature_schemes == (Scheme.V1A,)
    assert "new" not in repr(data)
    assert "old" not in repr(data)


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


def test_every_event_is_recorded_by_the_ledger_from_its_topic() -> None:
    """What no agent expects, it would set aside as poisoned."""
    assert [model for model in TYPES.values() if not issubclass(model, (*EXPECTED, *ANSWERS, *EXPORTS))] == []
