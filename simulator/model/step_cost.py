"""What one engine step costs, in the form that kernel times have.

A step runs `p` prompt tokens of prefill (whose attention looks at `w` query-key pairs)
together with `b` decoding sequences that hold `c` context tokens in all:

    ms = fixed_ms + linear_ms(p + b) + sequence_us * b / 1e3
       + (prefill_pair_ns * w + context * c) / 1e6

`linear_ms` is the time of all layers' matrix products by tokens in the step: flat while
the weights' reading bounds it, then rising with arithmetic. `context` is `context_ns`
in a step that only decodes and `mixed_context_ns` in one that also prefills: decoding
sequences lose their own attention kernel there, which costs about twice as much a token.

`derive` makes such a cost from a data sheet's figures; `benchmarks/engine_truth.py`
fits one to measured kernels and judges both against a real run.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from itertools import pairwise
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

FLOPS_SHARE = 0.9
"""Share of a card's dense FLOPs that large matrix products reach; see `derive`."""

BANDWIDTH_SHARE = 0.9
"""Share of a card's memory bandwidth that reading weights and KV reaches; see `derive`."""

MIXED_READS = 2.0
"""How many times slower decoding reads its KV beside a prefill (FlashAttention 2)."""

FIXED_MS = 1.0
"""Time of a step that is neither matrix product nor attention."""

LARGEST_STEP = 16384
"""Tokens of a step up to which `derive` gives points; past them the last slope goes on."""


def interpolated(points: Mapping[int, float], x: float) -> float:
    """The value at `x`: level before the first point, the last slope past the last one."""
    at = list(points)
    index = bisect_left(at, x)
    if index == 0 or len(at) == 1:
        return points[at[0]]
    index = min(index, len(at) - 1)
    low, high = at[index - 1], at[index]
    return points[low] + (points[high] - points[low]) * (x - low) / (high - low)


def rises(points: Mapping[int, float]) -> bool:
    """Whether both the keys (from 1 on) and the positive values ascend."""
    pairs = list(points.items())
    are_positive = all(at >= 1 and value > 0 for at, value in pairs)
    return are_positive and all(a[0] < b[0] and a[1] <= b[1] for a, b in pairwise(pairs))


class StepCost(BaseModel):
    """Cost of an engine's step; the module's docstring has the formula.

    Attributes:
        linear_ms: time in ms of all layers' matrix products by tokens in the step.
        sequence_us: head and sampler, for each decoding sequence.
        prefill_pair_ns: attention of prefill, for each pair of a new token and one that
            it looks at (all layers).
        context_ns: attention of decoding, for each context token (all layers).
        mixed_context_ns: the same in a step that also prefills.
        fixed_ms: what every step costs besides.

    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    linear_ms: dict[int, float] = Field(min_length=1)
    sequence_us: float = Field(0, ge=0)
    prefill_pair_ns: float = Field(0, ge=0)
    context_ns: float = Field(0, ge=0)
    mixed_context_ns: float = Field(0, ge=0)
    fixed_ms: float = Field(0, ge=0)

    @model_validator(mode="after")
    def _curve_rises(self) -> Self:
        if not rises(self.linear_ms):
            raise ValueError("linear_ms: tokens from 1 on and positive times, both of which ascend")
        return self

    def seconds(self, prefill_tokens: int, prefill_pairs: float, batch: int, context: int) -> float:
        """Seconds of one step.

        Args:
            prefill_tokens: prompt tokens computed in the step.
            prefill_pairs: pairs of such a token and one that it looks at (`pairs`).
            batch: sequences that decode one token each.
            context: tokens that those hold in the KV cache, together.

        """
        context_ns = self.mixed_context_ns if prefill_tokens else self.context_ns
        ms = self.fixed_ms + interpolated(self.linear_ms, prefill_tokens + batch)
        ms += self.sequence_us * batch / 1e3
        return (ms + (self.prefill_pair_ns * prefill_pairs + context_ns * context) / 1e6) / 1e3


def pairs(chunk: int, computed: int) -> float:
    """Pairs that a chunk's causal attention looks at, with `computed` tokens before it."""
    return chunk * (computed + (chunk + 1) / 2)


def derive(
    *,
    flops_per_s: float,
    bandwidth_bytes_per_s: float,
    weight_bytes: float,
    active_parameters: float,
    kv_bytes_per_token: float,
    attention_width: int,
    layers: int,
    routed_bytes: float = 0.0,
    routed_share: float = 1.0,
    cards: int = 1,
    link_bytes_per_s: float | None = None,
    hidden_size: int = 0,
    flops_share: float = FLOPS_SHARE,
    bandwidth_share: float = BANDWIDTH_SHARE,
    fixed_ms: float = FIXED_MS,
) -> StepCost:
    """A step's cost by the roofline, from figures of data sheets: an estimate.

    Args:
        flops_per_s: one card's dense FLOPs in the precision that the weights compute in.
        bandwidth_bytes_per_s: one card's memory bandwidth.
        weight_bytes: all weights that a step reads when every expert has a token (not
            the embedding table, of which a step reads a row a token).
        active_parameters: parameters that one token is multiplied with.
        kv_bytes_per_token: KV cache of one token, all layers.
        attention_width: heads times head size of the queries.
        layers: how many.
        routed_bytes: the part of `weight_bytes` that is routed experts.
        routed_share: share of the experts that one token goes to.
        cards: tensor-parallel size.
        link_bytes_per_s: bandwidth between cards, one way; None: not counted.
        hidden_size: width of what the cards exchange, at two bytes each.
        flops_share: share of the FLOPs that is reached.
        bandwidth_share: share of the bandwidth that is reached.
        fixed_ms: what every step costs besides.

    """
    flops = flops_per_s * flops_share * cards
    bandwidth = bandwidth_bytes_per_s * bandwidth_share * cards
    # Two all-reduces a layer; each sends 2 (n - 1) / n of its bytes.
    exchanged = 2 * layers * hidden_size * 2 * 2 * (cards - 1) / cards
    exchange_s = exchanged / link_bytes_per_s if link_bytes_per_s else 0.0

    def linear_ms(tokens: int) -> float:
        untouched = routed_bytes * (1 - routed_share) ** tokens
        reading = (weight_bytes - untouched) / bandwidth
        return 1e3 * (max(reading, 2 * active_parameters * tokens / flops) + exchange_s * tokens)

    context_ns = 1e9 * kv_bytes_per_token / bandwidth
    return StepCost(
        linear_ms={
            at: linear_ms(at) for at in _points(weight_bytes, active_parameters, flops, bandwidth)
        },
        prefill_pair_ns=1e9 * 4 * layers * attention_width / flops,
        context_ns=context_ns,
        mixed_context_ns=MIXED_READS * context_ns,
        fixed_ms=fixed_ms,
    )


def _points(weight_bytes: float, parameters: float, flops: float, bandwidth: float) -> list[int]:
    """Powers of two, and the token count from which arithmetic binds."""
    knee = max(1, round(weight_bytes / bandwidth * flops / (2 * parameters)))
    powers = [2**n for n in range(LARGEST_STEP.bit_length())]
    return sorted({*powers, knee})
