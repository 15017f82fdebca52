"""What Prometheus is told of experiments: requests where they end, the rest of the whole."""

from __future__ import annotations

import math

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from evals.experiments.report import Rating, Shown, Subject, report_of
from router.experiments.guard import rail_of
from serve_app.experiments.standing import GAUGES, gauges_text
from serve_app.metrics.experiments import MAX_EXPERIMENT_LABELS, OUTCOMES, ExperimentMetrics
from tests.unit.serve_app.conftest import FakeResponse
from tests.unit.serve_app.experiments.conftest import ONE, use

CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
NAME = "pointsman_experiment_requests_total"


def told(*rows):
    """By name and labels' values."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(gauges_text(rows))
        for sample in family.samples
    }


def row(*won, **more):
    ratings = [Rating(n, f"s{n}", x) for n, x in enumerate(won)]
    report = report_of(Subject("models", "ab", "chat", "quality", 0.5), Shown(ratings)).row()
    known = {"name": "models", "state": "running", "stopped_why": None, "metric": "preference"}
    return {**known, "report": report, **more}


async def test_requests_are_counted_by_arm_and_end(world, clock):
    """Those that a guard rail counts; of a request that its client got wrong there is none."""
    use(world, clock, {**ONE, "share": 0.999})
    world.lanes.answers = [FakeResponse(b"{}")]
    assert (await world.post(CHAT, HELLO, key="acme")).status_code == 200
    world.lanes.answers = [FakeResponse(b"{}", status=500)]
    assert (await world.post(CHAT, HELLO, key="acme")).status_code == 500
    assert (await world.post(CHAT, {**HELLO, "n": "x"}, key="acme")).status_code == 400

    counted = {
        x: world.count(NAME, experiment="models", arm="treatment", outcome=x) for x in OUTCOMES
    }

    assert {x: n for x, n in counted.items() if n} == {"answered": 1, "failed": 1}


def test_names_are_bounded_however_many_the_file_has_had():
    registry = CollectorRegistry()
    metrics = ExperimentMetrics(registry)
    for n in range(MAX_EXPERIMENT_LABELS + 3):
        metrics.count(f"x{n}", "shadow", "dropped:full")

    labels = {"arm": "shadow", "outcome": "dropped_full"}
    assert registry.get_sample_value(NAME, {"experiment": "x0", **labels}) == 1
    assert registry.get_sample_value(NAME, {"experiment": "other", **labels}) == 3


def test_a_test_that_decides_has_evidence_of_one_and_more():
    """1 is where the e-value is 1/alpha, whatever alpha is."""
    found = told(row(*[True] * 60))

    assert found["pointsman_experiment_state", "models", "running"] == 1
    assert found["pointsman_experiment_ratings", "models", "preference"] == 60
    assert found["pointsman_experiment_estimate", "models", "preference"] == 1.0
    assert found["pointsman_experiment_decided", "models"] == 1
    assert found["pointsman_experiment_evidence", "models", "preference"] > 1.0


def test_equal_lanes_have_evidence_below_zero():
    found = told(row(*[True, False] * 30))

    assert found["pointsman_experiment_decided", "models"] == 0
    assert found["pointsman_experiment_evidence", "models", "preference"] < 0.0


def test_no_rating_and_ties_alone_have_no_estimate():
    found = told(row(None, None))

    assert ("pointsman_experiment_ratings", "models", "preference") not in told(row())
    assert found["pointsman_experiment_ratings", "models", "preference"] == 0
    assert ("pointsman_experiment_estimate", "models", "preference") not in found


def test_evidence_that_is_nothing_is_told_as_such():
    tests = {"thumbs": {"n": 1, "estimate": 0.1, "e_value": 0.0, "alpha": 0.05}}
    found = told(row(report={"tests": tests}))

    assert found["pointsman_experiment_evidence", "models", "thumbs"] == -math.inf


WHY = "ttft: 16 of 40 requests of a day were bad (40.0%, allowed 5.0%)"


@pytest.mark.parametrize(("state", "fires"), [("stopped", True), ("ended", False)])
def test_a_stopped_arm_is_told_with_its_rail_while_the_experiment_lasts(state, fires):
    """Nobody has to do anything about one whose days are over."""
    found = told(row(state=state, stopped_why=WHY, report=None))

    key = "pointsman_experiment_arm_stopped", "treatment", "models", rail_of(WHY)
    assert (key in found) is fires
    assert key[-1] == "ttft"


def test_without_experiments_there_is_no_family():
    assert gauges_text([]) == ""
    assert len({sample for sample, *_ in told(row(True))}) == len(GAUGES) - 1
