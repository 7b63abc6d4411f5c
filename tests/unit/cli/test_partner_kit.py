"""The partner's kit: what is signed is read, and nothing else ever comes of a request than two errors."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from agents.webhooks import body_of, parse_reply
from rescind.partner import Delivery, InvalidSignature, callback, receive, reply
from streams import signing
from streams.errors import InvalidInput
from streams.events import Notice
from streams.kinds import Action
from streams.written import written

SECRET = signing.SECRET + base64.b64encode(bytes(range(32))).decode()
OTHER = signing.SECRET + base64.b64encode(bytes(32)).decode()
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
EVENT: dict[str, Any] = {
    "id": "n1",
    "data": {
        "action": "erase",
        "subject": "blog:a",
        "purpose": "ai-training",
        "occurred_at": "2026-01-01T11:00:00Z",
        "issued_at": "2026-01-01T11:00:01Z",
        "receive_by": "2026-01-02T11:00:01Z",
        "complete_by": "2026-01-31T11:00:01Z",
    },
}


def notice(number: int) -> Notice:
    return Notice(
        id=f"n{number}",
        cause_id="c",
        toggle_id="t",
        action=Action.ERASE,
        subject=f"blog:{number}",
        purpose="ai-training",
        occurred_at=NOW,
        issued_at=NOW + timedelta(seconds=1),
        receive_by=NOW + timedelta(days=1),
        complete_by=NOW + timedelta(days=30),
    )


def signed(body: bytes, secret: str = SECRET, now: datetime = NOW) -> dict[str, str]:
    return signing.headers(secret, "msg_1", now, body)


def received(body: bytes) -> Delivery:
    return receive(SECRET, signed(body), body, NOW)


@pytest.mark.parametrize(("count", "single"), [(1, True), (1, False), (3, False)])
def test_what_the_service_sends_is_read(count: int, single: bool) -> None:
    body, _ = body_of([written(notice(number)) for number in range(count)], single=single)
    delivery = received(body)
    assert delivery.webhook_id == "msg_1"
    assert [found.id for found in delivery.notices] == [f"n{number}" for number in range(count)]
    first = delivery.notices[0]
    assert (first.action, first.subject, first.purpose) == ("erase", "blog:0", "ai-training")
    assert (first.occurred_at, first.complete_by) == (NOW, NOW + timedelta(days=30))


def test_what_the_reply_says_the_service_reads() -> None:
    (item,) = parse_reply(reply([{"id": "n1", "status": "completed", "outcome": "deleted"}]))
    assert (item.id, item.status, item.outcome) == ("n1", "completed", "deleted")


def test_what_the_public_library_signs_is_received() -> None:
    body = json.dumps([EVENT])
    headers = {
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": str(int(NOW.timestamp())),
        "Webhook-Signature": Webhook(SECRET).sign("msg_1", NOW, body),
    }
    assert receive(SECRET, headers, body.encode(), NOW).notices[0].id == "n1"


BODY = json.dumps(EVENT).encode()
GOOD = signed(BODY)
SIGNATURE = GOOD["webhook-signature"]


@pytest.mark.parametrize(
    "headers",
    [
        GOOD,
        {name.title(): value for name, value in GOOD.items()},
        GOOD | {"webhook-signature": f"v1,AAAA v1a,BBBB {SIGNATURE}"},
        GOOD | {"webhook-signature": f"{SIGNATURE} {signed(BODY, OTHER)['webhook-signature']}"},
        GOOD | {"content-type": "text/plain"},
    ],
)
def test_a_signature_that_holds_is_accepted(headers: dict[str, str]) -> None:
    assert receive(SECRET, headers, BODY, NOW).webhook_id == "msg_1"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        *({name: value for name, value in GOOD.items() if name != left_out} for left_out in GOOD),
        signed(BODY, OTHER),
        signed(BODY + b" "),
        GOOD | {"webhook-id": "msg_2"},
        GOOD | {"webhook-id": "\ud800"},
        GOOD | {"webhook-signature": ""},
        GOOD | {"webhook-signature": SIGNATURE.replace("v1,", "v1a,")},
        GOOD | {"webhook-signature": SIGNATURE.removeprefix("v1,")},
        GOOD | {"webhook-signature": SIGNATURE.swapcase()},
        GOOD | {"webhook-signature": "\udcff"},
        GOOD | {"webhook-timestamp": ""},
        GOOD | {"webhook-timestamp": "now"},
        GOOD | {"webhook-timestamp": "1767268800.0"},
        GOOD | {"webhook-timestamp": "-1"},
        GOOD | {"webhook-timestamp": "9" * 400},
        GOOD | {"webhook-timestamp": "9" * 5000},
        GOOD | {"webhook-timestamp": "nan"},
    ],
)
def test_a_signature_that_does_not_hold_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(signing.InvalidSignature):
        receive(SECRET, headers, BODY, NOW)


def pair(seed: bytes) -> str:
    made = Ed25519PrivateKey.from_private_bytes(seed)
    return signing.PRIVATE + base64.b64encode(seed + made.public_key().public_bytes_raw()).decode()


# The same in every process: cases are named for them.
PAIR, OTHER_PAIR = pair(bytes(range(32))), pair(bytes(32))
PUBLIC = signing.public_key(PAIR)


@pytest.mark.parametrize(
    ("signers", "keys"),
    [
        (PAIR, PUBLIC),
        ([PAIR, OTHER_PAIR], PUBLIC),
        ([OTHER_PAIR, PAIR], [PUBLIC]),
        ([SECRET, PAIR], SECRET),
        ([SECRET, PAIR], PUBLIC),
        ([OTHER, SECRET], [SECRET, PUBLIC]),
        (SECRET, (OTHER, SECRET)),
    ],
)
def test_one_signature_by_one_of_the_keys_is_enough(signers: list[str], keys: list[str]) -> None:
    headers = signing.headers(signers, "msg_1", NOW, BODY)
    assert receive(keys, headers, BODY, NOW).notices[0].id == "n1"
    with pytest.raises(signing.InvalidSignature):
        receive(keys, headers, BODY + b" ", NOW)


@pytest.mark.parametrize("keys", [[], [OTHER], PAIR, signing.public_key(OTHER_PAIR), [SECRET, "whpk_x"], ["", SECRET]])
def test_keys_that_do_not_fit_accept_nothing(keys: list[str]) -> None:
    with pytest.raises(signing.InvalidSignature):
        receive(keys, signing.headers([SECRET, PAIR], "msg_1", NOW, BODY), BODY, NOW)


@pytest.mark.parametrize("secret", ["whsec_ä", "whsec_!", "whsec_a", "\ud800"])
def test_a_secret_that_is_none_accepts_nothing(secret: str) -> None:
    with pytest.raises(signing.InvalidSignature):
        receive(secret, GOOD, BODY, NOW)


@pytest.mark.parametrize(("seconds", "accepted"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_a_stale_timestamp_is_refused_and_so_is_one_of_the_future(seconds: int, accepted: bool) -> None:
    now = NOW + timedelta(seconds=seconds)
    if accepted:
        receive(SECRET, GOOD, BODY, now)
    else:
        with pytest.raises(signing.InvalidSignature):
            receive(SECRET, GOOD, BODY, now)


def without(name: str) -> dict[str, Any]:
    return {"id": "n1", "data": {key: value for key, value in EVENT["data"].items() if key != name}}


def changed(**fields: Any) -> dict[str, Any]:
    return {"id": "n1", "data": EVENT["data"] | fields}


@pytest.mark.parametrize(
    "body",
    [
        None,
        7,
        "text",
        {},
        [None],
        [[]],
        [EVENT, 7],
        [EVENT, {}],
        {"data": EVENT["data"]},
        EVENT | {"id": 7},
        EVENT | {"id": None},
        EVENT | {"data": None},
        EVENT | {"data": "text"},
        EVENT | {"data": []},
        *(without(name) for name in EVENT["data"]),
        *(changed(**{name: None}) for name in EVENT["data"]),
        changed(action="destroy"),
        changed(action=["erase"]),
        changed(subject=7),
        changed(receive_by="soon"),
        changed(receive_by="2026-01-01T12:00:00"),
        changed(receive_by=1767268800),
    ],
)
def test_a_signed_body_that_is_no_batch_of_notices_is_refused(body: Any) -> None:
    with pytest.raises(InvalidInput, match="no batch of notices"):
        received(json.dumps(body).encode())


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"[" + b"9" * 5000 + b"]", b"\x00"])
def test_a_signed_body_that_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        received(body)


@pytest.mark.parametrize("others", [[], [EVENT]])
def test_a_test_event_asks_nothing(others: list[Any]) -> None:
    body = [{"type": "io.rescind.test", "id": "t", "data": {"partner": "acme"}}, *others]
    assert [notice.id for notice in received(json.dumps(body).encode()).notices] == ["n1"] * len(others)
    assert received(json.dumps(body[0]).encode()).notices == ()


def test_an_empty_batch_asks_nothing() -> None:
    assert received(b"[]").notices == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(EVENT),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "data", *EVENT["data"]]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=50))
def test_whatever_is_signed_is_read_or_refused(body: bytes) -> None:
    try:
        received(body)
    except InvalidInput:
        return


NAMES = st.sampled_from([*GOOD, "Webhook-Id", "x"])
HEADERS = st.dictionaries(NAMES, st.text(max_size=10) | st.sampled_from([*GOOD.values(), "9" * 400, "-0"]))


@given(HEADERS, st.binary(max_size=20) | st.just(BODY), st.text(max_size=10) | st.just(SECRET))
def test_whatever_the_headers_hold_only_the_right_signature_is_accepted(
    headers: dict[str, str], body: bytes, secret: str
) -> None:
    try:
        receive(secret, headers, body, NOW)
    except signing.InvalidSignature:
        return
    assert {name.lower(): value for name, value in headers.items()}.items() >= GOOD.items()
    assert (body, secret) == (BODY, SECRET)


def test_a_callback_is_signed_as_standard_webhooks_asks() -> None:
    headers, body = callback(SECRET, "cb_1", iter([{"notice_id": "n1", "status": "received"}]), NOW)
    assert json.loads(body) == [{"notice_id": "n1", "status": "received"}]
    assert signing.verify(SECRET, headers, body, NOW) == "cb_1"
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "key",
    ["", "x", signing.new_private_key(), signing.SECRET + "!", signing.SECRET + "YQ=="],
    ids=["empty", "short", "private", "not base64", "too short"],
)
def test_only_the_signing_secret_signs_a_callback(key: str) -> None:
    with pytest.raises(InvalidSignature):
        callback(key, "cb_1", [], NOW)
