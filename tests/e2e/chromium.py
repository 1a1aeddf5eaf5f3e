"""Chromium, as the machine has it, and what every look at a page has in common."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

_PATH = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


LONGEST = 300_000
"""Milliseconds to wait for what must come: a slow machine needs minutes for Airflow's own pages."""


@contextmanager
def chromium() -> Iterator[Browser]:
    if _PATH is None:
        pytest.skip("needs service: no chromium, chromium-browser or google-chrome is installed")
    expect.set_options(timeout=LONGEST)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=_PATH, args=_ARGUMENTS, timeout=LONGEST)
        yield running
        running.close()


@contextmanager
def looking(
    browser: Browser, address: str, token: str | None, *, width: int = 1600, theme: str = "light"
) -> Iterator[Page]:
    """Open a page that may neither complain in the console nor ask anybody else."""
    options: dict[str, Any] = {
        "base_url": address,
        "locale": "en-US",
        "viewport": {"width": width, "height": 900},
    }
    with browser.new_context(**options) as context:
        context.set_default_timeout(LONGEST)
        if token is not None:
            context.add_cookies([{"name": "_token", "value": token, "url": address}])
        context.add_init_script(f"localStorage.setItem('theme', '{theme}')")
        page = context.new_page()
        asked: list[str] = []
        complaints: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on(
            "console", lambda message: complaints.append(message.text) if message.type == "error" else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield page
        assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
        if token is not None:
            assert complaints == []


def show(page: Page, path: str) -> Locator:
    """Open one of our pages, and wait until it has read everything."""
    page.goto(path)
    main = page.locator("main[aria-busy=false]")
    expect(main).to_be_visible()
    return main
