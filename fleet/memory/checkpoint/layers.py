"""Weights of a decoder's layers, part by part, from the keys of its config.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet.memory.shape import CacheLayers, NotReckoned

FULL, SLIDING, CHUNKED, LINEAR = (
    "full_attention",
    "sliding_attention",
    "chunked_attention",
    "linear_attention",
)


@dataclass(frozen=True, slots=True)
class Experts:
    """The mixture of one layer's MLP: weights of all, and of those that one token meets."""

    weights: int
    active: int
    router: int


def kinds_of(text: Mapping[str, Any]) -> list[str]:
    """What each layer attends to, as vLLM takes it from the configuration."""
    count = text["num_hidden_layers"]
    if told := text.get("layer_types"):
        return list(told)[:count]
    if every := text.get("full_attention_interval"):
        return [LINEAR if (i + 1) % every else FULL for i in range(count)]
    if every := text.get("sliding_window_pattern"):
        return [SLIDING if (i + 1) % every else FULL for i in range(count)]
    if text.get("attention_chunk_size"):
        # Llama 4: every fourth layer is without positions, and reads everything.
        return [CHUNKED if (i + 1) % 4 else FULL for i in range(count)]
    is_sliding = text.get("sliding_window") and text.get("use_sliding_window", True)
    return [SLIDING if is_sliding else FULL] * count


def cache_of(text: Mapping[str, Any], kind: str, count: int) -> CacheLayers:
    """What `count` layers of one kind keep."""
    if kind == LINEAR:
        return CacheLayers(count, text["linear_num_value_heads"], 0, state_bytes=_state(text))
    window = {SLIDING: "sliding_window", CHUNKED: "attention_chunk_size"}.get(kind)
    if rank := text.get("kv_lora_rank"):
        return CacheLayers(count, 1, rank + text["qk_rope_head_dim"])
    _, kv_heads, head = heads_of(text, kind)
    return CacheLayers(count, kv_heads, 2 * head, text[window] if window else None)


def _state(text: Mapping[str, Any]) -> int:
    """Bytes of a gated delta net: its convolution's inputs in 16 bits, and a matrix a head."""
    keys = text["linear_num_key_heads"] * text["linear_key_head_dim"]
    values = text["linear_num_value_heads"] * text["linear_value_head_dim"]
    convolution = (2 * keys + values) * (text["linear_conv_kernel_dim"] - 1) * 2
    number = 4 if text.get("mamba_ssm_dtype") == "float32" else 2
    return int(convolution + values * text["linear_key_head_dim"] * number)


def heads_of(text: Mapping[str, Any], kind: str) -> tuple[int, int, int]:
    """Attention heads, KV heads and width of a head; Gemma 4 has others where all is kept."""
    heads: int = text["num_attention_heads"]
    kv_heads = text.get("num_key_value_heads") or heads
    head = text.get("head_dim") or text["hidden_size"] // heads
    if kind == FULL:
        kv_heads = text.get("num_global_key_value_heads") or kv_heads
        head = text.get("global_head_dim") or head
    return heads, kv_heads, head


def attention_of(text: Mapping[str, Any], kind: str) -> int:
    """Weights of one layer's attention."""
    hidden: int = text["hidden_size"]
    if kind == LINEAR:
        keys = text["linear_num_key_heads"] * text["linear_key_head_dim"]
        values = text["linear_num_value_heads"] * text["linear_value_head_dim"]
        return hidden * int(2 * keys + 3 * values + 2 * text["linear_num_value_heads"])
    if text.get("kv_lora_rank"):
        return _latent(text)
    heads, kv_heads, head = heads_of(text, kind)
    gate = heads if text.get("attn_output_gate") else 0
    # Gemma 4's widest layers have no projection of values: keys are read as such.
    pairs = 1 if text.get("attention_k_eq_v") and kind == FULL else 2
    return hidden * head * (2 * heads + gate + pairs * kv_heads)


def _latent(text: Mapping[str, Any]) -> int:
    """Multi-head latent attention, as DeepSeek V2 and V3 have it."""
    hidden, heads, rank = text["hidden_size"], text["num_attention_heads"], text["kv_lora_rank"]
    plain, rope, value = text["qk_nope_head_dim"], text["qk_rope_head_dim"], text["v_head_dim"]
    query = heads * (plain + rope)
    q_rank = text.get("q_lora_rank")
    queries = q_rank * (hidden + query) if q_rank else hidden * query
    keys = hidden * (rank + rope) + rank * heads * (plain + value)
    return int(queries + keys + heads * value * hidden)


def experts_of(text: Mapping[str, Any], layer: int) -> Experts:
    """The MLP of one layer; one expert where there is no mixture."""
    hidden: int = text["hidden_size"]
    count = _first(text, "num_experts", "num_local_experts", "n_routed_experts") or 1
    if count == 1 or not _is_sparse(text, layer):
        width = text.get("intermediate_size_mlp") or text["intermediate_size"]
        dense = 3 * hidden * width
        return Experts(dense, dense, 0)
    one = 3 * hidden * (text.get("moe_intermediate_size") or text["intermediate_size"])
    chosen = _first(text, "num_experts_per_tok", "top_k_experts", "experts_per_token")
    if chosen is None:
        raise NotReckoned("its config.json does not tell how many experts a token meets")
    shared = _shared(text, hidden, one)
    return Experts(count * one + shared, chosen * one + shared, count * hidden)


def _shared(text: Mapping[str, Any], hidden: int, one: int) -> int:
    """What every token meets besides the experts that are chosen."""
    if width := text.get("shared_expert_intermediate_size"):
        return 3 * hidden * int(width)
    if text.get("enable_moe_block") or text.get("model_type") == "llama4_text":
        return 3 * hidden * int(text["intermediate_size"])
    return int(text.get("n_shared_experts") or 0) * one


def _is_sparse(text: Mapping[str, Any], layer: int) -> bool:
    if layer < (text.get("first_k_dense_replace") or 0):
        return False
    if layer in (text.get("mlp_only_layers") or ()):
        return False
    step = _first(text, "decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_freq") or 1
    return (layer + 1) % step == 0


def _first(text: Mapping[str, Any], *keys: str) -> int | None:
    return next((text[key] for key in keys if text.get(key)), None)
