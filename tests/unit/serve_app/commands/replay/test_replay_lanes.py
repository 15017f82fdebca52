"""Lanes by what their engines run with."""

import pytest

from serve_app.commands.client import CommandError
from serve_app.commands.replay.lanes import facts_of, pair_of
from serve_app.config.lane import LaneConfig
from serve_app.config.settings import fleet_path, load_fleet


def lane(source="meta-llama/Llama-3.1-8B-Instruct", **engine_args):
    return LaneConfig(
        model_id=source, model_source=source, accelerator="gpu", max_model_len=8192,
        engine_args=engine_args,
    )  # fmt: skip


LANES = {
    "chat": lane(kv_cache_dtype="fp8"),
    "plain": lane(),
    "awq": lane("Qwen/14B-AWQ", quantization="awq_marlin", kv_cache_dtype="fp8_e4m3"),
    "qwen": lane("Qwen/14B", dtype="bfloat16"),
}


def test_names_are_names() -> None:
    assert pair_of("chat, quality", {}) == ("chat", "quality")


@pytest.mark.parametrize(
    ("given", "pair"),
    [
        ("kv=fp8,plain", ("chat", "plain")),
        ("weights=awq,weights=16bit", ("awq", "qwen")),
        ("weights=16bit,weights=16bit", None),
        ("weights=awq,dtype=bfloat16", ("awq", "qwen")),
        ("kv=fp8,kv=16bit", ("chat", "plain")),
        ("kv=fp8_e4m3,qwen", ("awq", "qwen")),
    ],
)
def test_a_description_finds_the_pair_of_one_model(given, pair) -> None:
    if pair is None:
        with pytest.raises(CommandError, match="name them"):
            pair_of(given, LANES)
    else:
        assert pair_of(given, LANES) == pair


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("kv=int4,chat", "no lane is that. The lanes: chat .kv=fp8, weights=16bit, dtype=auto."),
        ("cache=fp8,chat", "one of kv, weights, dtype"),
        ("chat", "say CANDIDATE,INCUMBENT"),
        ("kv=fp8,", "say CANDIDATE,INCUMBENT"),
    ],
)
def test_what_fits_no_lane_lists_them(given, why) -> None:
    with pytest.raises(CommandError, match=why):
        pair_of(given, LANES)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic", "meta-llama/Llama-3.1-8B-Instruct", 1),
        ("Qwen/Qwen2.5-14B-Instruct-AWQ", "/models/Qwen2.5-14B-Instruct/", 1),
        ("x/Model-w4a16", "x/Model-8bit", 1),
        ("Qwen/Qwen2.5-14B-Instruct-AWQ", "Qwen/Qwen2.5-7B-Instruct", 0),
        ("Qwen/Qwen2.5-14B-Instruct-AWQ", "Qwen/Qwen2.5-14B", 0),
    ],
)
def test_a_quantised_checkpoint_is_of_the_model_that_its_name_says(one, other, is_same) -> None:
    """A third lane, of another model, fits the description as well."""
    lanes = {
        "small": lane(one, quantization="fp8"),
        "whole": lane(other),
        "chat": lane("a/Other-9B"),
    }

    if is_same:
        assert pair_of("weights=fp8,weights=16bit", lanes) == ("small", "whole")
    else:
        with pytest.raises(CommandError, match="no two lanes of one model"):
            pair_of("weights=fp8,weights=16bit", lanes)


def test_the_shipped_fleets_lanes_are_what_their_file_says() -> None:
    lanes = load_fleet(fleet_path("rtx4090")).lanes

    assert facts_of(lanes["chat"]) == {"kv": "fp8", "weights": "fp8", "dtype": "auto"}
    assert facts_of(lanes["quality"])["weights"] == "awq_marlin"
    local = load_fleet(fleet_path("local")).lanes["chat"]
    assert facts_of(local) == {"kv": "32bit", "weights": "32bit", "dtype": "float32"}
