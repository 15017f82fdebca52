"""Every file under configs/fleets: schema, routing, placement and memory."""

import json
from pathlib import Path

import pytest

from fleet.memory.checkpoint.config_json import shape_of
from fleet.memory.models import known_models
from fleet.memory.shape import ModelShape
from serve_app.config.errors import ConfigError, validate
from serve_app.config.fleet import FleetConfig
from serve_app.config.lane import LaneConfig
from serve_app.config.profiles import PROFILES
from serve_app.config.settings import load_fleet
from serve_app.doctor.fit.reckoning import reckon
from simulator.model.profile import profile_path

FLEETS = sorted(Path(__file__).parents[3].glob("configs/fleets/*.yaml"))
FIXTURES = Path(__file__).parent / "fixtures"
RTX4090 = load_fleet(next(path for path in FLEETS if path.stem == "rtx4090"))
LANES = sorted(RTX4090.lanes.items())

# Ray 2.60's own models still pass pydantic arguments that pydantic 2 deprecates.
importing_ray = pytest.mark.filterwarnings(
    "ignore:Using extra keyword arguments:pydantic.warnings.PydanticDeprecatedSince20"
)

CARD_BYTES = 24_564 * 2**20

every_lane = pytest.mark.parametrize(("name", "lane"), LANES, ids=[name for name, _ in LANES])


def fixture_of(lane: LaneConfig) -> Path:
    """The fixture directory with the config.json of the lane's checkpoint."""
    checkpoints = json.loads((FIXTURES / "checkpoints.json").read_text())
    return FIXTURES / checkpoints[lane.model_source]["fixture"]


def shape_of_fixture(lane: LaneConfig) -> ModelShape:
    return shape_of(json.loads((fixture_of(lane) / "config.json").read_text()))


def pool_tokens(lane: LaneConfig) -> float:
    return reckon(lane, shape_of_fixture(lane), CARD_BYTES).pool_tokens


@pytest.mark.parametrize("path", FLEETS, ids=[path.stem for path in FLEETS])
@pytest.mark.parametrize("name", ["claude-opus-4-8", "claude-haiku-4-5", "gpt-5.1-codex"])
def test_the_names_that_coding_clients_ask_for_are_known(path, name):
    """Clients that are told no model ask for their makers'."""
    aliases = load_fleet(path).known_aliases

    assert aliases.find(name) is not None
    assert all(listed.startswith("claude-") for listed in aliases.listed)


@pytest.mark.parametrize("path", FLEETS, ids=[path.stem for path in FLEETS])
def test_file_fits_the_schema(path):
    fleet = load_fleet(path)
    roles = ("default", "complex", "long_context", "tools")
    named = {role: getattr(fleet.routing, role) for role in roles}
    assert {name for name in named.values() if name} <= set(fleet.enabled_lanes)
    # Pins by model id would be ambiguous, today or once a lane is switched on.
    model_ids = [lane.model_id for lane in fleet.lanes.values()]
    assert len(set(model_ids)) == len(model_ids)
    # A lane's name may be pinned as well.
    assert not set(model_ids) & set(fleet.lanes)


def test_routing_to_a_lane_that_is_off_is_refused():
    data = RTX4090.model_dump()
    data["routing"]["complex"] = "heavy"
    with pytest.raises(ConfigError, match=r"routing\.complex"):
        validate(data, FleetConfig, "test")


def test_lanes_that_are_off_have_a_role_that_waits_for_them():
    """Switching one on is all that there is to do."""
    waiting = {sentence.split(":")[0] for sentence in RTX4090.idle_roles}
    roles = ("planning", "sub_agents", "background", "languages", "tool_fallback")
    assert waiting == {f"routing.{role}" for role in roles}

    data = RTX4090.model_dump()
    for lane in data["lanes"].values():
        lane["enabled"] = True
    told = validate(data, FleetConfig, "test").idle_roles

    # No parser reads Phi-3: sub-agents with tools go elsewhere.
    assert [sentence.split(" calls no tools")[0] for sentence in told] == [
        "routing.sub_agents: lane 'phi3_mini'"
    ]


def test_what_is_on():
    assert list(RTX4090.enabled_lanes) == ["chat", "quality", "agent", "long_context"]
    assert sum(lane.tensor_parallel_size for lane in RTX4090.enabled_lanes.values()) == 4
    for lane in RTX4090.lanes.values():
        assert lane.required == lane.enabled
    assert RTX4090.routing.escalation_share == 0.03
    assert RTX4090.ingress.replicas == 2


@every_lane
def test_what_no_lane_may_lose(name, lane):
    assert lane.engine == "vllm"
    assert {
        "kv_cache_dtype": "fp8",
        "enable_chunked_prefill": True,
        "enable_prefix_caching": True,
        "max_num_batched_tokens": 4096,
        "gpu_memory_utilization": 0.92,
        "scheduling_policy": "priority",
        "enable_prompt_tokens_details": True,
    }.items() <= lane.engine_args.items()
    assert "max_num_seqs" in lane.engine_args
    assert lane.engine_args.get("enable_auto_tool_choice", False) == (
        "tool_call_parser" in lane.engine_args
    )


@every_lane
def test_every_card_has_a_second_level(name, lane):
    assert lane.host_kv_cache == "auto"


def test_tools_go_to_a_lane_that_takes_them():
    tools = RTX4090.lanes[RTX4090.routing.tools]
    assert tools.engine_args["tool_call_parser"] == "hermes"


@pytest.mark.slow
@importing_ray
@every_lane
def test_start_time_out_reaches_the_engine(name, lane):
    """Ray reads its time-out from the replica's environment."""
    from serve_app.engine.vllm_lane import llm_config

    config = llm_config(lane, lane.model_source, {})

    assert config.runtime_env["env_vars"]["RAYLLM_ENGINE_START_TIMEOUT_S"] == str(
        int(lane.start_timeout_s)
    )


def test_no_secret_in_the_files():
    for path in FLEETS:
        assert "hf_" not in path.read_text()
        assert not any(
            "TOKEN" in key for lane in load_fleet(path).lanes.values() for key in lane.env
        )


@importing_ray
@every_lane
def test_one_bundle_a_card(name, lane):
    from serve_app.app import placement_bundles

    card = {"CPU": 1, "GPU": 1, "accelerator_type:GeForce-RTX-4090": 0.001}
    assert placement_bundles(lane) == [card] * lane.tensor_parallel_size


@importing_ray
def test_ray_names_the_card_so():
    from ray._private.accelerators.nvidia_gpu import NvidiaGPUAcceleratorManager

    kind = NvidiaGPUAcceleratorManager._gpu_name_to_accelerator_type("NVIDIA GeForce RTX 4090")
    assert kind == "GeForce-RTX-4090"


def test_two_card_lanes():
    lanes = {name for name, lane in LANES if lane.tensor_parallel_size == 2}
    assert lanes == {"frontier", "mixtral"}


@pytest.mark.parametrize("hub_id", json.loads((FIXTURES / "checkpoints.json").read_text()))
def test_fixture_has_the_published_number_of_parameters(hub_id):
    entry = json.loads((FIXTURES / "checkpoints.json").read_text())[hub_id]
    config = json.loads((FIXTURES / entry["fixture"] / "config.json").read_text())
    assert shape_of(config).parameters / 1e9 == pytest.approx(
        entry["parameters_billion"], rel=0.002
    )


@every_lane
def test_weights_and_one_full_window_fit_the_card(name, lane):
    """Reckoned from the fixtures, never measured on a card; see the table in the YAML."""
    assert pool_tokens(lane) >= lane.max_model_len


@pytest.mark.parametrize("name", ["frontier", "mixtral"])
def test_one_card_would_be_too_small(name):
    lane = RTX4090.lanes[name]
    alone = lane.model_copy(update={"engine_args": {**lane.engine_args, "tensor_parallel_size": 1}})
    assert pool_tokens(alone) < 0


def test_a_wider_window_than_the_pool_is_found():
    heavy = RTX4090.lanes["heavy"].model_copy(update={"max_model_len": 32_768})
    assert pool_tokens(heavy) < heavy.max_model_len


@every_lane
def test_the_shipped_table_of_models_has_the_sizes_of_their_files(name, lane):
    """What `pointsman doctor` reckons with before a download."""
    assert known_models()[lane.model_source].shape == shape_of_fixture(lane)
    assert profile_path(PROFILES[lane.model_source]).is_file()
