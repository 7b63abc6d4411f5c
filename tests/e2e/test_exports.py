"""An export of a real service, to a real partner: who chooses otherwise in between is asked back, and who does so later
is asked for by the name of the dataset; and all of it is known again when the index is lost."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from rescind.gate.service import GateClient
from streams.blocks import encode_block
from streams.manifests import Digest, verify
from streams.witness import PublicKey
from tests.e2e.world import PATIENCE, Cast, World, world

WANTED = {"dataset": "posts", "version": "1", "partner": "acme", "purpose": "ai"}
FILE = b'{"who": "user:2"}\n{"who": "user:3"}\n'
CLOSING = {
    "blocks": 1,
    "subjects": 2,
    "rows_read": 3,
    "rows_cleared": 2,
    "dropped": {"opted_out": 1},
    "sha256": hashlib.sha256(FILE).hexdigest(),
    "bytes": len(FILE),
    "format": "ndjson",
}


async def opt_out(here: World, number: int) -> None:
    """Return when it is decided."""
    toggle = {"id": f"t{number}", "subject": f"user:{number}", "purpose": "ai", "choice": "opt_out",
              "occurred_at": "2026-01-01T12:00:00Z"}  # fmt: skip
    with here.platform() as client:
        await asyncio.to_thread(client.post_toggles, [toggle])
        await until(lambda: client.consents(f"user:{number}"))


async def until(reached: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await asyncio.to_thread(reached):
            await asyncio.sleep(0.05)


def asked(here: World, partner: str) -> dict[str, tuple[str, tuple[tuple[str, str], ...]]]:
    notices = here.partners[partner].seen.notices.values()
    return {notice.subject: (notice.action, notice.datasets) for notice in notices}


async def test_the_whole_life_of_an_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESCIND_DELETION_TARGETS", "disclosed")
    async with world(tmp_path) as here:
        await here.register({"acme": Cast(("ai",)), "bolt": Cast(("ai",))})
        await opt_out(here, 1)
        with GateClient(here.url, here.platform_key) as client:
            export = (await asyncio.to_thread(client.open_export, WANTED))["id"]
            consents = await asyncio.to_thread(client.consents_for, "ai")
            # As a gate does that read the snapshot now, and takes its time with the rows.
            await asyncio.to_thread(client.put_block, export, 0, encode_block(["user:2", "user:3"]))
            await opt_out(here, 3)
            closing = CLOSING | {"watermark": consents.watermark}
            done = await asyncio.to_thread(client.close_export, export, closing)
            assert (done["status"], done["withdrawn"]) == ("settled", 1)
            assert await asyncio.to_thread(client.withdrawals, export) == ["user:3"]
            await until(lambda: asked(here, "acme").get("user:3") == ("erase", (("posts", "1"),)))
            key = PublicKey.of(httpx.get(f"{here.url}/v1/signing-key").json()["public_key"])
            found = Digest(hashlib.sha256(FILE).hexdigest(), len(FILE))
            assert verify(done["manifest"], [key], found) == []
            assert verify(done["manifest"] | {"subjects": 3}, [key]) != []

            await opt_out(here, 2)
            await until(lambda: asked(here, "acme").get("user:2") == ("erase", (("posts", "1"),)))
            # Who was given nothing has nothing to delete.
            await until(lambda: set(asked(here, "bolt")) == {"user:1", "user:2", "user:3"})
            assert set(asked(here, "bolt").values()) == {("stop", ())}
            assert asked(here, "acme")["user:1"] == ("stop", ())

            await until(lambda: client.disclosures("user:3")[0]["became"] == "deleted")
            before = await asyncio.to_thread(client.disclosures, "user:3")

        await here.service.kill()
        for path in tmp_path.glob("disclosures.sqlite*"):
            path.unlink()
        await here.start()
        with GateClient(here.url, here.platform_key) as client:
            assert await asyncio.to_thread(client.disclosures, "user:3") == before
            again = await asyncio.to_thread(client.export, export)
            assert again["manifest"] == done["manifest"]
            kinds = {entry["kind"] for entry in await asyncio.to_thread(client.timeline, "user:3")}
            assert {"disclosed", "withdrawal_requested"} <= kinds
        assert [partner.seen.faults for partner in here.partners.values()] == [[], []]
