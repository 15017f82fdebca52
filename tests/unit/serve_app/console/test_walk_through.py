"""The walk-through of docs/console.md: three staged faults, found by what the page says.

POINTSMAN_SHOTS names a folder for pictures of the way.
"""

import asyncio
import contextlib
import os
import re
from pathlib import Path

import pytest

from tests.unit.serve_app.console.browser import opened
from tests.unit.serve_app.console.deployment import Deployment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.asyncio(loop_scope="session"),
]

USUAL = {"acme": 2, "globex": 0.7, "blog": 1}


@contextlib.asynccontextmanager
async def staged(browser, *traffic, **look):
    """A page on a deployment with the usual traffic; `begin()` adds the fault's own."""
    async with Deployment() as deployment, deployment.listening() as url:
        key = deployment.keys["root"]
        async with opened(browser, f"{url}/console", key=key, **look) as page:
            tasks = [asyncio.create_task(deployment.traffic(USUAL))]

            def begin(rates, **body):
                tasks.append(asyncio.create_task(deployment.traffic(rates, **body)))

            await page.get_by_role("region", name="Lane chat").get_by_text("3 of 3").wait_for()
            try:
                yield deployment, page, begin
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


async def shot(page, name) -> None:
    folder = os.environ.get("POINTSMAN_SHOTS")
    if folder:
        await page.screenshot(path=Path(folder) / f"{name}.png")


async def click(page, tab) -> None:
    await page.get_by_role("navigation").get_by_role("link", name=tab, exact=True).click()
    await page.get_by_role("heading", name=tab, exact=True).wait_for()


async def test_a_lane_that_is_full_and_who_fills_it(browser):
    async with staged(browser) as (_, page, begin):
        begin({"globex": 10}, tokens=600, model="large")
        lane = page.get_by_role("region", name="Lane quality")
        await lane.get_by_text("queueing").wait_for()
        assert (
            await page.get_by_role("region", name="Lane chat").get_by_text("queueing").count() == 0
        )
        await shot(page, "saturated-1-fleet")

        await click(page, "Queue")
        slots = page.get_by_role("region", name="Slots of the lanes")
        await slots.get_by_role("row", name="quality").get_by_text("8 of 8").wait_for()
        await shot(page, "saturated-2-queue")

        await click(page, "Routing")
        reasons = page.get_by_role("region", name="Reasons among the last decisions")
        await reasons.get_by_role("row", name="quality pinned").wait_for()
        pinned = page.get_by_role("listitem").filter(has_text="globex").filter(has_text="pinned")
        await pinned.first.get_by_text("the client named the lane or its model").wait_for()
        await shot(page, "saturated-3-routing")


async def test_a_replica_that_died(browser):
    async with staged(browser) as (deployment, page, _):
        await deployment.kill("chat", "c1")
        alarm = page.get_by_role("region", name="Alarms")
        await alarm.get_by_text("Lane chat: 2 of 3 replicas answer.").wait_for()
        await shot(page, "killed-1-fleet")
        lane = page.get_by_role("region", name="Lane chat")
        await lane.get_by_text("1 replica is loading or warming").wait_for()

        await click(page, "Faults")
        faults = page.get_by_role("region", name="Last faults of replicas")
        row = faults.get_by_role("row", name="c1")
        await row.get_by_text("Nothing answered at the replica's address").first.wait_for()
        retried = page.locator(".fact").filter(has_text="Retried").locator("dd").first
        await retried.filter(has_text=re.compile(r"^[1-9]")).wait_for()
        failed = page.locator(".fact").filter(has_text="Failed").locator("dd").first
        assert await failed.text_content() == "0"
        await shot(page, "killed-2-faults")


async def test_a_tenant_that_floods(browser):
    async with staged(browser, width=400, scheme="dark") as (_, page, begin):
        begin({"scraper": 25}, tokens=60)
        alarm = page.get_by_role("region", name="Alarms")
        await alarm.get_by_text("1 tenant is near a limit.").wait_for()
        await alarm.get_by_role("link", name="Look").click()
        await page.get_by_role("heading", name="Tenants", exact=True).wait_for()
        near = page.get_by_role("region", name="Near a limit")
        await near.get_by_text("scraper").wait_for()
        await shot(page, "flood-1-tenants")

        await click(page, "Queue")
        most = page.get_by_role("region", name="Refused most, by tenant")
        await most.get_by_text("scraper").first.wait_for()
        assert await most.get_by_text("acme").count() == 0
        await shot(page, "flood-2-queue")
