"""Replies that were not understood: shown wherever people look, and marked as seen."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest

from ledger import LagState, Role
from streams.events import Act, BatchDelivered, ReplyProblem
from streams.topics import DELIVERIES
from tests.unit.gateway.harness import NOON, Gateway, at, logged_in, problem
from tests.unit.gateway.test_lag import labels, samples
from tests.unit.gateway.test_room_acts import PARTNER, Operator, acts

PATH = "/v1/partners/acme/replies/seen"
#: As it begins; it names somebody, and is no page of ours.
EXCERPT = '<html><b onclick="x">user:mata-hari</b>'
SHOWN = "&lt;html&gt;&lt;b onclick=&#34;x&#34;&gt;user:mata-hari&lt;/b&gt;"


def replied(
    gateway: Gateway, number: int, *, acknowledged: int = 0, not_understood: int = 0, reason: str | None = None
) -> None:
    """To a request with 1,000 notices."""
    data = BatchDelivered(
        partner="acme", lane=0, first_offset=0, last_offset=0, notices=1_000, webhook_id=f"msg_{number}", attempt=1,
        status_code=200, duration_ms=1, delivered_at=gateway.clock.now, acknowledged=acknowledged,
        not_understood=not_understood,
        reply_problem=None if reason is None else ReplyProblem(reason=reason, excerpt=EXCERPT),
    )  # fmt: skip
    gateway.happened(DELIVERIES.name, f"delivered-{number}", data)


@pytest.fixture
async def operator(gateway: Gateway) -> Operator:
    """Of a gateway whose one partner was not understood at noon; it is five past."""
    gateway.registered()
    gateway.issued(1)
    replied(gateway, 1, acknowledged=990, not_understood=4, reason="no <list>")
    gateway.clock.now = at(5)
    return Operator(gateway, await logged_in(gateway))


async def read(operator: Operator, path: str = PARTNER) -> str:
    """A page's words, as people read them: there is no space where only a tag ends."""
    return re.sub(r" ([.,:;])", r"\1", (await operator.get(path)).words)


async def lag_of(gateway: Gateway) -> dict[str, Any]:
    answer = await gateway.http.get("/v1/lag", headers=gateway.operator)
    (row,) = answer.json()["partners"]
    found: dict[str, Any] = row
    return found


async def test_lag_tells_of_it(gateway: Gateway, operator: Operator) -> None:
    row = await lag_of(gateway)
    assert (row["state"], row["reason"]) == ("WARN", "1 reply was not fully understood: no <list>")
    assert row["replies"] == {
        "not_understood": 1,
        "notices": {"acknowledged": 990, "not_understood": 4, "unanswered": 6},
        "last_not_understood": {
            "at": "2026-01-01T12:00:00Z", "reason": "no <list>", "excerpt": EXCERPT, "webhook_id": "msg_1",
            "open": True,
        },
        "understood_at": None,
        "seen_at": None,
    }  # fmt: skip
    own = await gateway.http.get("/v1/lag/acme", headers=gateway.partner())
    assert own.json()["replies"] == row["replies"]


async def test_it_is_marked_as_seen_on_the_record_and_warns_again_of_the_next(
    gateway: Gateway, operator: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = await gateway.http.post(PATH, headers=gateway.operator)
    assert answer.status_code == 200
    assert answer.json() == (await lag_of(gateway))["replies"]
    assert answer.json()["seen_at"] == "2026-01-01T12:05:00Z"
    assert answer.json()["last_not_understood"]["open"] is False
    (act,) = acts(gateway)
    assert (act.act, act.partner, act.by.role, act.acted_at) == (Act.MARK_REPLIES_SEEN, "acme", "operator", at(5))
    assert act.details == {"webhook_id": "msg_1"}
    assert act.seen_until == at(0)
    assert (await lag_of(gateway))["state"] == "OK"
    gateway.clock.now = at(6)
    replied(gateway, 2, reason="cut")
    assert (await lag_of(gateway))["reason"] == "2 replies were not fully understood, the last: cut"
    assert "mata-hari" not in caplog.text


async def test_where_nothing_is_open_it_changes_nothing_but_the_record(gateway: Gateway) -> None:
    gateway.registered()
    replied(gateway, 1)
    answer = await gateway.http.post(PATH, headers=gateway.operator)
    assert (answer.json()["last_not_understood"], answer.json()["seen_at"]) == (None, "2026-01-01T12:00:00Z")
    assert [act.details for act in acts(gateway)] == [{}]


async def test_whom_there_is_not_nobody_marks(gateway: Gateway) -> None:
    problem(await gateway.http.post(PATH, headers=gateway.operator), 404, "unknown-partner")
    gateway.registered()
    await gateway.http.delete("/v1/partners/acme", headers=gateway.operator)
    problem(await gateway.http.post(PATH, headers=gateway.operator), 404, "unknown-partner")
    assert [act.act for act in acts(gateway)] == [Act.REMOVE]


async def test_the_board_counts_it_and_shows_how_the_last_one_began(gateway: Gateway, operator: Operator) -> None:
    board = (await gateway.http.get("/dashboard")).text
    assert f'<div class="bad small" title="{SHOWN}">1 reply not understood</div>' in board
    await gateway.http.post(PATH, headers=gateway.operator)
    board = (await gateway.http.get("/dashboard")).text
    assert f'<div class="soft small" title="{SHOWN}">1 reply not understood</div>' in board
    assert EXCERPT not in board


async def test_the_page_shows_it_and_asks_first(gateway: Gateway, operator: Operator) -> None:
    text = (await gateway.http.get(PARTNER)).text
    assert SHOWN in text
    assert EXCERPT not in text
    page = await read(operator)
    assert "Of the notices delivered: 990 acknowledged, 4 not understood, 6 without an answer." in page
    assert "1 reply was not fully understood. The last came 5 min ago: no <list>" in page
    assert "answer to msg_1" in page
    asked = await operator.post(f"{PARTNER}/seen")
    assert "The next one warns again" in asked.text
    assert acts(gateway) == []
    answer = await operator.sure(f"{PARTNER}/seen")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PARTNER}?said=seen")
    page = await read(operator, answer.headers["location"])
    assert "What was not understood until now is marked as seen." in page
    assert "Marked as seen 0 s ago." in page
    assert "mark replies seen operator" in page
    assert "/seen" not in (await gateway.http.get(PARTNER)).text


async def test_the_page_says_when_a_later_one_was_understood(gateway: Gateway, operator: Operator) -> None:
    replied(gateway, 2, acknowledged=1)
    assert "A later reply was understood, 0 s ago." in await read(operator)
    assert "/seen" not in (await gateway.http.get(PARTNER)).text


async def test_of_who_answers_nothing_there_is_no_more_than_a_count(gateway: Gateway) -> None:
    gateway.registered()
    gateway.issued(1)
    operator = Operator(gateway, await logged_in(gateway))
    assert "Nothing was delivered yet." in await read(operator)
    replied(gateway, 1)
    assert "Of the notices delivered: 1,000 without an answer." in await read(operator)
    board = (await gateway.http.get("/dashboard")).text
    assert "not understood" not in board
    assert (await lag_of(gateway))["state"] == LagState.OK


async def test_the_partner_is_told_what_to_do(gateway: Gateway, operator: Operator) -> None:
    mine = Operator(gateway, await logged_in(gateway, Role.PARTNER, "acme"))
    text = (await gateway.http.get("/dashboard/mine")).text
    assert SHOWN in text
    assert EXCERPT not in text
    words = await read(mine, "/dashboard/mine")
    assert "The last came 5 min ago, as the answer to msg_1: no <list>" in words
    assert "A notice that is not understood stays open until you acknowledge it." in words
    assert '{"results": [{"id": "…", "status": "completed", "outcome": "deleted"}]}' in words
    assert "Mark as seen" not in words


async def test_metrics_count_it(gateway: Gateway, operator: Operator) -> None:
    replied(gateway, 2)
    found = await samples(gateway)
    whose = labels(partner="acme")
    assert found["rescind_replies_not_understood_total", whose] == 1
    assert found["rescind_reply_unclear", whose] == 1
    said = {
        result: found["rescind_reply_notices_total", labels(partner="acme", result=result)]
        for result in ("acknowledged", "not_understood", "unanswered")
    }
    assert said == {"acknowledged": 990, "not_understood": 4, "unanswered": 1_006}
    await gateway.http.post(PATH, headers=gateway.operator)
    found = await samples(gateway)
    assert (found["rescind_replies_not_understood_total", whose], found["rescind_reply_unclear", whose]) == (1, 0)
    assert gateway.clock.now > NOON
