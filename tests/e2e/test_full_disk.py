"""The whole service on a disk that fills up: it refuses, loses nothing, and goes on by itself."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from rescind.client import ApiError, Client
from tests.disks import fill, mounted
from tests.e2e.world import Cast, world

NOON = "2026-01-01T12:00:00Z"


def toggle(number: int) -> dict[str, str]:
    return {"id": f"t{number}", "subject": f"user:{number}", "purpose": "ai", "choice": "opt_out", "occurred_at": NOON}


def post_until_refused(client: Client, first: int) -> int:
    """How many toggles are accepted before the disk is full."""
    for number in range(first, first + 5000, 20):
        try:
            client.post_toggles([toggle(n) for n in range(number, number + 20)])
        except ApiError as error:
            assert error.status == 503
            assert "full" in str(error)
            return number
    raise AssertionError("the disk never filled up")


def health(url: str) -> tuple[int, dict[str, Any]]:
    answer = httpx.get(f"{url}/health/ready")
    return answer.status_code, answer.json()


async def test_the_service_outlives_a_full_disk_and_delivers_when_there_is_room() -> None:
    with mounted("size=24m") as disk:
        async with world(disk) as here:
            await here.register({"p": Cast(("ai",))})
            with here.platform() as client:
                client.post_toggles([toggle(n) for n in range(40)])
                await here.until(lambda lag: lag["partners"][0]["acknowledged"] == 40)
                ballast = fill(disk)
                accepted = await asyncio.to_thread(post_until_refused, client, 40)
                # Long enough for everything that tries to write to have tried in vain.
                await asyncio.sleep(2)
                assert here.service.running, here.service.last_words()
                status, said = await asyncio.to_thread(health, here.url)
                assert status == 503
                assert "the disk is full" in said["detail"]
                ballast.unlink()
                await asyncio.sleep(1.1)  # what was found out is good for a second
                assert (await asyncio.to_thread(health, here.url))[0] == 200
                client.post_toggles([toggle(accepted + n) for n in range(20)])
            lag = await here.until(lambda lag: lag["partners"][0]["acknowledged"] >= accepted + 20)
            assert lag["totals"]["toggles"] == accepted + 20
            assert len(here.partners["p"].seen.notices) == accepted + 20
