"""The status page in a real browser: every figure a person needs, in every state, on a desk and on a phone."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

from rescind.client import Client
from rescind.launching import ServiceProcess

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
async def page(service: ServiceProcess) -> AsyncIterator[Page]:
    """A page of an operator's browser. It must not complain: a blocked style, a missing file."""
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have Debian's chromium")
        pytest.skip("NOT TESTED: the pages, for want of Chromium (Debian's package `chromium`)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        context = await browser.new_context(
            base_url=service.url, http_credentials={"username": "operator", "password": service.operator_key or ""}
        )
        page = await context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield page
        await browser.close()
    assert complaints == []


async def test_without_partners_it_says_what_to_do(page: Page) -> None:
    await page.goto("/")
    assert page.url.endswith("/dashboard")
    assert "rescind partners add" in await page.inner_text("main")


async def test_shows_a_partner_that_does_not_answer(page: Page, service: ServiceProcess) -> None:
    with Client(service.url, service.operator_key) as client:
        refused = {"id": "nobody", "name": "<b>Nobody</b> & Co", "url": "http://127.0.0.1:9/", "purposes": ["ai"]}
        client.add_partner(refused)
        client.post_toggles(
            [{"subject": "user:1", "purpose": "ai", "choice": "opt_out", "occurred_at": "2026-01-01T00:00:00Z"}]
        )
    await page.goto("/dashboard")
    row = page.locator("tr", has_text="Nobody")
    # The page renews itself; it says STOP as soon as the first attempt has failed.
    await row.locator(".state", has_text="STOP").wait_for(timeout=20_000)
    assert await row.locator(".name").inner_text() == "<b>Nobody</b> & Co"
    assert await row.locator("[data-label=Open]").inner_text() == "1"
    assert "cannot connect: Connection refused" in await row.locator("[data-label=Delivery]").inner_text()


@pytest.mark.parametrize("width", [1440, 390])
async def test_nothing_is_cut_off(page: Page, width: int) -> None:
    await page.set_viewport_size({"width": width, "height": 900})
    await page.goto("/dashboard")
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    if target := os.environ.get("RESCIND_SCREENSHOTS"):
        await page.screenshot(path=Path(target) / f"dashboard-{width}.png", full_page=True)


async def test_loads_nothing_from_elsewhere(page: Page, service: ServiceProcess) -> None:
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    await page.goto("/dashboard")
    assert requested
    assert all(url.startswith(service.url) or url.startswith("data:") for url in requested), requested


async def test_the_interface_is_described_without_the_internet(page: Page, service: ServiceProcess) -> None:
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    await page.goto("/docs")
    await page.get_by_text("/v1/toggles").first.wait_for(timeout=20_000)
    assert all(url.startswith((service.url, "data:")) for url in requested), requested
