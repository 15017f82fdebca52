"""What the console makes of the figures that it gets, in a real browser."""

import json

import pytest
import pytest_asyncio

from tests.unit.serve_app.console.browser import CHECK, opened, show
from tests.unit.serve_app.console.deployment import Deployment

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def deployment():
    """Without traffic: tests say what the page is told."""
    async with Deployment() as made:
        yield made


async def test_a_quantile_is_prometheus_own(browser, deployment):
    """Linear in its bucket; above the last bound it is that bound."""
    cases = [([0, 0, 0], None), ([10, 10, 10], 0.095), ([0, 10, 10], 0.765), ([0, 0, 10], 0.8)]
    async with deployment.listening() as url, opened(browser, f"{url}/console") as page:
        found = await page.evaluate(
            "async all => { const {quantile} = await import('/console/static/history.js');"
            "return all.map(x => quantile(0.95, [0.1, 0.8, null], x)); }",
            [counts for counts, _ in cases],
        )

    assert found == [None if p95 is None else pytest.approx(p95) for _, p95 in cases]


GROWTH = """async () => {
  const {History} = await import('/console/static/history.js');
  const history = new History();
  const found = [];
  const see = (at, ingresses, shed, tokens) => {
    const rows = (values) => Object.entries(values).map(([replica, value]) => ({replica, value}));
    const shown = {pointsman_shed_total: rows(shed), 'vllm:generation_tokens_total': rows(tokens)};
    history.add({at, ingresses, samples: shown, histograms: {}, status: {}});
    found.push([history.growth('pointsman_shed_total'),
                history.growth('vllm:generation_tokens_total')]);
  };
  see(0, ['a', 'b'], {x: 100}, {r1: 1000});
  see(1, ['a', 'b'], {x: 103}, {r1: 1010, r2: 5000});
  see(2, ['a', 'b'], {x: 103, y: 4}, {r2: 5010});
  see(3, ['a', 'b'], {x: 103, y: 4}, {r1: 1030, r2: 5020});
  see(4, ['a'], {x: 50, y: 2}, {r1: 1040});
  see(5, ['a'], {x: 51, y: 2}, {r1: 1050});
  see(6, ['a', 'b'], {x: 106, y: 5}, {r1: 1060});
  see(7, ['a', 'b'], {x: 106, y: 6}, {r1: 3});
  return found;
}"""


async def test_a_replica_that_was_late_once_is_no_flood(browser, deployment):
    """Sums are over the ingress replicas that answered; a series that is new began at nothing."""
    none = [None, None]
    async with deployment.listening() as url, opened(browser, f"{url}/console") as page:
        found = await page.evaluate(GROWTH)

    assert found == [none, [3, 10], [7, 10], [7, 50], none, [1, 10], none, [1, 3]]


CARD = {
    "card": "GPU-1",
    "name": "NVIDIA GeForce RTX 4090",
    "power_watts": 447.2,
    "power_limit_watts": 450.0,
    "temperature_celsius": 84.0,
    "memory_used_bytes": 22e9,
    "memory_total_bytes": 25.7e9,
    "throttled_by": ["hw_thermal"],
}
OBJECTIVE = {
    "objective": "ttft",
    "lane": "chat",
    "tier": "paid",
    "target": 0.4,
    "verdict": "burning",
    "severity": "page",
    "good": 80,
    "bad": 20,
    "burn_rates": {"5m": 14.5, "1h": 15.0},
    "budget_left_ratio": 0.25,
    "why": "20 of 100 requests had no token within 0.4 s",
}
ADVICE = {
    "trigger": "kv_pressure",
    "subject": "chat",
    "state": "firing",
    "severity": "now",
    "condition": "KV cache over 90 % for a minute",
    "value": 0.95,
    "unit": "of 1",
    "remedy": "lanes.chat.replicas: 4",
    "price": "0.69 $/h",
    "undo": "lanes.chat.replicas: 3",
    "expected": {"simulated": True, "says": "p95 of first tokens falls to 0.3 s"},
    "confidence": {"coverage": 1.0, "samples": 60},
}


async def test_cards_objectives_and_advice_are_shown_where_there_are_any(browser, deployment):
    whole = (await deployment.console.build()).whole
    data = json.loads(whole.partition(b"data: ")[2])
    replica = data["status"]["lanes"]["chat"]["replicas"][0]
    replica |= {"stalled": True, "cards": [CARD]}
    data["status"] |= {"slo": [OBJECTIVE], "advice": [ADVICE, {**ADVICE, "state": "clear"}]}
    event = f"event: snapshot\ndata: {json.dumps(data)}\n\n"
    async with deployment.listening() as url, opened(browser, "about:blank") as page:
        kind = {"content-type": "text/event-stream"}
        await page.route("**/console/feed", lambda x: x.fulfill(body=event, headers=kind))
        await page.goto(f"{url}/console")
        alarms = page.get_by_role("region", name="Alarms")
        await alarms.get_by_text("its engine is stalled").wait_for()
        await alarms.get_by_text("a card is throttled").wait_for()
        await alarms.get_by_text("Objective ttft of lane chat (paid) is missed").wait_for()
        lane = page.get_by_role("region", name="Lane chat")
        await lane.get_by_text("SLO 400 ms").wait_for()
        row = lane.get_by_role("row", name="NVIDIA GeForce RTX 4090")
        for text in ("447 of 450 W", "84 °C", "hw_thermal"):
            await row.get_by_text(text).wait_for()
        assert await page.evaluate(CHECK) == []

        await show(page, "faults")
        advice = page.get_by_role("region", name="Triggers and advice")
        for text in ("kv_pressure", "lanes.chat.replicas: 4", "p95 of first tokens falls to 0.3 s"):
            await advice.get_by_text(text).wait_for()
        assert await advice.get_by_role("listitem").count() == 1
        objective = page.get_by_role("region", name="Objectives").get_by_role("row", name="ttft")
        for text in ("burning", "20 of 100", "25 %", "5m: 14.5, 1h: 15"):
            await objective.get_by_text(text, exact=True).wait_for()
        assert await page.evaluate(CHECK) == []
