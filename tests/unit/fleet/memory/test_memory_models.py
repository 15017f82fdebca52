"""Shapes from config.json: weights, what the cache keeps, windows, formats."""

import json

import pytest

from fleet.memory.budget import GIB, EngineMemory, active_weight_bytes, weight_bytes
from fleet.memory.checkpoint.config_json import shape_of
from fleet.memory.models import find_shape, known_models
from fleet.memory.quantisation import quantised
from fleet.memory.shape import CacheLayers, NotReckoned

GB = 10**9
LLAMA = known_models()["meta-llama/Llama-3.1-8B-Instruct"].config


def shape(name):
    return known_models()[name].shape


@pytest.mark.parametrize("name", known_models())
def test_parameters_are_those_of_the_model(name):
    """Norms, biases, convolutions and projectors are what is missing."""
    published = known_models()[name].parameters_billion
    assert shape(name).parameters / 1e9 == pytest.approx(published, rel=0.005)


@pytest.mark.parametrize(
    ("name", "billion"),
    [
        # As their makers publish them, embeddings included.
        ("casperhansen/mixtral-instruct-awq", 12.9),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507-FP8", 3.3),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", 17),
        ("deepseek-ai/DeepSeek-V3", 37),
        ("Qwen/Qwen3-8B", 8.2),
    ],
)
def test_active_parameters_are_the_published_ones(name, billion):
    model = shape(name)
    assert (model.active_parameters - model.encoder) / 1e9 == pytest.approx(billion, rel=0.03)


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [
        # Sizes of the repositories on the hub.
        ("openai/gpt-oss-20b", 13.8),
        ("openai/gpt-oss-120b", 65.2),
        ("Qwen/Qwen3-14B-AWQ", 9.98),
        ("meta-llama/Llama-3.3-70B-Instruct", 141.1),
    ],
)
def test_weights_are_as_large_as_the_files(name, gigabytes):
    assert weight_bytes(shape(name), EngineMemory()) / GB == pytest.approx(gigabytes, rel=0.01)


def test_a_step_of_a_mixture_reads_the_experts_that_are_chosen():
    model, engine = shape("openai/gpt-oss-20b"), EngineMemory()
    assert active_weight_bytes(model, engine) / weight_bytes(model, engine) < 0.3


@pytest.mark.parametrize(
    ("name", "cache"),
    [
        ("deepseek-ai/DeepSeek-V3", [CacheLayers(61, 1, 512 + 64)]),
        ("openai/gpt-oss-20b", [CacheLayers(12, 8, 128, 128), CacheLayers(12, 8, 128)]),
        ("google/gemma-3-12b-it", [CacheLayers(40, 8, 512, 1024), CacheLayers(8, 8, 512)]),
        # Other heads where everything is kept.
        ("google/gemma-4-31B-it", [CacheLayers(50, 16, 512, 1024), CacheLayers(10, 4, 1024)]),
        (
            "meta-llama/Llama-4-Scout-17B-16E-Instruct",
            [CacheLayers(36, 8, 256, 8192), CacheLayers(12, 8, 256)],
        ),
        # A matrix of 128 x 128 in 32 bits for each of 32 heads, and three inputs of 8,192.
        (
            "Qwen/Qwen3.5-9B",
            [CacheLayers(24, 32, 0, None, 32 * 128**2 * 4 + 3 * 8192 * 2), CacheLayers(8, 4, 512)],
        ),
        # Its config.json has a window, and no layer that is without.
        ("microsoft/Phi-3-mini-4k-instruct", [CacheLayers(32, 32, 192, 2047)]),
        # A window that is not used.
        ("Qwen/Qwen2.5-14B-Instruct-AWQ", [CacheLayers(48, 8, 256)]),
    ],
)
def test_what_each_kind_of_layer_keeps(name, cache):
    assert list(shape(name).cache) == cache


@pytest.mark.parametrize(
    ("told", "bits"),
    [
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, 4.15625),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, 8.0),
        ({"quant_method": "fp8"}, 8.0),
        ({"quant_method": "mxfp4"}, 4.25),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, 4.5),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, 4.5),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, 8.0),
        (known_models()["RedHatAI/Qwen3-32B-NVFP4"].config["quantization_config"], 4.5),
        (
            known_models()["RedHatAI/gemma-3-27b-it-quantized.w4a16"].config["quantization_config"],
            4.125,
        ),
        ({}, None),
    ],
)
def test_bits_of_a_weight_with_its_scales(told, bits):
    assert quantised(told)[1] == bits


def test_what_a_checkpoint_leaves_out_stays_in_16_bits():
    """By name of each layer, or by a pattern for all."""
    awq = {"quant_method": "awq", "bits": 4, "group_size": 128}

    def weights(names):
        config = {**LLAMA, "quantization_config": {**awq, "modules_to_not_convert": names}}
        return weight_bytes(shape_of(config), EngineMemory())

    plain, half, none = (
        weights(["lm_head"]),
        weights([f"model.layers.{i}.self_attn.q_proj" for i in range(16)]),
        weights(["model.layers.*.self_attn"]),
    )
    assert none - plain == pytest.approx(2 * (half - plain))
    # 41.9 million weights of attention in each of 32 layers, in 16 bits instead of 4.16.
    assert (none - plain) / GB == pytest.approx(32 * 41.94e6 * (16 - 4.156) / 8 / GB, rel=1e-3)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({**LLAMA, "mamba_d_state": 128}, "state-space layers"),
        ({**LLAMA, "index_topk": 2048}, "second cache"),
        ({**LLAMA, "num_kv_shared_layers": 20}, "share their cache"),
        ({**LLAMA, "num_local_experts": 8}, "how many experts a token meets"),
        ({**LLAMA, "quantization_config": {"quant_method": "exl3"}}, "quantised as exl3"),
        ({**LLAMA, "quantization_config": {"quant_method": "compressed-tensors"}}, "no weights"),
        ({key: value for key, value in LLAMA.items() if key != "hidden_size"}, "no hidden_size"),
    ],
)
def test_what_is_made_otherwise_is_said_and_not_guessed(config, why):
    with pytest.raises(NotReckoned, match=why):
        shape_of(config)


def test_a_quantisation_that_nobody_knows_is_not_guessed():
    with pytest.raises(NotReckoned, match="as fp9"):
        weight_bytes(shape("Qwen/Qwen3-8B"), EngineMemory(quantization="fp9"))


def test_a_folder_counts_before_the_table(tmp_path):
    with pytest.raises(NotReckoned, match=r"hf download acme/unheard-of config\.json"):
        find_shape("acme/unheard-of")
    assert find_shape("Qwen/Qwen3-8B")[1] == "the shipped table"
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    assert find_shape(str(tmp_path)) == (shape_of(LLAMA), "its config.json")
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(NotReckoned, match="no JSON object"):
        find_shape(str(tmp_path))


def test_a_checkpoint_that_is_converted_while_it_loads_keeps_its_tables_in_16_bits():
    fp8 = weight_bytes(shape("Qwen/Qwen3-8B"), EngineMemory(quantization="fp8")) / GIB
    assert fp8 == pytest.approx(8.79, abs=0.01)
