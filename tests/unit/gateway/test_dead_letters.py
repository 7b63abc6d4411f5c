"""Dead letters over HTTP: two lists, what takes them off, and what must not come back."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any

import httpx
import pytest

from gateway import dead_letters, undeliverable
from ledger import Cancelled, NoticeStatus
from ledger import again as asking
from streams.cloudevents import STRUCTURED_HEADERS, Envelope, encode
from streams.events import (
    Act,
    BatchDelivered,
    ConsentChanged,
    ConsentToggled,
    Data,
    DeletionRequested,
    Failing,
    MessagePoisoned,
    Notice,
    NoticeParked,
    NoticesIssued,
    NoticeUndeliverable,
    OperatorActed,
)
from streams.kinds import Action, Choice
from streams.records import Record
from streams.topics import ACTIONS, DECISIONS, DELIVERIES, NOTICES, PARTNERS, POISONED, TOGGLES, UNDELIVERABLE
from tests.unit.gateway.harness import NOON, Gateway, at, problem

THEIRS, OURS = "/v1/dead-letters/undeliverable", "/v1/dead-letters/poisoned"


async def get(gateway: Gateway, path: str, **query: Any) -> dict[str, Any]:
    answer = await gateway.http.get(path, params=query, headers=gateway.operator)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def post(gateway: Gateway, path: str, body: Any) -> httpx.Response:
    return await gateway.http.post(path, json=body, headers=gateway.operator)


async def redriven(gateway: Gateway, path: str, body: Any) -> dict[str, Any]:
    answer = await post(gateway, f"{path}/redrive", body)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


def acts(gateway: Gateway) -> list[OperatorActed]:
    return [event.data for event in gateway.log.events(ACTIONS.name) if isinstance(event.data, OperatorActed)]


# -- theirs


def refuse(gateway: Gateway, number: int, offset: int, partner: str = "acme", lane: int = 0) -> None:
    data = NoticeUndeliverable(
        partner=partner, lane=lane, offset=offset, notice_id=f"n-{partner}-{number}", subject=f"user:{number}",
        status_code=422, detail=f"HTTP 422: who is user:{number}?", refused_at=gateway.clock.now,
    )  # fmt: skip
    gateway.happened(UNDELIVERABLE.name, f"refused-{partner}-{number}-{offset}", data)


def refused(gateway: Gateway, *numbers: int, partner: str = "acme", lane: int = 0) -> None:
    """Notices, all of them refused."""
    gateway.registered(partner, lane)
    gateway.issued(*numbers, partner=partner, lane=lane)
    for number in numbers:
        refuse(gateway, number, 0, partner, lane)


def reissued(gateway: Gateway) -> list[NoticesIssued]:
    packs = [event.data for event in gateway.log.events(NOTICES.name)]
    return [pack for pack in packs if isinstance(pack, NoticesIssued) and pack.again is not None]


async def test_what_a_partner_refuses_is_listed_with_its_words(gateway: Gateway) -> None:
    refused(gateway, 1)
    assert await get(gateway, THEIRS) == {
        "dead_letters": [
            {
                "notice_id": "n-acme-1",
                "partner": "acme",
                "subject": "user:1",
                "purpose": "ai-training",
                "action": "erase",
                "lane": 0,
                "offset": 0,
                "status_code": 422,
                "detail": "HTTP 422: who is user:1?",
                "refused_at": "2026-01-01T12:00:00Z",
                "issued_at": "2026-01-01T12:00:00Z",
                "complete_by": "2026-01-01T13:00:00Z",
                "parked": False,
                "retry_at": None,
                "attempts": None,
            }
        ],
        "next": None,
    }


async def test_pages_and_one_partners(gateway: Gateway) -> None:
    refused(gateway, 1, 2, 3)
    refused(gateway, 1, 2, partner="zeta", lane=1)
    found, query = list[str](), dict[str, Any](limit=2)
    while query.get("after", "") is not None:
        page = await get(gateway, THEIRS, **query)
        found += [letter["notice_id"] for letter in page["dead_letters"]]
        query["after"] = page["next"]
    assert found == ["n-acme-1", "n-acme-2", "n-acme-3", "n-zeta-1", "n-zeta-2"]
    assert [each["partner"] for each in (await get(gateway, THEIRS, partner="zeta"))["dead_letters"]] == ["zeta"] * 2
    assert (await get(gateway, THEIRS, limit=5))["next"] is None


async def test_a_redriven_notice_is_in_its_lane_again_and_off_the_list(gateway: Gateway) -> None:
    refused(gateway, 1, 2)
    answer = await redriven(gateway, THEIRS, {"notice_ids": ["n-acme-1"]})
    issued = [{"notice_id": "n-acme-1", "lane": 0, "offset": 1}]
    assert answer == {"id": "id-1", "done": 1, "skipped": [], "next": None, "issued": issued}
    (pack,) = reissued(gateway)
    assert [notice.id for notice in pack.notices] == ["n-acme-1"]
    assert pack.again is not None
    assert pack.again.how == "redrive"
    assert pack.checked == 1, "what stands in the lane from there on the ledger had not read yet"
    assert [letter["notice_id"] for letter in (await get(gateway, THEIRS))["dead_letters"]] == ["n-acme-2"]
    assert gateway.ledger.notices(["n-acme-1"])["n-acme-1"].status is NoticeStatus.QUEUED
    (act,) = acts(gateway)
    assert (act.act, act.partner, act.details) == (Act.REDRIVE, "acme", {"undeliverable": ["n-acme-1"]})


async def test_one_that_is_refused_once_more_is_back_on_the_list(gateway: Gateway) -> None:
    refused(gateway, 1)
    await redriven(gateway, THEIRS, {"notice_ids": ["n-acme-1"]})
    gateway.clock.now = at(5)
    refuse(gateway, 1, 1)
    (letter,) = (await get(gateway, THEIRS))["dead_letters"]
    assert (letter["offset"], letter["refused_at"]) == (1, "2026-01-01T12:05:00Z")


async def test_all_of_a_partner_are_redriven_in_pages(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undeliverable, "MOST", 2)
    refused(gateway, 1, 2, 3, 4, 5)
    refused(gateway, 1, partner="zeta", lane=1)
    answers = [await redriven(gateway, THEIRS, {"partner": "acme", "all": True})]
    while answers[-1]["next"] is not None:
        more = {"partner": "acme", "all": True, "after": answers[-1]["next"]}
        answers.append(await redriven(gateway, THEIRS, more))
    assert [answer["done"] for answer in answers] == [2, 2, 1]
    assert [notice.id for pack in reissued(gateway) for notice in pack.notices] == [
        f"n-acme-{number}" for number in range(1, 6)
    ]
    assert [letter["partner"] for letter in (await get(gateway, THEIRS))["dead_letters"]] == ["zeta"]


def opt_back_in(gateway: Gateway, number: int) -> None:
    newer = Notice(
        id="n-acme-9", cause_id="c", toggle_id="t", action=Action.RESUME, subject=f"user:{number}",
        purpose="ai-training", occurred_at=NOON, issued_at=NOON, receive_by=at(10), complete_by=at(60),
    )  # fmt: skip
    gateway.happened(NOTICES.name, "pack-9", NoticesIssued(partner="acme", lane=0, notices=(newer,)), 0)


async def test_what_cannot_be_redriven_is_named_with_the_reason(gateway: Gateway) -> None:
    """What the user reversed is closed, and no dead letter any more."""
    refused(gateway, 1, 2)
    gateway.issued(3)
    opt_back_in(gateway, 1)
    assert [each["notice_id"] for each in (await get(gateway, THEIRS))["dead_letters"]] == ["n-acme-2"]
    answer = await redriven(gateway, THEIRS, {"notice_ids": [f"n-acme-{number}" for number in (1, 2, 3, 4)]})
    assert answer["done"] == 1
    assert answer["skipped"] == [{"id": f"n-acme-{number}", "reason": "no dead letter"} for number in (1, 3, 4)]
    answer = await redriven(gateway, THEIRS, {"partner": "acme", "all": True})
    assert (answer["done"], answer["skipped"], answer["next"]) == (0, [], None)
    assert len(reissued(gateway)) == len(acts(gateway)) == 1
    row = gateway.ledger.notices(["n-acme-1"])["n-acme-1"]
    assert (row.status, row.cancelled_because) == (NoticeStatus.CANCELLED, Cancelled.REVERSED)


async def test_what_is_reversed_while_it_is_redriven_stays_where_it_is(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(gateway, 1, 2)
    find = gateway.ledger.refused_ones

    def meanwhile(ids: Any) -> Any:
        found = find(ids)
        opt_back_in(gateway, 1)
        return found

    monkeypatch.setattr(gateway.ledger, "refused_ones", meanwhile)
    answer = await redriven(gateway, THEIRS, {"notice_ids": ["n-acme-1", "n-acme-2"]})
    assert answer["skipped"] == [{"id": "n-acme-1", "reason": "a later notice asks for the opposite"}]
    assert [notice.id for pack in reissued(gateway) for notice in pack.notices] == ["n-acme-2"]
    assert [act.details for act in acts(gateway)] == [{"undeliverable": ["n-acme-2"]}]


def park(gateway: Gateway, number: int, offset: int) -> None:
    data = NoticeParked(
        partner="acme", lane=0, offset=offset, notice_id=f"n-acme-{number}", subject=f"user:{number}",
        detail="no answer in 15 s", failing=Failing(lane=0, offset=0, failures=4, refusals=0, others_taken=True),
        parked_at=gateway.clock.now, retry_at=at(30),
    )  # fmt: skip
    gateway.happened(UNDELIVERABLE.name, f"parked-{number}-{offset}", data)


async def test_a_parked_one_is_listed_with_when_it_is_tried_again(gateway: Gateway) -> None:
    gateway.registered()
    gateway.issued(1)
    park(gateway, 1, 0)
    (letter,) = (await get(gateway, THEIRS))["dead_letters"]
    assert (letter["parked"], letter["retry_at"], letter["attempts"]) == (True, "2026-01-01T12:30:00Z", 4)
    assert (letter["status_code"], letter["detail"]) == (None, "no answer in 15 s")
    (row,) = (await get(gateway, "/v1/notices", status="open"))["notices"]
    assert (row["status"], row["parked"], row["retry_at"]) == ("queued", True, "2026-01-01T12:30:00Z")
    assert row["last_words"] == "no answer in 15 s"
    assert (await redriven(gateway, THEIRS, {"notice_ids": ["n-acme-1"]}))["done"] == 1
    assert (await get(gateway, THEIRS))["dead_letters"] == []


async def outcomes(gateway: Gateway, issued: Any) -> list[tuple[str, str, str | None]]:
    answer = await post(gateway, f"{THEIRS}/outcomes", {"issued": issued})
    assert answer.status_code == 200, answer.text
    return [(each["notice_id"], each["outcome"], each["words"]) for each in answer.json()["outcomes"]]


async def test_a_redrive_tells_where_to_ask_what_became_of_it(gateway: Gateway) -> None:
    refused(gateway, 1, 2, 3)
    named = {"notice_ids": ["n-acme-1", "n-acme-2", "n-acme-3"]}
    issued = (await redriven(gateway, THEIRS, named))["issued"]
    assert {each[1] for each in await outcomes(gateway, issued)} == {"waiting"}
    (place,) = {each["offset"] for each in issued}
    refuse(gateway, 1, place)
    park(gateway, 2, place)
    data = BatchDelivered(
        partner="acme", lane=0, first_offset=place, last_offset=place, notices=3, webhook_id="m", attempt=1,
        status_code=200, duration_ms=1, delivered_at=NOON, undelivered=("n-acme-1", "n-acme-2"),
    )  # fmt: skip
    gateway.happened(DELIVERIES.name, "taken", data)
    assert await outcomes(gateway, issued) == [
        ("n-acme-1", "refused", "HTTP 422: who is user:1?"),
        ("n-acme-2", "parked", "no answer in 15 s"),
        ("n-acme-3", "taken", None),
    ]
    assert await outcomes(gateway, [{"notice_id": "n-acme-9", "lane": 0, "offset": 0}]) == []


@pytest.mark.parametrize("body", [{}, {"issued": []}, {"issued": [{"notice_id": "n"}]}, {"ids": ["n"]}, []])
async def test_a_wrong_question_for_outcomes_is_422(gateway: Gateway, body: Any) -> None:
    problem(await post(gateway, f"{THEIRS}/outcomes", body), 422)


async def test_a_discarded_one_is_cancelled_and_the_reason_is_on_the_record(gateway: Gateway) -> None:
    refused(gateway, 1, 2)
    answer = await post(gateway, f"{THEIRS}/discard", {"notice_ids": ["n-acme-1", "n-acme-9"], "reason": " gone "})
    assert (answer.status_code, answer.json()["done"]) == (202, 1)
    assert answer.json()["skipped"] == [{"id": "n-acme-9", "reason": "no dead letter"}]
    (act,) = acts(gateway)
    assert (act.act, act.partner, act.notices, act.reason) == (Act.DISCARD, "acme", ("n-acme-1",), "gone")
    row = gateway.ledger.notices(["n-acme-1"])["n-acme-1"]
    assert (row.status, row.cancelled_because) == (NoticeStatus.CANCELLED, Cancelled.DISCARDED)
    assert [each["notice_id"] for each in (await get(gateway, THEIRS))["dead_letters"]] == ["n-acme-2"]
    done = (await get(gateway, "/v1/actions"))["actions"]
    assert [each["details"]["reason"] for each in done] == ["gone"]
    last = gateway.ledger.timeline("user:1")[-1]
    assert (last.kind, last.summary) == ("discarded", f"The notice is discarded by {act.by.words}: gone")


async def test_all_of_a_partner_are_discarded_in_pages(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undeliverable, "MOST", 2)
    refused(gateway, 1, 2, 3)
    refused(gateway, 1, partner="zeta", lane=1)
    body: dict[str, Any] = {"partner": "acme", "all": True, "reason": "the contract ended"}
    done = list[int]()
    while body.get("after", "") is not None:
        answer = await post(gateway, f"{THEIRS}/discard", body)
        assert answer.status_code == 202, answer.text
        done.append(answer.json()["done"])
        body["after"] = answer.json()["next"]
    assert done == [2, 1]
    assert [letter["partner"] for letter in (await get(gateway, THEIRS))["dead_letters"]] == ["zeta"]
    assert reissued(gateway) == []


@pytest.mark.parametrize("reason", [None, "", "  ", "x" * 501, 7])
async def test_nothing_is_discarded_without_a_reason(gateway: Gateway, reason: Any) -> None:
    refused(gateway, 1)
    body = {"notice_ids": ["n-acme-1"]} | ({} if reason is None else {"reason": reason})
    problem(await post(gateway, f"{THEIRS}/discard", body), 422)
    assert acts(gateway) == []


async def test_a_redrive_that_fails_half_way_is_repeated_under_the_same_ids(gateway: Gateway) -> None:
    refused(gateway, 1)
    gateway.log.failing = True
    body = {"notice_ids": ["n-acme-1"], "id": "r"}
    problem(await post(gateway, f"{THEIRS}/redrive", body), 503)
    gateway.log.failing = False
    gateway.log.projecting = False
    problem(await post(gateway, f"{THEIRS}/redrive", body), 503)  # it is durable; the ledger does not show it yet
    gateway.log.project()
    gateway.log.projecting = True
    refuse(gateway, 1, 1)
    await redriven(gateway, THEIRS, body)
    events = [event for event in gateway.log.events(NOTICES.name) if event.data in reissued(gateway)]
    assert len(events) == 2
    assert len({event.id for event in events}) == 1
    assert len({event.id for event in gateway.log.events(ACTIONS.name)}) == 1


async def test_an_unknown_partner_has_no_dead_letters_to_redrive(gateway: Gateway) -> None:
    problem(await post(gateway, f"{THEIRS}/redrive", {"partner": "nobody", "all": True}), 404, "unknown-partner")


# -- ours


def poison(
    gateway: Gateway,
    identity: str,
    value: bytes | None,
    topic: str = TOGGLES.name,
    *,
    key: bytes | None = b"user:1",
    headers: tuple[tuple[str, bytes | None], ...] | None = STRUCTURED_HEADERS,
    poisoned_at: datetime = NOON,
) -> None:
    coded = None if headers is None else tuple((name, _base64(value)) for name, value in headers)
    data = MessagePoisoned(
        topic=topic, partition=3, offset=7, reason="not JSON", key_base64=_base64(key), value_base64=_base64(value),
        headers=coded, poisoned_at=poisoned_at,
    )  # fmt: skip
    gateway.happened(POISONED.name, identity, data)


def _base64(raw: bytes | None) -> str | None:
    return None if raw is None else base64.b64encode(raw).decode()


async def listed(gateway: Gateway) -> list[str]:
    return [letter["id"] for letter in (await get(gateway, OURS))["dead_letters"]]


def sent(gateway: Gateway, topic: str = TOGGLES.name) -> list[Record]:
    return [item for item in gateway.log.records if item.topic == topic]


async def test_what_we_could_not_process_is_listed_as_it_stood(gateway: Gateway) -> None:
    poison(gateway, "m1", b"{\xc3\xa4", headers=(("content-type", b"x"), ("empty", None)))
    poison(gateway, "m2", b"\xff", key=None, headers=None, poisoned_at=at(1))
    poison(gateway, "m3", None, poisoned_at=at(2))
    first, second, third = (await get(gateway, OURS))["dead_letters"]
    assert first == {
        "id": "m1",
        "topic": "rescind.toggles",
        "partition": 3,
        "offset": 7,
        "reason": "not JSON",
        "poisoned_at": "2026-01-01T12:00:00Z",
        "key_base64": "dXNlcjox",
        "value_base64": "e8Ok",
        "value_text": "{ä",
        "headers": [
            {"name": "content-type", "value_base64": "eA=="},
            {"name": "empty", "value_base64": None},
        ],
    }
    assert (second["value_base64"], second["value_text"], second["key_base64"]) == ("/w==", None, None)
    assert second["headers"] is None
    assert (third["value_base64"], third["value_text"]) == (None, None)


async def test_a_redriven_message_is_appended_where_it_stood_as_it_stood(gateway: Gateway) -> None:
    poison(gateway, "m1", b"{", headers=(("ce_specversion", b"1.0"), ("empty", None)))
    poison(gateway, "m2", b"{", headers=None, key=None)
    answer = await redriven(gateway, OURS, {"ids": ["m1", "m2", "m9"]})
    assert (answer["done"], answer["skipped"]) == (2, [{"id": "m9", "reason": "no dead letter"}])
    assert sent(gateway) == [
        Record(TOGGLES.name, b"user:1", b"{", 3, (("ce_specversion", b"1.0"), ("empty", b""))),
        Record(TOGGLES.name, None, b"{", 3),
    ]
    assert await listed(gateway) == []
    (act,) = acts(gateway)
    assert (act.act, act.poisoned, act.by.role) == (Act.REDRIVE, ("m1", "m2"), "operator")


async def test_a_message_is_off_the_list_only_once_it_is_durable(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(gateway, "m1", b"{")
    append, left = gateway.log.append, [1]

    async def once(records: Any) -> Any:
        gateway.log.failing = not left
        left.clear()
        return await append(records)

    with monkeypatch.context() as patched:
        patched.setattr(gateway.log, "append", once)
        problem(await post(gateway, f"{OURS}/redrive", {"ids": ["m1"]}), 503)
    gateway.log.failing = False
    assert len(sent(gateway)) == 1
    assert await listed(gateway) == ["m1"]


async def test_all_are_redriven_in_pages(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "MOST", 2)
    for number in range(5):
        poison(gateway, f"m{number}", b"{", poisoned_at=at(number))
    gateway.clock.now = at(9)
    answers = [await redriven(gateway, OURS, {"all": True})]
    while answers[-1]["next"] is not None:
        answers.append(await redriven(gateway, OURS, {"all": True, "after": answers[-1]["next"]}))
    assert [answer["done"] for answer in answers] == [2, 2, 1]
    assert len(sent(gateway)) == 5
    assert await redriven(gateway, OURS, {"all": True}) == {"id": "id-4", "done": 0, "skipped": [], "next": None}


async def test_what_comes_back_at_once_is_not_taken_again_and_again(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever asks for all, page by page, would go on for ever."""
    monkeypatch.setattr(dead_letters, "MOST", 1)
    monkeypatch.setattr(undeliverable, "MOST", 1)
    refused(gateway, 1, 2)
    for number in (1, 2):
        poison(gateway, f"m{number}", b"{")
    for path, wanted in ((THEIRS, {"partner": "acme", "all": True}), (OURS, {"all": True})):
        body: dict[str, Any] = dict(wanted)
        done = list[int]()
        while body.get("after", "") is not None:
            answer = await redriven(gateway, path, body)
            body["after"] = answer["next"]
            done.append(answer["done"])
            number = len(done)
            gateway.clock.now = at(number)
            if path == THEIRS and number <= 2:
                refuse(gateway, number, number)
            elif path == OURS:
                poison(gateway, f"again{number}", b"{", poisoned_at=gateway.clock.now)
            assert number < 5
        assert done == [1, 1, 0]
        gateway.clock.now = NOON
    assert len((await get(gateway, THEIRS))["dead_letters"]) == 2
    assert await listed(gateway) == ["again1", "again2", "again3"]


async def test_large_ones_are_redriven_though_no_page_holds_them_together(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "PAGE_BYTES", 1)
    for number in range(3):
        poison(gateway, f"m{number}", b"{")
    page = await get(gateway, OURS)
    assert [letter["id"] for letter in page["dead_letters"]] == ["m0"]
    assert len((await get(gateway, OURS, after=page["next"]))["dead_letters"]) == 1
    assert (await redriven(gateway, OURS, {"ids": ["m0", "m1", "m2"]}))["done"] == 3
    assert await listed(gateway) == []


async def test_discarded_ones_leave_the_list_and_nothing_else_happens(gateway: Gateway) -> None:
    poison(gateway, "m1", b"{")
    poison(gateway, "m2", b"{", topic=PARTNERS.name)
    answer = await post(gateway, f"{OURS}/discard", {"all": True})
    assert (answer.status_code, answer.json()["done"], answer.json()["skipped"]) == (202, 2, [])
    assert sent(gateway) == []
    assert await listed(gateway) == []
    assert [act.act for act in acts(gateway)] == [Act.DISCARD]


def event(data: Data) -> bytes:
    return encode(Envelope("e", NOON, data))


def changed(choice: Choice, minutes: float, purpose: str = "ai") -> ConsentChanged:
    return ConsentChanged(
        subject="user:1", purpose=purpose, choice=choice, retroactive=False, toggle_id="t",
        occurred_at=at(minutes), accepted_at=at(minutes),
    )  # fmt: skip


def pack(action: Action) -> NoticesIssued:
    notice = Notice(
        id="n", cause_id="c", toggle_id="t", action=action, subject="user:1", purpose="ai", occurred_at=NOON,
        issued_at=NOON, receive_by=NOON, complete_by=NOON,
    )  # fmt: skip
    return NoticesIssued(partner="acme", lane=3, notices=(notice,))


REQUESTED = DeletionRequested(subject="user:1", purpose="ai", toggle_id="t", occurred_at=NOON, accepted_at=NOON)
TOGGLED = ConsentToggled(subject="user:1", purpose="ai", choice=Choice.OPT_IN, occurred_at=NOON)


@pytest.mark.parametrize(
    ("topic", "data", "since", "kept"),
    [
        (DECISIONS.name, changed(Choice.OPT_IN, 0), Choice.OPT_OUT, True),
        (DECISIONS.name, changed(Choice.OPT_OUT, 0), Choice.OPT_OUT, False),
        (DECISIONS.name, changed(Choice.OPT_IN, 5), Choice.OPT_OUT, False),
        (DECISIONS.name, changed(Choice.OPT_IN, 0, "ads"), Choice.OPT_OUT, False),
        (DECISIONS.name, REQUESTED, Choice.OPT_IN, True),
        (DECISIONS.name, REQUESTED, Choice.OPT_OUT, False),
        (NOTICES.name, pack(Action.RESUME), Choice.OPT_OUT, True),
        (NOTICES.name, pack(Action.ERASE), Choice.OPT_OUT, False),
        (NOTICES.name, pack(Action.STOP), Choice.OPT_IN, True),
        (TOGGLES.name, TOGGLED, Choice.OPT_OUT, False),
    ],
)
async def test_an_old_word_does_not_become_the_last_one(
    gateway: Gateway, topic: str, data: Data, since: Choice, kept: bool
) -> None:
    gateway.happened(DECISIONS.name, "since", changed(since, 3))
    poison(gateway, "m1", event(data), topic)
    answer = await redriven(gateway, OURS, {"ids": ["m1"]})
    assert [each["reason"] for each in answer["skipped"]] == ["the opposite was chosen since"] * kept
    assert await listed(gateway) == ["m1"] * kept
    assert sum(item.value == event(data) for item in sent(gateway, topic)) == (not kept)


@pytest.mark.parametrize(
    ("topic", "reason"),
    [(PARTNERS.name, "a newer state may stand"), ("rescind.former", "there is no topic rescind.former any more")],
)
async def test_what_no_topic_takes_back_stays(gateway: Gateway, topic: str, reason: str) -> None:
    poison(gateway, "m1", b"{", topic)
    (skipped,) = (await redriven(gateway, OURS, {"all": True}))["skipped"]
    assert reason in skipped["reason"]
    assert await listed(gateway) == ["m1"]


# -- both


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (THEIRS, {}),
        (THEIRS, {"notice_ids": []}),
        (THEIRS, {"notice_ids": ["a"], "all": True}),
        (THEIRS, {"notice_ids": ["a"], "partner": "acme"}),
        (THEIRS, {"notice_ids": ["a"], "after": "x"}),
        (THEIRS, {"notice_ids": ["a b"]}),
        (THEIRS, {"notice_ids": [str(number) for number in range(1001)]}),
        (THEIRS, {"all": True}),
        (THEIRS, {"all": False, "partner": "acme"}),
        (THEIRS, {"ids": ["a"]}),
        (OURS, {}),
        (OURS, {"all": False}),
        (OURS, {"ids": ["a"], "all": True}),
        (OURS, {"notice_ids": ["a"]}),
        (OURS, {"all": True, "after": "x"}),
        (OURS, []),
    ],
)
async def test_a_wrong_redrive_is_422(gateway: Gateway, path: str, body: Any) -> None:
    gateway.registered()
    problem(await post(gateway, f"{path}/redrive", body), 422, "invalid")


@pytest.mark.parametrize("path", [THEIRS, OURS, "/v1/actions"])
@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "after=x", "after=WzFd", "after=bnVsbA%3D%3D"])
async def test_a_wrong_page_is_422(gateway: Gateway, path: str, query: str) -> None:
    problem(await gateway.http.get(f"{path}?{query}", headers=gateway.operator), 422, "invalid")
