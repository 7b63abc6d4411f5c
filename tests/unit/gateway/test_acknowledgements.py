"""`POST /v1/acknowledgements`: each is judged by itself, and none is lost or counted twice."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.ack_items import Result
from gateway.acknowledgements import TAKEN
from ledger import NoticeStatus
from streams.events import Acknowledged, Notice, NoticesIssued
from streams.kinds import Action
from streams.topics import ACKNOWLEDGEMENTS, NOTICES
from tests.unit.gateway.harness import NOON, Gateway, at, problem

URL = "/v1/acknowledgements"


def said(number: int = 1, status: Any = "completed", **fields: Any) -> dict[str, Any]:
    body = {"notice_id": f"n-acme-{number}", "status": status}
    if status == "completed":
        body["outcome"] = "deleted"
    if status == "refused":
        body["reason"] = "legal_hold"
    return body | fields


def foreign(vocabulary: str, code: Any, **fields: Any) -> dict[str, Any]:
    return {"notice_id": "n-acme-1", "vocabulary": vocabulary, "code": code} | fields


def notice_of(number: int, action: str) -> Notice:
    return Notice(
        id=f"n-acme-{number}",
        cause_id="c",
        toggle_id="t",
        action=Action(action),
        subject=f"user:{number}",
        purpose="ai-training",
        occurred_at=NOON,
        issued_at=NOON,
        receive_by=at(10),
        complete_by=at(60),
    )


async def send(gateway: Gateway, body: Any, partner: str = "acme") -> httpx.Response:
    return await gateway.http.post(URL, content=orjson.dumps(body), headers=gateway.partner(partner))


def recorded(gateway: Gateway) -> list[Acknowledged]:
    found = [event.data for event in gateway.log.events(ACKNOWLEDGEMENTS.name)]
    return [data for data in found if isinstance(data, Acknowledged)]


def statuses(gateway: Gateway, numbers: Sequence[int]) -> list[NoticeStatus]:
    rows = gateway.ledger.notices([f"n-acme-{number}" for number in numbers])
    return [rows[f"n-acme-{number}"].status for number in numbers]


@pytest.fixture(autouse=True)
def two_partners(gateway: Gateway) -> None:
    gateway.registered("acme", lane=0)
    gateway.registered("other", lane=1)
    gateway.issued(1, 2, 3, partner="acme", lane=0)
    gateway.issued(1, 2, partner="other", lane=1)


async def test_all_of_a_request_are_accepted_in_its_order(gateway: Gateway) -> None:
    answer = await send(gateway, [said(3, "refused"), said(1, "received"), said(2)])
    assert answer.status_code == 202
    assert answer.json() == {
        "results": [{"notice_id": f"n-acme-{number}", "result": "accepted", "detail": None} for number in (3, 1, 2)]
    }
    assert statuses(gateway, (1, 2, 3)) == ["received", "completed", "refused"]
    first = recorded(gateway)[0]
    assert (first.partner, first.subject, first.via, first.occurred_at) == ("acme", "user:3", "api", NOON)


@pytest.mark.parametrize(
    "body", [said(), [said()], {"acknowledgements": [said()]}, {"results": [said()]}, {"Results": said()}]
)
async def test_one_may_come_alone_or_in_a_list(gateway: Gateway, body: Any) -> None:
    assert (await send(gateway, body)).status_code == 202
    assert statuses(gateway, [1]) == ["completed"]


async def test_of_a_mixed_request_the_good_ones_count(gateway: Gateway) -> None:
    body = [said(notice_id="n-nobody-1"), said(1), said(notice_id="n-other-1"), said(2)]
    answer = await send(gateway, body)
    assert answer.status_code == 202
    results = [result["result"] for result in answer.json()["results"]]
    assert results == ["unknown_notice", "accepted", "not_yours", "accepted"]
    assert [data.notice_id for data in recorded(gateway)] == ["n-acme-1", "n-acme-2"]
    assert gateway.ledger.notices(["n-other-1"])["n-other-1"].status == "queued"


@pytest.mark.parametrize(
    ("notice", "result"), [("n-nobody-1", "unknown_notice"), ("n-other-1", "not_yours"), ("n-acme-1' OR 1", "")]
)
async def test_a_request_of_which_nothing_counts_is_422(gateway: Gateway, notice: str, result: str) -> None:
    found = problem(await send(gateway, said(notice_id=notice)), 422)
    if result:
        assert [(error["index"], error["notice_id"], error["result"]) for error in found["errors"]] == [
            (0, notice, result)
        ]
    assert not recorded(gateway)


async def test_what_was_not_asked_cannot_be_what_was_done(gateway: Gateway) -> None:
    found = problem(await send(gateway, said(outcome="resumed")), 422, "not-accepted")
    assert found["errors"][0]["result"] == "wrong_outcome"
    assert found["errors"][0]["detail"] == "resumed is no outcome of what was asked, which is erase"
    assert not recorded(gateway)


@pytest.mark.parametrize(("count", "status"), [(0, 422), (1000, 202), (1001, 422)])
async def test_a_request_carries_1_to_1000(gateway: Gateway, count: int, status: int) -> None:
    numbers = range(100, 100 + count)
    if 0 < count <= 1000:
        gateway.issued(*numbers)
    answer = await send(gateway, [said(number) for number in numbers])
    assert answer.status_code == status
    assert len(recorded(gateway)) == (count if status == 202 else 0)


GOOD: list[dict[str, Any]] = [
    said(status="received"),
    said(status="in_progress"),
    said(status="in_progress", expected_by="2026-02-01T00:00:00Z"),
    *(said(outcome=outcome) for outcome in ("deleted", "suppressed", "not_found", "already_deleted")),
    *(
        said(status="refused", reason=reason)
        for reason in ("exempt", "legal_hold", "identity_not_verified", "outside_jurisdiction", "other")
    ),
    said(detail="done by hand"),
    said(detail="x" * 1000),
    said(outcome="deleted", reason=None, expected_by=None, detail=None, evidence=None, occurred_at=None),
    said(evidence={}),
    said(evidence={"rows": 3, "ticket": {"id": "ABC-1", "tags": ["a", None, 1.5, True]}}),
]


@pytest.mark.parametrize("body", GOOD)
async def test_what_a_partner_may_say(gateway: Gateway, body: dict[str, Any]) -> None:
    assert (await send(gateway, body)).status_code == 202
    # What is only suppressed is no deletion.
    assert statuses(gateway, [1]) == ["in_progress" if body.get("outcome") == "suppressed" else body["status"]]
    (data,) = recorded(gateway)
    assert data.evidence == body.get("evidence")


STATUSES = "received, in_progress, completed, refused"
NO_ID = "not an id, which is 1 to 128 printable ASCII characters without white space"
NO_TIME = "not a time by RFC 3339 with its zone, such as 2026-01-31T12:00:00Z"
OUTCOME = "an outcome belongs to status completed, and completed needs one"
REASON = "a reason belongs to status refused, and refused needs one"
BESIDE = "a code of a vocabulary stands in the place of status, outcome and reason"
EXPECTED = "expected_by belongs to status in_progress"
AMENDS = "amends belongs to status completed or refused, with a detail that says why"
NO_STATUS = "status is missing, or a vocabulary and a code of it"
NO_CODE = "not a code of vocabulary drop, which has: 2, 3, 4, 5"
NO_OBJECT = "an acknowledgement must be a JSON object"

BAD: list[tuple[str, Any, str, str]] = [
    ("completed without an outcome", said(outcome=None), "", OUTCOME),
    ("completed with a reason", said(reason="exempt"), "", REASON),
    ("received with an outcome", said(status="received", outcome="deleted"), "", OUTCOME),
    ("in progress with an outcome of no meaning", said(status="in_progress", outcome="soon"), "", OUTCOME),
    ("refused without a reason", said(status="refused", reason=None), "", REASON),
    ("refused with an outcome", said(status="refused", outcome="deleted"), "", OUTCOME),
    ("received with a reason", said(status="received", reason="other"), "", REASON),
    ("expected after it is completed", said(expected_by="2026-02-01T00:00:00Z"), "", EXPECTED),
    ("expected after it is refused", said(status="refused", expected_by="2026-02-01T00:00:00Z"), "", EXPECTED),
    ("expected of what is only received", said(status="received", expected_by="2026-02-01T00:00:00Z"), "", EXPECTED),
    ("an unknown status", said(status="done"), "/status", f"status: not one of {STATUSES}"),
    ("a status that is a number", said(status=3), "/status", f"status: not one of {STATUSES}"),
    ("an outcome that is a list", said(outcome=["deleted"]), "/outcome", "outcome: not one of deleted, suppressed, "),
    ("an unknown field", said(partner="other"), "/partner", "partner: no such field"),
    ("a misspelt field", said(expectd_by=""), "/expectd_by", "expectd_by: no such field; did you mean expected_by?"),
    ("a field with a slash", said(**{"a/b": 1}), "/a~1b", "a/b: no such field"),
    ("a field with a long name", said(**{"x" * 300: 1}), "/" + "x" * 300, "x" * 128 + ": no such field"),
    ("no notice", {"status": "received"}, "/notice_id", "notice_id: missing"),
    ("no status", {"notice_id": "n-acme-1"}, "", NO_STATUS),
    ("a code of no vocabulary, and no status", {"notice_id": "n-acme-1", "code": "3"}, "", NO_STATUS),
    ("a vocabulary without a code", {"notice_id": "n-acme-1", "vocabulary": "drop"}, "", NO_CODE),
    ("a code that the vocabulary has not", foreign("drop", "1"), "", NO_CODE),
    ("another vocabulary", foreign("klingon", "3"), "/vocabulary", "vocabulary: not one of opendsr, drp, drop"),
    ("a vocabulary beside a status", said(vocabulary="drop", code="3"), "", BESIDE),
    ("a vocabulary beside an outcome", foreign("drop", "3", outcome="deleted"), "", BESIDE),
    ("a vocabulary beside an outcome of no meaning", foreign("drop", "3", outcome="gone"), "", BESIDE),
    ("a vocabulary beside a reason", foreign("drop", "2", reason="exempt"), "", BESIDE),
    ("expected of what a code says is done", foreign("drop", "3", expected_by="2026-02-01T00:00:00Z"), "", EXPECTED),
    ("an amendment that does not say why", said(amends=True), "", AMENDS),
    ("an amendment that says nothing", said(amends=True, detail=" "), "", AMENDS),
    ("an amendment that is no answer yet", said(status="in_progress", amends=True, detail="so"), "", AMENDS),
    ("an amendment by a number", said(amends=1, detail="so"), "/amends", "amends: neither true nor false"),
    ("a notice that is a number", said(notice_id=1), "/notice_id", "notice_id: not text"),
    ("an empty notice", said(notice_id=""), "/notice_id", "notice_id: "),
    ("a notice that is too long", said(notice_id="x" * 129), "/notice_id", f"notice_id: {NO_ID}"),
    ("an id with half a character", {"id": "n-\ud800", "status": "received"}, "/id", f"id: {NO_ID}"),
    ("expected without a zone", said(status="in_progress", expected_by="2026-02-01T00:00:00"), "/expected_by", NO_TIME),
    ("expected as a number", said(status="in_progress", expected_by=1_770_000_000), "/expected_by", NO_TIME),
    ("expected as a number in text", said(status="in_progress", expected_by="1770000000"), "/expected_by", NO_TIME),
    (
        "expected after the end of the calendar",
        said(status="in_progress", expected_by="9999-12-31T23:59:59-14:00"),
        "/expected_by",
        "expected_by: beyond the years 1 to 9999 in UTC",
    ),
    ("a time without a zone", said(occurred_at="2026-01-01T11:00:00"), "/occurred_at", f"occurred_at: {NO_TIME}"),
    ("a time before the calendar", said(occurred_at="0001-01-01T01:00:00+14:00"), "/occurred_at", "beyond the years"),
    ("a time as a number", said(occurred_at=1_767_265_200), "/occurred_at", f"occurred_at: {NO_TIME}"),
    ("null", None, "", NO_OBJECT),
    ("a text", "n-acme-1", "", NO_OBJECT),
    ("a list", [], "", NO_OBJECT),
    ("nothing", {}, "/notice_id", "notice_id: missing"),
]
bad = pytest.mark.parametrize(("item", "pointer", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])


def raw(body: Any) -> bytes:
    """As Python's own module writes it, which can write more than orjson."""
    return json.dumps(body).encode()


@bad
async def test_one_that_makes_no_sense_keeps_out_no_other(
    gateway: Gateway, item: Any, pointer: str, words: str
) -> None:
    answer = await send_raw(gateway, raw([said(1), item, said(2)]))
    assert answer.status_code == 202
    first, odd, last = answer.json()["results"]
    assert (first["result"], odd["result"], last["result"]) == ("accepted", "invalid", "accepted")
    assert words in odd["detail"]
    given = item.get("notice_id", item.get("id")) if isinstance(item, dict) else None
    assert odd["notice_id"] == (given[:128].replace("\ud800", "\ufffd") if isinstance(given, str) else None)
    assert [data.notice_id for data in recorded(gateway)] == ["n-acme-1", "n-acme-2"]
    assert statuses(gateway, (1, 2)) == ["completed", "completed"]


@bad
async def test_alone_it_is_a_problem_that_says_where(gateway: Gateway, item: Any, pointer: str, words: str) -> None:
    found = problem(await send_raw(gateway, raw([item])), 422, "not-accepted")
    (error,) = found["errors"]
    assert (error["index"], error["pointer"], error["result"]) == (0, pointer, "invalid")
    assert words in error["detail"]
    assert not recorded(gateway)


async def test_a_problem_names_all_that_is_wrong_with_every_item(gateway: Gateway) -> None:
    body = [said(status="done", expectd_by="x"), said(notice_id="n-nobody-1"), 5, said(outcome="resumed")]
    found = problem(await send(gateway, body), 422, "not-accepted")
    assert [(error["index"], error.get("pointer"), error["result"]) for error in found["errors"]] == [
        (0, "/status", "invalid"),
        (0, "/expectd_by", "invalid"),
        (1, None, "unknown_notice"),
        (2, "", "invalid"),
        (3, None, "wrong_outcome"),
    ]


async def test_of_very_many_faults_the_first_are_told(gateway: Gateway) -> None:
    answer = await send(gateway, [said(1), said(2, **{f"field-{number}": 1 for number in range(1000)})])
    assert answer.json()["results"][1]["detail"].count("no such field") == 5


FULL = {"log": "x" * (16 * 1024 - len('{"log":""}'))}
KEPT: list[tuple[str, dict[str, Any], dict[str, Any], str | None]] = [
    ("evidence of just the cap", said(evidence=FULL), {"evidence": FULL}, None),
    ("evidence over the cap", said(evidence={"log": "x" * 16_384}), {"evidence": None}, "its evidence is larger than "),
    ("over the cap in bytes", said(evidence={"log": "ä" * 8_200}), {"evidence": None}, "its evidence is larger than "),
    ("evidence that is a list", said(evidence=[1]), {"evidence": None}, "its evidence is no JSON object"),
    ("evidence that is text", said(evidence="yes"), {"evidence": None}, "its evidence is no JSON object"),
    ("half a character", said(detail="a\ud83d"), {"detail": "a\ufffd"}, "characters that are no Unicode were replaced"),
    ("NaN", said(evidence={"rows": float("nan")}), {"evidence": {"rows": None}}, "NaN and infinite numbers were"),
    ("a long number", said(evidence={"rows": 2**64}), {"evidence": {"rows": str(2**64)}}, "beyond 64 bits"),
    ("64 bits", said(evidence={"rows": 2**64 - 1}), {"evidence": {"rows": 2**64 - 1}}, None),
    (
        "a detail that is too long",
        said(detail="x" * 1001),
        {"detail": "x" * 999 + "…"},
        "its detail was cut at 1,000 char",
    ),
    ("a detail that is a number", said(detail=5), {"detail": "5"}, None),
    ("a detail that is a list", said(detail=["so"]), {"detail": None}, "its detail is no text and was left out"),
    ("a code that is too long", said(code="x" * 201), {"code": "x" * 199 + "…"}, "its code was cut at 200 characters"),
    ("an empty code", said(code=""), {"code": None}, None),
    ("a code that is a number", foreign("drop", 3), {"code": "3", "outcome": "deleted"}, None),
    ("a vocabulary in capitals", foreign("DRP", "Fulfilled"), {"vocabulary": "drp", "outcome": "deleted"}, None),
    ("words in capitals", said(status="COMPLETED", outcome="ALREADY_DELETED"), {"outcome": "already_deleted"}, None),
    ("a status in camel case", said(status="inProgress"), {"status": "in_progress"}, None),
    ("a time that was never set", said(expected_by="0001-01-01T00:00:00Z"), {"expected_by": None}, None),
    ("nulls", said(extend=None, amends=None, occurred_at=None, code=None), {"outcome": "deleted"}, None),
    (
        "an unknown reason",
        said(status="refused", reason="backup"),
        {"reason": "other", "code": "backup"},
        "recorded; its reason is none of exempt, legal_hold, identity_not_verified, outside_jurisdiction, other, so it"
        " counts as other, with your word in its code",
    ),
    ("a reason by its name", said(status="refused", reason="Other"), {"reason": "other", "code": None}, None),
]


@pytest.mark.parametrize(("item", "kept", "told"), [case[1:] for case in KEPT], ids=[case[0] for case in KEPT])
async def test_what_can_be_recorded_is_recorded_and_what_was_left_out_is_told(
    gateway: Gateway, item: dict[str, Any], kept: dict[str, Any], told: str | None
) -> None:
    answer = await send_raw(gateway, raw([item]))
    assert answer.status_code == 202
    (found,) = answer.json()["results"]
    assert (found["notice_id"], found["result"]) == ("n-acme-1", "accepted")
    assert found["detail"] is None if told is None else found["detail"].startswith("recorded; ")
    assert told is None or told in found["detail"]
    (data,) = recorded(gateway)
    assert {name: getattr(data, name) for name in kept} == kept


async def test_what_was_left_out_is_told_beside_the_rest(gateway: Gateway) -> None:
    await send(gateway, said(1))
    amended = said(1, "refused", amends=True, detail="x" * 1001)
    told = "it takes the place of your earlier answer, completed (deleted); recorded; its detail was cut at 1,000 char"
    assert (await result(gateway, amended))[1] == f"{told}acters"
    found = problem(await send(gateway, said(notice_id="n-nobody-1", detail="x" * 1001)), 422)
    assert found["errors"][0]["detail"] == "there is no such notice"


UUID = "6f1c0a34-7d2c-5b7e-9d0a-7d2c6c1f4e11"


@pytest.mark.parametrize("name", ["id", "notice_id"])
@pytest.mark.parametrize("written", [UUID, UUID.upper(), f"{{{UUID}}}", UUID.replace("-", ""), f"urn:uuid:{UUID}"])
async def test_an_id_in_any_usual_form_is_answered_in_ours(gateway: Gateway, name: str, written: str) -> None:
    notice = notice_of(1, "erase").model_copy(update={"id": UUID})
    gateway.happened(NOTICES.name, "pack", NoticesIssued(partner="acme", lane=0, notices=(notice,)), 0)
    answer = await send(gateway, {"results": [{name: written, "status": "completed", "outcome": "deleted"}]})
    assert answer.json() == {"results": [{"notice_id": UUID, "result": "accepted", "detail": None}]}
    assert gateway.ledger.notices([UUID])[UUID].status == "completed"


@pytest.mark.parametrize(
    ("action", "ours"),
    [
        ("erase", "deleted, suppressed, not_found, already_deleted"),
        ("stop", "deleted, suppressed, not_found, already_deleted"),
        ("resume", "not_found, already_deleted, resumed"),
    ],
)
async def test_an_outcome_that_we_have_no_word_for_is_kept_and_closes_nothing(
    gateway: Gateway, action: str, ours: str
) -> None:
    notice = notice_of(9, action)
    gateway.happened(NOTICES.name, "pack", NoticesIssued(partner="acme", lane=0, notices=(notice,)), 0)
    before = statuses(gateway, [9])
    told = (
        "recorded; the outcome anonymized is unknown, so it changes nothing and an open notice stays open: use one"
        f" of {ours}"
    )
    assert await result(gateway, said(9, outcome="anonymized")) == ("not_understood", told)
    (data,) = recorded(gateway)
    assert (data.status, data.outcome, data.code) == ("completed", "unknown", "anonymized")
    assert statuses(gateway, [9]) == before
    assert gateway.ledger.timeline("user:9")[-1].detail["verdict"] == "not_understood"


ITEMS = st.one_of(
    st.sampled_from([case[1] for case in BAD] + [case[1] for case in KEPT] + GOOD),
    st.builds(said, st.integers(1, 5), st.sampled_from(["received", "refused", "COMPLETED", "done"])),
    st.builds(said, notice_id=st.sampled_from(["n-other-1", "n-nobody-1", UUID.upper()])),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[])),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    ),
)


@given(items=st.lists(ITEMS, min_size=1, max_size=6))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_there_is_one_result_for_every_item_in_its_order(gateway: Gateway, items: list[Any]) -> None:
    alone = []
    for item in items:
        answer = await send_raw(gateway, raw([item]))
        body = answer.json()
        alone.append((body["results"] if answer.status_code == 202 else body["errors"])[0])
    before = len(recorded(gateway))
    answer = await send_raw(gateway, raw(items))
    if answer.status_code == 422:
        assert {error["index"] for error in answer.json()["errors"]} == set(range(len(items)))
        assert len(recorded(gateway)) == before
        return
    results = answer.json()["results"]
    assert [each["notice_id"] for each in results] == [each["notice_id"] for each in alone]
    unsound = {"invalid", "unknown_notice", "not_yours", "wrong_outcome", "not_understood"}
    assert [each["result"] for each in results if each["result"] in unsound] == [
        each["result"] for each in alone if each["result"] in unsound
    ]
    taken = [each["notice_id"] for each in results if each["result"] in TAKEN]
    assert [data.notice_id for data in recorded(gateway)[before:]] == taken


async def test_one_bad_item_of_1000_keeps_out_no_other(gateway: Gateway) -> None:
    gateway.issued(*range(100, 1099))
    items: list[Any] = [said(number) for number in range(100, 1099)]
    items.insert(500, "n-acme-1")
    answer = await send(gateway, items)
    assert [index for index, each in enumerate(answer.json()["results"]) if each["result"] != "accepted"] == [500]
    assert len(recorded(gateway)) == 999


@pytest.mark.parametrize("levels", [60, 100, 250, 500])
async def test_evidence_is_kept_as_far_as_it_can_be_written_again(gateway: Gateway, levels: int) -> None:
    answer = await send_raw(
        gateway,
        b'[{"notice_id":"n-acme-1","status":"received","evidence":%s}]' % (b'{"a":' * levels + b"1" + b"}" * levels),
    )
    assert answer.status_code == 202
    told = None if levels < 64 else "recorded; what is nested more than 64 levels deep was left out"
    assert answer.json()["results"][0]["detail"] == told
    assert orjson.dumps(recorded(gateway)[0].evidence).count(b"{") == min(levels, 63)


async def test_what_nobody_can_read_is_no_acknowledgement(gateway: Gateway) -> None:
    body = b'[{"notice_id":"n-acme-1","status":"received","evidence":%s}]' % (
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    )
    found = problem(await send_raw(gateway, body), 400, "malformed")
    assert found["detail"] == "the body is nested too deep to be read"
    assert not recorded(gateway)


async def send_raw(gateway: Gateway, body: bytes) -> httpx.Response:
    return await gateway.http.post(URL, content=body, headers=gateway.partner("acme"))


async def test_a_repeated_acknowledgement_has_the_same_id_and_changes_nothing(gateway: Gateway) -> None:
    evidence = {"rows": 3, "by": "cron"}
    for body in (
        said(1, evidence=evidence),
        said(1, evidence=dict(reversed(evidence.items()))),
        [said(1, evidence=evidence)] * 3,
    ):
        gateway.clock.now = at((gateway.clock.now - NOON).total_seconds() / 60 + 1)
        assert (await send(gateway, body)).status_code == 202
    assert len({event.id for event in gateway.log.events(ACKNOWLEDGEMENTS.name)}) == 1
    entries = gateway.ledger.timeline("user:1")
    assert len([entry for entry in entries if entry.kind == "acknowledged"]) == 1
    assert gateway.ledger.totals().acknowledged == 1


DIFFERENT = [
    said(1),
    said(1, outcome="not_found"),
    said(1, detail="by hand"),
    said(1, evidence={"rows": 3}),
    said(1, evidence={"rows": 4}),
    said(1, status="in_progress"),
    said(1, status="in_progress", expected_by="2026-02-01T00:00:00Z"),
    said(1, status="in_progress", expected_by="2026-02-02T00:00:00Z", detail="a backup"),
    said(1, status="refused", reason="exempt"),
    said(1, status="refused", reason="other"),
    said(1, code="3"),
    foreign("drop", "3"),
    foreign("drp", "denied/other"),
    foreign("drp", "denied/suspected_fraud"),
    said(2),
]


async def test_what_says_something_else_has_another_id(gateway: Gateway) -> None:
    for body in DIFFERENT:
        assert (await send(gateway, body)).status_code == 202
    assert len({event.id for event in gateway.log.events(ACKNOWLEDGEMENTS.name)}) == len(DIFFERENT)


async def test_what_was_promised_moves_with_a_reason(gateway: Gateway) -> None:
    def promise(day: int, **more: Any) -> dict[str, Any]:
        return said(1, status="in_progress", expected_by=f"2026-02-0{day}T00:00:00Z", **more)

    for body in (promise(1), promise(1), promise(2, detail="a backup")):
        assert (await send(gateway, body)).status_code == 202
    found = problem(await send(gateway, promise(3)), 422, "not-accepted")
    assert found["errors"][0]["result"] == "unexplained"
    assert gateway.ledger.notices(["n-acme-1"])["n-acme-1"].expected_by == datetime(2026, 2, 2, tzinfo=UTC)


async def test_evidence_is_shown_with_what_it_is_for(gateway: Gateway) -> None:
    await send(gateway, said(1, evidence={"rows": 3}))
    assert gateway.ledger.timeline("user:1")[-1].detail["evidence"] == {"rows": 3}


@pytest.mark.parametrize(
    ("body", "status", "because"),
    [
        (foreign("drop", "3"), "completed", "deleted"),
        (foreign("drop", "2"), "refused", "exempt"),
        (foreign("opendsr", "completed"), "completed", "deleted"),
        (foreign("opendsr", "in_progress", expected_by="2026-02-01T00:00:00Z"), "in_progress", None),
        (foreign("drp", "denied/suspected_fraud", detail="a bot"), "refused", "other"),
        (said(code="ACME-17"), "completed", "deleted"),
    ],
)
async def test_a_partner_s_own_word_is_kept_beside_ours(
    gateway: Gateway, body: dict[str, Any], status: str, because: str | None
) -> None:
    assert (await send(gateway, body)).status_code == 202
    (data,) = recorded(gateway)
    assert (data.status, data.outcome or data.reason) == (status, because)
    assert (data.vocabulary, data.code) == (body.get("vocabulary"), body["code"])
    assert statuses(gateway, [1]) == [status]
    detail = gateway.ledger.timeline("user:1")[-1].detail
    assert (detail["vocabulary"], detail["code"]) == (body.get("vocabulary"), body["code"])


async def test_a_foreign_outcome_of_something_else_completes_nothing(gateway: Gateway) -> None:
    resume = notice_of(5, "resume")
    gateway.happened(NOTICES.name, "pack-resume", NoticesIssued(partner="acme", lane=0, notices=(resume,)), 0)
    found = problem(await send(gateway, foreign("drop", "3", notice_id=resume.id)), 422, "not-accepted")
    assert found["errors"][0]["result"] == "wrong_outcome"
    assert (await send(gateway, foreign("drp", "fulfilled", notice_id=resume.id))).status_code == 202
    assert recorded(gateway)[0].outcome == "resumed"


async def test_the_same_time_in_another_zone_is_the_same_acknowledgement(gateway: Gateway) -> None:
    for when in ("2026-02-01T00:00:00Z", "2026-02-01T01:00:00+01:00"):
        await send(gateway, said(1, status="in_progress", expected_by=when))
    assert len({event.id for event in gateway.log.events(ACKNOWLEDGEMENTS.name)}) == 1


@pytest.mark.parametrize(
    ("when", "kept"),
    [
        ("2026-01-01T11:00:00Z", at(-60)),
        ("2026-01-01T12:00:00+01:00", at(-60)),
        ("2026-01-01T12:00:00.001Z", NOON),
        ("2099-01-01T00:00:00Z", NOON),
        (None, NOON),
    ],
)
async def test_a_partner_s_clock_cannot_run_ahead_of_ours(gateway: Gateway, when: str | None, kept: datetime) -> None:
    await send(gateway, said(1, occurred_at=when))
    assert recorded(gateway)[0].occurred_at == kept


async def test_a_later_answer_does_not_undo_a_final_one(gateway: Gateway) -> None:
    for body in (said(1), said(1, "received"), said(1, "refused")):
        assert (await send(gateway, body)).status_code == 202
    assert statuses(gateway, [1]) == ["completed"]
    verdicts = [entry.detail["verdict"] for entry in gateway.ledger.timeline("user:1") if entry.kind == "acknowledged"]
    assert sorted(verdicts) == ["applied", "contradiction", "late"]


async def result(gateway: Gateway, body: Any) -> tuple[str, str | None]:
    (found,) = (await send(gateway, body)).json()["results"]
    return found["result"], found["detail"]


async def test_who_only_suppressed_is_told_that_the_notice_stays_open_and_why(gateway: Gateway) -> None:
    wanted = (
        "recorded; the notice asks for deletion and the data is still there, so it stays open and its clock runs on"
        " until 2026-01-01T13:00:00Z: no contract that lets suppression complete it is set for you"
    )
    assert await result(gateway, said(1, outcome="suppressed")) == ("suppressed", wanted)
    assert await result(gateway, said(1, outcome="suppressed")) == ("suppressed", wanted)
    assert statuses(gateway, [1]) == ["in_progress"]
    assert await result(gateway, said(1)) == ("accepted", None)
    assert statuses(gateway, [1]) == ["completed"]


async def test_an_answer_is_amended_with_a_word_why(gateway: Gateway) -> None:
    await send(gateway, said(1))
    stands = "your earlier answer, completed (deleted)"
    told = await result(gateway, said(1, "refused"))
    assert told == ("contradiction", f"{stands} stands: to take that back, say so with `amends`, and why in `detail`")
    amended = said(1, "refused", amends=True, detail="a backup is under legal hold")
    assert await result(gateway, amended) == ("accepted", f"it takes the place of {stands}")
    assert statuses(gateway, [1]) == ["refused"]
    assert await result(gateway, amended) == ("accepted", None), "repeated, it changes nothing"
    assert recorded(gateway)[-1].amends is True
    back = said(1, amends=True, detail="it is gone now")
    assert (await result(gateway, back))[0] == "accepted"
    assert statuses(gateway, [1]) == ["completed"]
    # In the words of before it would be dropped as known, so it is not taken in silence.
    found = problem(await send(gateway, amended), 422, "not-accepted")
    assert found["errors"][0]["result"] == "unexplained"
    assert (await result(gateway, amended | {"detail": "the hold is back"}))[0] == "accepted"
    assert statuses(gateway, [1]) == ["refused"]


async def test_an_amendment_may_open_a_notice_again(gateway: Gateway) -> None:
    await send(gateway, said(1))
    assert (await result(gateway, said(1, outcome="suppressed")))[0] == "contradiction"
    amended = said(1, outcome="suppressed", amends=True, detail="the job had failed")
    assert (await result(gateway, amended))[0] == "suppressed"
    assert statuses(gateway, [1]) == ["in_progress"]


async def test_whom_drop_opted_out_was_not_deleted(gateway: Gateway) -> None:
    assert (await send(gateway, foreign("drop", "4"))).status_code == 202
    (data,) = recorded(gateway)
    assert (data.status, data.reason, data.code) == ("refused", "identity_not_verified", "4")
    assert statuses(gateway, [1]) == ["refused"]


async def test_a_ledger_that_is_behind_cannot_say_that_a_notice_is_unknown(gateway: Gateway) -> None:
    gateway.log.projecting = False
    gateway.issued(9)
    answer = await send(gateway, [said(1), said(9)])
    problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    assert not recorded(gateway)
    assert (await send(gateway, said(1))).status_code == 202, "what the ledger knows needs no waiting"
    gateway.log.project()
    gateway.log.projecting = True
    assert (await send(gateway, [said(1), said(9)])).status_code == 202


async def test_a_log_that_takes_nothing_means_503_and_nothing_accepted(gateway: Gateway) -> None:
    headers = gateway.partner("acme")
    gateway.log.failing = True
    answer = await gateway.http.post(URL, json=said(1), headers=headers)
    problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    problem(await send(gateway, said(notice_id="n-nobody-1")), 503, "unavailable")
    gateway.log.failing = False
    assert statuses(gateway, [1]) == ["queued"]
    assert (await send(gateway, said(1))).status_code == 202


async def test_a_key_of_a_partner_that_is_not_registered_owns_nothing(gateway: Gateway) -> None:
    found = problem(await send(gateway, said(1), partner="stranger"), 422, "not-accepted")
    assert found["errors"][0]["result"] == "not_yours"


# -- more time


MORE: dict[str, Any] = {"status": "in_progress", "extend": True, "detail": "many copies"}


def extendable(gateway: Gateway) -> None:
    """Notice 9, due after an hour, and after two if it is extended."""
    notice = Notice(
        id="n-acme-9", cause_id="c", toggle_id="t", action=Action.ERASE, subject="user:9", purpose="ai-training",
        occurred_at=NOON, issued_at=NOON, receive_by=at(10), complete_by=at(60), extended_complete_by=at(120),
    )  # fmt: skip
    gateway.happened(NOTICES.name, "pack-9", NoticesIssued(partner="acme", lane=0, notices=(notice,)), partition=0)


async def results(gateway: Gateway, *bodies: dict[str, Any]) -> list[tuple[str, str | None]]:
    answer = await send(gateway, list(bodies))
    assert answer.status_code == 202
    return [(result["result"], result["detail"]) for result in answer.json()["results"]]


async def test_more_time_is_asked_for_once(gateway: Gateway) -> None:
    extendable(gateway)
    granted = ("accepted", "it is extended until 2026-01-01T14:00:00Z")
    assert await results(gateway, said(9, **MORE), said(1, **MORE)) == [
        granted, ("not_extended", "its clock cannot be extended")
    ]  # fmt: skip
    # A repetition after a lost answer is no second request.
    gateway.clock.now = at(70)
    assert await results(gateway, said(9, **MORE)) == [granted]
    assert await results(gateway, said(9, **MORE | {"detail": "still"})) == [
        ("not_extended", "it was extended already")
    ]
    assert len(recorded(gateway)) == 4
    assert statuses(gateway, (1, 9)) == ["in_progress", "in_progress"]


async def test_more_time_is_asked_for_before_the_deadline(gateway: Gateway) -> None:
    extendable(gateway)
    gateway.clock.now = at(60)
    assert await results(gateway, said(9, **MORE)) == [("not_extended", "its deadline had passed")]
    assert statuses(gateway, [9]) == ["in_progress"]


@pytest.mark.parametrize("changes", [{"status": "received"}, {"detail": None}, {"detail": " "}, {"extend": "yes"}])
async def test_more_time_needs_a_reason(gateway: Gateway, changes: dict[str, Any]) -> None:
    problem(await send(gateway, said(1, **MORE | changes)), 422, "not-accepted")


def test_every_result_is_documented() -> None:
    text = (Path(__file__).parents[3] / "docs" / "acknowledgements.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (yes|no) \|", text, re.MULTILINE)
    assert {name for name, _ in rows} == set(get_args(Result))
    assert {name for name, recorded in rows if recorded == "yes"} == TAKEN
