"""The number of series is bounded, and whoever adds a label says by what."""

import pytest

from benchmarks.observability import CODES, REASONS, TIERS, families, filled, series_of
from router.errors import RejectReason
from router.placement.session import Affinity
from router.types import Reason
from serve_app.agents.verdict import CallOutcome
from serve_app.metrics import MAX_TENANT_LABELS, Metrics
from serve_app.metrics.agents import MAX_TOOL_SET_LABELS
from serve_app.metrics.series_bound import CLOSED_SETS, Family, label_values, series_bound
from serve_app.request.call import Outcome
from serve_app.request.stages import Stage

LANES = 4


def test_every_label_of_every_metric_has_a_bound():
    """A new metric with a label that nobody has bounded ends here: KeyError."""
    bound = series_bound(families(), LANES, len(TIERS))

    assert {"pointsman_requests", "pointsman_tokens", "pointsman_stage_seconds"} <= bound.keys()
    assert bound["pointsman_tokens"] == (MAX_TENANT_LABELS + 1) * CLOSED_SETS["kind"]
    with pytest.raises(KeyError):
        series_bound([Family("x", ("user",))], LANES, len(TIERS))


def test_what_is_said_of_closed_sets_holds():
    """As many values as the code can give them."""
    values = label_values(LANES, len(TIERS))

    assert values["stage"] == len(Stage) and values["reason"] == len(Reason) + 1
    assert values["code"] == len(RejectReason) + len(Outcome) - 1
    assert values["outcome"] >= max(len(CallOutcome), len(Affinity))
    assert (values["lane"], values["tier"]) == (LANES + 1, len(TIERS))


def test_ten_thousand_tenants_stay_within_the_bound():
    """And so do lanes, tiers, reasons and codes in every combination that they come in."""
    bound = sum(series_bound(families(), LANES, len(TIERS)).values())

    series = series_of(filled("i1").render())

    assert LANES * len(TIERS) * len(REASONS) * len(CODES) < series < bound


def test_versions_of_tool_sets_beyond_the_bound_share_one_label():
    """An operator publishes for as long as the replica lives."""
    metrics = Metrics()
    for number in range(MAX_TOOL_SET_LABELS + 10):
        metrics.agents.count_tool_set(f"shop@{number}")

    lines = [x for x in metrics.render().split("\n") if x.startswith("pointsman_tool_set_requests")]

    assert len(lines) == MAX_TOOL_SET_LABELS + 1
    assert 'pointsman_tool_set_requests_total{tool_set="other"} 10.0' in lines


def test_the_bound_is_added_up_over_every_family():
    """The snapshot of the outward surface has at least those that a replica begins with."""
    names = {x.name for x in families()}
    rendered = [x.split()[2] for x in Metrics().render().split("\n") if x.startswith("# TYPE ")]

    assert {x.removesuffix("_total") for x in rendered} <= names
