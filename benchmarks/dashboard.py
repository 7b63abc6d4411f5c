"""What the dashboard weighs, and how soon it shows, with many partners. Prints figures with their conditions; asserts
nothing, for no two machines are alike.

    python -m benchmarks.dashboard [--partners 200] [--rounds 7]

The service's own HTTP server, a real ledger of the last 26 hours, and Chromium, all on this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from playwright.async_api import Browser, Page

from gateway.live import Live
from tests.browsing import chromium, log_in
from tests.unit.gateway.furnished import CAST, Furnished, Part, furnished

_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
_LOADED = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
#: Of what was loaded, by kind: bytes on the wire, without headers.
_WEIGHT = """() => Object.fromEntries([...performance.getEntriesByType('navigation'),
    ...performance.getEntriesByType('resource')].filter((each) => each.encodedBodySize)
    .map((each) => [new URL(each.name).pathname.split('/').at(-1), each.encodedBodySize]))"""
#: Every row with another number in it, put in place as an event is; milliseconds until it can be painted.
_ALL_CHANGE = """() => {
    const rows = Object.fromEntries([...document.querySelectorAll('#board tbody tr')].map((row) =>
        [row.id.slice(2), row.outerHTML.replace(/(data-label="Open" class="number">)/, '$11')]));
    const began = performance.now();
    apply({ rows, order: Object.keys(rows).reverse() });
    document.body.offsetHeight;
    return performance.now() - began;
}"""


def cast(partners: int) -> list[Part]:
    """So many partners, in every state."""
    return [
        replace(part, id=f"{part.id}-{number}", name=f"{part.name} {number}", rate=min(part.rate, 2))
        for number in range(partners)
        for part in [CAST[number % len(CAST)]]
    ]


async def measure(partners: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with furnished(Path(directory), cast(partners), hours=26) as rooms, chromium() as browser:
            print(f"{partners} partners; Python {platform.python_version()}, {os.cpu_count()} processors")
            await look(rooms, rounds)
            await paint(rooms, browser, rounds)


async def look(rooms: Furnished, rounds: int) -> None:
    live = Live(rooms.gateway.ledger, rooms.gateway.clock)
    took = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        seen = await live.fresh()
        took.append((time.perf_counter() - began) * 1000)
    print(f"a look, all rows rendered:        {took[0]:8.1f} ms")
    print(f"a look, nothing new (median):     {statistics.median(took[1:]):8.1f} ms, every {live.every:g} s for all")
    print(f"an event with every row in it:    {len(seen.since(-1)) / 1024:8.1f} KiB")


async def paint(rooms: Furnished, browser: Browser, rounds: int) -> None:
    paints, loads = [], []
    context = await browser.new_context(base_url=rooms.url, viewport={"width": 1440, "height": 900})
    page = await context.new_page()
    await log_in(page, rooms.operator_key)
    weight = {}
    for number in range(rounds):
        await page.goto("/dashboard", wait_until="load")
        if number == 0:
            weight = await _weight(page)
        paints.append(await page.evaluate(_PAINT))
        loads.append(await page.evaluate(_LOADED))
    changes = [await page.evaluate(_ALL_CHANGE) for _ in range(rounds)]
    for name, size in weight.items():
        print(f"{name:33} {size / 1024:8.1f} KiB")
    print(f"first contentful paint (median):  {statistics.median(paints):8.1f} ms after the click")
    print(f"ready, script included (median):  {statistics.median(loads):8.1f} ms")
    print(f"all rows change and turn (median):{statistics.median(changes):8.1f} ms in the browser")
    await context.close()


async def _weight(page: Page) -> dict[str, int]:
    found: dict[str, int] = await page.evaluate(_WEIGHT)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partners", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    asyncio.run(measure(given.partners, given.rounds))


if __name__ == "__main__":
    main()
