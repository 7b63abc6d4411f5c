"""Notices over HTTP: narrowed, page by page, and to each only its own."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from ledger import listing
from tests.unit.gateway.harness import Gateway, at, problem
from tests.unit.gateway.test_lag import completed, delivered


async def ask(gateway: Gateway, key: dict[str, str] | None = None, **query: Any) -> httpx.Response:
    return await gateway.http.get("/v1/notices", params=query, headers=key or gateway.operator)


async def ids(gateway: Gateway, key: dict[str, str] | None = None, **query: Any) -> list[str]:
    answer = await ask(gateway, key, **query)
    assert answer.status_code == 200, answer.text
    return [notice["id"] for notice in answer.json()["notices"]]


def some(gateway: Gateway) -> None:
    """Of acme 1 to 4, of which 1 is completed and 2 delivered; of other 5 and 6, an hour later."""
    gateway.registered("acme", 0)
    gateway.registered("other", 1)
    gateway.issued(1, 2)
    delivered(gateway)
    completed(gateway, 1)
    gateway.issued(3, 4)
    gateway.clock.now = at(60)
    gateway.issued(5, 6, partner="other", lane=1)


async def test_an_operator_sees_all_and_a_partner_its_own(gateway: Gateway) -> None:
    some(gateway)
    acme, other = [f"n-acme-{n}" for n in (1, 2, 3, 4)], ["n-other-5", "n-other-6"]
    assert await ids(gateway) == acme + other
    assert await ids(gateway, gateway.partner("acme")) == acme
    assert await ids(gateway, gateway.partner("other"), partner="other") == other
    assert await ids(gateway, partner="other") == other
    problem(await ask(gateway, gateway.partner("acme"), partner="other"), 404, "unknown-partner")
    problem(await ask(gateway, gateway.platform), 403)
    # What a partner asks about somebody's subject tells of its own notices only.
    assert await ids(gateway, gateway.partner("acme"), subject="user:5") == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"status": "completed"}, [1]),
        ({"status": "open"}, [2, 3, 4, 5, 6]),
        ({"status": ["completed", "delivered"]}, [1, 2]),
        ({"status": ["open", "completed"], "partner": "acme"}, [1, 2, 3, 4]),
        ({"subject": "user:2"}, [2]),
        ({"action": "erase", "purpose": "ai-training", "partner": "other"}, [5, 6]),
        ({"action": "stop"}, []),
        ({"purpose": "ads"}, []),
        ({"overdue": "true"}, [3, 4]),
        ({"outcome": "deleted"}, [1]),
        ({"outcome": "suppressed", "status": "open"}, []),
        ({"issued_from": "2026-01-01T12:30:00Z"}, [5, 6]),
        ({"issued_to": "2026-01-01T13:30:00+01:00"}, [1, 2, 3, 4]),
        ({"issued_from": "2026-01-01T12:00:00Z", "issued_to": "2026-01-01T12:00:00.000001Z"}, [1, 2, 3, 4]),
    ],
)
async def test_a_list_is_narrowed(gateway: Gateway, query: dict[str, Any], expected: list[int]) -> None:
    some(gateway)
    assert [int(identity.rpartition("-")[2]) for identity in await ids(gateway, **query)] == expected


async def test_a_notice_says_what_became_of_it(gateway: Gateway) -> None:
    some(gateway)
    (notice,) = (await ask(gateway, status="completed")).json()["notices"]
    assert notice == {
        "id": "n-acme-1",
        "partner": "acme",
        "subject": "user:1",
        "purpose": "ai-training",
        "action": "erase",
        "status": "completed",
        "outcome": "deleted",
        "reason": None,
        "occurred_at": "2026-01-01T12:00:00Z",
        "issued_at": "2026-01-01T12:00:00Z",
        "receive_by": "2026-01-01T12:10:00Z",
        "complete_by": "2026-01-01T13:00:00Z",
        "delivered_at": "2026-01-01T12:00:00Z",
        "received_at": "2026-01-01T12:00:00Z",
        "completed_at": "2026-01-01T12:00:00Z",
        "undeliverable_at": None,
        "cancelled_at": None,
        "extended_complete_by": None,
        "extended_by": None,
        "expected_by": None,
        "cancelled_because": None,
        "last_words": None,
        "parked": False,
        "retry_at": None,
        "suppression_completes": False,
        "legal_receive_by": None,
        "legal_complete_by": None,
        "answered_first_at": None,
    }


async def test_pages_follow_each_other(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    some(gateway)
    monkeypatch.setattr(listing, "LOOKED_AT", 2)
    found: list[str] = []
    query: dict[str, Any] = {"limit": 1, "action": "erase"}
    for _ in range(20):
        page = (await ask(gateway, **query)).json()
        found += [notice["id"] for notice in page["notices"]]
        if page["next"] is None:
            break
        query["after"] = page["next"]
    assert found == await ids(gateway)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"statuss": "open"}, "statuss"),
        ({"status": "late"}, "status"),
        ({"action": "destroy"}, "action"),
        ({"subject": "nobody"}, "not a subject"),
        ({"partner": "No Such"}, "not a partner's id"),
        ({"issued_from": "yesterday"}, "not a time"),
        ({"issued_from": "2026-01-02T00:00:00Z", "issued_to": "2026-01-01T00:00:00Z"}, "issued_from must be before"),
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"after": "x"}, "after"),
    ],
)
async def test_what_makes_no_sense_is_refused_in_words(gateway: Gateway, query: dict[str, Any], words: str) -> None:
    body = problem(await ask(gateway, **query), 422, "invalid")
    assert words in str(body), body
