"""The partner's kit: what is signed is read, and nothing else ever comes of a request than two errors."""

from __future__ import annotations

import base64
import json
import runpy
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from agents.replies import read
from agents.webhooks import body_of
from rescind.partner import (
    Delivery,
    InvalidSignature,
    LastWord,
    LastWords,
    ReceivedNotice,
    amended,
    callback,
    completed,
    receive,
    reply,
)
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


def test_all_that_a_notice_says_is_read() -> None:
    rank = "00000000000000000008/2026-01-31T12:00:00.000000Z/2"
    said: dict[str, Any] = {
        "rank": rank, "suppression_completes": True, "legal_receive_by": NOW - timedelta(days=2),
        "legal_complete_by": NOW - timedelta(days=1),
    }  # fmt: skip
    body, _ = body_of([written(notice(1).model_copy(update=said)), written(notice(2))], single=False)
    first, second = received(body).notices
    assert {name: getattr(first, name) for name in said} == said
    assert {getattr(second, name) for name in said} == {None, False}


def heard(action: str, rank: str | None, subject: str = "user:1") -> ReceivedNotice:
    return ReceivedNotice(
        id=f"{action}-{rank}", action=action, subject=subject, purpose="ai", occurred_at=NOW, issued_at=NOW,
        receive_by=NOW, complete_by=NOW, rank=rank,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("heard_of", "obeyed"),
    [
        ([("erase", "1"), ("resume", "2"), ("erase", "3")], [True, True, True]),
        # Whatever comes late changes nothing.
        ([("resume", "2"), ("erase", "1")], [True, False]),
        ([("erase", "3"), ("resume", "2"), ("erase", "1")], [True, False, False]),
        # Two of one choice.
        ([("stop", "1"), ("erase", "1")], [True, True]),
        # From no choice: it is obeyed, but not after a resume; and it takes no rank away.
        ([("erase", None)], [True]),
        ([("erase", "1"), ("erase", None)], [True, True]),
        ([("resume", "2"), ("erase", None)], [True, False]),
        ([("erase", "3"), ("stop", None), ("resume", "2")], [True, True, False]),
        ([("erase", None), ("resume", "1"), ("erase", None)], [True, True, False]),
    ],
)
def test_the_newest_word_is_obeyed(heard_of: list[tuple[str, str | None]], obeyed: list[bool]) -> None:
    words = LastWords()
    assert [words.take(heard(*each)) for each in heard_of] == obeyed


def test_each_subject_has_its_last_word_which_is_kept_where_you_say() -> None:
    known: dict[tuple[str, str], LastWord] = {}
    assert LastWords(known).take(heard("resume", "2"))
    assert LastWords(known).take(heard("erase", "1", "user:2"))
    assert not LastWords(known).take(heard("erase", "1"))
    assert known == {("user:1", "ai"): LastWord("resume", "2"), ("user:2", "ai"): LastWord("erase", "1")}


RANKS = [f"{number:020d}/2026-01-31T12:00:00.000000Z/2" for number in range(6)]


@given(st.permutations(range(6)), st.lists(st.integers(0, 5), max_size=6))
def test_no_order_turns_a_partner_around(order: list[int], again: list[int]) -> None:
    """Choices alternate, and each may come several times."""
    words, last = LastWords(), ""
    for number in [*order, *again]:
        action = "resume" if number % 2 else "erase"
        if words.take(heard(action, RANKS[number])):
            last = action
    assert last == "resume"  # the newest is the sixth


def test_an_amended_answer_is_read_in_a_reply() -> None:
    answer = {"id": "n1", **amended(completed(heard("erase", None)), "found in a backup")}
    (item,) = read(reply([answer]), ["n1"]).items
    assert (item.status, item.outcome, item.detail, item.amends) == ("completed", "deleted", "found in a backup", True)
    with pytest.raises(ValueError, match="with a word why"):
        amended(answer, " ")


def test_what_the_reply_says_the_service_reads() -> None:
    (item,) = read(reply([{"id": "n1", "status": "completed", "outcome": "deleted"}]), ["n1"]).items
    assert (item.id, item.status, item.outcome) == ("n1", "completed", "deleted")


class Colour(Enum):
    RED = "red"


DAY = datetime(2026, 2, 1, 12, 30, tzinfo=timezone(timedelta(hours=1)))
SOME = UUID(int=17)


@pytest.mark.parametrize(
    ("evidence", "written"),
    [
        (
            {"share": float("nan"), "most": [float("inf"), -float("inf"), 1.5]},
            {"share": None, "most": [None, None, 1.5]},
        ),
        ({"text": "a\ud83d", "\udc00": "🦊"}, {"text": "a\ufffd", "\ufffd": "🦊"}),
        ({"at": DAY, "day": DAY.date()}, {"at": "2026-02-01T12:30:00+01:00", "day": "2026-02-01"}),
        ({2: 1, None: 3, True: 4, 2.5: 5, SOME: 6}, {"2": 1, "null": 3, "true": 4, "2.5": 5, str(SOME): 6}),
        (
            {"rows": 2**80, "price": Decimal("1.10"), "colour": Colour.RED},
            {"rows": 2**80, "price": "1.10", "colour": "red"},
        ),
        ({"a": (1, 2), "b": {3}, "c": iter([4])}, {"a": [1, 2], "b": [3], "c": [4]}),
        (MappingProxyType({"a": MappingProxyType({})}), {"a": {}}),
    ],
)
def test_what_the_kit_writes_is_json_that_anybody_reads(evidence: Mapping[Any, Any], written: Any) -> None:
    body = reply([{"id": "n1", "status": "completed", "evidence": evidence}])
    assert json.loads(body, parse_constant=pytest.fail)["results"][0]["evidence"] == written
    read_by_us = read(body, ["n1"])
    assert (read_by_us.acknowledged, read_by_us.problem) == (1, None)


def test_the_kit_writes_no_more_bytes_than_it_must() -> None:
    assert reply([{"id": "n1", "detail": "gelöscht"}]) == '{"results":[{"id":"n1","detail":"gelöscht"}]}'.encode()


LOOP: dict[str, Any] = {}
LOOP["a"] = LOOP


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        ({"at": datetime(2026, 2, 1)}, "/results/0/evidence/at: the time 2026-02-01 00:00:00 has no zone"),  # noqa: DTZ001
        ({"file": b"x"}, "/results/0/evidence/file: bytes is not JSON"),
        ({"thing": object()}, "/results/0/evidence/thing: object is not JSON"),
        ({(1, 2): 3}, "/results/0/evidence: tuple cannot be the name of a field"),
        (LOOP, "contains itself"),
        ({"rows": 10**5000}, "what is to be sent is not JSON: Exceeds the limit"),
    ],
)
def test_what_is_no_json_the_kit_refuses_and_says_where(evidence: dict[Any, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        reply([{"id": "n1", "status": "completed", "evidence": evidence}])
    with pytest.raises(InvalidInput, match=words.replace("/results", "")):
        callback(SECRET, "cb_1", [{"notice_id": "n1", "status": "completed", "evidence": evidence}], NOW)


def test_an_estimate_may_be_a_time_of_python() -> None:
    (item,) = read(reply([{"id": "n1", "status": "in_progress", "expected_by": DAY}]), ["n1"]).items
    assert item.expected_by == DAY


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=[])), ANYTHING, max_size=4))
def test_whatever_stands_in_evidence_a_strict_reader_reads(evidence: dict[str, Any]) -> None:
    json.loads(reply([{"id": "n1", "evidence": evidence}]).decode("utf-8", "strict"), parse_constant=pytest.fail)


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


def test_the_example_answers_what_a_newer_choice_has_replaced_with_received(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registered = tmp_path / "acme.json"
    registered.write_text(json.dumps({"url": "http://127.0.0.1:1/", "signing_secret": SECRET, "signing_keys": []}))
    monkeypatch.setattr(sys, "argv", ["partner.py", str(registered)])
    answer = runpy.run_path(str(Path(__file__).parents[3] / "examples" / "partner.py"))["answer"]
    resume, erase = heard("resume", "2"), heard("erase", "1")
    assert answer(resume) == {"id": "resume-2", "status": "completed", "outcome": "resumed"}
    for _ in range(2):
        assert answer(erase) == {"id": "erase-1", "status": "received"}
        assert answer(resume)["status"] == "completed"
    assert capsys.readouterr().out == "resume user:1 for ai\n"
