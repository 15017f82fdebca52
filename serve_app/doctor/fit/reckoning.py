"""Weights, overhead and KV cache of a lane against its card, before anything is loaded.

vLLM gives what `gpu_memory_utilization` allows to weights and overhead first; the rest is
the KV pool, and it does not start where the pool is smaller than one full window.
"""

from __future__ import annotations

from dataclasses import dataclass

from serve_app.config.lane import DEFAULT_SLOTS, LaneConfig
from serve_app.doctor.fit.shape import AWQ_BITS, ModelShape, NotReckoned

GIB = 2**30

OVERHEAD_BYTES = {1: 1.5 * GIB}
OVERHEAD_OF_SEVERAL = 2.0 * GIB
"""CUDA context, activations of a 4,096-token step, CUDA graphs; with several cards NCCL's
buffers as well. A reckoning: the start-up log says what it is ("GPU KV cache size")."""

DEFAULT_UTILIZATION = 0.92
"""vLLM 0.29.0's own."""

WEIGHT_BITS = {
    "fp8": 8.0,
    "fp8_per_tensor": 8.0,
    "fp8_per_block": 8.0,
    "fp8_per_channel": 8.0,
    "awq": AWQ_BITS,
    "awq_marlin": AWQ_BITS,
    "auto_awq": AWQ_BITS,
    "gptq": AWQ_BITS,
    "gptq_marlin": AWQ_BITS,
    "auto_gptq": AWQ_BITS,
    "int8_per_channel_weight_only": 8.0,
}
KV_BYTES = {"fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1, "float16": 2, "bfloat16": 2}
DTYPE_BYTES = {"float32": 4, "float": 4}
"""Others, and what `auto` makes of the checkpoints of today, have 2."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What one card of a lane holds, in bytes, and how many tokens are left for KV.

    Attributes:
        budget: what vLLM may use of the card.
        pool: what is left for KV; negative: weights and overhead do not fit.
        kv_per_token: on one card.
        window: tokens of one full window.
        slots: sequences that run at once.

    """

    card: int
    budget: float
    weights: float
    overhead: float
    pool: float
    kv_per_token: float
    window: int
    slots: int

    @property
    def pool_tokens(self) -> float:
        """Tokens that fit in the KV pool of one replica; negative: the weights do not."""
        return self.pool / self.kv_per_token

    @property
    def fits(self) -> bool:
        """Whether vLLM starts: one full window has room."""
        return self.pool_tokens >= self.window

    @property
    def tokens_each(self) -> float:
        """Tokens for each sequence when all slots are taken."""
        return self.pool_tokens / self.slots


def reckon(lane: LaneConfig, shape: ModelShape, card_bytes: int) -> Fit:
    """Reckon a lane on a card.

    Raises:
        NotReckoned: its quantisation or the type of its KV is not known here.

    """
    args, cards = lane.engine_args, lane.tensor_parallel_size
    budget = float(args.get("gpu_memory_utilization") or DEFAULT_UTILIZATION) * card_bytes
    weights = weight_bytes(lane, shape) / lane.workers
    overhead = OVERHEAD_BYTES.get(lane.workers, OVERHEAD_OF_SEVERAL)
    given = args.get("kv_cache_memory_bytes")
    return Fit(
        card=card_bytes,
        budget=budget,
        weights=weights,
        overhead=overhead,
        pool=float(given) if given else budget - weights - overhead,
        # Heads are copied where there are fewer than cards.
        kv_per_token=kv_bytes(lane, shape) / (lane.workers // cards) / min(cards, shape.kv_heads),
        window=lane.max_model_len,
        slots=lane.max_num_seqs or DEFAULT_SLOTS,
    )


def weight_bytes(lane: LaneConfig, shape: ModelShape) -> float:
    """Bytes of the loaded weights, over all cards."""
    wanted = lane.engine_args.get("quantization")
    bits = shape.weight_bits
    if bits is None and wanted is not None:
        if wanted not in WEIGHT_BITS:
            raise NotReckoned(f"how large weights are as {wanted} is not known here")
        bits = WEIGHT_BITS[wanted]
    plain = 8 * _dtype_bytes(lane)
    return (shape.linear * (bits or plain) + shape.other * plain) / 8


def kv_bytes(lane: LaneConfig, shape: ModelShape) -> int:
    """Bytes that K and V of one token take, over all cards."""
    wanted = str(lane.engine_args.get("kv_cache_dtype") or "auto")
    if wanted != "auto" and wanted not in KV_BYTES:
        raise NotReckoned(f"how large a KV cache of {wanted} is is not known here")
    each = KV_BYTES.get(wanted) or _dtype_bytes(lane)
    return shape.kv_values_per_token() * each


def _dtype_bytes(lane: LaneConfig) -> int:
    return DTYPE_BYTES.get(str(lane.engine_args.get("dtype")), 2)
