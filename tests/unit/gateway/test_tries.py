"""A partner is tried now: by hand, and by a test that it took."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import Trial
from streams.events import Act, OperatorActed, Partner, PartnerTried
from streams.topics import ACTIONS, PARTNERS
from tests.unit.gateway.harness import NOON, Gateway, at, gateway_in, not_sent, problem
from tests.unit.gateway.test_lag import failed

PATH = "/v1/partners/acme/try"
TEST = "/v1/partners/acme/test"


def tries(gateway: Gateway) -> list[PartnerTried]:
    return [event.data for event in gateway.log.events(PARTNERS.name) if isinstance(event.data, PartnerTried)]


def acts(gateway: Gateway) -> list[OperatorActed]:
    return [event.data for event in gateway.log.events(ACTIONS.name) if isinstance(event.data, OperatorActed)]


async def test_the_workers_hear_of_it_and_the_answer_says_what_waited(gateway: Gateway) -> None:
    gateway.registered()
    gateway.issued(1, 2, 3)
    failed(gateway)
    answer = await gateway.http.post(PATH, headers=gateway.operator)
    assert answer.status_code == 200
    assert answer.json() == {"partner": "acme", "waiting": 3, "next_attempt_at": "2026-01-01T13:30:00Z"}
    assert tries(gateway) == [PartnerTried(partner="acme", tried_at=NOON)]
    (act,) = acts(gateway)
    assert (act.act, act.partner, act.by.role) == (Act.TRY, "acme", "operator")
    assert act.details == {"waiting": 3, "next_attempt_at": "2026-01-01T13:30:00Z"}
    listed = await gateway.http.get("/v1/actions", headers=gateway.operator)
    assert [done["act"] for done in listed.json()["actions"]] == ["try"]


async def test_each_try_is_one_of_its_own(gateway: Gateway) -> None:
    gateway.registered()
    for _ in range(2):
        assert (await gateway.http.post(PATH, headers=gateway.operator)).status_code == 200
    assert len({event.id for event in gateway.log.events(PARTNERS.name)}) == 3
    assert {item.key for item in gateway.log.records if item.topic == PARTNERS.name} == {b"acme", b"acme/tried"}


async def test_where_nothing_waits_it_says_so(gateway: Gateway) -> None:
    gateway.registered()
    answer = await gateway.http.post(PATH, headers=gateway.operator)
    assert answer.json() == {"partner": "acme", "waiting": 0, "next_attempt_at": None}


async def test_an_attempt_whose_time_has_come_is_not_waited_for(gateway: Gateway) -> None:
    gateway.registered()
    gateway.issued(1)
    failed(gateway)
    gateway.clock.now = at(90)
    answer = await gateway.http.post(PATH, headers=gateway.operator)
    assert answer.json() == {"partner": "acme", "waiting": 1, "next_attempt_at": None}


@pytest.mark.parametrize("status", ["paused", "suspended"])
async def test_one_that_gets_nothing_is_not_tried_and_the_problem_says_what_to_do(
    gateway: Gateway, status: str
) -> None:
    gateway.registered(status=status)
    found = problem(await gateway.http.post(PATH, headers=gateway.operator), 409, "not-active")
    assert found["detail"] == (
        f"acme is {status}, so nothing is sent to it; `rescind partners resume acme` tries it, too"
    )
    assert (tries(gateway), acts(gateway)) == ([], [])


async def test_nobody_who_is_not_there_is_tried(gateway: Gateway) -> None:
    problem(await gateway.http.post(PATH, headers=gateway.operator), 404, "unknown-partner")
    gateway.registered(status="removed")
    problem(await gateway.http.post(PATH, headers=gateway.operator), 404, "unknown-partner")
    assert tries(gateway) == []


async def test_a_partner_can_still_be_changed_after_it(gateway: Gateway) -> None:
    """Its record stands in the topic of partners, and is none."""
    gateway.registered()
    await gateway.http.post(PATH, headers=gateway.operator)
    answer = await gateway.http.patch("/v1/partners/acme", json={"gzip": True}, headers=gateway.operator)
    assert (answer.status_code, answer.json()["revision"]) == (200, 2)


async def test_a_log_that_takes_nothing_is_a_503(gateway: Gateway) -> None:
    gateway.registered()
    gateway.log.failing = True
    problem(await gateway.http.post(PATH, headers=gateway.operator), 503)


async def test_a_test_that_was_taken_tries_what_waits(gateway: Gateway) -> None:
    gateway.registered()
    answer = await gateway.http.post(TEST, headers=gateway.partner("acme"))
    assert answer.json()["explanation"][-1] == "What waits for it, if anything does, is tried now."
    assert tries(gateway) == [PartnerTried(partner="acme", tried_at=NOON)]
    assert acts(gateway) == [], "a test is no operator's act"


@pytest.mark.parametrize("status", ["paused", "suspended"])
async def test_a_test_of_one_that_gets_nothing_tries_nothing(gateway: Gateway, status: str) -> None:
    gateway.registered(status=status)
    assert (await gateway.http.post(TEST, headers=gateway.operator)).json()["ok"] is True
    assert tries(gateway) == []


async def test_a_test_that_was_not_taken_tries_nothing(tmp_path: Path) -> None:
    async def refuse(partner: Partner, webhook_id: str) -> Trial:
        return (await not_sent(partner, webhook_id)).model_copy(update={"ok": False})

    async with gateway_in(tmp_path, try_partner=refuse) as gateway:
        gateway.registered()
        assert (await gateway.http.post(TEST, headers=gateway.operator)).json()["ok"] is False
        assert tries(gateway) == []


async def test_what_came_of_a_test_is_told_even_if_the_log_takes_nothing(gateway: Gateway) -> None:
    gateway.registered()
    key = gateway.operator
    gateway.log.failing = True
    answer = await gateway.http.post(TEST, headers=key)
    assert answer.json()["ok"] is True
    assert answer.json()["explanation"][-1].startswith(
        "What waits for it is not tried at once, but when its time comes"
    )
