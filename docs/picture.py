"""Takes the README's picture of the dashboard, in the middle of a demo.

make picture
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

TARGET = Path(__file__).parent / "dashboard.png"


def main() -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "rescind", "demo", "--stay"], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert demo.stdout is not None
        found, said = None, ""
        while found is None and (line := demo.stdout.readline()):
            said += line
            found = re.search(r"^Dashboard: (\S+)\nLog in with (\S+)$", said, re.MULTILINE)
        assert found is not None, "the demo did not say where its dashboard is"
        take(found[1], found[2])
    finally:
        demo.terminate()
        demo.wait()


def take(url: str, key: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        context = browser.new_context(
            viewport={"width": 1440, "height": 560},
            device_scale_factor=1.5,
            reduced_motion="reduce",
        )
        page = context.new_page()
        page.goto(url)
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Log in").click()
        # One partner answers at once, one is slow, one fails now and then, one is down.
        page.locator("tr", has_text="slow").get_by_text(re.compile(r"^1\d\d$")).first.wait_for(timeout=60_000)
        page.locator("tr", has_text="flaky").get_by_text("503").wait_for(timeout=60_000)
        page.screenshot(path=TARGET)
        browser.close()


if __name__ == "__main__":
    main()
