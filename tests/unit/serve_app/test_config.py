"""Configuration faults, told with the path, the value and the nearest name."""

import copy

import pytest
import yaml

from router.ceiling import CeilingConfig
from router.types import TierRules
from serve_app.auth import make_key
from serve_app.config_errors import ConfigError, load_yaml, nearest, validate
from serve_app.fleet_config import FleetConfig
from serve_app.tenant_config import TenantsConfig

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

    assert f"lanes.chat.engine_args: Value error, '{name}' is set by Pointsman" in message


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


def test_a_tier_becomes_the_rules_that_routing_reads():
    """Lanes and default lane cross the boundary, nothing else."""
    config = validate(TENANTS, TenantsConfig, "file.yaml")

    assert config.tiers["free"].rules() == TierRules(frozenset({"chat"}), "chat")


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
