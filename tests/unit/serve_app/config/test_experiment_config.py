"""Experiments in the fleet file."""

from datetime import UTC, date, datetime

import pytest
import yaml

from router.slo.objectives import Targets
from serve_app.config.errors import ConfigError, validate
from serve_app.config.experiment_faults import idle_experiments
from serve_app.config.fleet import FleetConfig
from serve_app.config.tenants import TenantsConfig

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
        ({"block_minutes": 30}, "block_minutes is for kind: switchback, and this is kind: ab"),
        ({"at_once": 3}, "at_once is for kind: shadow, and this is kind: ab"),
        ({"kind": "shadow", "washout_minutes": 1}, "washout_minutes is for kind: switchback"),
        ({"kind": "shadow", "guard": {"ttft_p95_s": 1}}, "guard is for kind: ab or switchback"),
        ({"kind": "shadow", "metric": "thumbs"}, "nobody sees a shadow's answers: metric: judge"),
        (
            {"kind": "switchback", "block_minutes": 2000},
            "9 blocks that are over in max_days decide nothing.* it takes 10",
        ),
        ({"guard": {}}, "guard: it stops nothing"),
        ({"kind": "switchback", "guard": {"ttft_p95_ratio": 2}}, "other hours of the day"),
        ({"guard": {"ttft_p95_ratio": 0.9}}, "guard.ttft_p95_ratio"),
        ({"guard": {"error": 0.05}}, "guard: it stops nothing"),
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
    assert fleet({**ONE, "kind": "shadow"}).experiments[0].metric == "judge"


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


TENANTS = {
    "tiers": {"paid": {}, "free": {"lanes": ["chat"]}, "own": {"default_lane": "other"}},
    "tenants": {"acme": {"tier": "paid"}, "guest": {"tier": "free"}},
}


def idle(**changed) -> list[str]:
    found, tenants = fleet({**ONE, **changed}), TenantsConfig.model_validate(TENANTS)
    return idle_experiments(found.experiments, tenants, found.routing, found.enabled_lanes)


def test_a_tier_or_tenant_that_is_not_there_is_told():
    """Both are renamed at run time: it stops no start."""
    assert idle(tiers=["pad", "paid"], tenants=["acme", "acne"]) == [
        "experiments.0.tiers: the tenants file has no tier 'pad'; did you mean 'paid'?",
        "experiments.0.tenants: the tenants file has no tenant 'acne'; did you mean 'acme'?",
    ]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, None),
        ({"tiers": ["free"]}, "nobody whose requests it is about may use lane 'candidate'"),
        ({"tenants": ["guest"]}, "nobody whose requests it is about may use lane 'candidate'"),
        ({"tenants": ["guest", "acme"]}, None),
        ({"tenants": ["guest"], "tiers": ["paid"]}, "none of its tenants is of one of its tiers"),
        ({"control": "other", "treatment": "chat", "tiers": ["paid"]}, "nothing sends requests to"),
        ({"control": "other", "treatment": "chat", "tiers": ["own"]}, None),
        ({"control": "other", "treatment": "chat", "kind": "shadow", "tiers": ["paid"]}, None),
    ],
)
def test_an_experiment_that_no_request_can_be_in_is_told(changed, words):
    """By its tenants' tiers, and by what routing sends where."""
    told = idle(**changed)

    assert (told == []) if words is None else (words in told[0] and len(told) == 1)


def test_costs_are_a_rail_where_both_lanes_have_prices():
    """In multiples of the control's."""
    price = {"prompt": 1, "completion": 2}
    prices = {"lanes": {"chat": price, "candidate": price}}

    found = fleet({**ONE, "guard": {"cost_ratio": 1.5}}, prices=prices).experiments[0]

    assert found.rails(Targets()).cost_ratio == 1.5
    assert found.rails(Targets()).allowed == {}


def test_percentiles_are_compared_by_rails_of_their_own():
    found = fleet({**ONE, "guard": {"ttft_p95_ratio": 1.5, "answer_p95_ratio": 2}}).experiments[0]

    assert found.rails(Targets()).ratios == {"ttft_ratio": 1.5, "answer_ratio": 2.0}
    assert fleet(ONE).experiments[0].rails(Targets()).ratios == {}
