"""Weights, overhead and KV cache of an engine against its card, before anything is loaded.

vLLM gives what `gpu_memory_utilization` allows to weights and overhead first; the rest is
the KV pool, and it does not start where the pool is smaller than one full window.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleet.memory.quantisation import WEIGHT_BITS
from fleet.memory.shape import ModelShape, NotReckoned

GIB = 2**30
MIB = 2**20

DEFAULT_UTILIZATION = 0.92
"""vLLM 0.29.0's own."""

KV_BYTES = {"fp8": 1.0, "fp8_e4m3": 1.0, "fp8_e5m2": 1.0, "float16": 2.0, "bfloat16": 2.0}
DTYPE_BYTES = {"float32": 4, "float": 4}
"""Others, and what `auto` makes of the checkpoints of today, have 2."""


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """The settings of an engine that decide about memory, by vLLM's names.

    Attributes:
        quantization: as the engine is told; None: as the checkpoint is.
        dtype: of weights that are not quantised, and of the KV cache where that is `auto`.
        kv_cache_memory_bytes: the pool, where it is given; None: what is left of the card.

    """

    quantization: str | None = None
    kv_cache_dtype: str = "auto"
    dtype: str = "auto"
    gpu_memory_utilization: float = DEFAULT_UTILIZATION
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    max_num_batched_tokens: int = 2048
    max_num_seqs: int = 256
    kv_cache_memory_bytes: int | None = None

    @property
    def cards(self) -> int:
        """Cards of one replica."""
        return self.tensor_parallel_size * self.pipeline_parallel_size

    @property
    def dtype_bytes(self) -> int:
        return DTYPE_BYTES.get(self.dtype, 2)


@dataclass(frozen=True, slots=True)
class Memory:
    """What one card of a replica holds, in bytes.

    Attributes:
        budget: what vLLM may use of the card.
        pool: what is left for KV; negative: weights and overhead do not fit.
        kv_per_token: on one card, while a token is in every layer's window.

    """

    card: int
    budget: float
    weights: float
    overhead: float
    pool: float
    kv_per_token: float

    @property
    def pool_tokens(self) -> float:
        """Tokens of short sessions in the pool of one replica; negative: the weights do not fit."""
        return self.pool / self.kv_per_token


def memory_of(shape: ModelShape, engine: EngineMemory, card_bytes: int) -> Memory:
    """Reckon an engine on cards of `card_bytes`, as nvidia-smi reports them.

    Raises:
        NotReckoned: its quantisation or the type of its KV is not known here.

    """
    budget = engine.gpu_memory_utilization * card_bytes
    weights = weight_bytes(shape, engine) / engine.cards
    overhead = overhead_bytes(shape, engine)
    given = engine.kv_cache_memory_bytes
    return Memory(
        card=card_bytes,
        budget=budget,
        weights=weights,
        overhead=overhead,
        pool=float(given) if given else budget - weights - overhead,
        kv_per_token=kv_bytes_per_token(shape, engine),
    )


def weight_bytes(shape: ModelShape, engine: EngineMemory) -> float:
    """Bytes of the loaded weights, over all cards of a replica."""
    return _bytes(shape, engine, shape.linear, shape.other)


def active_weight_bytes(shape: ModelShape, engine: EngineMemory) -> float:
    """Bytes of weights that one token's step reads, over all cards; experts' for a batch of one."""
    return _bytes(shape, engine, shape.active_linear, shape.other - shape.embedding)


def _bytes(shape: ModelShape, engine: EngineMemory, linear: int, other: int) -> float:
    wanted, bits = engine.quantization, shape.weight_bits
    if bits is None and wanted is not None:
        if wanted not in WEIGHT_BITS:
            raise NotReckoned(f"how large weights are as {wanted} is not known here")
        bits = WEIGHT_BITS[wanted]
    plain = 8 * engine.dtype_bytes
    return (linear * (bits or plain) + other * plain) / 8


def kv_bytes_per_token(shape: ModelShape, engine: EngineMemory) -> float:
    """Bytes on one card that a token takes while it is in every layer's window."""
    # Heads are copied where there are fewer than cards.
    split = engine.pipeline_parallel_size * min(engine.tensor_parallel_size, shape.kv_heads)
    return shape.kv_values_per_token() * kv_number_bytes(engine) / split


def kv_number_bytes(engine: EngineMemory) -> float:
    """Bytes of one number of the KV cache."""
    wanted = engine.kv_cache_dtype
    if wanted != "auto" and wanted not in KV_BYTES:
        raise NotReckoned(f"how large a KV cache of {wanted} is is not known here")
    return KV_BYTES.get(wanted) or engine.dtype_bytes


OVERHEAD_BYTES = 1.5 * GIB
OVERHEAD_OF_SEVERAL = 2.0 * GIB
"""CUDA context, activations of a 4,096-token step, CUDA graphs; with several cards NCCL's
buffers as well. A reckoning: the start-up log says what it is ("GPU KV cache size")."""


def overhead_bytes(shape: ModelShape, engine: EngineMemory) -> float:  # noqa: ARG001
    """Bytes of a card besides weights and KV."""
    return OVERHEAD_BYTES if engine.cards == 1 else OVERHEAD_OF_SEVERAL
