"""The console's part on experiments, in a real browser."""

import pytest

from evals.experiments.report import Rating, Shown, Subject, report_of
from tests.unit.serve_app.console.browser import opened, show
from tests.unit.serve_app.console.deployment import Deployment

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="session")]

SUBJECT = Subject("models", "ab", "chat", "quality", 0.5)
REPORT = report_of(SUBJECT, Shown([Rating(n, f"s{n}", n % 10 > 2) for n in range(100)])).row()
ROW = {
    "name": "models",
    "kind": "ab",
    "control": "chat",
    "treatment": "quality",
    "share": 0.5,
    "metric": "preference",
    "alpha": 0.05,
    "smallest": 0.05,
    "state": "running",
    "stopped_why": None,
    "stopped_at": None,
    "begins": 1_796_000_000.0,
    "since": 1_796_400_000.0,
    "ends": 1_797_000_000.0,
    "arms": {
        "control": {"requests": 812, "ttft_mean_s": 0.31, "good:ttft": 800, "bad:ttft": 12},
        "treatment": {"requests": 790, "ttft_mean_s": 0.4, "cost_mean": 0.0004},
    },
    "report": REPORT,
}
COPIED = {
    "answered": 30,
    "failed": 1,
    "dropped:full": 9,
    "duration_mean_s": 2.5,
    "control_duration_mean_s": 1.25,
    "completion_tokens": 600,
    "control_completion_tokens": 300,
}
SHADOW = {
    **ROW,
    "name": "copies",
    "kind": "shadow",
    "metric": "judge",
    "report": report_of(
        Subject("copies", "shadow", "chat", "quality", 0.5, "judge"), Shown()
    ).row(),
    "arms": {"shadow": COPIED},
}
STOPPED = {
    **ROW,
    "name": "<b>old</b>",
    "state": "stopped",
    "stopped_why": "ttft: 16 of 40 requests of a day were bad",
    "report": None,
    "arms": {"control": {}, "treatment": {}},
}


async def test_experiments_are_shown_with_what_they_have_shown(browser):
    """Arms, the test's evidence, and why one was stopped; without one, where they are described."""
    async with Deployment() as deployment:
        key = deployment.keys["root"]
        async with (
            deployment.listening() as url,
            opened(browser, f"{url}/console", key=key) as page,
        ):
            await page.locator('#connection[data-state="live"]').wait_for()
            await show(page, "experiments")
            await page.get_by_text("No experiment: experiments of the fleet file").wait_for()

            deployment.control.experiments = lambda: [ROW, SHADOW, STOPPED]
            card = page.get_by_role("region", name="Experiment models")
            await card.get_by_text("quality is better: quality is preferred in 70.0%").wait_for()
            tests = card.get_by_role("table", name="Tests of models")
            arms = card.get_by_role("table", name="Arms of models")
            assert await tests.get_by_role("row").count() == 2
            assert await arms.get_by_text("1.5 %").count() == 1
            await card.get_by_text("divided so since 2026-12-04 16:00 UTC").wait_for()
            shadow = page.get_by_role("region", name="Experiment copies")
            copies = shadow.get_by_role("table", name="Copies of copies").get_by_role("row")
            said = [" ".join((await row.inner_text()).split()) for row in await copies.all()]
            assert said[1:] == [
                "answered 30 75.0 %",
                "failed 1 2.5 %",
                "dropped: no free slot 9 22.5 %",
            ]
            await shadow.get_by_text("undecided: no judge has compared answers yet").wait_for()
            await shadow.get_by_text("its requests: 1.3 s").wait_for()
            await page.get_by_text("Stopped: ttft: 16 of 40").wait_for()
            assert await page.get_by_text("<b>old</b>", exact=True).count() >= 1
            assert not [x for x in page.told if x.startswith("error")]
