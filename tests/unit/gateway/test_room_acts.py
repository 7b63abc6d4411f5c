"""What the buttons of the dashboard do without a script: they ask first, act as the API does, and say who did it; and
what a partner sees is its own."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from typing import Any

import httpx
import pytest

from gateway import Trial
from ledger import Role
from rescind.partner import InvalidSignature
from streams.events import Act, MessagePoisoned, NoticesIssued, OperatorActed
from streams.signing import headers as signed_headers
from streams.signing import new_secret
from streams.topics import ACTIONS, NOTICES, POISONED
from tests.unit.gateway.harness import Gateway, at, logged_in, problem
from tests.unit.gateway.pages import Outline
from tests.unit.gateway.test_dead_letters import park, refused
from tests.unit.gateway.test_lag import completed, delivered, failed

PARTNER = "/dashboard/partners/acme"


class Operator:
    """Somebody who has logged in, and uses forms."""

    def __init__(self, gateway: Gateway, token: str) -> None:
        self.gateway = gateway
        self.token = token

    async def post(self, path: str, **fields: Any) -> httpx.Response:
        answer = await self.gateway.http.post(path, data={"token": self.token} | fields)
        if answer.status_code == 200:
            Outline(answer.text)
        return answer

    async def sure(self, path: str, **fields: Any) -> httpx.Response:
        """The form, and then the form that asks whether one is sure, as it stands."""
        asks = await self.post(path, **fields)
        assert asks.status_code == 200
        assert 'name="confirmed" value="yes"' in asks.text
        hidden = re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', asks.text[asks.text.index("<main") :])
        kept: dict[str, list[str]] = {}
        for name, value in hidden:
            kept.setdefault(name, []).append(unescape(value))
        return await self.post(path, **kept)

    async def get(self, path: str) -> Outline:
        answer = await self.gateway.http.get(path)
        assert answer.status_code == 200, answer.text
        return Outline(answer.text)


@pytest.fixture
async def operator(gateway: Gateway) -> Operator:
    gateway.registered()
    return Operator(gateway, await logged_in(gateway))


def acts(gateway: Gateway) -> list[OperatorActed]:
    return [event.data for event in gateway.log.events(ACTIONS.name) if isinstance(event.data, OperatorActed)]


def status(gateway: Gateway) -> str:
    partner = gateway.ledger.partner("acme")
    assert partner is not None
    return partner.status.value


async def test_pause_and_resume_ask_first_and_say_who_did_it(gateway: Gateway, operator: Operator) -> None:
    asked = await operator.post(f"{PARTNER}/pause")
    assert "Pause ACME?" in asked.text
    assert (status(gateway), acts(gateway)) == ("active", [])
    answer = await operator.sure(f"{PARTNER}/pause")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PARTNER}?said=paused")
    assert status(gateway) == "paused"
    page = await operator.get(answer.headers["location"])
    assert "What waits is held until it is resumed" in page.words
    assert "pause operator" in page.words
    await operator.sure(f"{PARTNER}/resume")
    assert status(gateway) == "active"
    assert [(act.act, act.partner, act.by.role) for act in acts(gateway)] == [
        (Act.PAUSE, "acme", "operator"),
        (Act.RESUME, "acme", "operator"),
    ]


async def test_a_partner_is_tried_now_from_its_page_and_from_the_board(gateway: Gateway, operator: Operator) -> None:
    gateway.issued(1)
    for attempt in range(3):
        failed(gateway, attempt=attempt + 1)
    asked = await operator.post(f"{PARTNER}/try")
    assert "Try ACME now?" in asked.text
    answer = await operator.sure(f"{PARTNER}/try")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PARTNER}?said=tried")
    page = await operator.get(answer.headers["location"])
    assert "What waits is tried now." in page.words
    assert "try operator" in page.words
    assert [(act.act, act.partner) for act in acts(gateway)] == [(Act.TRY, "acme")]
    board = (await gateway.http.get("/dashboard")).text
    assert 'form="act" formaction="/dashboard/partners/acme/try" aria-label="Try now: ACME"' in board
    assert re.search(r'<form id="act" method="post"><input type="hidden" name="token"', board)


async def test_one_that_is_paused_cannot_be_tried(gateway: Gateway, operator: Operator) -> None:
    await operator.sure(f"{PARTNER}/pause")
    assert "/try" not in (await gateway.http.get(PARTNER)).text
    problem(await operator.post(f"{PARTNER}/try", confirmed="yes"), 409, "not-active")


async def test_a_test_event_is_explained(gateway: Gateway, operator: Operator) -> None:
    page = Outline((await operator.sure(f"{PARTNER}/test")).text)
    assert "A notice would have been taken" in page.words
    assert "HTTP 200, 2 ms, from 192.0.2.1:443" in page.words


async def test_a_rotated_secret_is_shown_once(gateway: Gateway, operator: Operator) -> None:
    answer = await operator.sure(f"{PARTNER}/rotate", overlap="3600")
    (secret,) = re.findall(r">(whsec_[^<]+)<", answer.text)
    assert "goes on signing beside it for 1 h" in answer.text
    assert answer.headers["cache-control"] == "no-store"
    partner = gateway.ledger.partner("acme")
    assert partner is not None
    assert gateway.context.sealer.open(partner.secrets[0].sealed) == secret
    assert secret not in (await gateway.http.get(PARTNER)).text
    assert [act.act for act in acts(gateway)] == [Act.ROTATE]


async def test_a_wrong_overlap_is_said_and_does_nothing(gateway: Gateway, operator: Operator) -> None:
    for overlap in ("-1", "x", "9999999999"):
        answer = await operator.post(f"{PARTNER}/rotate", overlap=overlap, confirmed="yes")
        problem(answer, 422, "invalid")
    assert acts(gateway) == []


async def test_a_replay_is_counted_first_and_happens_once(gateway: Gateway, operator: Operator) -> None:
    gateway.issued(1, 2, 3)
    span = {"from": "2026-01-01T11:00", "to": "2026-01-01T13:00", "id": "replay-1"}
    asks = await operator.post(f"{PARTNER}/replay", **span)
    assert "Issue 3 notices again, in about 1 requests?" in asks.text
    assert acts(gateway) == []
    for _ in range(2):  # a double click
        assert "3 notices are issued again" in (await operator.sure(f"{PARTNER}/replay", **span)).text
    again = {
        event.id: event.data.again
        for event in gateway.log.events(NOTICES.name)
        if isinstance(event.data, NoticesIssued) and event.data.again
    }
    assert len(again) == 1
    assert len({event.id for event in gateway.log.events(ACTIONS.name)}) == 1
    # The same page, used for another time.
    await operator.sure(f"{PARTNER}/replay", **span | {"to": "2026-01-01T14:00"})
    assert len({event.id for event in gateway.log.events(ACTIONS.name)}) == 2
    assert {act.act for act in acts(gateway)} == {Act.REPLAY}


async def test_a_replay_of_no_time_is_said(gateway: Gateway, operator: Operator) -> None:
    answer = await operator.post(f"{PARTNER}/replay", **{"from": "2025-01-01T00:00", "to": "2025-01-02T00:00"})
    assert "Nothing was issued in that time" in answer.text
    for wrong in (
        {},
        {"from": "yesterday", "to": "2026-01-01T00:00"},
        {"from": "2026-01-02T00:00", "to": "2026-01-01T00:00"},
    ):
        problem(await operator.post(f"{PARTNER}/replay", **wrong), 422)


async def test_what_is_not_there_is_said_in_a_page(gateway: Gateway, operator: Operator) -> None:
    for path in ("/dashboard/partners/nobody", "/dashboard/partners/%00", "/dashboard/dead-letters?theirs=x"):
        problem(await gateway.http.get(path), 422 if "theirs" in path else 404)
        answer = await gateway.http.get(path, headers={"accept": "text/html"})
        assert "That did not work" in Outline(answer.text).words
    problem(await operator.post("/dashboard/partners/nobody/pause", confirmed="yes"), 404, "unknown-partner")
    problem(await operator.post(f"{PARTNER}/explode", confirmed="yes"), 422)


async def test_a_partner_from_near(gateway: Gateway, operator: Operator) -> None:
    gateway.issued(1, 2, 3)
    delivered(gateway)
    gateway.clock.now = at(2)
    completed(gateway, 1)
    refused_one = {"notice_id": "n-acme-2", "status": "refused", "reason": "legal_hold"}
    answer = await gateway.http.post("/v1/acknowledgements", json=refused_one, headers=gateway.partner())
    assert answer.status_code == 202
    failed(gateway, attempt=1)
    words = (await operator.get(PARTNER)).words
    assert "asked 3 100 % delivered 3 100 % received 2 67 % completed 1 33 %" in words
    assert "Apart from these: 1 refused." in words
    assert "legal hold 1" in words
    assert "failed HTTP 503" in words
    assert "HTTP 503 <b>down</b>" in words
    assert "1 failed attempt in a row. The last said: HTTP 503 <b>down</b>. Next attempt in 1 h 28 min" in words
    assert "24 hours" in words
    for window in ("24h", "7d", "30d", "1h"):
        assert "2 answered" in (await operator.get(f"{PARTNER}?window={window}")).words


async def test_a_removed_partner_has_no_buttons(gateway: Gateway, operator: Operator) -> None:
    assert (await gateway.http.delete("/v1/partners/acme", headers=gateway.operator)).status_code == 204
    page = await operator.get(PARTNER)
    assert "removed" in page.words
    assert page.tags.count("form") == 2  # log out, and the dialog's
    problem(await operator.post(f"{PARTNER}/pause", confirmed="yes"), 404)


# -- subjects


async def test_a_subject_s_story_and_no_subject_in_an_address_or_a_log(
    gateway: Gateway, operator: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    gateway.issued(77)
    completed(gateway, 77)
    page = Outline((await operator.post("/dashboard/subject", subject=" user:77 ")).text)
    assert "acme is asked to stop and delete." in page.words
    assert "acme says completed (deleted)." in page.words
    assert "Nothing is known of user:78" in (await operator.post("/dashboard/subject", subject="user:78")).text
    answer = await operator.post("/dashboard/subject", subject="<b>user")
    assert answer.status_code == 422
    assert "<b>user" not in answer.text
    assert (await gateway.http.get("/dashboard/subject", params={"subject": "user:77"})).text.count("user:77") == 0
    assert "user:7" not in caplog.text


# -- dead letters


def poisoned(gateway: Gateway, *numbers: int) -> None:
    for number in numbers:
        data = MessagePoisoned(
            topic="rescind.toggles", partition=0, offset=number, reason="not JSON", value_base64="eA==",
            poisoned_at=gateway.clock.now,
        )  # fmt: skip
        gateway.happened(POISONED.name, f"poison-{number}", data)


async def test_theirs_are_redriven_by_choice_or_all_of_a_partner(gateway: Gateway, operator: Operator) -> None:
    refused(gateway, 1, 2, 3)
    page = await operator.get("/dashboard/dead-letters")
    assert "HTTP 422: who is user:2?" in page.words
    answer = await operator.sure("/dashboard/dead-letters/theirs/redrive", chosen=["n-acme-1", "n-acme-9"], id="r1")
    assert "1 is tried once more." in answer.text
    assert "1 left as it is: no dead letter." in answer.text
    answer = await operator.sure("/dashboard/dead-letters/theirs/redrive", all="acme", id="r2")
    assert "2 are tried once more." in answer.text
    assert [act.act for act in acts(gateway)] == [Act.REDRIVE, Act.REDRIVE]
    assert "No notice is parked or undeliverable." in (await operator.get("/dashboard/dead-letters")).words


async def test_theirs_are_discarded_with_a_reason(gateway: Gateway, operator: Operator) -> None:
    refused(gateway, 1, 2, 3)
    path = "/dashboard/dead-letters/theirs/discard"
    for reason in ({}, {"reason": "  "}):
        answer = await operator.post(path, chosen="n-acme-1", confirmed="yes", **reason)
        assert "A reason is missing" in answer.text
    assert acts(gateway) == []
    answer = await operator.sure(path, chosen=["n-acme-1"], reason="gone", id="d1")
    assert "1 is discarded." in answer.text
    answer = await operator.sure(path, all="acme", reason="the contract ended", id="d2")
    assert "2 are discarded." in answer.text
    assert [(act.act, act.reason) for act in acts(gateway)] == [
        (Act.DISCARD, "gone"),
        (Act.DISCARD, "the contract ended"),
    ]
    assert "No notice is parked or undeliverable." in (await operator.get("/dashboard/dead-letters")).words


async def test_ours_are_redriven_or_discarded(gateway: Gateway, operator: Operator) -> None:
    poisoned(gateway, 1, 2, 3)
    answer = await operator.sure("/dashboard/dead-letters/ours/discard", chosen=["poison-1"], id="d1")
    assert "1 is discarded." in answer.text
    answer = await operator.sure("/dashboard/dead-letters/ours/redrive", all="yes", id="d2")
    assert "2 are tried once more." in answer.text
    assert [act.act for act in acts(gateway)] == [Act.DISCARD, Act.REDRIVE]
    assert "Everything could be processed" in (await operator.get("/dashboard/dead-letters")).words


async def test_nothing_chosen_is_said(gateway: Gateway, operator: Operator) -> None:
    for path in ("theirs/redrive", "theirs/discard", "ours/redrive", "ours/discard"):
        assert "Nothing was chosen" in (await operator.post(f"/dashboard/dead-letters/{path}", confirmed="yes")).text
    assert acts(gateway) == []


async def test_long_lists_come_in_pages(gateway: Gateway, operator: Operator) -> None:
    refused(gateway, *range(60))
    poisoned(gateway, *range(60))
    found = set[str]()
    for which in ("theirs", "ours"):
        path = "/dashboard/dead-letters"
        for _ in range(2):
            html = (await gateway.http.get(path)).text
            found |= set(re.findall(r'name="chosen" value="([^"]+)"', html))
            following = re.search(rf'href="([^"]*{which}=[^"]+)">Next', html)
            path = unescape(following[1]) if following else path
    assert found == {f"n-acme-{number}" for number in range(60)} | {f"poison-{number}" for number in range(60)}


# -- a partner's own page


async def test_a_partner_sees_its_own_and_nothing_of_others(gateway: Gateway) -> None:
    gateway.registered("mine")
    gateway.registered("theirs", lane=1, name="SECRETCO", url="https://secretco.example/")
    gateway.issued(1, 2, partner="mine")
    gateway.issued(8, 9, partner="theirs", lane=1)
    failed(gateway, "theirs", 1)
    delivered(gateway, "mine")
    await logged_in(gateway, Role.PARTNER, "mine")
    pages = [(await gateway.http.get(f"/dashboard/mine?which={which}")).text for which in ("open", "all", "overdue")]
    assert "user:1" in pages[0]
    assert "n-mine-2" in pages[1]
    for html in pages:
        Outline(html)
        for others in ("theirs", "SECRETCO", "secretco", "user:8", "down", "STOP 1"):
            assert others not in html.partition("<main")[2]
    # A cursor of another partner's list leads nowhere else.
    after = (await gateway.http.get("/v1/notices", params={"limit": 1}, headers=gateway.operator)).json()["next"]
    html = (await gateway.http.get("/dashboard/mine", params={"which": "all", "after": after})).text
    assert "user:8" not in html
    assert "user:9" not in html
    for path in ("/dashboard/partners/mine", "/dashboard/partners/theirs", "/dashboard/subject"):
        problem(await gateway.http.get(path), 403)


async def test_a_partner_sees_what_it_does_not_take(gateway: Gateway) -> None:
    refused(gateway, 1)
    gateway.issued(2)
    park(gateway, 2, 1)
    await logged_in(gateway, Role.PARTNER, "acme")
    words = Outline((await gateway.http.get("/dashboard/mine")).text).words
    assert "undeliverable you refuse it: HTTP 422: who is user:1?" in words
    assert "tried again from 2026-01-01 12:30:00 UTC on, since you do not take it: no answer in 15 s" in words


async def test_nor_does_it_act_on_anybody(gateway: Gateway) -> None:
    gateway.registered("mine")
    gateway.registered("theirs", lane=1)
    token = await logged_in(gateway, Role.PARTNER, "mine")
    data = {"token": token, "confirmed": "yes", "all": "yes", "partner": "theirs"}
    for path in ("partners/theirs/pause", "partners/mine/pause", "dead-letters/ours/discard", "subject"):
        problem(await gateway.http.post(f"/dashboard/{path}", data=data), 403, "forbidden")
    assert acts(gateway) == []


async def test_it_tests_its_own_endpoint(gateway: Gateway) -> None:
    tried = []

    async def try_partner(partner: Any, webhook_id: str) -> Trial:
        tried.append(partner.id)
        return Trial(
            ok=False, outcome="failed", verdict="failed", explanation=("It answers 500.",), webhook_id=webhook_id,
            status=500, duration_ms=3, address=None, acknowledgements=0, reply_problem=None, reply="<i>oops</i>",
        )  # fmt: skip

    gateway.app.state.context = replace(gateway.context, try_partner=try_partner)
    gateway.registered("mine")
    mine = Operator(gateway, await logged_in(gateway, Role.PARTNER, "mine"))
    answer = await mine.sure("/dashboard/mine/test", partner="theirs")
    assert "would not have been taken" in answer.text
    assert "&lt;i&gt;oops&lt;/i&gt;" in answer.text
    assert tried == ["mine"]


async def test_an_operator_has_no_page_of_that_kind(gateway: Gateway, operator: Operator) -> None:
    problem(await gateway.http.get("/dashboard/mine"), 403)


async def test_the_code_that_it_is_shown_checks_signatures(gateway: Gateway) -> None:
    gateway.registered("mine")
    await logged_in(gateway, Role.PARTNER, "mine")
    html = (await gateway.http.get("/dashboard/mine")).text
    code = unescape(html.partition('<pre id="code"')[2].partition("<code>")[2].partition("</code>")[0])
    room: dict[str, Any] = {}
    exec(compile(code, "page", "exec"), room)
    secret, now = new_secret(), datetime.now(UTC)
    body = b'[{"type": "io.rescind.test"}]'
    signed = signed_headers(secret, "msg_1", now, body)
    assert room["webhook"](secret, signed, body) == (200, b'{"results":[]}')
    assert room["webhook"](new_secret(), signed, body)[0] == 401
    assert room["webhook"](secret, signed, body + b" ")[0] == 401
    assert InvalidSignature.__name__ in code
