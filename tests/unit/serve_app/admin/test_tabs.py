"""Playground, my usage and admin in a real browser, over an ingress and simulated engines."""

import asyncio
import contextlib
import re
import socket

import pytest
import pytest_asyncio
import uvicorn
from playwright.async_api import expect

from tests.unit.serve_app.admin.conftest import deployed
from tests.unit.serve_app.console.browser import CHECK
from tests.unit.serve_app.console.browser import opened as page_at

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="session"),
]


@contextlib.asynccontextmanager
async def listening(app):
    at = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, access_log=False))
    server.capture_signals = contextlib.nullcontext
    task = asyncio.create_task(server.serve(sockets=[at]))
    try:
        yield f"http://127.0.0.1:{at.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        await task


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def served(tmp_path_factory):
    """A deployment whose answers take a moment, and where it listens."""
    timing = "ttft_s: 0.02, itl_s: 0.01"
    async with (
        deployed(tmp_path_factory.mktemp("tabs"), timing) as made,
        listening(made.app) as url,
    ):
        made.url = url
        yield made


@contextlib.asynccontextmanager
async def opened(browser, served, tab, key=None, **looks):
    value = None if key is None else served.keys.get(key, key)
    url = f"{served.url}/console#{tab}"
    async with page_at(browser, url, key=value, **looks) as page:
        await page.locator(f"#part-{tab} :is(form, table, .error):visible").first.wait_for()
        yield page
        wrong = [x for x in page.told if x.startswith(("error: ", "dialog: ")) and not HTTP(x)]
        assert wrong == []


HTTP = re.compile("Failed to load resource").search
"""The browser's own word for a status that a test wants."""


async def confirm(page, verb):
    await page.get_by_role("dialog").get_by_role("button", name=verb, exact=True).click()


# -- playground ---------------------------------------------------------------------


async def test_an_answer_comes_with_what_was_decided_about_it(served, browser):
    async with opened(browser, served, "playground", "rival") as page:
        await page.get_by_label("Prompt", exact=True).fill("Say something.")
        await page.get_by_label("Longest answer, tokens").fill("12")
        await page.get_by_role("button", name="Send", exact=True).click()
        answer = page.locator(".answered").first
        await answer.locator("dl").wait_for()
        text = await answer.inner_text()

        assert "simulated" in await answer.locator(".output").nth(1).inner_text()
        for told in ("chat", "simulated-chat", "default", "threshold", "First token", "12 written"):
            assert told in text
        assert re.search(r"\d+(\.\d)?/s", text)
        # The next turn has the first one before it, in the same session.
        async with page.expect_request("**/v1/chat/completions") as second:
            await page.get_by_label("Prompt", exact=True).fill("And more.")
            await page.keyboard.press("Control+Enter")
        await page.locator(".answered").nth(1).locator("dl").wait_for()
        sent = await second.value
        roles = [x["role"] for x in sent.post_data_json["messages"]]
        assert roles == ["user", "assistant", "user"]
        assert sent.headers["x-session-id"].startswith("playground-")
        await page.locator(".answered").nth(1).get_by_text("Stages").click()
        assert await page.get_by_role("rowheader", name="engine").count() >= 1
        assert await page.evaluate(CHECK) == []


async def test_two_lanes_answer_the_same_prompt_side_by_side(served, browser):
    async with opened(browser, served, "playground", "rival") as page:
        await page.locator("#pg-other option[value=quality]").wait_for(state="attached")
        await page.get_by_label("Model", exact=True).select_option("chat")
        await page.get_by_label("Compare with").select_option("quality")
        await page.get_by_label("Longest answer, tokens").fill("5")
        await page.get_by_label("Prompt", exact=True).fill("Which is better?")
        await page.get_by_role("button", name="Send", exact=True).click()
        for index, model in enumerate(("simulated-chat", "simulated-quality")):
            pane = page.locator(".pane").nth(index)
            await pane.locator("dl").wait_for()
            text = await pane.inner_text()
            assert model in text and "pinned" in text


async def test_a_long_answer_is_stopped_and_what_came_stays(served, browser):
    async with opened(browser, served, "playground", "rival") as page:
        await page.get_by_label("Longest answer, tokens").fill("400")
        await page.get_by_label("Prompt", exact=True).fill("Go on and on.")
        await page.get_by_role("button", name="Send", exact=True).click()
        output = page.locator(".answered .output").last
        await expect(output).to_have_text(re.compile(r"[\s\S]{21}"))
        await page.get_by_role("button", name="Stop").click()
        await page.locator(".answered").get_by_text("stopped").wait_for()

        assert await page.get_by_role("button", name="Send", exact=True).is_enabled()


async def test_what_is_said_is_text_and_what_fails_says_why(served, browser):
    """Neither a prompt nor an error of the server's becomes part of the page."""
    hostile = "<img src=x onerror=alert(1)>"
    async with opened(browser, served, "playground", "pm-000000000000-wrong") as page:
        await page.get_by_label("Prompt", exact=True).fill(hostile)
        await page.get_by_role("button", name="Send", exact=True).click()
        await page.get_by_role("alert").get_by_text("The API key is not valid.").wait_for()

        assert await page.locator(".said .output").inner_text() == hostile
        assert await page.locator("#view img").count() == 0
        # It was not answered: it can be sent again.
        assert await page.get_by_label("Prompt", exact=True).input_value() == hostile


async def test_a_dry_run_asks_no_engine(served, browser):
    async with opened(browser, served, "playground", "rival") as page:
        await page.get_by_label("Prompt", exact=True).fill("Where to?")
        await page.get_by_role("button", name="Where would it go?").click()
        told = page.get_by_role("region", name="Where it would go")
        await told.wait_for()

        assert "chat" in await told.inner_text() and "yes" in await told.inner_text()
        assert await page.locator(".answered").count() == 0


# -- my usage -------------------------------------------------------------------------


async def requests_of(served, key):
    told = (await served.ask("GET", "/v1/usage", key)).json()
    return told["today"]["total"]["requests"]


async def test_a_holder_sees_own_figures_that_are_those_of_the_api(served, browser):
    await served.chat("acme", max_tokens=8)
    while await requests_of(served, "acme") < 1:  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    async with opened(browser, served, "usage", "acme") as page:
        await page.get_by_role("table", name="This month by model").wait_for()
        text = await page.locator("#part-usage").inner_text()
        told = (await served.ask("GET", "/v1/usage", "acme")).json()

        total = told["today"]["total"]
        tokens = (
            await page.locator(".fact", has_text="Tokens today").locator("dd").first.inner_text()
        )
        assert int(tokens.replace(",", "")) == total["prompt"] + total["completion"]
        assert told["requests"][0]["request_id"] in text
        assert "acme" in text and "rival" not in text
        limits = page.get_by_role("table", name="Limits")
        assert await limits.get_by_role("rowheader", name="Tokens a day").count() == 1
        assert await page.evaluate(CHECK) == []


async def test_nobody_is_told_to_set_a_key(served, browser):
    async with opened(browser, served, "usage") as page:
        await page.get_by_text("Set a key at the top").wait_for()
        await page.locator(".error").get_by_text("invalid_api_key").wait_for()


# -- admin ------------------------------------------------------------------------------


async def test_an_admin_makes_a_key_and_revokes_it(served, browser):
    async with opened(browser, served, "admin", "admin") as page:
        await page.get_by_label("Tenant", exact=True).fill("rival")
        await page.get_by_label("Days it is valid").fill("3")
        await page.get_by_role("button", name="Make a key").click()
        await confirm(page, "Make the key")
        shown = page.get_by_role("status", name="The new key")
        await shown.wait_for()
        key = await shown.inner_text()
        key_id = key.split("-")[1]
        assert (await served.chat(key)).status_code == 200
        assert await page.evaluate(CHECK) == []

        await page.get_by_role("button", name="I have kept it").click()
        assert key not in await page.content()
        await page.get_by_role("button", name=f"Revoke {key_id} of rival").click()
        await confirm(page, "Leave it")
        assert (await served.chat(key)).status_code == 200
        await page.get_by_role("button", name=f"Revoke {key_id} of rival").click()
        await confirm(page, "Revoke it")
        await page.get_by_text(f"{key_id} is revoked").wait_for()

        assert (await served.chat(key)).status_code == 401
        trail = page.get_by_role("table", name="The last 50 entries")
        await trail.get_by_role("cell", name="keys.revoke").first.wait_for()


async def test_an_admin_sets_ceilings_and_hears_of_another_editor(served, browser):
    async with opened(browser, served, "admin", "admin") as page:
        await page.get_by_role("button", name="Change the ceilings of rival").click()
        form = page.get_by_role("form", name="Ceilings of rival")
        await form.get_by_label("Requests at once: which").select_option("own")
        await form.get_by_label("Requests at once: how many").fill("3")
        await form.get_by_role("button", name="Set them").click()
        await confirm(page, "Set them")
        await page.get_by_text("The file is written.").wait_for()
        found = (await served.ask("GET", "/admin/ceilings/rival")).json()
        assert found["own"] == {"concurrent_requests": 3}

        await page.get_by_role("button", name="Change the ceilings of rival").click()
        await form.get_by_label("Requests at once: which").select_option("tier")
        served.tenants.write_text(served.tenants.read_text() + "# somebody else\n")
        await form.get_by_role("button", name="Set them").click()
        await confirm(page, "Set them")
        await page.get_by_text("changed since it was read").wait_for()
        assert (await served.ask("GET", "/admin/ceilings/rival")).json()["own"] == found["own"]


async def test_an_admin_drains_a_replica_and_takes_it_back(served, browser):
    async with opened(browser, served, "admin", "admin") as page:
        await page.get_by_role("button", name=re.compile("^Drain: .* of chat")).click()
        await confirm(page, "Drain it")
        await page.get_by_text("No other replica of the required lane 'chat'").wait_for()
        await page.get_by_label("Even the last one").check()
        await page.get_by_role("button", name=re.compile("^Drain: .* of chat")).click()
        await confirm(page, "Drain it")
        await page.get_by_text("drains: ").wait_for()
        await page.get_by_role("button", name=re.compile("take turns again: .* of chat")).click()
        await confirm(page, "Take it back")
        await page.get_by_text("takes turns: ").wait_for()
        await page.get_by_role("button", name="Read the files again").click()
        await confirm(page, "Read them")
        await page.get_by_text("Ingress 1: reloaded.").wait_for()


async def test_a_tenant_sees_no_admin_s_part(served, browser):
    async with opened(browser, served, "admin", "acme") as page:
        await page.get_by_text("This part needs an admin key").wait_for()
        assert await page.locator("#part-admin form").count() == 0


# -- all of them ----------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1280, "light")])
async def test_every_part_can_be_read_and_reached(served, browser, width, scheme):
    """At both widths and in both schemes: contrast, names, headings, nothing too wide."""
    for tab, key in (("playground", "rival"), ("usage", "rival"), ("admin", "admin")):
        async with opened(browser, served, tab, key, width=width, scheme=scheme) as page:
            if tab == "admin":
                await page.get_by_role("button", name="Change the ceilings of rival").click()
                await page.get_by_role("form", name="Ceilings of rival").wait_for()

            assert await page.evaluate(CHECK) == [], tab
