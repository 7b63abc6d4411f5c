"""A signing secret that is replaced while all runs: no request is refused that need not be, and nothing is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.e2e.world import Cast, World, world


async def test_a_secret_is_replaced_while_all_runs(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.register({"p": Cast(("ai",))})
        partner = here.partners["p"]
        await opted_out(here, 10)
        # The partner knows nothing yet of its new keys.
        made = await rotated(here, {"signature_schemes": ["v1", "v1a"]})
        await opted_out(here, 20)
        partner.keys = made["signing_keys"][1]["public_key"]
        await opted_out(here, 30)
        assert partner.seen.faults == []
        # A partner that hears of a secret too late refuses what it cannot check, and gets it again.
        old, made = made, await rotated(here, {"overlap": 0})
        partner.keys = [old["signing_secret"]]
        toggle(here, 30, 40)
        await here.until(lambda lag: lag["partners"][0]["last_error"] is not None)
        partner.keys = [old["signing_secret"], made["signing_secret"]]
        await acknowledged(here, 40)
        assert set(partner.seen.faults) == {"no signature matches"}
        assert len(partner.seen.notices) == 40


async def rotated(here: World, rotation: dict[str, Any]) -> dict[str, Any]:
    with here.operator() as client:
        return await asyncio.to_thread(client.rotate_secret, "p", rotation)


async def opted_out(here: World, total: int) -> None:
    """Ten more, up to so many, and acknowledged."""
    toggle(here, total - 10, total)
    await acknowledged(here, total)


def toggle(here: World, first: int, end: int) -> None:
    made = {"purpose": "ai", "choice": "opt_out", "occurred_at": "2026-01-01T12:00:00Z"}
    with here.platform() as client:
        client.post_toggles([{"subject": f"user:{number}"} | made for number in range(first, end)])


async def acknowledged(here: World, total: int) -> None:
    await here.until(lambda lag: bool(lag["partners"][0]["acknowledged"] == total))
