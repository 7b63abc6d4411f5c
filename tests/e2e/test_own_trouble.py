"""Partners that are away, and this host that is: what waits, how long, and whose fault it is said to be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from rescind.client import Client
from rescind.simulated import SimulatedPartner
from tests.e2e.world import ENVIRONMENT, PATIENCE, World, world

NOON = "2026-01-01T12:00:00Z"


def toggle(number: int) -> dict[str, str]:
    return {"id": f"t{number}", "subject": f"user:{number}", "purpose": "ai", "choice": "opt_out", "occurred_at": NOON}


async def register_closed(here: World, *names: str) -> dict[str, dict[str, Any]]:
    """Partners whose endpoints refuse connections until they are opened."""
    made = {}
    for name in names:
        partner = here.partners[name] = SimulatedPartner(name)
        partner.bind()
        made[name] = await here.add({"id": name, "name": name, "url": partner.url, "purposes": ["ai"]})
    return made


def rows(lag: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["partner"]: row for row in lag["partners"]}


async def failures(here: World) -> dict[str, int]:
    """What each partner is charged with."""
    with here.operator() as client:
        found = rows(await asyncio.to_thread(client.lag))
    return {name: row["consecutive_failures"] for name, row in found.items()}


def retried(client: Client, url: str) -> None:
    told = client.try_partner("p")
    assert told["waiting"] == 1
    assert told["next_attempt_at"] is not None


def takes_a_test(client: Client, url: str) -> None:
    assert client.test_partner("p")["ok"]


def resumed(client: Client, url: str) -> None:
    client.change_partner("p", {"status": "paused"})
    client.change_partner("p", {"status": "active"})


def moved(client: Client, url: str) -> None:
    client.change_partner("p", {"url": f"{url}?moved"})


@pytest.mark.parametrize("mend", [retried, takes_a_test, resumed, moved])
async def test_a_partner_that_is_mended_need_not_wait_for_its_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mend: Callable[[Client, str], None]
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "RESCIND_RETRY_BASE", "3600")
    monkeypatch.setitem(ENVIRONMENT, "RESCIND_RETRY_CAP", "3600")
    async with world(tmp_path) as here:
        made = await register_closed(here, "p")
        with here.platform() as client:
            client.post_toggles([toggle(1)])
        await here.until(lambda lag: rows(lag)["p"]["consecutive_failures"] > 0)
        partner = here.partners["p"]
        await partner.open(here.url, made["p"]["signing_secret"], made["p"]["api_key"])
        with here.operator() as client:
            await asyncio.to_thread(mend, client, partner.url)
        await here.until(lambda lag: rows(lag)["p"]["open"] == 0 and rows(lag)["p"]["acknowledged"] > 0)


async def test_three_partners_that_stop_connecting_at_once_are_this_hosts_fault_until_one_connects(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as here:
        made = await register_closed(here, "a", "b", "c")
        with here.platform() as client:
            client.post_toggles([toggle(number) for number in range(3)])
        notes: list[str] = []
        while not notes:
            answer = await asyncio.to_thread(httpx.get, f"{here.url}/health/ready")
            assert answer.status_code == 200
            notes = answer.json().get("notes", [])
            await asyncio.sleep(0.1)
        assert notes == [
            "none of the 3 partners that were tried can be connected to, so it is taken for this host's fault"
        ]
        # What was charged before the third failed comes to the ledger yet. Then nothing more does.
        before: dict[str, int] | None = None
        async with asyncio.timeout(PATIENCE):
            while before != (before := await failures(here)):
                await asyncio.sleep(3)  # several attempts
        for name in ("a", "b", "c"):
            await here.partners[name].open(here.url, made[name]["signing_secret"], made[name]["api_key"])
        await here.until(lambda lag: lag["totals"]["open"] == 0)
        assert "notes" not in (await asyncio.to_thread(httpx.get, f"{here.url}/health/ready")).json()
