"""What one engine step costs, in the form that kernel times have.

A step runs `p` prompt tokens of prefill (whose attention looks at `w` query-key pairs)
together with `b` decoding sequences that hold `c` context tokens in all:

    ms = fixed_ms + linear_ms(p + b) + sequence_us * b / 1e3
       + (prefill_pair_ns * w + context * c) / 1e6

`linear_ms` is the time of all layers' matrix products by tokens in the step: flat while
the weights' reading bounds it, then rising with arithmetic. `context` is `context_ns`
in a step that only decodes and `mixed_context_ns` in one that also prefills: decoding
sequences lose their own attention kernel there, which makes a token 1.7 times as dear.

`derive` makes such a cost from a data sheet's figures; `benchmarks/engine_truth.py`
fits one to measured kernels and judges both against a real run.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import hypot
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

LARGEST_STEP = 16384
"""Tokens of a step up to which `derive` gives points; past them the last slope goes on."""


class Points(dict[int, float]):
    """Points of a curve, and what was read off it: an engine's steps are of few sizes."""

    __slots__ = ("known",)

    def __init__(self, points: Mapping[int, float]) -> None:
        super().__init__(points)
        self.known: dict[float, float] = {}


Curve = Annotated[dict[int, float], Field(min_length=1), AfterValidator(Points)]


def interpolated(points: Mapping[int, float], x: float) -> float:
    """The value at `x`: level before the first point, the last slope past the last one."""
    if not isinstance(points, Points):
        return _interpolated(points, x)
    known = points.known.get(x)
    if known is None:
        known = points.known[x] = _interpolated(points, x)
    return known


def _interpolated(points: Mapping[int, float], x: float) -> float:
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

    linear_ms: Curve
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

    def decoding_s(self, batch: int, contexts: Iterable[int]) -> list[float]:
        """Seconds of steps that only decode, all of one batch: `seconds` for each context."""
        ms = self.fixed_ms + interpolated(self.linear_ms, batch)
        ms += self.sequence_us * batch / 1e3
        context_ns = self.context_ns
        return [(ms + context_ns * context / 1e6) / 1e3 for context in contexts]


def pairs(chunk: int, computed: int) -> float:
    """Pairs that a chunk's causal attention looks at, with `computed` tokens before it."""
    return chunk * (computed + (chunk + 1) / 2)


@dataclass(frozen=True, slots=True)
class Reached:
    """How much of a data sheet's figures kernels reach.

    The defaults are what the RTX 4090's kernel times in benchmarks/data/ reach with
    16-bit weights; `benchmarks/engine_truth.py` compares them with the fit.

    Attributes:
        flops: share of the dense FLOPs in large matrix products.
        attention_flops: share of the dense FLOPs in the attention of prefill.
        weights: share of the memory bandwidth in reading weights.
        kv: share of the memory bandwidth in reading KV.
        mixed_reads: how many times slower decoding reads its KV beside a prefill.
        step_ms: what every step costs besides.
        layer_us: what every layer costs besides, mostly starting attention.
        sequence_us: what each decoding sequence costs besides.

    """

    flops: float = 0.95
    attention_flops: float = 0.64
    weights: float = 0.91
    kv: float = 0.81
    mixed_reads: float = 1.7
    step_ms: float = 0.3
    layer_us: float = 14.5
    sequence_us: float = 5.5


KERNELS = Reached()


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
    reached: Reached = KERNELS,
) -> StepCost:
    """A step's cost from figures of data sheets: an estimate, not a measurement.

    Reading weights and arithmetic overlap, but not wholly: their times are added as the
    sides of a right triangle, which follows the kernels of the RTX 4090 within 17 %
    from 1 to 2,048 tokens, where the larger of both alone is 20 % short at 128.

    Args:
        flops_per_s: one card's dense FLOPs in the precision that products compute in.
        bandwidth_bytes_per_s: one card's memory bandwidth.
        weight_bytes: weights that a step reads when every expert has a token, head
            included (not the embedding table, of which a step reads a row a token).
        active_parameters: parameters that every token is multiplied with, head aside.
        kv_bytes_per_token: KV cache of one token, all layers.
        attention_width: heads times head size of the queries.
        layers: how many.
        routed_bytes: the part of `weight_bytes` that is routed experts.
        routed_share: share of the experts that one token goes to.
        cards: tensor-parallel size.
        link_bytes_per_s: bandwidth between cards, one way; None: not counted.
        hidden_size: width of what the cards exchange, at two bytes each.
        reached: how much of the card's figures is reached.

    """
    flops, bandwidth = flops_per_s * cards, bandwidth_bytes_per_s * cards
    # Two all-reduces a layer; in each a card sends 2 (n - 1) / n of the bytes.
    exchanged = 2 * layers * hidden_size * 2 * 2 * (cards - 1) / cards
    exchange_s = exchanged / link_bytes_per_s if link_bytes_per_s else 0.0

    def linear_ms(tokens: int) -> float:
        # An expert is read as soon as one of the tokens goes to it.
        untouched = routed_bytes * (1 - routed_share) ** tokens
        reading = (weight_bytes - untouched) / (bandwidth * reached.weights)
        arithmetic = 2 * active_parameters * tokens / (flops * reached.flops)
        return 1e3 * (hypot(reading, arithmetic) + exchange_s * tokens)

    context_ns = 1e9 * kv_bytes_per_token / (bandwidth * reached.kv)
    return StepCost(
        linear_ms={1 << n: linear_ms(1 << n) for n in range(LARGEST_STEP.bit_length())},
        sequence_us=reached.sequence_us,
        prefill_pair_ns=1e9 * 4 * layers * attention_width / (flops * reached.attention_flops),
        context_ns=context_ns,
        mixed_context_ns=reached.mixed_reads * context_ns,
        fixed_ms=reached.step_ms + reached.layer_us * layers / 1e3,
    )
