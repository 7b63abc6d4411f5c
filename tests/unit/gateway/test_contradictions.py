"""What a partner says against what it said before: recorded, counted, shown, and nothing undone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.gateway.harness import Gateway, at, logged_in, problem

URL = "/v1/contradictions"


@pytest.fixture(autouse=True)
def two_partners(gateway: Gateway) -> None:
    for lane, name in enumerate(("acme", "other")):
        gateway.registered(name, lane=lane)
        gateway.issued(1, 2, 3, 4, partner=name, lane=lane)


async def say(gateway: Gateway, partner: str, number: int, status: str, **fields: Any) -> None:
    fields |= {"completed": {"outcome": "deleted"}, "refused": {"reason": "legal_hold"}}.get(status, {})
    body = {"notice_id": f"n-{partner}-{number}", "status": status} | fields
    answer = await gateway.http.post("/v1/acknowledgements", json=body, headers=gateway.partner(partner))
    assert answer.status_code == 202


async def contradict(gateway: Gateway, partner: str, number: int, minutes: float) -> None:
    await say(gateway, partner, number, "completed")
    gateway.clock.now = at(minutes)
    await say(gateway, partner, number, "refused", detail="a court's order", evidence={"case": 17})


async def asked(gateway: Gateway, **query: Any) -> dict[str, Any]:
    answer = await gateway.http.get(URL, params=query, headers=gateway.operator)
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    return body


async def test_an_operator_sees_both_words(gateway: Gateway) -> None:
    await contradict(gateway, "acme", 1, 5)
    assert (await asked(gateway))["contradictions"] == [
        {
            "id": (await asked(gateway))["contradictions"][0]["id"],
            "notice_id": "n-acme-1",
            "partner": "acme",
            "subject": "user:1",
            "purpose": "ai-training",
            "action": "erase",
            "stands": "completed",
            "stands_outcome": "deleted",
            "stands_reason": None,
            "stands_since": "2026-01-01T12:00:00Z",
            "status": "refused",
            "outcome": None,
            "reason": "legal_hold",
            "detail": "a court's order",
            "evidence": {"case": 17},
            "via": "api",
            "at": "2026-01-01T12:05:00Z",
        }
    ]


async def test_what_is_late_or_repeated_is_no_contradiction(gateway: Gateway) -> None:
    for status in ("completed", "received", "in_progress", "completed"):
        await say(gateway, "acme", 1, status, detail="once more")
    assert await asked(gateway) == {"contradictions": [], "next": None}


async def test_they_come_the_newest_first_a_page_at_a_time(gateway: Gateway) -> None:
    for number in (1, 2, 3):
        for partner in ("acme", "other"):
            # Two of a moment are told apart by their ids.
            await contradict(gateway, partner, number, number)
    everything = (await asked(gateway))["contradictions"]
    assert [each["at"][14:16] for each in everything] == ["03", "03", "02", "02", "01", "01"]
    found: list[dict[str, Any]] = []
    page = await asked(gateway, limit=2)
    found += page["contradictions"]
    while page["next"] is not None:
        page = await asked(gateway, limit=2, after=page["next"])
        assert page["contradictions"]
        found += page["contradictions"]
    assert found == everything
    of_one = (await asked(gateway, partner="other"))["contradictions"]
    assert of_one == [each for each in everything if each["partner"] == "other"]


async def test_they_are_counted_once_each(gateway: Gateway) -> None:
    for _ in range(2):  # the second time all of it is a repetition
        await contradict(gateway, "acme", 1, 1)
        await contradict(gateway, "acme", 2, 2)
        await contradict(gateway, "other", 1, 3)
    rows = (await gateway.http.get("/v1/lag", headers=gateway.operator)).json()["partners"]
    assert {row["partner"]: row["contradictions"] for row in rows} == {"acme": 2, "other": 1}
    metrics = (await gateway.http.get("/metrics")).text
    assert 'rescind_acknowledgements_contradictory_total{partner="acme"} 2.0' in metrics
    assert "user:" not in metrics
    await logged_in(gateway)
    page = await gateway.http.get("/dashboard")
    assert "2 contradictory" in page.text


async def test_a_cursor_of_another_list_is_refused(gateway: Gateway) -> None:
    problem(await gateway.http.get(URL, params={"after": "W10"}, headers=gateway.operator), 422, "invalid")
