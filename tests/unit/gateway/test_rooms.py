"""Every page and button of the dashboard in a real browser, with partners in every state: on a desk and on a phone, in
the light and in the dark, by keyboard, and without a script."""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from ledger import Role
from streams.events import Act, OperatorActed
from streams.topics import ACTIONS
from tests.browsing import a_page, chromium, log_in
from tests.unit.gateway.furnished import CAST, SUBJECT, Furnished, furnished
from tests.unit.gateway.test_lag import completed

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]
AXE = Path(__file__).parents[2] / "axe" / "axe.min.js"
PAGES = (
    "/dashboard",
    "/dashboard/partners/ember",
    "/dashboard/partners/gale?window=30d",
    "/dashboard/partners/halcyon",
    "/dashboard/subject",
    "/dashboard/dead-letters",
)


@dataclass
class House:
    furnished: Furnished
    browser: Browser
    #: Of a browser where an operator, or a partner, has logged in.
    states: dict[str, Any]

    def page(self, who: str = "operator", **settings: Any) -> Any:
        return a_page(self.browser, self.furnished.url, storage_state=self.states.get(who), **settings)

    def acts(self) -> list[tuple[Act, str | None]]:
        events = self.furnished.gateway.log.events(ACTIONS.name)
        return [(event.data.act, event.data.partner) for event in events if isinstance(event.data, OperatorActed)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with (
        chromium() as browser,
        furnished(tmp_path_factory.mktemp("rooms"), hours=60) as rooms,
    ):
        rooms.gateway.app.state.live.every = 0.2
        made = House(rooms, browser, {})
        for who, key in (("operator", rooms.operator_key), ("delta", rooms.gateway.key(Role.PARTNER, "delta"))):
            async with made.page("nobody") as page:
                await log_in(page, key)
                made.states[who] = await page.context.storage_state()
        yield made


async def confirm(page: Page, button: str, verb: str | None = None) -> None:
    await page.get_by_role("button", name=button, exact=True).first.click()
    await page.get_by_role("dialog").get_by_role("button", name=verb or button, exact=True).click()


async def test_a_wrong_key_is_said_and_a_right_one_opens(house: House) -> None:
    async with house.page("nobody") as page:
        await page.goto("/dashboard/login")
        await expect(page.get_by_label("API key")).to_be_focused()
        await page.keyboard.type(house.furnished.operator_key)
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="Partners").wait_for()
        await page.get_by_role("button", name="Log out").click()
        await page.get_by_label("API key").wait_for()
        await page.goto("/dashboard/dead-letters")
        assert page.url.endswith("/dashboard/login?next=/dashboard/dead-letters")


async def test_every_state_is_told_by_a_word_and_a_shape(house: House) -> None:
    async with house.page() as page:
        await page.goto("/dashboard")
        await expect(page.locator("#live")).to_have_text("Live")
        for part in CAST:
            row = page.locator(f"#p-{part.id}")
            assert await row.get_by_role("link").inner_text() == part.name
            assert await row.locator(".state").inner_text() == part.state
            assert await row.locator(".state use").get_attribute("href") == f"#i-{part.state}"
        states = await page.locator("tbody .state").all_inner_texts()
        assert states == sorted(states, key=["STOP", "STALL", "WARN", "OK"].index)
        ember = page.locator("#p-ember")
        assert "cannot connect: refused" in await ember.inner_text()
        assert "7 in a row, next attempt in" in await ember.inner_text()


async def test_rows_change_by_themselves_and_keep_the_focus(house: House) -> None:
    gateway = house.furnished.gateway
    async with house.page() as page:
        await page.goto("/dashboard")
        await expect(page.locator("#live")).to_have_text("Live")
        link = page.locator("#p-newcomer").get_by_role("link")
        gateway.registered("newcomer", lane=20, name="Newcomer Labs")
        await link.focus()
        gateway.issued(1, 2, partner="newcomer", lane=20)
        opened = page.locator("#p-newcomer [data-label=Open]")
        await expect(opened).to_have_text("2")
        await expect(link).to_be_focused()
        completed(gateway, 1, "newcomer")
        await expect(opened).to_have_text("1")
        await page.get_by_label("Filter partners").fill("newc")
        assert await page.locator("tbody tr:visible").count() == 1
        await page.get_by_label("Filter partners").fill("stall")
        assert await page.locator("tbody tr:visible").get_by_role("link").all_inner_texts() == ["Delta Corpus"]


async def test_rows_come_into_any_order(house: House) -> None:
    names = [part.id for part in CAST]
    dice = random.Random(7)
    orders = [dice.sample(names, dice.randint(1, len(names))) if number else names[::-1] for number in range(30)]
    async with house.page() as page:
        await page.goto("/dashboard")
        await page.evaluate("rest()")
        each = "[...board.tBodies[0].rows].map((row) => [row.id.slice(2), row.outerHTML])"
        rows = dict(await page.evaluate(each))
        for order in orders:
            # What was left out before comes back as a new row.
            await page.evaluate("(news) => apply(news)", {"rows": {name: rows[name] for name in order}, "order": order})
            assert [name for name, _ in await page.evaluate(each)] == order


async def test_a_hidden_page_asks_for_nothing(house: House) -> None:
    live = house.furnished.gateway.app.state.live
    async with house.page() as page:
        await page.goto("/dashboard")
        await expect(page.locator("#live")).to_have_text("Live")
        hide = "Object.defineProperty(document, 'hidden', {configurable: true, get: () => %s});"
        await page.evaluate(hide % "true" + "document.dispatchEvent(new Event('visibilitychange'))")
        await expect(page.locator("#live")).to_have_text("Resting")
        async with asyncio.timeout(10):
            while live.listeners:
                await asyncio.sleep(0.01)
        await page.evaluate(hide % "false" + "document.dispatchEvent(new Event('visibilitychange'))")
        await expect(page.locator("#live")).to_have_text("Live")


async def test_pause_resume_test_and_rotate(house: House) -> None:
    before = len(house.acts())
    async with house.page() as page:
        await page.goto("/dashboard/partners/aleph")
        await page.get_by_role("button", name="Pause").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("Pause Aleph Labs?")
        await expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
        await page.keyboard.press("Escape")
        assert len(house.acts()) == before
        await confirm(page, "Pause")
        await page.get_by_text("Paused. What waits is held").wait_for()
        await confirm(page, "Resume")
        await page.get_by_text("Resumed.").wait_for()
        await confirm(page, "Send test")
        await page.get_by_role("heading", name="A notice would have been taken").wait_for()
        await page.get_by_role("link", name="Back").click()
        await page.get_by_label("What signed before").select_option("no longer: it leaked")
        await confirm(page, "Replace secret")
        await page.get_by_role("heading", name="The secret is replaced").wait_for()
        assert re.fullmatch(r"whsec_\S+", await page.locator("#secret").inner_text())
        await page.get_by_role("link", name="Back").click()
        assert await page.get_by_role("row", name="rotate").count() == 1
    assert house.acts()[before:] == [(act, "aleph") for act in (Act.PAUSE, Act.RESUME, Act.ROTATE)]


async def test_what_was_not_understood_is_read_and_marked_as_seen(house: House) -> None:
    (unclear,) = (part.unclear for part in CAST if part.unclear)
    async with house.page() as page:
        await page.goto("/dashboard")
        await expect(page.locator("#p-cinder")).to_contain_text("replies not understood")
        await page.locator("#p-cinder").get_by_role("link").click()
        card = page.get_by_role("region", name="Replies")
        await expect(card.locator("pre")).to_have_text(unclear)
        await confirm(page, "Mark as seen")
        await page.get_by_text("What was not understood until now is marked as seen.").wait_for()
        await expect(card).to_contain_text("Marked as seen")
        assert await card.get_by_role("button").count() == 0
    assert house.acts()[-1] == (Act.MARK_REPLIES_SEEN, "cinder")


async def test_a_replay(house: House) -> None:
    async with house.page() as page:
        await page.goto("/dashboard/partners/borealis")
        await page.get_by_label("Issued from, UTC").fill("2026-01-01T00:00")
        await page.get_by_role("button", name="Count first").click()
        await page.get_by_text(re.compile(r"Issue \d+ notices again")).wait_for()
        await page.get_by_role("button", name="Replay").click()
        await page.get_by_role("heading", name="Replayed").wait_for()
    assert house.acts()[-1] == (Act.REPLAY, "borealis")


async def test_a_subject_never_stands_in_an_address(house: House) -> None:
    asked: list[str] = []
    async with house.page() as page:
        page.on("request", lambda request: asked.append(request.url))
        await page.goto("/dashboard/subject")
        await page.get_by_label("Kind and id").fill(SUBJECT)
        await page.keyboard.press("Enter")
        await page.get_by_text("aleph says completed (deleted).").wait_for()
        assert await page.locator(".timeline li:not(.day)").count() == 5
    assert not [url for url in asked if "staff" in url]


async def test_dead_letters_of_both_kinds(house: House) -> None:
    async with house.page() as page:
        await page.goto("/dashboard/dead-letters")
        assert "HTTP 422: <b>who</b> is that?" in await page.inner_text("main")
        await page.get_by_label("Notice about user:dead-1").check()
        await confirm(page, "Redrive ticked", "Redrive")  # the first of two buttons of this name
        await page.get_by_text("1 is tried once more.").wait_for()
        await page.get_by_role("link", name="Back").click()
        await page.get_by_role("button", name="user:dead-2").click()
        await page.get_by_role("heading", name="What happened").wait_for()
        await page.goto("/dashboard/dead-letters")
        await page.get_by_label("Notice about user:dead-2").check()
        await page.get_by_label("Reason").fill("nobody there knows user:dead-2")
        await confirm(page, "Discard ticked", "Discard")
        await page.get_by_text("1 is discarded.").wait_for()
        await page.get_by_role("link", name="Back").click()
        await page.get_by_text("No notice is parked or undeliverable.").wait_for()
        await page.get_by_label("All of this page").check()
        await confirm(page, "Discard ticked", "Discard")
        await page.get_by_text("2 are discarded.").wait_for()
    assert [act for act, _ in house.acts()[-3:]] == [Act.REDRIVE, Act.DISCARD, Act.DISCARD]


async def test_a_partner_in_its_own_room(house: House) -> None:
    async with house.page("delta") as page:
        assert (await page.request.get("/dashboard/partners/aleph")).status == 403
        await page.goto("/dashboard")
        assert page.url.endswith("/dashboard/mine")
        await page.get_by_role("heading", name="Delta Corpus").wait_for()
        text = await page.inner_text("body")
        assert not [part.name for part in CAST if part.id != "delta" and (part.name in text or part.id in text)]
        await page.get_by_role("link", name="overdue").click()
        assert await page.get_by_role("region", name="Notices").get_by_role("row").count() > 5
        await page.get_by_role("link", name="completed").click()
        await page.get_by_role("link", name="Next page").click()
        assert await page.get_by_role("region", name="Notices").get_by_role("row").count() > 5
        await confirm(page, "Send test")
        await page.get_by_role("heading", name="A notice would have been taken").wait_for()


async def test_without_a_script_all_of_it_works(house: House) -> None:
    async with house.page(java_script_enabled=False) as page:
        await page.goto("/dashboard")
        assert await page.locator("noscript").count() == 2
        await page.get_by_role("link", name="Fathom Models").click()
        await page.get_by_role("button", name="Resume").click()
        await page.get_by_text("Resume Fathom Models? What waits for it is tried at once.").wait_for()
        await page.get_by_role("button", name="Resume").click()
        await page.get_by_text("Resumed.").wait_for()
        await page.get_by_role("button", name="Pause").click()
        await page.get_by_role("button", name="Pause").click()
        await page.get_by_text("Paused. What waits is held").wait_for()
    assert house.acts()[-2:] == [(Act.RESUME, "fathom"), (Act.PAUSE, "fathom")]


async def looked_at(page: Page, name: str) -> list[str]:
    """What a page does wrong: wider than its window, or not for everybody, by axe-core."""
    wrong = []
    if await page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        wrong.append("it is wider than its window")
    await page.evaluate(AXE.read_text())
    found = await page.evaluate("axe.run({resultTypes: ['violations']})")
    for violation in found["violations"]:
        if violation["impact"] in ("serious", "critical"):
            nodes = [node["html"][:160] + " " + node["failureSummary"][:200] for node in violation["nodes"][:3]]
            wrong.append(f"{violation['id']}: {nodes}")
    if target := os.environ.get("RESCIND_SCREENSHOTS"):
        await page.screenshot(path=Path(target) / f"{name}.png", full_page=True)
    return wrong


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
async def test_every_page_is_for_everybody(house: House, scheme: Any, width: int) -> None:
    wrong: dict[str, list[str]] = {}
    settings: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}}

    async def look(page: Page, name: str) -> None:
        if found := await looked_at(page, f"{name}-{width}-{scheme}"):
            wrong[name] = found

    async with house.page(reduced_motion="reduce", **settings) as page:
        for path in PAGES:
            await page.goto(path)
            await look(page, re.sub(r"\W+", "-", path.removeprefix("/dashboard")).strip("-") or "overview")
        await page.goto("/dashboard/subject")
        await page.get_by_label("Kind and id").fill(SUBJECT)
        await page.get_by_role("button", name="Show").click()
        await look(page, "story")
        await page.goto("/dashboard/partners/cinder")
        await page.get_by_role("button", name="Pause").click()
        await look(page, "dialog")
    async with house.page("delta", **settings) as page:
        await page.goto("/dashboard/mine?which=all")
        await look(page, "own")
    async with house.page("nobody", **settings) as page:
        await page.goto("/dashboard/login")
        await look(page, "login")
    assert wrong == {}
