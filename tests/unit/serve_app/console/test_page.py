"""The console in a real browser, against an ingress and simulated engines in this process."""

import asyncio
import logging
import re

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.unit.serve_app.console.browser import CHECK, opened, show
from tests.unit.serve_app.console.deployment import EASY, HARD, TENANTS, Deployment

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="session")]

TABS = ("fleet", "routing", "queue", "tenants", "faults", "experiments")
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def deployment():
    """One for all tests that only look at it."""
    async with Deployment() as made:
        await busy(made)
        yield made


async def busy(deployment) -> None:
    """A few requests, a fault, a refusal: something for every table."""
    await asyncio.gather(
        *(deployment.ask(x, text, 20) for x in ("acme", "blog") for text in (*EASY, *HARD))
    )
    await asyncio.gather(*(deployment.ask("visitor", "Hi", 2) for _ in range(15)))


async def live(page) -> None:
    await page.locator('#connection[data-state="live"]').wait_for()


async def test_a_person_types_a_key_and_sees_figures(browser, deployment):
    key = deployment.keys["root"]
    async with deployment.listening() as url, opened(browser, f"{url}/console") as page:
        await live(page)
        await page.get_by_role("region", name="Lane chat").get_by_text("3 of 3").wait_for()
        # Without a key it shows what /metrics does, and nobody's requests.
        await show(page, "tenants")
        requests = page.get_by_role("region", name="Requests among the last")
        assert await requests.get_by_text("acme").count() == 0

        await page.get_by_role("button", name="Set a key").click()
        assert await page.get_by_role("textbox", name="API key").evaluate(
            "x => x === document.activeElement && x.type === 'password'"
        )
        await page.keyboard.type(key)
        await page.keyboard.press("Enter")
        await requests.get_by_text("acme").wait_for()

        assert await page.evaluate("sessionStorage.getItem('pointsman-key')") == key
        assert await page.evaluate("JSON.stringify(localStorage)") == "{}"
        assert key not in page.url and not any(key in x.url for x in page.asked)
        sent = [await x.all_headers() for x in page.asked if x.url.endswith("/console/feed")]
        assert sent[-1]["authorization"] == f"Bearer {key}"
        assert not [x for x in page.told if x.startswith("error")]


async def test_a_key_that_may_not_is_told_so(browser, deployment):
    async with (
        deployment.listening() as url,
        opened(browser, f"{url}/console", key=deployment.keys["acme"]) as page,
    ):
        await page.get_by_text("This needs an admin key.").wait_for()
        assert await page.get_by_text("See what this key may see").count() == 1
        assert await page.get_by_role("table").count() == 0


async def test_the_numbers_on_the_page_are_the_metrics(browser, deployment):
    key = deployment.keys["root"]
    async with deployment.listening() as url, opened(browser, f"{url}/console", key=key) as page:
        await live(page)
        async with deployment.client("root") as client:
            text = (await client.get("/metrics")).text

        def metric(family, **labels):
            wanted = [f'{name}="{value}"' for name, value in labels.items()]
            lines = [x for x in text.split("\n") if re.match(rf"{family}[{{ ]", x)]
            fits = [x for x in lines if all(label in x for label in wanted)]
            return sum(float(x.rsplit(" ", 1)[1]) for x in fits)

        await show(page, "tenants")
        for tenant in ("acme", "blog"):
            row = page.get_by_role("region", name="Tokens, as the engines count")
            cell = row.get_by_role("row", name=tenant).get_by_role("cell").last
            total = sum(
                metric("pointsman_tokens_total", tenant=tenant, kind=kind)
                for kind in ("prompt", "completion")
            )
            assert await cell.text_content() == f"{total:,.0f}"
        await show(page, "queue")
        row = page.get_by_role("region", name="Turned away").get_by_role("row", name="request_rate")
        shed = metric("pointsman_shed_total", code="request_rate")
        assert await row.get_by_role("cell").last.text_content() == f"{shed:.0f}"
        await show(page, "routing")
        share = metric("pointsman_escalation_share", lane="quality")
        assert await page.get_by_text(f"{share * 100:.1f} %").count() >= 1
        await show(page, "fleet")
        for replica in ("c1", "c2", "c3"):
            cells = page.get_by_role("row", name=replica).get_by_role("cell")
            assert await cells.nth(3).text_content() is not None
            running = metric("vllm:num_requests_running", replica=replica)
            assert await cells.nth(1).text_content() == f"{running:.0f}"


@pytest.mark.security
async def test_names_that_others_chose_are_text_and_nothing_else(browser):
    hostile = {**TENANTS, HOSTILE: "paid"}
    async with Deployment(tenants=hostile) as deployment, deployment.listening() as url:
        await busy(deployment)
        await asyncio.gather(*(deployment.ask(HOSTILE, text, 20) for text in (*EASY, *HARD)))
        logging.getLogger("ray.serve").warning("<script>%s</script>", HOSTILE)
        key = deployment.keys["root"]
        async with opened(browser, f"{url}/console", key=key) as page:
            await live(page)
            seen = 0
            for tab in TABS:
                await show(page, tab)
                seen += await page.get_by_text(HOSTILE).count()
                assert await page.locator("main img, main script, main iframe").count() == 0
            assert seen >= 3
            assert not [x for x in page.told if not x.startswith("info")]


async def test_it_says_that_the_deployment_is_gone_and_goes_on_when_it_is_back(browser, deployment):
    key = deployment.keys["root"]
    async with deployment.listening() as url:
        port = int(url.rsplit(":", 1)[1])
        async with opened(browser, f"{url}/console", key=key) as page:
            await live(page)
            await page.evaluate("window.isTheSame = true")
            await deployment.hang_up()
            await page.locator('#connection[data-state="gone"]').wait_for()
            alarm = page.get_by_role("region", name="Alarms")
            assert "does not answer" in await alarm.text_content()
            assert await alarm.get_attribute("aria-live") == "polite"

            async with deployment.listening(port):
                await live(page)
                await expect(alarm).not_to_contain_text("does not answer", timeout=30_000)
                assert await page.evaluate("window.isTheSame")


async def test_everything_is_reached_by_keyboard(browser, deployment):
    key = deployment.keys["root"]
    async with deployment.listening() as url, opened(browser, f"{url}/console", key=key) as page:
        await live(page)
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "Skip to the content"
        await page.keyboard.press("Tab")
        await page.keyboard.press("Tab")
        for _, title in zip(TABS, ("Fleet", "Routing", "Queue"), strict=False):
            focused = "document.activeElement"
            assert await page.evaluate(f"{focused}.textContent") == title
            outline = await page.evaluate(f"getComputedStyle({focused}).outlineWidth")
            assert float(outline.removesuffix("px")) >= 2
            await page.keyboard.press("Tab")
        await page.keyboard.press("Shift+Tab")
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="Queue", exact=True).wait_for()
        assert await page.evaluate("document.activeElement.id") == "view"
        assert await page.title() == "Queue · Pointsman console"
        current = page.locator('nav a[aria-current="page"]')
        assert await current.text_content() == "Queue"


async def test_it_can_be_read_narrow_and_wide_in_light_and_dark(browser):
    async with Deployment() as deployment, deployment.listening() as url:
        await busy(deployment)
        await deployment.kill("chat", "c1")
        await asyncio.gather(*(deployment.ask("acme", x, 5) for x in (*EASY, *HARD)))
        key = deployment.keys["root"]
        for width, scheme in ((1280, "light"), (400, "dark")):
            look = {"key": key, "width": width, "scheme": scheme}
            async with opened(browser, f"{url}/console", **look) as page:
                await live(page)
                for tab in TABS:
                    await show(page, tab)
                    assert await page.evaluate(CHECK) == [], tab
                background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
                assert (background == "rgb(245, 246, 248)") == (scheme == "light")


async def test_the_page_is_light_enough_to_be_painted_in_a_second(browser, deployment):
    """A time would be the machine's; 60 kB in a dozen files is the page's."""
    key = deployment.keys["root"]
    async with deployment.listening() as url, opened(browser, f"{url}/console", key=key) as page:
        await live(page)
        sizes = await page.evaluate(
            "performance.getEntriesByType('resource').filter(x => x.name.includes('/static/'))"
            ".map(x => x.encodedBodySize)"
        )
        assert len(sizes) <= 14
        assert sum(sizes) <= 60_000
        assert await page.evaluate("performance.getEntriesByType('paint').length") >= 1
