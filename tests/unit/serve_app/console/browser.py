"""Chromium for tests of the console, and what is looked for in a page."""

import contextlib
import os
import shutil
from pathlib import Path

import pytest
from playwright.async_api import async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), "")
HOW = "no Chromium: scripts/install-observe, or apt-get install chromium"


def needed() -> None:
    """Skip where there is no browser; in CI that is a failure."""
    if CHROMIUM:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(HOW)
    pytest.skip(HOW)


@contextlib.asynccontextmanager
async def launched():
    """A browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


@contextlib.asynccontextmanager
async def opened(browser, url, *, key=None, width=1280, scheme="light"):
    """A page of its own; `page.told` has what its console said and what went wrong."""
    context = await browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 900}, reduced_motion="reduce"
    )
    page = await context.new_page()
    page.set_default_timeout(60_000)
    page.told, page.asked = [], []
    page.on("console", lambda x: page.told.append(f"{x.type}: {x.text}"))
    page.on("pageerror", lambda x: page.told.append(f"error: {x}"))
    page.on("dialog", lambda x: page.told.append(f"dialog: {x.message}"))
    # A list's own method takes no attributes, which playwright wants to set on a handler.
    page.on("request", lambda x: page.asked.append(x))  # noqa: PLW0108
    if key is not None:
        await page.add_init_script(f"sessionStorage.setItem('pointsman-key', {key!r})")
    await page.goto(url)
    try:
        yield page
    finally:
        await context.close()


async def show(page, tab) -> None:
    await page.evaluate("x => { location.hash = x; }", tab)
    await page.locator(f"#part-{tab} :is(table, .empty, dl):visible").first.wait_for()


CHECK = Path(__file__).with_name("page_check.js").read_text().partition("\n")[2]
"""Sentences about what is wrong with a page as it is, for `evaluate`."""
