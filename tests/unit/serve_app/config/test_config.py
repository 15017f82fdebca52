"""Configuration faults, told with the path, the value and the nearest name."""

import copy

import pytest
import yaml

from router.limits.ceiling import CeilingConfig
from router.limits.quota import QuotaConfig, TokenWeights
from router.routing.history import HistoryBudget
from router.types import TierRules
from serve_app.config import settings
from serve_app.config.errors import ConfigError, load_yaml, nearest, validate
from serve_app.config.fleet import FleetConfig
from serve_app.config.tenants import TenantsConfig
from serve_app.tenancy.auth import make_key

FLEET = {
    "name": "test",
    "lanes": {
        "chat": {"model_id": "small", "model_source": "x", "max_model_len": 4096},
        "quality": {"model_id": "large", "model_source": "x", "max_model_len": 4096},
        "spare": {
            "model_id": "spare",
            "model_source": "x",
            "max_model_len": 4096,
            "enabled": False,
        },
    },
    "routing": {"default": "chat", "complex": "quality"},
}
TENANTS = {
    "tiers": {
        "paid": {"ceilings": {"tokens_per_second": 80, "tokens_per_minute": 1000}},
        "free": {"lanes": ["chat"], "default_lane": "chat"},
    },
    "tenants": {"acme": {"tier": "paid"}},
}


def changed(data, *path, value):
    """A copy of `data` with one value replaced or added."""
    data = copy.deepcopy(data)
    inner = data
    for part in path[:-1]:
        inner = inner.setdefault(part, {})
    inner[path[-1]] = value
    return data


def fault(data, model=FleetConfig) -> str:
    with pytest.raises(ConfigError) as caught:
        validate(data, model, "file.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "named", "suggested"),
    [
        (["rooting"], "rooting", "routing"),
        (["routing", "complx"], "routing.complx", "complex"),
        (["lanes", "chat", "modle_id"], "lanes.chat.modle_id", "model_id"),
        (["lanes", "chat", "simulated", "ttft"], "lanes.chat.simulated.ttft", "ttft_s"),
        (["timeouts", "reads"], "timeouts.reads", "read_s"),
    ],
)
def test_an_unknown_key_is_told_with_its_path_and_the_nearest_name(path, named, suggested):
    """A typing error stops the start and says what was meant."""
    message = fault(changed(FLEET, *path, value=1))

    assert f"file.yaml: {named}: unknown key; did you mean '{suggested}'?" in message


def test_an_unknown_key_in_a_list_of_models_finds_its_neighbours():
    """Lists are stepped through like mappings."""
    key = make_key()[1].model_dump()
    data = changed(TENANTS, "tenants", "acme", "keys", value=[{**key, "expire": None}])

    message = fault(data, TenantsConfig)

    assert "tenants.acme.keys.0.expire: unknown key; did you mean 'expires'?" in message


def test_an_unknown_key_that_resembles_nothing_gets_no_suggestion():
    """A wrong guess helps nobody."""
    message = fault(changed(FLEET, "zzzzzz", value=1))

    assert message == "file.yaml: zzzzzz: unknown key"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["lanes", "chat", "max_model_len"], 12),
        (["lanes", "chat", "replicas"], 0),
        (["lanes", "chat", "engine"], "tgi"),
        (["routing", "escalation_share"], 1.5),
        (["ingress", "replicas"], "many"),
        (["timeouts", "read_s"], -1),
    ],
)
def test_a_bad_value_is_told_with_its_path_and_itself(path, value):
    """The operator sees where and what."""
    message = fault(changed(FLEET, *path, value=value))

    assert f"file.yaml: {'.'.join(path)}: " in message
    assert f"got {value!r}" in message


def test_every_fault_of_a_file_is_told_at_once():
    """One start names them all."""
    data = changed(changed(FLEET, "naame", value=1), "lanes", "chat", "replicas", value=0)

    assert len(fault(data).splitlines()) == 2


@pytest.mark.parametrize("role", ["default", "complex", "long_context", "tools"])
def test_routing_to_a_disabled_lane_is_refused(role):
    """Routing names lanes that run."""
    message = fault(changed(FLEET, "routing", role, value="spare"))

    assert f"routing.{role}: 'spare' is not an enabled lane" in message


def test_routing_to_an_unknown_lane_suggests_one():
    """The nearest enabled lane is named."""
    message = fault(changed(FLEET, "routing", "complex", value="qualty"))

    assert "'qualty' is not an enabled lane; did you mean 'quality'?" in message


@pytest.mark.parametrize("name", ["model", "served_model_name", "max_model_len", "api_key"])
def test_engine_args_may_not_set_what_pointsman_sets(name):
    """Two places for one setting would disagree."""
    message = fault(changed(FLEET, "lanes", "chat", "engine_args", value={name: "x"}))

    assert f"lanes.chat.engine_args: '{name}' is set by Pointsman" in message


def test_only_enabled_lanes_run():
    """A disabled lane stays in the file and out of the fleet."""
    fleet = validate(FLEET, FleetConfig, "file.yaml")

    assert list(fleet.enabled_lanes) == ["chat", "quality"]
    assert fleet.lanes["chat"].tensor_parallel_size == 1


def test_two_keys_with_one_id_are_refused():
    """An id finds one key, across tenants."""
    key = make_key()[1].model_dump()
    data = changed(TENANTS, "tenants", "acme", "keys", value=[key])
    data = changed(data, "tenants", "other", value={"tier": "free", "keys": [key]})

    assert "two keys have the same id" in fault(data, TenantsConfig)


def test_a_tenant_of_an_unknown_tier_is_refused():
    """The tenant, the tier and the nearest tier are named."""
    message = fault(changed(TENANTS, "tenants", "acme", "tier", value="paidd"), TenantsConfig)

    assert "tenants.acme.tier: no tier 'paidd'; did you mean 'paid'?" in message


def test_an_unknown_local_tenant_is_refused():
    """The local tenant is one of the tenants."""
    message = fault(changed(TENANTS, "local_tenant", value="acne"), TenantsConfig)

    assert "local_tenant: no tenant 'acne'; did you mean 'acme'?" in message


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, CeilingConfig(80, 1000, None)),
        ({"tokens_per_second": 40}, CeilingConfig(40, 1000, None)),
        ({"requests_per_minute": 5}, CeilingConfig(80, 1000, 5)),
        ({"tokens_per_minute": None}, CeilingConfig(80, None, None)),
    ],
    ids=["inherited", "replaced", "added", "lifted"],
)
def test_a_tenant_s_ceilings_replace_its_tier_s_field_by_field(own, expected):
    """What a tenant does not say comes from its tier; `null` lifts a limit."""
    data = changed(TENANTS, "tenants", "acme", "ceilings", value=own)

    config = validate(data, TenantsConfig, "file.yaml")

    assert config.ceilings_of("acme") == expected


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, (QuotaConfig(500, None), TokenWeights(cached=0.1))),
        ({"tokens_per_month": 9000}, (QuotaConfig(500, 9000), TokenWeights(cached=0.1))),
        ({"tokens_per_day": None}, (QuotaConfig(), TokenWeights(cached=0.1))),
        ({"weights": {"completion": 4}}, (QuotaConfig(500, None), TokenWeights(completion=4))),
    ],
    ids=["inherited", "added", "lifted", "weights as a whole"],
)
def test_a_tenant_s_quotas_replace_its_tier_s_field_by_field(own, expected):
    """As its ceilings do; weights are one field."""
    limits = {"tokens_per_day": 500, "weights": {"cached": 0.1}}
    tier = TENANTS["tenants"]["acme"]["tier"]
    data = changed(TENANTS, "tiers", tier, "ceilings", value=limits)
    data = changed(data, "tenants", "acme", "ceilings", value=own)

    config = validate(data, TenantsConfig, "file.yaml")

    assert (config.quotas_of("acme"), config.weights_of("acme")) == expected


@pytest.mark.parametrize(
    ("tier", "own", "expected"),
    [
        ({}, {}, {}),
        ({"escalation_budget": 0.02}, {}, {"quality": 0.02}),
        ({"escalation_budget": 0.02}, {"escalation_budget": 0.1}, {"quality": 0.1}),
        ({}, {"frontier_budget": 0.0}, {"top": 0.0}),
    ],
    ids=["the lane's share", "the tier's", "the tenant's own", "of the frontier lane"],
)
def test_a_tenant_becomes_the_rules_that_routing_reads(tier, own, expected):
    """Lanes, default lane and budgets by lane cross the boundary, nothing else."""
    data = copy.deepcopy(TENANTS)
    name = data["tenants"]["acme"]["tier"]
    data["tiers"][name] |= {"lanes": ["chat"], "default_lane": "chat", **tier}
    data["tenants"]["acme"] |= own

    rules = validate(data, TenantsConfig, "file.yaml").rules_of("acme", "quality", "top")

    assert rules == TierRules(frozenset({"chat"}), "chat", expected)


def test_a_budget_for_a_lane_that_the_fleet_lacks_is_left_out():
    """A tenants file may serve several fleets."""
    data = changed(TENANTS, "tenants", "acme", "frontier_budget", value=0.01)

    rules = validate(data, TenantsConfig, "file.yaml").rules_of("acme", "quality", None)

    assert rules.budgets == {}


def test_a_good_file_loads(tmp_path):
    """YAML in, frozen model out."""
    path = tmp_path / "fleet.yaml"
    path.write_text(yaml.safe_dump(FLEET))

    assert load_yaml(path, FleetConfig) == validate(FLEET, FleetConfig, "x")


@pytest.mark.parametrize(
    ("text", "told"),
    [("a: [", "is not YAML"), ("- 1", "should be a mapping, is list"), ("", "is NoneType")],
)
def test_a_file_that_is_no_mapping_is_told_by_its_path(tmp_path, text, told):
    """Syntax faults name the file too."""
    path = tmp_path / "fleet.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError, match=told) as caught:
        load_yaml(path, FleetConfig)

    assert str(caught.value).startswith(f"{path}: ")


def test_a_missing_file_is_told_by_its_path(tmp_path):
    """The operator sees which file is missing."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml(tmp_path / "none.yaml", FleetConfig)


def test_the_nearest_name_is_offered_only_when_it_is_near():
    """Half of the letters have to agree."""
    assert nearest("defaultt", ["default", "complex"]) == "; did you mean 'default'?"
    assert nearest("xyz", ["default", "complex"]) == ""


@pytest.mark.parametrize(
    ("tier", "own", "days"),
    [(None, None, 0), (7, None, 7), (7, 30, 30), (7, 0, 0), (None, 3, 3)],
    ids=["off", "inherited", "replaced", "lifted", "own"],
)
@pytest.mark.parametrize("what", ["prompts", "traces"])
def test_prompts_and_traces_are_kept_only_where_tier_or_tenant_says_so(tier, own, days, what):
    """Off unless somebody wrote it; the tenant's word counts over its tier's."""
    data = TENANTS
    for path, value in ((("tiers", "paid"), tier), (("tenants", "acme"), own)):
        if value is not None:
            data = changed(data, *path, f"keep_{what}_days", value=value)

    config = validate(data, TenantsConfig, "file.yaml")

    kept = {"prompts": config.keep_prompts_days_of, "traces": config.keep_traces_days_of}
    assert kept.pop(what)("acme") == days
    (other,) = kept.values()
    assert other("acme") == 0


HISTORY = {"high_tokens": 4096, "low_tokens": 2048}


@pytest.mark.parametrize(
    ("tier", "own", "high"),
    [
        ({}, {}, None),
        ({"history": HISTORY}, {}, 4096),
        ({"history": HISTORY}, {"history": {"high_tokens": 99}}, 99),
        ({"history": HISTORY}, {"history": None}, None),
        ({}, {"history": HISTORY}, 4096),
    ],
    ids=["off", "the tier's", "the tenant's own", "lifted", "the tenant's alone"],
)
def test_a_tenant_s_history_replaces_its_tier_s_as_a_whole(tier, own, high):
    """Two marks belong together; `null` lifts the cap."""
    data = copy.deepcopy(TENANTS)
    data["tiers"]["paid"] |= tier
    data["tenants"]["acme"] |= own

    history = validate(data, TenantsConfig, "file.yaml").history_of("acme")

    assert (history.high_tokens if history else None) == high


KV = {"tokens_per_tenant": 8192, "tokens_per_session": 4096}


@pytest.mark.parametrize(
    ("tier", "own", "expected"),
    [
        ({}, {}, None),
        ({"kv": KV}, {}, (8192, 4096)),
        ({"kv": KV}, {"kv": {"tokens_per_session": 99}}, (None, 99)),
        ({"kv": KV}, {"kv": None}, None),
        ({}, {"kv": KV}, (8192, 4096)),
    ],
    ids=["off", "the tier's", "the tenant's own", "lifted", "the tenant's alone"],
)
def test_a_tenant_s_kv_budget_replaces_its_tier_s_as_a_whole(tier, own, expected):
    """As its history does."""
    data = copy.deepcopy(TENANTS)
    data["tiers"]["paid"] |= tier
    data["tenants"]["acme"] |= own

    kv = validate(data, TenantsConfig, "file.yaml").kv_of("acme")

    assert (None if kv is None else (kv.tokens_per_tenant, kv.tokens_per_session)) == expected


@pytest.mark.parametrize(
    ("tier", "told"),
    [
        ({"kv": {"tokens_per_tenant": 10, "tokens_per_session": 11}}, "over tokens_per_tenant"),
        ({"kv": {"tokens_per_sesion": 11}}, "tokens_per_session"),
        ({"kv": {"tokens_per_tenant": 0}}, "greater than or equal to 1"),
        ({"kv": {"tokens_per_session": 900}, "history": {"high_tokens": 900}}, "high_tokens"),
    ],
)
def test_a_kv_budget_that_makes_no_sense_stops_the_start(tier, told):
    """With what is wrong with it."""
    data = copy.deepcopy(TENANTS)
    data["tiers"]["paid"] |= tier

    with pytest.raises(ConfigError, match=told):
        validate(data, TenantsConfig, "file.yaml")


def test_the_low_mark_is_half_of_the_high_one_unless_it_is_set():
    """So that the prefix stays the same while the history doubles."""
    data = changed(TENANTS, "tiers", "paid", "history", value={"high_tokens": 1000})

    history = validate(data, TenantsConfig, "file.yaml").history_of("acme")

    assert history.budget == HistoryBudget(1000, 500)


@pytest.mark.parametrize(
    ("history", "told"),
    [
        ({"high_token": 1000}, "unknown key; did you mean 'high_tokens'?"),
        ({"high_tokens": 1000, "low_tokens": 1000}, "low_tokens must be under high_tokens"),
        ({"high_tokens": 1000, "low_tokens": 0}, "got 0"),
        ({"high_tokens": 1000, "mode": "forget"}, "got 'forget'"),
        ({"high_tokens": 1000, "summary": {}}, "summary is for 'mode: summarise'"),
        ({"low_tokens": 1000}, "high_tokens"),
    ],
)
def test_a_history_that_cannot_be_kept_stops_the_start(history, told):
    """Marks in order, modes that exist."""
    assert told in fault(changed(TENANTS, "tiers", "paid", "history", value=history), TenantsConfig)


@pytest.mark.parametrize(
    ("path", "suggested"),
    [
        (("feedback", "request_ttl"), "request_ttl_days"),
        (("request_log", "max_byte"), "max_bytes"),
        (("traces", "max_body_byte"), "max_body_bytes"),
    ],
)
def test_feedback_request_log_and_traces_are_strict_too(path, suggested):
    """As every mapping of the fleet file."""
    assert f"did you mean '{suggested}'?" in fault(changed(FLEET, *path, value=1))


@pytest.mark.parametrize("name", ["os", "os:", ":f", "a b:f", "a:f()"])
def test_a_redaction_names_a_function_of_a_module(name):
    assert "traces.redact" in fault(changed(FLEET, "traces", "redact", value=name))


def test_the_request_log_is_off_unless_it_has_a_path():
    """Nothing is logged that nobody asked for."""
    assert validate(FLEET, FleetConfig, "file.yaml").request_log.path is None


@pytest.mark.parametrize(
    ("listed", "fleet"),
    [
        ("GPU 0: NVIDIA GeForce RTX 4090 (UUID: GPU-1)\n", "rtx4090"),
        (
            "GPU 0: NVIDIA L4 (UUID: GPU-1)\nGPU 1: NVIDIA GeForce RTX 4090 (UUID: GPU-2)\n",
            "rtx4090",
        ),
        ("GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-1)\n", "local"),
        ("", "local"),
    ],
)
def test_the_fleet_that_is_chosen_has_its_kind_of_card(monkeypatch, listed, fleet):
    """Ray would never place a lane that asks for a card that nobody has."""
    monkeypatch.setattr(settings, "gpus", lambda: listed)

    assert settings.fleet_path("auto").stem == fleet


def test_nobody_is_given_up_sooner_than_is_documented():
    """What a fleet file leaves out: those of the end-to-end tests are impatient."""
    fleet = validate(FLEET, FleetConfig, "file.yaml")
    lane, timeouts = fleet.lanes["chat"], fleet.timeouts

    assert (timeouts.read_s, timeouts.keepalive_s) == (300, 15)
    assert (lane.silent_after_s, lane.drain_s) == (30, 900)
    assert (fleet.ingress.silent_after_s, fleet.ingress.graceful_shutdown_timeout_s) == (15, 900)
    assert (fleet.warm_up.ask_within_s, fleet.limits.body_silence_s) == (2, 10)
    assert (fleet.ledger.lease_s, fleet.ledger.grace_s) == (10, 12)
