"""The page's arithmetic in a real browser beside Python's, and the page as it looks."""

from dataclasses import replace

import pytest
import pytest_asyncio

from fleet.cards.table import cards
from fleet.plan.page.page import page, page_facts
from fleet.plan.plan import Wish, plan
from fleet.plan.what_if import autoscaled
from simulator.model.profile import load_profile
from simulator.virtual_time.workload import load_workload
from tests.unit.serve_app.console.browser import CHECK, launched, needed, opened

pytestmark = [pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]

LARGE = {"chat": "hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4"}


def wish(workload="saas", kind="rtx4090", models=None, profiles=None, **users):
    told = load_workload(workload)
    mine = told.users.model_copy(update=users)
    return Wish(told, mine, {kind: cards()[kind]}, {kind: 0}, told.promise, models=models or {},
                profiles=profiles or {})  # fmt: skip


def shaped(given, **changes):
    workload = given.workload.model_copy(update=changes)
    return replace(given, workload=workload)


CASES = {
    "saas": wish(),
    "saas, no FP8 on the card": wish(kind="rtx3090"),
    "saas, 16-bit KV": replace(wish(), kv_8bit=False),
    "saas as the documents measured": wish(
        profiles={"chat": load_profile("llama-3.1-8b-fp8-rtx4090")}
    ),
    "saas, a free tier": wish(free_ratio=0.4),
    "saas, long pauses and many tenants": shaped(wish(), think_s=60.0, tenants=100),
    "saas, one turn": shaped(wish(), turns=1),
    "as many at once": wish(daily=None, monthly=None, power=0, active=300.0),
    "as many a month": wish(daily=None, monthly=5_000, power=0, headroom=1.0),
    "agents": wish("agents", "h100"),
    "agents on two cards a replica": wish("agents"),
    "consumer": wish("consumer", "h100", LARGE),
    "consumer, all paid, steep": wish("consumer", "h200", LARGE, free_ratio=0.0, swing=30.0),
}
"""What a person may set the sliders to."""


def reckoned(found):
    """What the page shows, from Python."""
    given = found.wish
    bill = found.cards * given.cards[found.lanes[0].served.card_name].rent_usd_per_h * 720
    return {
        "cards": found.cards,
        "bill": bill,
        "scaled": autoscaled(found).bill,
        "peak": found.peak,
        "tokensAMonth": found.tokens_a_month,
        "sessionsACard": found.lanes[0].sessions_a_card,
        "wall": found.tightest.capacity.wall.value,
    }, {
        lane.name: {
            "replicas": lane.replicas,
            "cards": lane.cards,
            "walls": {wall.value: n for wall, n in lane.capacity.walls.items()},
            "tokens": lane.now.tokens_per_s_per_user,
            "first_30": lane.now.first_30_p95_s,
        }
        for lane in found.lanes
    }  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser():
    needed()
    async with launched() as made:
        yield made


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")

    def write(given):
        path = folder / "plan.html"
        path.write_text(page(plan(given)))
        return f"file://{path}"

    return write


async def test_the_page_s_arithmetic_is_python_s(browser, files):
    async with opened(browser, files(wish())) as shown:
        for name, given in CASES.items():
            found = plan(given)
            seen = await shown.evaluate("x => reckon(x)", page_facts(found))
            whole, lanes = reckoned(found)
            wall = whole.pop("wall")
            assert seen["wall"] == wall, name
            assert {key: seen[key] for key in whole} == pytest.approx(whole, rel=1e-3), name
            for lane in seen["lanes"]:
                mine = lanes.pop(lane["name"])
                assert (lane["replicas"], lane["cards"]) == (mine["replicas"], mine["cards"]), name
                assert lane["held"]["walls"] == mine["walls"], name
                assert lane["now"]["tokensPerS"] == pytest.approx(mine["tokens"], rel=1e-3), name
                first = lane["now"]["ttftP95"] + lane["now"]["next29P95"]
                assert first == pytest.approx(mine["first_30"], rel=1e-3), name
            assert not lanes, name


async def test_the_consumer_case_s_levers_do_what_the_document_says(browser, files):
    """FP8 KV doubles the sessions, autoscaling follows the swing, and both show at once."""
    paid = replace(wish("consumer", "h100", LARGE, free_ratio=0.0), kv_8bit=False)
    async with opened(browser, files(paid)) as shown:
        figures = shown.locator("#figures dd")

        async def read():
            texts = await figures.all_inner_texts()
            numbers = [float(x.lstrip("$").replace(",", "")) for x in texts[:4]]
            return dict(zip(("sessions", "a card", "cards", "bill"), numbers, strict=True))

        before = await read()
        await shown.get_by_label("8-bit KV cache").check()
        fp8 = await read()
        assert fp8["a card"] == pytest.approx(2 * before["a card"], rel=0.05)
        assert fp8["cards"] == pytest.approx(before["cards"] / 2, rel=0.05)
        await shown.get_by_label("Replicas follow the day").check()
        scaled = await read()
        # A sinusoid from a tenth to the peak has 55 % of it as its mean.
        assert scaled["bill"] == pytest.approx(0.55 * fp8["bill"], rel=0.02)
        await shown.get_by_label("Free tier's share").fill("0.9")
        assert (await read())["cards"] < 0.5 * fp8["cards"]
        assert "KV cache" in await figures.last.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
async def test_a_page_is_whole_and_readable(browser, files, scheme, width):
    async with opened(browser, files(wish()), width=width, scheme=scheme) as shown:
        await shown.locator("body[data-reckoned]").wait_for()
        # It has one page, and so nothing to go to.
        assert set(await shown.evaluate(CHECK)) == {"not one nav"}
        assert [x for x in shown.told if x.startswith(("error", "warning"))] == []
        assert {x.url.partition(":")[0] for x in shown.asked} == {"file"}
        assert len(shown.asked) == 1


async def test_a_card_that_cannot_says_so(browser, files):
    async with opened(browser, files(wish())) as shown:
        await shown.get_by_label("First 30 tokens, p95").fill("0.1")
        assert "another card" in await shown.locator("#note").inner_text()
        await shown.get_by_label("First 30 tokens, p95").fill("3")
        assert await shown.locator("#figures dd").count() == 5


async def test_a_hostile_name_is_text(browser, files):
    given = shaped(wish(), name="</script><img src=x onerror=alert(1)>")
    async with opened(browser, files(given)) as shown:
        assert await shown.locator("#name").inner_text() == given.workload.name
        assert await shown.locator("img").count() == 0
        assert not [x for x in shown.told if x.startswith("dialog")]
