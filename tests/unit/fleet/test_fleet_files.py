"""Every file under configs/fleets: schema, routing, placement and memory."""

from pathlib import Path

import pytest

from fleet.cards.table import cards_by_kind
from fleet.memory.models import known_models
from fleet.memory.shape import ModelShape
from fleet.memory.table import Row, table_of
from serve_app.config.errors import ConfigError, validate
from serve_app.config.fleet import FleetConfig
from serve_app.config.lane import LaneConfig
from serve_app.config.profiles import PROFILES
from serve_app.config.settings import load_fleet
from serve_app.doctor.check import Result
from serve_app.doctor.fit.cards import kind_of_lane
from serve_app.doctor.fit.checks import fit_of
from serve_app.doctor.fit.reckoning import engine_of, reckon
from simulator.model.profile import profile_path

FLEETS = sorted(Path(__file__).parents[3].glob("configs/fleets/*.yaml"))
RTX4090 = load_fleet(next(path for path in FLEETS if path.stem == "rtx4090"))
LANES = sorted(RTX4090.lanes.items())

# Ray 2.60's own models still pass pydantic arguments that pydantic 2 deprecates.
importing_ray = pytest.mark.filterwarnings(
    "ignore:Using extra keyword arguments:pydantic.warnings.PydanticDeprecatedSince20"
)

CARD_BYTES = 24_564 * 2**20

every_lane = pytest.mark.parametrize(("name", "lane"), LANES, ids=[name for name, _ in LANES])
every_fleet = pytest.mark.parametrize("path", FLEETS, ids=[path.stem for path in FLEETS])


def shape_of_table(lane: LaneConfig) -> ModelShape:
    return known_models()[lane.model_source].shape


def pool_tokens(lane: LaneConfig) -> float:
    return reckon(lane, shape_of_table(lane), CARD_BYTES).pool_tokens


def lanes_on_cards(path):
    """Lanes of a fleet file with the card that they are reckoned on; the starters on a 3090."""
    for name, lane in load_fleet(path).lanes.items():
        if lane.accelerator == "gpu":
            yield name, lane, cards_by_kind()[kind_of_lane(lane) or "GeForce-RTX-3090"]


@every_fleet
@pytest.mark.parametrize("name", ["claude-opus-4-8", "claude-haiku-4-5", "gpt-5.1-codex"])
def test_the_names_that_coding_clients_ask_for_are_known(path, name):
    """Clients that are told no model ask for their makers'."""
    aliases = load_fleet(path).known_aliases

    assert aliases.find(name) is not None
    assert all(listed.startswith("claude-") for listed in aliases.listed)


@every_fleet
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
    assert list(RTX4090.enabled_lanes) == ["chat", "quality", "agent", "free"]
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


@every_fleet
def test_weights_and_one_full_window_fit_the_card(path):
    """Reckoned, never measured on a card; see the table in the YAML."""
    for name, lane, card in lanes_on_cards(path):
        assert reckon(lane, shape_of_table(lane), card.memory_bytes).fits, name


@every_fleet
def test_the_table_at_the_head_of_a_fleet_is_what_is_reckoned(path):
    rows = [
        Row(name, shape_of_table(lane), engine_of(lane), lane.max_model_len, card.memory_bytes)
        for name, lane, card in lanes_on_cards(path)
    ]
    expected = table_of(rows) if rows else []
    text = path.read_text().splitlines()
    assert [line for line in text if line in expected] == expected


@every_fleet
def test_a_lane_is_advised_nothing_that_its_card_lacks(path):
    """FP8 begins with 8.9: a lane of an older card keeps 16 bits, or 8-bit integers."""
    for name, lane, card in lanes_on_cards(path):
        told = fit_of(name, lane, {})
        assert told.result in (Result.OK, Result.NOT_APPLICABLE), told
        if card.tflops_fp8 is None:
            assert "fp8" not in (
                lane.engine_args["kv_cache_dtype"],
                lane.engine_args.get("quantization"),
            )


@pytest.mark.parametrize("name", ["frontier", "mixtral"])
def test_one_card_would_be_too_small(name):
    lane = RTX4090.lanes[name]
    alone = lane.model_copy(update={"engine_args": {**lane.engine_args, "tensor_parallel_size": 1}})
    assert pool_tokens(alone) < 0


def test_a_wider_window_than_the_pool_is_found():
    heavy = RTX4090.lanes["heavy"].model_copy(update={"max_model_len": 32_768})
    assert pool_tokens(heavy) < heavy.max_model_len


@every_lane
def test_a_measured_lane_has_its_profile(name, lane):
    """No document has the free tier's model: its speed is the data sheet's."""
    if name != "free":
        assert profile_path(PROFILES[lane.model_source]).is_file()
