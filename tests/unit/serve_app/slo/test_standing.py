"""How a deployment stands with its objectives, over all its ingress replicas."""

from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from router.slo.objectives import Objective
from router.slo.windows import MAX_PERIOD_S, PERIOD, WINDOWS_S
from serve_app.config.slo import SloConfig
from serve_app.slo.book import MAX_SERIES, SloBook
from serve_app.slo.standing import GAUGES, gauges_text, rows_of, warnings_of
from tests.unit.serve_app.slo.test_judged_requests import AMPLE, CHAT, STREAM, promise

POLICY = SloConfig().policy()


def export(objective="ttft", lane="chat", tier="paid", **windows):
    """One series of a replica, with the same (good, bad) in every window but these."""
    counts = dict.fromkeys([*WINDOWS_S, PERIOD], windows.pop("all", [1000, 0])) | windows
    return [{"objective": objective, "lane": lane, "tier": tier, "windows": counts}]


def test_replicas_are_summed_before_they_are_judged():
    """Three bad requests at each are too few; nine are not."""
    one = export(all=[7, 3], period=[1000, 3])

    assert [row["verdict"] for row in rows_of([one], POLICY)] == ["too few requests to tell"]

    row = rows_of([one] * 3, POLICY)[0]
    assert (row["verdict"], row["severity"]) == ("burning", "page")
    assert (row["good"], row["bad"]) == (3000, 9)
    assert row["burn_rates"] == dict.fromkeys(WINDOWS_S, 6.0)


def test_a_row_says_what_is_promised_and_what_is_left():
    """Seconds with the share that may be late; of failures the share alone."""
    rows = rows_of([export(all=[975, 25]) + export("failures", all=[9995, 5])], POLICY)

    assert [(x["objective"], x["target"], x["allowed_bad_ratio"]) for x in rows] == [
        ("ttft", 0.8, 0.05),
        ("failures", 0.001, 0.001),
    ]
    assert [x["budget_left_ratio"] for x in rows] == [0.5, 0.5]
    assert [x["verdict"] for x in rows] == ["ok", "ok"]


def test_what_burns_comes_first_and_is_told_in_a_sentence():
    """With the figures of its long window."""
    calm, burning = export(lane="a"), export("answer", lane="z", all=[10, 90])

    rows = rows_of([calm, burning], POLICY)

    assert [row["lane"] for row in rows] == ["z", "a"]
    (told,) = warnings_of(rows)
    assert told == (
        "slo: answer of lane z, tier paid burns (page): 90 of 100 requests of the last hour were "
        "not whole within 4.5 s, 18 times what the budget allows (docs/slo.md)"
    )


@pytest.mark.parametrize("objective", Objective)
def test_every_objective_can_be_told(objective):
    """Whatever misses it."""
    found = warnings_of(rows_of([export(objective.value, all=[10, 90])], POLICY))

    assert len(found) == 1
    assert "{" not in found[0]


def test_what_is_no_export_and_what_is_promised_no_more_is_passed_over():
    """A replica that did not answer; an objective that is off; one without events."""
    off = SloConfig(ttft_p95_s=None).policy()

    assert rows_of([None, TimeoutError(), export(all=[0, 0])], POLICY) == []
    assert rows_of([export()], off) == []
    assert rows_of([export()], None) == []


def test_the_gauges_are_those_of_the_rows():
    """One text for all replicas."""
    rows = rows_of([export(all=[990, 10]) + export("failures", all=[99, 1])], POLICY)

    families = {x.name: x for x in text_string_to_metric_families(gauges_text(rows))}

    assert set(families) == set(GAUGES)
    burn = {
        (s.labels["objective"], s.labels["window"]): s.value
        for s in families["pointsman_slo_burn_rate"].samples
    }
    assert burn["ttft", "5m"] == pytest.approx(0.2)
    assert burn["failures", "3d"] == pytest.approx(10)
    assert len(burn) == 2 * len(WINDOWS_S)
    # 100 requests have no budget of a thousandth.
    left = families["pointsman_slo_budget_left_ratio"].samples
    assert [(s.labels["objective"], s.value) for s in left] == [("ttft", 0.8)]
    targets = families["pointsman_slo_target"].samples
    assert {s.labels["objective"]: s.value for s in targets} == {"ttft": 0.8, "failures": 0.001}


def test_series_are_bounded():
    """Lanes and tiers that are no more make room; of too many, the oldest does."""
    book = SloBook()
    for number in range(MAX_SERIES + 5):
        series = (Objective.TTFT, "chat", f"tier-{number}")
        book.history(series, 0.0).note(is_good=True, now=float(number))

    assert len(book.histories()) == MAX_SERIES
    assert (Objective.TTFT, "chat", "tier-0") not in book.histories()

    book.history((Objective.TTFT, "chat", "paid"), MAX_PERIOD_S + 500.5)
    assert len(book.histories()) == 1 + (MAX_SERIES + 5 - 501)


# -- through the operators' routes -------------------------------------------------


@pytest.fixture
def serving(world, stream, engine):
    """The world, whose one replica tells what it has counted, as the deployment's does."""
    promise(world, **AMPLE)

    async def broadcast(method, within_s=3.0):
        slo = world.state.slo.export(world.state.policies.slo)
        if method == "metrics_text":
            return [{"replica": "i1", "text": world.metrics.render(), "slo": slo}]
        return [{"replica": "i1", "active_sessions": {}, "tenants_near_limit": [], "slo": slo}]

    world.use(world.lanes, broadcast=broadcast)
    return world


async def read(world, path):
    async with world.client(key="root") as client:
        return await client.get(path)


async def test_status_tells_how_it_stands(serving, engine):
    """Rows of what was judged; the replicas' counts do not stand there twice."""
    serving.lanes.answers = [engine()]
    await serving.post(CHAT, STREAM | {"stream": False}, key="acme")

    status = (await read(serving, "/status")).json()

    assert {row["objective"] for row in status["slo"]} == {"answer", "failures"}
    assert {row["verdict"] for row in status["slo"]} == {"too few requests to tell"}
    assert all("slo" not in ingress for ingress in status["ingress"])
    assert not any("slo" in warning for warning in status["warnings"])


async def test_a_burning_objective_is_a_warning(serving):
    """The operator sees it where everything else that is wrong is told."""
    serving.lanes.empty = True
    for _ in range(5):
        await serving.post(CHAT, STREAM, key="acme")

    status = (await read(serving, "/status")).json()

    assert status["slo"][0]["verdict"] == "burning"
    assert any(
        "failures of lane chat, tier paid burns (page): 5 of 5 requests" in warning
        for warning in status["warnings"]
    )


async def test_metrics_have_the_sums_once(serving, engine):
    """Without the label of the replica that was asked."""
    serving.lanes.answers = [engine()]
    await serving.post(CHAT, STREAM | {"stream": False}, key="acme")

    families = {
        x.name: x for x in text_string_to_metric_families((await read(serving, "/metrics")).text)
    }

    targets = {
        s.labels["objective"]: (s.value, set(s.labels))
        for s in families["pointsman_slo_target"].samples
    }
    labels = {"objective", "lane", "tier"}
    assert targets == {"answer": (60.0, labels), "failures": (0.001, labels)}
    events = families["pointsman_slo_events"].samples
    assert {s.labels["ingress"] for s in events} == {"i1"}


async def test_a_tenant_sees_nothing_of_it(serving):
    """It is the operator's."""
    async with serving.client(host="10.0.0.1", key="acme") as client:
        status = (await client.get("/status")).json()

    assert "slo" not in status


async def test_a_tier_that_is_not_there_is_told(serving):
    """Whoever mistypes it would wait for alarms that never come."""
    told = ("slo.tiers.payd has no effect",)
    serving.state.apply(replace(serving.state.policies, idle_tiers=told))

    assert told[0] in (await read(serving, "/status")).json()["warnings"]
