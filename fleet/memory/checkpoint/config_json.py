"""A model's shape from its config.json.

Counted are the linear layers, which get quantised, and the rest (embeddings, output
head, routers of experts, encoders of images), which stays in 16 bits; norms, biases and
convolutions are too small.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from fleet.memory.checkpoint.layers import LINEAR, attention_of, cache_of, experts_of, kinds_of
from fleet.memory.quantisation import quantised
from fleet.memory.shape import ModelShape, NotReckoned

UNLIKE = {
    "ssm_cfg": "state-space layers",
    "mamba_d_state": "state-space layers",
    "mamba_num_heads": "state-space layers",
    "index_topk": "a second cache that chooses what is attended to",
    "hidden_size_per_layer_input": "embeddings of every layer",
    "num_kv_shared_layers": "layers that share their cache",
    "is_encoder_decoder": "an encoder",
}
"""Keys of models that are made otherwise, and what they have."""

_GEMMA = {"tie_word_embeddings": True, "head_dim": 256}
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "gemma2": {**_GEMMA, "sliding_window_pattern": 2},
    "gemma3_text": {
        **_GEMMA,
        "sliding_window_pattern": 6,
        "max_position_embeddings": 131_072,
        "vocab_size": 262_208,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
    },
    "gemma4_text": {**_GEMMA, "sliding_window_pattern": 6},
}
"""What transformers 5 fills in where the config.json of such a model is silent."""


def shape_of(config: Mapping[str, Any]) -> ModelShape:
    """Read a checkpoint's config.json.

    Raises:
        NotReckoned: it is of another form, or lacks a size.

    """
    own = config.get("text_config", {})
    kind = own.get("model_type", config.get("model_type"))
    text = {**DEFAULTS.get(kind, {}), **config, **own, "model_type": kind}
    unlike = next((told for key, told in UNLIKE.items() if text.get(key)), None)
    if unlike is not None:
        raise NotReckoned(f"a model with {unlike} is not reckoned")
    try:
        return _shape(text, config.get("vision_config") or {})
    except KeyError as error:
        raise NotReckoned(f"its config.json has no {error.args[0]}") from None


def _shape(text: Mapping[str, Any], vision: Mapping[str, Any]) -> ModelShape:
    kinds = kinds_of(text)
    attention = {kind: attention_of(text, kind) for kind in set(kinds)}
    mlps = [experts_of(text, layer) for layer in range(len(kinds))]
    told = text.get("quantization_config") or {}
    method, bits = quantised(told)
    plain = sum(attention[kind] * _left_out(told, kind, kinds) for kind in kinds) if method else 0
    table = text["vocab_size"] * text["hidden_size"]
    is_tied = bool(text.get("tie_word_embeddings", False))
    encoder = _encoder(vision)
    projections = sum(attention[kind] for kind in kinds) - int(plain)
    return ModelShape(
        hidden=text["hidden_size"],
        heads=text["num_attention_heads"],
        vocabulary=text["vocab_size"],
        window=_window(text),
        cache=tuple(cache_of(text, kind, count) for kind, count in Counter(kinds).items()),
        linear=projections + sum(mlp.weights for mlp in mlps),
        active_linear=projections + sum(mlp.active for mlp in mlps),
        other=(1 if is_tied else 2) * table + sum(x.router for x in mlps) + encoder + int(plain),
        embedding=0 if is_tied else table,
        encoder=encoder,
        method=method,
        weight_bits=bits,
    )


def _left_out(told: Mapping[str, Any], kind: str, kinds: list[str]) -> float:
    """Share of the attention layers of a kind that a checkpoint leaves in 16 bits."""
    lists = (told.get(key) for key in ("modules_to_not_convert", "ignore", "ignored_layers"))
    names = [str(name) for names in lists for name in names or ()]
    part = "linear_attn" if kind == LINEAR else "self_attn"
    return _share([name for name in names if part in name], kinds.count(kind))


def _share(names: Iterable[str], of: int) -> float:
    """Names are of one layer each, or a pattern for all."""
    layers = set()
    for name in names:
        found = re.search(r"layers\.(\d+)\.", name)
        if found is None:
            return 1.0
        layers.add(found[1])
    return min(1.0, len(layers) / of)


def _encoder(vision: Mapping[str, Any]) -> int:
    """An encoder of images: a plain transformer, or with gated MLPs (Pixtral)."""
    if not vision:
        return 0
    hidden = vision["hidden_size"]
    layers = vision.get("num_hidden_layers") or vision["depth"]
    matrices = 3 if vision.get("model_type") in ("pixtral", "gemma4_vision") else 2
    return int(layers * hidden * (4 * hidden + matrices * vision["intermediate_size"]))


def _window(text: Mapping[str, Any]) -> int:
    """Tokens that vLLM lets the model read: its trained window, stretched as its rotation is."""
    longest: int = text["max_position_embeddings"]
    scaling = text.get("rope_scaling") or text.get("rope_parameters") or {}
    kind = scaling.get("rope_type", scaling.get("type"))
    # Of the others, and of Gemma 3, the configured window is the stretched one.
    if kind not in ("yarn", "linear", "dynamic") or text.get("model_type") == "gemma3_text":
        return longest
    if kind == "yarn":
        longest = scaling.get("original_max_position_embeddings") or longest
    return int(longest * scaling.get("factor", 1))
