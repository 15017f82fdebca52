"""A model's shape from its config.json.

Counted are the linear layers, which get quantised, and the rest (embeddings, output
head, routers of experts), which stays in 16 bits; norms and biases are too small.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet.memory.quantisation import quantised
from fleet.memory.shape import CacheLayers, ModelShape, NotReckoned

UNLIKE = ("kv_lora_rank", "layer_types", "linear_num_value_heads", "ssm_cfg", "mamba_d_state")
"""Keys of models whose cache is not K and V of every layer and token."""


def shape_of(config: Mapping[str, Any]) -> ModelShape:
    """Read a checkpoint's config.json.

    Raises:
        NotReckoned: it is of another form, or lacks a size.

    """
    text = config.get("text_config", config)
    unlike = next((key for key in UNLIKE if text.get(key)), None)
    if unlike is not None:
        raise NotReckoned(f"its cache is not plain K and V of every layer ({unlike})")
    try:
        hidden, heads = text["hidden_size"], text["num_attention_heads"]
        layers, vocabulary = text["num_hidden_layers"], text["vocab_size"]
        kv_heads = text.get("num_key_value_heads") or heads
        head = text.get("head_dim") or hidden // heads
        width = text.get("moe_intermediate_size") or text["intermediate_size"]
        window = int(text["max_position_embeddings"] * _stretch(text))
    except KeyError as error:
        raise NotReckoned(f"its config.json has no {error.args[0]}") from None
    experts = text.get("num_local_experts") or text.get("num_experts") or 1
    chosen = text.get("num_experts_per_tok", experts) if experts > 1 else 1
    tied = bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", False)))
    method, bits = quantised(config.get("quantization_config") or {})
    attention = 2 * hidden * head * (heads + kv_heads)
    expert = 3 * hidden * width
    gate = layers * experts * hidden if experts > 1 else 0
    return ModelShape(
        hidden=hidden,
        heads=heads,
        vocabulary=vocabulary,
        window=window,
        cache=(CacheLayers(layers, kv_heads, 2 * head),),
        linear=layers * (attention + experts * expert),
        active_linear=layers * (attention + chosen * expert),
        other=(1 if tied else 2) * vocabulary * hidden + gate,
        embedding=0 if tied else vocabulary * hidden,
        method=method,
        weight_bits=bits,
    )


def _stretch(text: Mapping[str, Any]) -> float:
    """How many times its trained window a model reads, as vLLM takes it from `rope_scaling`."""
    scaling = text.get("rope_scaling") or text.get("rope_parameters") or {}
    kind = scaling.get("rope_type", scaling.get("type"))
    # Of the others the window is stretched already.
    return float(scaling.get("factor", 1)) if kind in ("yarn", "linear", "dynamic") else 1.0
