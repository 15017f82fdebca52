"""Objectives in the fleet file: strict, with the guide's figures where nothing is said."""

import copy

import pytest
import yaml

from router.slo.burning import RULES
from router.slo.objectives import Targets
from serve_app.config.errors import ConfigError, validate
from serve_app.config.fleet import FleetConfig
from serve_app.config.slo import MAX_FAILURES_RATIO, SloConfig
from serve_app.routing.reload import Reloader, load_policies
from tests.unit.serve_app.conftest import FLEET, TIERS


def read(slo) -> SloConfig:
    found = validate({**FLEET, "slo": slo}, FleetConfig, "fleet.yaml").slo
    assert found is not None
    return found


def test_without_a_word_the_guide_s_figures_hold():
    """First token 0.8 s, 30 tokens 1.2 s, the answer 4.5 s; one failure of a thousand."""
    policy = read({}).policy()

    assert policy.base == Targets(0.8, 1.2, 4.5, 0.001)
    assert (policy.period_s, policy.min_bad_events) == (28 * 86_400, 5)


def test_without_a_section_nothing_is_promised():
    """It is off as it was."""
    assert FleetConfig.model_validate(FLEET).slo is None


def test_null_is_off_and_absent_is_as_elsewhere():
    """In overrides, too."""
    slo = {"answer_p95_s": None, "lanes": {"quality": {"ttft_p95_s": None}}}

    policy = read(slo).policy()

    assert policy.of("chat", "paid") == Targets(0.8, 1.2, None, 0.001)
    assert policy.of("quality", "paid") == Targets(None, 1.2, None, 0.001)


@pytest.mark.parametrize(
    ("slo", "told"),
    [
        ({"ttft_p95": 1}, "slo.ttft_p95: unknown key; did you mean 'ttft_p95_s'?"),
        ({"ttft_p95_s": 0}, "slo.ttft_p95_s"),
        ({"ttft_p95_s": "fast"}, "slo.ttft_p95_s"),
        ({"failures_ratio": 0}, "is no error budget: the first failure would spend it for ever"),
        ({"failures_ratio": 0.0}, "is no error budget"),
        ({"failures_ratio": 0.999}, "less than or equal to 0.05"),
        ({"lanes": {"caht": {}}}, "slo.lanes: no lane 'caht'; did you mean 'chat'?"),
        ({"lanes": {"chat": {"tier": {}}}}, "unknown key; did you mean 'tiers'?"),
        ({"lanes": {"chat": {"period_days": 7}}}, "slo.lanes.chat.period_days: unknown key"),
        (
            {"ttft_p95_s": 2},
            "first_tokens_p95_s (1.2) is under ttft_p95_s (2): it could never be kept",
        ),
        (
            {"lanes": {"chat": {"tiers": {"paid": {"answer_p95_s": 1}}}}},
            "lanes.chat.tiers.paid.answer_p95_s (1) is under first_tokens_p95_s (1.2)",
        ),
        ({"tiers": {"paid": {"ttft_p95_s": 5}}}, "tiers.paid.first_tokens_p95_s (1.2) is under"),
        ({"period_days": 1}, "slo.period_days"),
        ({"min_bad_events": 0}, "slo.min_bad_events"),
    ],
)
def test_what_cannot_be_meant_is_refused(slo, told):
    """With the path, and what to write instead."""
    with pytest.raises(ConfigError) as refused:
        read(slo)

    assert told in str(refused.value)


def test_a_deployment_in_which_every_request_fails_pages():
    """Whatever budget the file may state."""
    assert MAX_FAILURES_RATIO * max(rule.rate for rule in RULES) < 1


TENANTS = {"tiers": TIERS, "tenants": {"acme": {"tier": "paid"}}, "local_tenant": "acme"}


@pytest.fixture
def files(tmp_path):
    paths = tmp_path / "fleet.yaml", tmp_path / "tenants.yaml"
    for path, data in zip(paths, (FLEET, TENANTS), strict=True):
        path.write_text(yaml.safe_dump(data))
    return paths


async def test_objectives_reload(files):
    """Nothing is deployed again for another target."""
    applied = []
    reloader = Reloader(*files, FleetConfig.model_validate(FLEET), applied.append)

    for slo in ({"ttft_p95_s": 0.5}, {"tiers": {"paid": {"ttft_p95_s": 0.4}}}, None):
        files[0].write_text(yaml.safe_dump({**FLEET, "slo": slo}))
        assert (await reloader.reload())["ok"]

    assert [x.slo and x.slo.of("chat", "paid").ttft_p95_s for x in applied] == [0.5, 0.4, None]


async def test_objectives_that_are_wrong_leave_the_old_ones(files):
    """As everything else in the file does."""
    applied = []
    reloader = Reloader(*files, FleetConfig.model_validate(FLEET), applied.append)
    files[0].write_text(yaml.safe_dump({**FLEET, "slo": {"failures_ratio": 0}}))

    result = await reloader.reload()

    assert not result["ok"] and "error budget" in result["error"]
    assert applied == []


def test_tiers_that_are_not_there_are_told(files):
    """The tenants file may be another one: no fault, and not silence."""
    fleet = copy.deepcopy(FLEET)
    fleet["slo"] = {
        "tiers": {"payd": {"ttft_p95_s": 0.5}, "free": {}},
        "lanes": {"chat": {"tiers": {"gold": {}}}},
    }
    files[0].write_text(yaml.safe_dump(fleet))

    told = load_policies(*files).idle_tiers

    assert told == (
        "slo.tiers.payd has no effect: the tenants file has no such tier; did you mean 'paid'?",
        "slo.lanes.chat.tiers.gold has no effect: the tenants file has no such tier",
    )
