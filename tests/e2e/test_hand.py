"""The operator's hand on a whole service: what a partner refused, lost or must not get, and what we could not read."""

from __future__ import annotations

import asyncio
import base64
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from rescind.client import ApiError, Client
from rescind.partner import completed, receive, reply
from streams.cloudevents import Envelope, encode
from streams.events import ConsentToggled
from streams.kinds import Choice
from tests.e2e.world import PATIENCE, World, world

NOON, LATER = "2026-01-01T12:00:00Z", "2026-01-01T13:00:00Z"
ALWAYS = {"from": "2000-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}


@dataclass
class Choosy:
    """A partner that refuses some subjects, and remembers what it took, and what it was sent."""

    secret: str = ""
    refuses: set[str] = field(default_factory=set)
    taken: list[tuple[str, str]] = field(default_factory=list)  #: notices and subjects
    tests: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        delivery = receive(self.secret, dict(request.headers), await request.read(), datetime.now(UTC))
        self.tests += not delivery.notices
        if any(notice.subject in self.refuses for notice in delivery.notices):
            return web.Response(status=422, text="who is that?")
        self.taken += [(notice.id, notice.subject) for notice in delivery.notices]
        body = reply({"id": notice.id, **completed(notice)} for notice in delivery.notices)
        return web.Response(body=body, content_type="application/json")

    def subjects(self) -> list[str]:
        return [subject for _, subject in self.taken]


@asynccontextmanager
async def choosy(here: World, *refuses: str) -> AsyncIterator[Choosy]:
    partner = Choosy(refuses=set(refuses))
    application = web.Application()
    application.router.add_post("/", partner.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    wanted = {"id": "p", "name": "P", "url": url, "purposes": ["ai"]}
    try:
        partner.secret = (await ask(here.operator, lambda client: client.add_partner(wanted)))["signing_secret"]
        yield partner
    finally:
        await runner.cleanup()


async def ask(who: Callable[[], Client], question: Callable[[Client], Any]) -> Any:
    """Beside the partner, who answers in this loop."""

    def asked() -> Any:
        with who() as client:
            return question(client)

    return await asyncio.to_thread(asked)


async def opt_out(here: World, *numbers: int, choice: str = "opt_out", at: str = NOON) -> None:
    toggles = [
        {
            "id": f"{choice}-{number}",
            "subject": f"user:{number}",
            "purpose": "ai",
            "choice": choice,
            "occurred_at": at,
        }
        for number in numbers
    ]
    await ask(here.platform, lambda client: client.post_toggles(toggles))


async def figures(here: World, **expected: int) -> None:
    """Wait until the partner's figures are these."""
    await here.until(lambda lag: {name: lag["partners"][0][name] for name in expected} == expected)


async def entries(here: World, subject: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await ask(here.platform, lambda client: client.timeline(subject))
    return found


async def timeline(here: World, subject: str) -> list[str]:
    return [entry["kind"] for entry in await entries(here, subject)]


async def theirs(here: World) -> list[dict[str, Any]]:
    """What partners do not take."""
    page = await ask(here.operator, lambda client: client.dead_letters("undeliverable", {}))
    found: list[dict[str, Any]] = page["dead_letters"]
    return found


async def became(here: World, issued: list[dict[str, Any]]) -> dict[str, Any]:
    """What became of the one notice that was issued again."""
    outcome: dict[str, Any]
    (outcome,) = await ask(here.operator, lambda client: client.redriven_outcomes(issued))
    return outcome


async def test_what_a_partner_refused_and_what_it_lost_is_asked_again(tmp_path: Path) -> None:
    async with world(tmp_path) as here, choosy(here, "user:2") as partner:
        await opt_out(here, 1, 2, 3)
        await figures(here, acknowledged=2, open=1)
        # Behind it another one is taken: so it is the notice's own fault, and it is parked, and tried again by itself.
        await opt_out(here, 4)
        await figures(here, acknowledged=3, open=1)
        while (await timeline(here, "user:2")).count("parked") < 2:
            await asyncio.sleep(0.05)
        while not (letters := await theirs(here)):
            await asyncio.sleep(0.05)
        (letter,) = letters
        assert (letter["subject"], letter["detail"]) == ("user:2", "HTTP 422: who is that?")

        # It refuses it once more, and then is mended.
        redrive = {"notice_ids": [letter["notice_id"]]}
        issued = list[dict[str, Any]]()
        while not issued:  # it may be on its way again just now
            settled = await ask(
                here.operator, lambda client: client.settle_dead_letters("undeliverable", "redrive", redrive)
            )
            issued = settled["issued"]
        while (outcome := await became(here, issued))["words"] is None:
            await asyncio.sleep(0.05)
        assert outcome["words"] == "HTTP 422: who is that?"
        partner.refuses.clear()
        await figures(here, acknowledged=4, open=0)
        assert (await became(here, issued))["outcome"] == "taken"
        assert await theirs(here) == []

        # It loses what it had. A choice that was reversed since must not come again.
        await opt_out(here, 3, choice="opt_in", at=LATER)
        await figures(here, acknowledged=5, open=0)
        before = len(partner.taken)
        amount = await ask(here.operator, lambda client: client.replay("p", ALWAYS | {"dry_run": True}))
        assert (amount["notices"], amount["superseded"], len(partner.taken)) == (4, 1, before)
        await ask(here.operator, lambda client: client.replay("p", ALWAYS))
        while len(partner.taken) < before + 4:
            await asyncio.sleep(0.05)
        assert set(partner.taken[before:]) <= set(partner.taken[:before])
        assert sorted(partner.subjects()[before:]) == ["user:1", "user:2", "user:3", "user:4"]
        assert [kind for kind in await timeline(here, "user:3") if kind == "asked_again"] == ["asked_again"]
        await figures(here, acknowledged=5, undeliverable=0, open=0, backlog=0)

        acts = (await ask(here.operator, lambda client: client.actions({})))["actions"]
        assert [act["act"] for act in acts] == ["replay", "redrive", "register"]

        # A ledger that is made anew from the log knows the same.
        known = await everything_known(here)
        await here.service.stop()
        for file in tmp_path.glob("ledger.sqlite*"):
            file.unlink()
        await here.start()
        async with asyncio.timeout(PATIENCE):
            while await everything_known(here) != known:
                await asyncio.sleep(0.05)


async def everything_known(here: World) -> list[Any]:
    timelines = [await entries(here, f"user:{number}") for number in (1, 2, 3)]
    return [*timelines, await ask(here.operator, lambda client: client.actions({}))]


async def test_a_partner_is_tested_held_and_drained(tmp_path: Path) -> None:
    async with world(tmp_path) as here, choosy(here) as partner:
        trial = await ask(here.operator, lambda client: client.test_partner("p"))
        assert (trial["ok"], trial["outcome"], partner.tests) == (True, "accepted", 1)

        await ask(here.operator, lambda client: client.change_partner("p", {"status": "paused"}))
        await opt_out(here, 1)
        await figures(here, open=1, backlog=1)
        assert (await ask(here.operator, lambda client: client.test_partner("p")))["ok"]

        # What was accepted before it began to drain still goes out; what comes later does not.
        await ask(here.operator, lambda client: client.change_partner("p", {"draining": True}))
        await opt_out(here, 2)
        await ask(here.operator, lambda client: client.change_partner("p", {"status": "active"}))
        await figures(here, open=0, acknowledged=1)
        await ask(here.operator, lambda client: client.change_partner("p", {"draining": False}))
        await opt_out(here, 3)
        await figures(here, open=0, acknowledged=2)
        assert partner.subjects() == ["user:1", "user:3"]
        assert await timeline(here, "user:2") == ["toggled", "consent_changed", "deletion_requested"]
        with pytest.raises(ApiError, match="no partner"):
            await ask(here.operator, lambda client: client.test_partner("nobody"))


async def test_a_message_that_can_be_read_now_is_processed_after_all(tmp_path: Path) -> None:
    """As after a fix of ours: what was wrong is mended where it stands in the list, for the test alone."""
    async with world(tmp_path) as here, choosy(here) as partner:
        await here.service.stop()
        toggle = ConsentToggled(subject="user:7", purpose="ai", choice=Choice.OPT_OUT, occurred_at=datetime.now(UTC))
        good = encode(Envelope("t7", datetime.now(UTC), toggle))
        write(tmp_path, good.replace(b'"purpose"', b'"purpoes"'), b"{nonsense")
        await here.start()
        await here.until(lambda lag: lag["totals"]["poisoned_open"] == 2)
        letters = (await ask(here.operator, lambda client: client.dead_letters("poisoned", {})))["dead_letters"]
        assert [letter["topic"] for letter in letters] == ["rescind.toggles"] * 2
        await here.service.stop()
        mend(tmp_path, b'"purpoes"', b'"purpose"')
        await here.start()
        answer = await ask(
            here.operator, lambda client: client.settle_dead_letters("poisoned", "redrive", {"all": True})
        )
        assert (answer["done"], answer["skipped"]) == (2, [])
        await figures(here, acknowledged=1, open=0)
        assert partner.subjects() == ["user:7"]
        # The other one is as bad as it was, and is back under its new place.
        await here.until(lambda lag: lag["totals"]["poisoned_open"] == 1 and lag["totals"]["poisoned"] == 3)
        (letter,) = (await ask(here.operator, lambda client: client.dead_letters("poisoned", {})))["dead_letters"]
        assert (letter["value_text"], letter["headers"]) == ("{nonsense", [])
        discard = {"ids": [letter["id"]]}
        await ask(here.operator, lambda client: client.settle_dead_letters("poisoned", "discard", discard))
        await here.until(lambda lag: lag["totals"]["poisoned_open"] == 0)


def write(directory: Path, *values: bytes) -> None:
    """What somebody who may write to the log wrote into the first partition of toggles."""
    connection = sqlite3.connect(directory / "log.sqlite")
    ((topic,),) = connection.execute("SELECT id FROM topics WHERE name = 'rescind.toggles'").fetchall()
    for offset, value in enumerate(values):
        row = (topic << 16, offset, 1_767_268_800_000, b"user:7", value, None)
        connection.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)", row)
    connection.commit()
    connection.close()


def mend(directory: Path, wrong: bytes, right: bytes) -> None:
    """In the ledger, which knows the message in base64."""
    connection = sqlite3.connect(directory / "ledger.sqlite")
    for identity, value in connection.execute("SELECT id, value FROM poisoned").fetchall():
        mended = base64.b64encode(base64.b64decode(value).replace(wrong, right)).decode()
        connection.execute("UPDATE poisoned SET value = ? WHERE id = ?", (mended, identity))
    connection.commit()
    connection.close()
