"""Every lane of the shipped fleets builds the pinned vLLM's engine configuration.

Checked, by vLLM's and Ray's own code on the path that production takes (LLMConfig,
VLLMEngineConfig, AsyncEngineArgs, `create_engine_config`, FrontendArgs): every flag
exists, its value has the right type, the tool parser is registered, the quantisation
exists and agrees with the checkpoint's `quantization_config`, the window is within
the model's limit, heads divide among the cards, the scheduler's numbers agree.

Not checked, because nothing here has a GPU, the hub or weights: kernels and the
choice of the attention backend, downloading, the FP8 conversion, tokenizers and chat
templates, real memory use. The configurations are those of fleet/memory/known_models.yaml,
so a change of a checkpoint on the hub does not show; a Mistral repository's params.json,
which vLLM prefers where there is one, is not part of them.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from fleet.memory.budget import GIB, memory_of
from fleet.memory.models import known_models
from serve_app.config.settings import load_fleet
from serve_app.doctor.fit.cards import KIND
from serve_app.doctor.fit.reckoning import engine_of
from serve_app.engine.cards.own_cards import WORKER_EXTENSION
from serve_app.engine.engine_stats import LEVELS, READ, REASONS

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
FLEETS = {path.stem: load_fleet(path) for path in sorted(ROOT.glob("configs/fleets/*.yaml"))}
FLEET = FLEETS["rtx4090"]
LANES = {
    f"{fleet} {name}": lane
    for fleet, config in FLEETS.items()
    for name, lane in config.lanes.items()
    if lane.accelerator == "gpu"
}

# Kinds of layers that no shipped lane has: two shapes of heads, latent vectors, chunks.
OTHERS = (
    "google/gemma-4-31B-it",
    "google/gemma-4-26B-A4B-it",
    "deepseek-ai/DeepSeek-V2-Lite-Chat",
    "meta-llama/Llama-4-Scout-17B-16E-Instruct",
)
OTHER_LANES = {
    source: LANES["one_card chat"].model_copy(
        update={
            "model_source": source,
            "max_model_len": 65_536,
            "engine_args": {"max_num_batched_tokens": 4096, "enable_prompt_tokens_details": True},
        }
    )
    for source in OTHERS
}

# Changes to a lane, and what the refusal must name.
FAULTS = {
    "misspelt flag": ("chat", {"enable_prefix_cachng": True}, "enable_prefix_cachng"),
    "flag that is gone": ("chat", {"disable_log_requests": True}, "disable_log_requests"),
    "wrong type": ("chat", {"max_num_seqs": "many"}, "max_num_seqs"),
    "unknown parser": ("agent", {"tool_call_parser": "hermess"}, "hermess"),
    "unknown quantisation": ("chat", {"quantization": "fp9"}, "fp9"),
    "quantisation of another checkpoint": ("quality", {"quantization": "fp8"}, "does not match"),
    "unknown KV type": ("chat", {"kv_cache_dtype": "fp7"}, "cache_dtype"),
    "unknown policy": ("chat", {"scheduling_policy": "fair"}, "policy"),
    "window over the model's limit": ("quality", {"max_model_len": 65_536}, "max_model_len"),
    "window over a long model's limit": ("chat", {"max_model_len": 131_073}, "max_model_len"),
    "heads do not divide": ("frontier", {"tensor_parallel_size": 3}, "divisible"),
    "prefill cap over the window": (
        "chat",
        {"long_prefill_token_threshold": 8_193},
        "long_prefill_token_threshold",
    ),
}


MARKS = ["<think>", "</think>", "<|channel|>", "<|message|>", "<|start|>", "<|end|>", "assistant"]
TOKENIZER = Tokenizer(WordLevel({mark: i for i, mark in enumerate(["?", *MARKS])}, unk_token="?"))
TOKENIZER.add_special_tokens(MARKS)
"""What reasoning parsers look for; tokenizers themselves are not checked here."""


def _case(name, lane, folder):
    source = folder / lane["model_source"].replace("/", "--")
    source.mkdir(exist_ok=True)
    config = known_models()[lane["model_source"]].config
    (source / "config.json").write_text(json.dumps(config))
    TOKENIZER.save(str(source / "tokenizer.json"))
    (source / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"})
    )
    kinds = [key for key in lane["bundle"] if key.startswith(KIND)]
    kind = kinds[0].removeprefix(KIND) if kinds else "GeForce-RTX-3090"
    return {"name": name, "lane": lane, "source": str(source), "kind": kind}


def _changed(name, changes):
    lane = FLEET.lanes[name].model_dump()
    for key, value in changes.items():
        if key in ("max_model_len", "host_kv_cache", "revision", "media_hosts"):
            lane[key] = value
        else:
            lane["engine_args"][key] = value
    return lane


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Results of all cases, from one process: importing vLLM is most of the time."""
    folder = tmp_path_factory.mktemp("engine")
    lanes = {name: lane.model_dump() for name, lane in (LANES | OTHER_LANES).items()}
    lanes["pinned"] = _changed(
        "chat", {"revision": "v1.0", "media_hosts": ["media.example.com:8443"]}
    )
    lanes["no second level"] = _changed("chat", {"host_kv_cache": None})
    lanes |= {fault: _changed(name, changes) for fault, (name, changes, _) in FAULTS.items()}
    cases = {name: _case(name, lane, folder) for name, lane in lanes.items()}
    asked, answered = folder / "cases.json", folder / "results.json"
    asked.write_text(json.dumps(list(cases.values())))
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("VLLM_", "RAY_", "RAYLLM_", "HF_", "CUDA_"))
    }
    done = subprocess.run(
        [sys.executable, str(HERE / "engine_check.py"), str(asked), str(answered)],
        env=inherited
        | {
            "PYTHONPATH": str(ROOT),
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(folder / "hub"),
            "VLLM_CACHE_ROOT": str(folder / "cache"),
            "VLLM_NO_USAGE_STATS": "1",
            "CUDA_VISIBLE_DEVICES": "0,1",
        },
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(zip(cases, json.loads(answered.read_text()), strict=True))


QUANTIZATION = {
    "awq_marlin": "auto_awq",
    "modelopt": "modelopt_fp4",
    "mxfp4": "gpt_oss_mxfp4",
}
"""The pinned vLLM's one name for each, whichever way the checkpoint is asked for."""


@pytest.mark.parametrize("name", LANES)
def test_lane_builds_its_engine_configuration(results, name):
    lane, result = LANES[name], results[name]
    args = lane.engine_args
    assert "error" not in result, result["error"]
    shipped = known_models()[lane.model_source].shape.method
    method = args.get("quantization") or shipped
    assert result["quantization"] == QUANTIZATION.get(method, method)
    assert result["served"] == [lane.model_id]
    assert result["kv_cache_dtype"] == args["kv_cache_dtype"]
    assert result["prefix_caching"] is True
    assert result["chunked_prefill"] is True
    assert result["memory"] == args["gpu_memory_utilization"]
    assert result["blocks_override"] is None
    assert result["batched_tokens"] == args["max_num_batched_tokens"]
    assert result["seqs"] == args["max_num_seqs"]
    assert result["policy"] == "priority"
    assert result["max_model_len"] == lane.max_model_len
    assert result["tensor_parallel"] == lane.tensor_parallel_size
    assert result["prompt_tokens_details"] is True
    assert result["tool_parser"] == args.get("tool_call_parser")
    assert result["reasoning_parser"] == args.get("reasoning_parser", "")
    # An empty list would let it fetch from everywhere.
    assert result["media_domains"] == ["/nowhere"]
    # What Ray reserves is what Pointsman says it does.
    assert result["bundles"] == [lane.bundle] * lane.tensor_parallel_size


@pytest.mark.parametrize("name", [name for name, lane in LANES.items() if lane.host_kv_cache])
def test_a_second_level_is_vllm_s_own_offloading(results, name):
    """12 GiB a card of a host with 128 GiB and four cards."""
    gib = {1: 12, 2: 25}[LANES[name].tensor_parallel_size]
    assert results[name]["offload"] == ["OffloadingConnector", "kv_both", gib]


@pytest.mark.parametrize("name", LANES | OTHER_LANES)
def test_the_pool_is_dealt_out_as_fleet_memory_reckons(results, name):
    """Heads over cards, windows, states and types of KV: vLLM's own count of windows."""
    lane = (LANES | OTHER_LANES)[name]
    assert "error" not in results[name], results[name]["error"]
    found = results[name]["kv"]
    shape = known_models()[lane.model_source].shape
    memory = memory_of(shape, replace(engine_of(lane), kv_cache_memory_bytes=8 * GIB), 0)
    assert found["block_bytes"] == pytest.approx(memory.layout.block_bytes, rel=2e-3)
    windows = 8 * GIB / memory.window_bytes(lane.max_model_len)
    assert found["windows"] == pytest.approx(windows, rel=0.005)


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_refused(results, fault):
    assert FAULTS[fault][2] in results[fault].get("error", "accepted")


def test_without_a_second_level_there_is_no_connector(results):
    assert results["no second level"]["offload"] is None


def test_what_is_pinned_and_listed_reaches_the_engine(results):
    assert results["pinned"]["revisions"] == ["v1.0", "v1.0"]
    assert results["pinned"]["media_domains"] == ["media.example.com"]


def test_every_source_of_prompt_tokens_has_its_level(results):
    """A source that a new vLLM adds would be missing from the sum."""
    assert set(results["rtx4090 chat"]["sources"]) == set(LEVELS)


def test_what_is_read_of_an_engine_is_what_it_shows(results):
    """Under these names, and the cache's figures because it is told to keep them."""
    samples = set(results["rtx4090 chat"]["samples"])

    assert set(READ) <= samples
    by_reason = {x for x in samples if x.startswith("vllm:num_requests_waiting_by_reason:")}
    assert {x.rpartition(":")[2] for x in by_reason} == set(REASONS)
    assert {"vllm:prompt_tokens_by_source_total", "vllm:cache_config_info"} <= samples
    assert {results[name]["worker_extension"] for name in LANES} == {WORKER_EXTENSION}


def test_a_parser_of_every_lane_with_tools_is_registered(results):
    parsers = {lane.engine_args.get("tool_call_parser") for lane in LANES.values()}
    assert parsers == {"hermes", "llama3_json", "mistral", "openai", "qwen3_coder", None}
    # `results` holds vLLM's verdict on each of them; an unknown one is refused.
    assert not any("error" in results[name] for name in LANES)
    assert "invalid tool call parser" in results["unknown parser"]["error"]
