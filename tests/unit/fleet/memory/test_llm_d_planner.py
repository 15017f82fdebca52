"""Memory as llm-d-planner 0.3.3 reckons it, and where the two differ.

It reads a config.json as well, and its constants of overhead are measured (vLLM 0.19 on an
H100 with 80 GB, 49 runs). Its weights come from the hub's metadata of safetensors, for which
there is no network here; they are compared where they follow from the count of parameters.
"""

from types import SimpleNamespace

import pytest
from planner import capacity_planner

from fleet.cards.table import cards
from fleet.memory.budget import GIB, EngineMemory, memory_of, overhead_bytes
from fleet.memory.models import known_models

H100 = cards()["h100"]
ON_H100 = EngineMemory(gpu_memory_utilization=0.9, max_num_batched_tokens=8192, max_num_seqs=1024)
"""vLLM's own settings there but for the utilisation."""

OTHERWISE = {
    # It counts every layer as if it kept every token; three of four keep a state.
    "Qwen/Qwen3.5-9B": 4,
    "Qwen/Qwen3.8-27B-FP8": 4,
    "Qwen/Qwen3.6-35B-A3B-FP8": 4,
    # It takes the heads of the layers with a window for those without: 60 x 16 x 512 against
    # 50 x 16 x 512 + 10 x 4 x 1,024, and 30 x 8 x 512 against 25 x 8 x 512 + 5 x 2 x 1,024.
    "google/gemma-4-31B-it": 491_520 / 450_560,
    "google/gemma-4-26B-A4B-it": 122_880 / 112_640,
}
"""How many times as much it says that a token takes. The engine that decides agrees with us on
each (tests/unit/fleet/test_engine_config.py asks vLLM's own grouping of layers)."""


def as_its_config(name):
    """Our table's config.json as the object that transformers would make of it."""
    config = known_models()[name].config
    text = {"head_dim": None, "dtype": "bfloat16", **config, **config.get("text_config", {})}
    if text["model_type"] == "gemma3_text":
        text["head_dim"] = text["head_dim"] or 256
    text.pop("text_config", None)
    told = {key: value for key, value in config.items() if value is not None}
    dtype = told.get("torch_dtype", "bfloat16")
    return SimpleNamespace(**{**told, "dtype": dtype, "text_config": SimpleNamespace(**text)})


@pytest.mark.parametrize("name", known_models())
def test_a_token_takes_as_many_bytes(name):
    theirs = capacity_planner.KVCacheDetail(name, as_its_config(name)).per_token_memory_bytes
    ours = memory_of(known_models()[name].shape, EngineMemory(), H100.memory_bytes).kv_per_token
    assert theirs / ours == pytest.approx(OTHERWISE.get(name, 1), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 1),
        ("deepseek-ai/DeepSeek-V3", 1),
        # Windows: 128 tokens in half of the layers, 1,024 in five of six.
        ("openai/gpt-oss-20b", 1.99),
        ("google/gemma-3-12b-it", 5.8),
    ],
)
def test_a_long_conversation_takes_less_where_layers_forget(name, times):
    """It leaves windows out; vLLM frees what is out of the window, so we count as it does."""
    theirs = capacity_planner.kv_cache_req(name, as_its_config(name), 131_072) * GIB
    memory = memory_of(known_models()[name].shape, EngineMemory(), H100.memory_bytes)
    assert theirs / memory.session_bytes(131_072) == pytest.approx(times, rel=0.05)


@pytest.mark.parametrize(
    ("name", "within_gib"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 0.05),
        ("Qwen/Qwen3-8B", 0.3),
        ("Qwen/Qwen3-14B", 0.3),
        ("casperhansen/mixtral-instruct-awq", 0.1),
        ("microsoft/Phi-3-mini-4k-instruct", 0.5),
        # Its constant is one for every Mixture of Experts of Qwen.
        ("Qwen/Qwen3-30B-A3B-Instruct-2507-FP8", 0.8),
        # A vocabulary of 262,144 takes more copies of its logits than our two. With the 32
        # sequences of a lane instead of 1,024 that is 0.03 GiB.
        ("google/gemma-3-12b-it", 1.1),
    ],
)
def test_overhead_is_near_what_it_has_measured(name, within_gib):
    activation = capacity_planner.estimate_vllm_activation_memory(
        SimpleNamespace(architectures=[_architecture(name)]), tp=1
    )
    theirs = activation + capacity_planner.estimate_vllm_non_torch_memory()
    ours = overhead_bytes(known_models()[name].shape, ON_H100) / GIB
    assert ours == pytest.approx(theirs, abs=within_gib)


def _architecture(name):
    found = known_models()[name].config["architectures"][0]
    return {"Gemma3ForConditionalGeneration": "Gemma3ForCausalLM"}.get(found, found)


def test_what_is_left_for_kv_on_an_h100(monkeypatch):
    name = "meta-llama/Llama-3.1-8B-Instruct"
    monkeypatch.setattr(
        capacity_planner, "model_params_by_dtype", lambda *_: {"BF16": 8_030_261_248}
    )
    theirs = capacity_planner.allocatable_kv_cache_memory(name, as_its_config(name), 80, 0.9)
    ours = memory_of(known_models()[name].shape, ON_H100, H100.memory_bytes).pool / GIB
    # It takes the card for 80 GiB; CUDA gives 79.2 out.
    assert theirs - ours == pytest.approx(0.9 * (80 - 79.18), abs=0.1)
