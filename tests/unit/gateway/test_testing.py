"""A test event over HTTP: for whom, how often, and what is told of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway import Trial
from streams.events import Partner
from tests.unit.gateway.harness import Gateway, gateway_in, not_sent, problem

PATH = "/v1/partners/acme/test"


async def test_what_came_of_it_is_told(gateway: Gateway) -> None:
    gateway.registered()
    answer = await gateway.http.post(PATH, headers=gateway.operator)
    assert answer.status_code == 200
    body = answer.json()
    assert body.pop("webhook_id").startswith("msg_")
    assert body == {
        "ok": True,
        "outcome": "accepted",
        "explanation": ["It takes it.", "What waits for it, if anything does, is tried now."],
        "status": 200,
        "duration_ms": 1.5,
        "address": "192.0.2.1:443",
        "acknowledgements": 0,
        "verdict": "accepted",
        "reply_problem": None,
        "reply": "",
    }
    assert {item.key for item in gateway.log.records} == {b"acme", b"acme/tried"}


async def test_each_has_a_webhook_id_of_its_own(gateway: Gateway) -> None:
    gateway.registered()
    ids = {(await gateway.http.post(PATH, headers=gateway.operator)).json()["webhook_id"] for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize("status", ["paused", "suspended"])
async def test_a_partner_that_gets_nothing_may_be_tested_nevertheless(gateway: Gateway, status: str) -> None:
    gateway.registered(status=status)
    assert (await gateway.http.post(PATH, headers=gateway.operator)).status_code == 200


async def test_a_partner_tests_itself_and_nobody_else(gateway: Gateway) -> None:
    gateway.registered()
    gateway.registered("other", lane=1)
    assert (await gateway.http.post(PATH, headers=gateway.partner("acme"))).status_code == 200
    problem(await gateway.http.post(PATH, headers=gateway.partner("other")), 404, "unknown-partner")


async def test_nobody_who_is_not_there_is_tested(gateway: Gateway) -> None:
    problem(await gateway.http.post(PATH, headers=gateway.operator), 404, "unknown-partner")
    gateway.registered(status="removed")
    problem(await gateway.http.post(PATH, headers=gateway.operator), 404, "unknown-partner")


async def test_one_at_a_time_for_each_partner(tmp_path: Path) -> None:
    answered, asked = asyncio.Event(), asyncio.Event()

    async def slowly(partner: Partner, webhook_id: str) -> Trial:
        asked.set()
        if partner.id == "acme":
            await answered.wait()
        return await not_sent(partner, webhook_id)

    async with gateway_in(tmp_path, try_partner=slowly) as gateway:
        gateway.registered()
        gateway.registered("other", lane=1)
        first = asyncio.ensure_future(gateway.http.post(PATH, headers=gateway.operator))
        await asked.wait()
        busy = await gateway.http.post(PATH, headers=gateway.operator)
        problem(busy, 429, "busy")
        assert busy.headers["retry-after"] == "1"
        assert (await gateway.http.post("/v1/partners/other/test", headers=gateway.operator)).status_code == 200
        answered.set()
        assert (await first).status_code == 200
        assert (await gateway.http.post(PATH, headers=gateway.operator)).status_code == 200


async def test_one_that_fails_does_not_stay_busy(tmp_path: Path) -> None:
    async def break_down(partner: Partner, webhook_id: str) -> Trial:
        raise RuntimeError("a fault of ours")

    async with gateway_in(tmp_path, try_partner=break_down, raise_app_exceptions=False) as gateway:
        gateway.registered()
        for _ in range(2):
            problem(await gateway.http.post(PATH, headers=gateway.operator), 500, "internal")
