"""Experiments in the fleet file."""

from datetime import UTC, date, datetime

import pytest
import yaml

from router.slo.objectives import Targets
from serve_app.config.errors import ConfigError, validate
from serve_app.config.experiments import idle_names
from serve_app.config.fleet import FleetConfig

LANE = {"model_source": "x", "max_model_len": 4096}
LANES = {
    "chat": {**LANE, "model_id": "a"},
    "candidate": {**LANE, "model_id": "b"},
    "other": {**LANE, "model_id": "c"},
    "off": {**LANE, "model_id": "d", "enabled": False},
    "vectors": {**LANE, "model_id": "e", "task": "embed"},
}
ONE = {
    "name": "models",
    "kind": "ab",
    "control": "chat",
    "treatment": "candidate",
    "starts": date(2026, 12, 1),
}


def fleet(*experiments, **more) -> FleetConfig:
    data = {"name": "t", "lanes": LANES, "routing": {"default": "chat"}, **more}
    return validate({**data, "experiments": list(experiments)}, FleetConfig, "fleet.yaml")


@pytest.mark.parametrize(
    ("written", "begins"),
    [
        ("2026-12-01", datetime(2026, 12, 1, tzinfo=UTC)),
        ("2026-12-01T09:00:00+01:00", datetime(2026, 12, 1, 8, tzinfo=UTC)),
        ("2026-12-01T08:00:00Z", datetime(2026, 12, 1, 8, tzinfo=UTC)),
    ],
)
def test_an_experiment_begins_at_a_date_or_at_a_time_with_its_zone(written, begins):
    """As YAML reads it."""
    starts = yaml.safe_load(f"starts: {written}")

    (found,) = fleet({**ONE, **starts}).experiments

    assert found.begins == begins.timestamp()
    assert found.ends == found.begins + 14 * 86_400


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"starts": datetime(2026, 12, 1)}, "say the zone"),  # noqa: DTZ001 - that is the fault
        ({"starts": 20261201}, "say a date such as 2026-12-01"),
        ({"starts": True}, "say a date such as 2026-12-01"),
        ({"kind": "switchback", "metric": "preference"}, "metric: thumbs"),
        ({"treatment": "chat"}, "control and treatment are the same lane"),
        ({"treatment": "kandidate"}, "'kandidate' is not an enabled lane; did you mean"),
        ({"treatment": "off"}, "'off' is not an enabled lane"),
        ({"control": "vectors"}, "lane 'vectors' does not generate text"),
        ({"share": 1}, "experiments.0.share"),
        ({"kind": "abc"}, "experiments.0.kind"),
        ({"kindd": "ab"}, "unknown key; did you mean 'kind'?"),
        ({"name": "My models"}, "experiments.0.name"),
        ({"guard": {"ttft_p95": 1}}, "did you mean 'ttft_p95_s'?"),
        ({"guard": {"cost_ratio": 2}}, "prices.lanes has no 'chat'"),
        (
            {"kind": "switchback", "block_minutes": 5, "washout_minutes": 5},
            "washout_minutes leaves nothing of block_minutes",
        ),
    ],
)
def test_what_is_wrong_stops_the_start(wrong, words):
    """With the path and what would be right."""
    with pytest.raises(ConfigError, match=words):
        fleet({**ONE, **wrong})


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({}, "another experiment has this name"),
        ({"name": "b"}, "'models' is about the same lane at the same time"),
        ({"name": "b", "control": "other", "treatment": "chat"}, "same lane"),
        ({"name": "b", "kind": "shadow"}, "same lane"),
        ({"name": "b", "tenants": ["x"], "starts": date(2026, 12, 10)}, "same lane"),
        ({"name": "b", "starts": date(2026, 12, 15)}, None),
        ({"name": "b", "kind": "shadow", "treatment": "other"}, None),
        ({"name": "b", "tiers": ["free"]}, "same lane"),
    ],
)
def test_a_request_is_in_one_experiment_at_most(second, words):
    """Two about one lane have other times, tenants or tiers."""
    if words is None:
        assert len(fleet(ONE, {**ONE, **second}).experiments) == 2
        return
    with pytest.raises(ConfigError, match=words):
        fleet(ONE, {**ONE, **second})


def test_a_switchback_is_decided_by_thumbs_unless_a_judge_is_asked():
    """Its blocks are compared, and no answer is preferred within one."""
    by_time = {**ONE, "kind": "switchback"}

    assert fleet(by_time).experiments[0].metric == "thumbs"
    assert fleet({**by_time, "metric": "judge"}).experiments[0].metric == "judge"
    assert fleet(ONE).experiments[0].metric == "preference"


def test_tenants_apart_may_share_a_lane():
    """No request can be in both."""
    found = fleet({**ONE, "tenants": ["a"]}, {**ONE, "name": "b", "tenants": ["b"]})

    assert len(found.experiments) == 2


def test_rails_are_the_deployment_s_objectives_unless_others_are_given():
    """Null switches one off."""
    given = {"ttft_p95_s": 2.5, "answer_p95_s": None, "min_bad_events": 9}
    found = fleet({**ONE, "guard": given}, slo={}).experiments[0]
    base = Targets(0.8, 1.2, 4.5, 0.001)

    targets, rails = found.targets(base), found.rails(base)

    assert (targets.ttft_p95_s, targets.first_tokens_p95_s) == (2.5, 1.2)
    assert rails.allowed == {"ttft": 0.05, "first_tokens": 0.05, "failures": 0.001}
    assert (rails.min_bad_events, rails.days) == (9, 14)


def test_a_tier_or_tenant_that_is_not_there_is_told():
    """Both are renamed at run time: it stops no start."""
    listed = fleet({**ONE, "tiers": ["pad", "free"], "tenants": ["acme", "acne"]}).experiments

    told = idle_names(listed, ["paid", "free"], ["acme"])

    assert told == [
        "experiments.0.tiers: the tenants file has no tier 'pad'; did you mean 'paid'?",
        "experiments.0.tenants: the tenants file has no tenant 'acne'; did you mean 'acme'?",
    ]


def test_costs_are_a_rail_where_both_lanes_have_prices():
    """In multiples of the control's."""
    price = {"prompt": 1, "completion": 2}
    prices = {"lanes": {"chat": price, "candidate": price}}

    found = fleet({**ONE, "guard": {"cost_ratio": 1.5}}, prices=prices).experiments[0]

    assert found.rails(Targets()).cost_ratio == 1.5
    assert found.rails(Targets()).allowed == {}
