"""What a model weighs and what its KV cache takes, from its config.json.

Counted are the linear layers, which get quantised, and the rest (embeddings, output
head, routers of experts), which stays in 16 bits; norms and biases are too small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

AWQ_BITS = 4 + (16 + 4) / 128
"""4-bit weights, and for each group of 128 a 16-bit scale and a 4-bit zero."""

UNLIKE = ("kv_lora_rank", "layer_types", "linear_num_value_heads", "ssm_cfg", "mamba_d_state")
"""Keys of models whose cache is not K and V of every layer and token."""


class NotReckoned(Exception):
    """A model of a form that this does not reckon; the text says why."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of a decoder with grouped-query attention.

    Attributes:
        layers: with attention, all alike.
        head: dimensions of one head.
        intermediate: width of the MLP, of one expert where there are `experts`.
        is_tied: whether the output head is the embedding.
        method: how the checkpoint is quantised already, by vLLM's name; None: it is not.
        weight_bits: bits of a quantised weight with its scales; None: not quantised.
        window: tokens that the model reads at most.

    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    intermediate: int
    vocabulary: int
    window: int
    experts: int = 1
    is_tied: bool = False
    method: str | None = None
    weight_bits: float | None = None

    @property
    def linear(self) -> int:
        """Weights of the linear layers, the part that is quantised."""
        attention = 2 * self.hidden * self.head * (self.heads + self.kv_heads)
        mlp = self.experts * 3 * self.hidden * self.intermediate
        return self.layers * (attention + mlp)

    @property
    def other(self) -> int:
        """All other weights but the norms."""
        gate = self.layers * self.experts * self.hidden if self.experts > 1 else 0
        return (1 if self.is_tied else 2) * self.vocabulary * self.hidden + gate

    @property
    def parameters(self) -> int:
        return self.linear + self.other

    def kv_values_per_token(self) -> int:
        """Numbers that K and V of one token take, over all cards."""
        return 2 * self.layers * self.kv_heads * self.head


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
        method, bits = _quantised(config.get("quantization_config") or {})
        return ModelShape(
            hidden=hidden,
            layers=text["num_hidden_layers"],
            heads=heads,
            kv_heads=text.get("num_key_value_heads") or heads,
            head=text.get("head_dim") or hidden // heads,
            intermediate=text.get("moe_intermediate_size") or text["intermediate_size"],
            vocabulary=text["vocab_size"],
            window=int(text["max_position_embeddings"] * _stretch(text)),
            experts=text.get("num_local_experts") or text.get("num_experts") or 1,
            is_tied=bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", False))),
            method=method,
            weight_bits=bits,
        )
    except KeyError as error:
        raise NotReckoned(f"its config.json has no {error.args[0]}") from None


def _stretch(text: Mapping[str, Any]) -> float:
    """How many times its trained window a model reads, as vLLM takes it from `rope_scaling`."""
    scaling = text.get("rope_scaling") or text.get("rope_parameters") or {}
    kind = scaling.get("rope_type", scaling.get("type"))
    # Of the others the window is stretched already.
    return float(scaling.get("factor", 1)) if kind in ("yarn", "linear", "dynamic") else 1.0


def _quantised(told: Mapping[str, Any]) -> tuple[str | None, float | None]:
    """Name and bits of a checkpoint's own quantisation."""
    method = told.get("quant_method")
    if method is None:
        return None, None
    if method in ("awq", "gptq"):
        group = told.get("group_size") or 128
        return method, told.get("bits", 4) + (16 + told.get("bits", 4)) / max(group, 1)
    if method == "fp8":
        return method, 8.0
    raise NotReckoned(f"its weights are quantised as {method}, whose size is not reckoned")
