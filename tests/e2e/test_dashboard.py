"""The dashboard of a real service in a real browser: log in, watch a partner fail, try it. What each page shows and
each button does is in `tests.unit.gateway.test_rooms`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page

from rescind.client import Client
from rescind.launching import ServiceProcess
from tests.browsing import a_page, chromium, log_in

pytestmark = pytest.mark.browser


@pytest.fixture
async def page(service: ServiceProcess) -> AsyncIterator[Page]:
    async with chromium() as browser, a_page(browser, service.url) as page:
        yield page


async def test_shows_live_that_a_partner_does_not_answer(page: Page, service: ServiceProcess) -> None:
    await page.goto("/")
    assert page.url.endswith("/dashboard/login?next=/dashboard")
    await log_in(page, service.operator_key or "")
    assert "rescind partners add" in await page.inner_text("main")
    with Client(service.url, service.operator_key) as client:
        refused = {"id": "nobody", "name": "<b>Nobody</b> & Co", "url": "http://127.0.0.1:9/", "purposes": ["ai"]}
        client.add_partner(refused)
        client.post_toggles(
            [{"subject": "user:1", "purpose": "ai", "choice": "opt_out", "occurred_at": "2026-01-01T00:00:00Z"}]
        )
    # Nobody loads the page again: it says STOP as soon as the second attempt has failed.
    row = page.locator("tr", has_text="Nobody")
    await row.locator(".state", has_text="STOP").wait_for(timeout=60_000)
    assert await row.get_by_role("link").inner_text() == "<b>Nobody</b> & Co"
    assert await row.locator("[data-label=Open]").inner_text() == "1"
    assert "cannot connect: the connection was refused" in await row.locator("[data-label=Delivery]").inner_text()
    await row.get_by_role("link").click()
    await page.get_by_role("button", name="Send test").click()
    await page.get_by_role("dialog").get_by_role("button", name="Send test").click()
    await page.get_by_role("heading", name="A notice would not have been taken").wait_for(timeout=60_000)


async def test_the_interface_is_described_without_the_internet(page: Page) -> None:
    await page.goto("/docs")
    await page.get_by_text("/v1/toggles").first.wait_for(timeout=60_000)
