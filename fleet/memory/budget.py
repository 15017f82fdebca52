"""Weights, overhead and KV cache of an engine against its card, before anything is loaded.

vLLM gives what `gpu_memory_utilization` allows to weights and overhead first; the rest is
the KV pool, and it does not start where the pool is smaller than one full window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fleet.memory.kv_pool import KvLayout, Layers, layout_of
from fleet.memory.quantisation import NVFP4_BITS, WEIGHT_BITS
from fleet.memory.shape import CacheLayers, ModelShape, NotReckoned

GIB = 2**30
MIB = 2**20

DEFAULT_UTILIZATION = 0.92
"""vLLM 0.29.0's own."""

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
    enable_prefix_caching: bool = True

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
        layout: how the pool is dealt out.
        in_flight: tokens that the engine reads at once.
        states: kept of one conversation by layers with linear attention.

    """

    card: int
    budget: float
    weights: float
    overhead: float
    pool: float
    kv_per_token: float
    layout: KvLayout
    in_flight: int
    states: int

    @property
    def pool_tokens(self) -> float:
        """Tokens of short sessions in the pool of one replica; negative: the weights do not fit."""
        return self.pool / self.kv_per_token

    def session_bytes(self, tokens: int) -> float:
        """Bytes of the pool that a session of so many tokens holds while it is answered."""
        return self.layout.blocks(tokens, states=self.states) * self.layout.block_bytes

    def sessions(self, tokens: int) -> float:
        """Sessions of so many tokens that the pool holds at once; negative: nothing fits."""
        return self.pool / self.session_bytes(tokens)

    def window_bytes(self, window: int) -> float:
        """Bytes of the pool that a prompt of a whole window holds while it is read."""
        return self.layout.blocks(window, self.in_flight, self.states) * self.layout.block_bytes

    def has_room_for(self, window: int) -> bool:
        """Whether vLLM starts with such a `max_model_len`: one prompt of it can be read."""
        return self.pool >= self.window_bytes(window)

    def logged_tokens(self, window: int) -> float:
        """What vLLM's log calls "GPU KV cache size" with such a `max_model_len`."""
        return self.pool / self.window_bytes(window) * window


def memory_of(shape: ModelShape, engine: EngineMemory, card_bytes: int) -> Memory:
    """Reckon an engine on cards of `card_bytes`, as nvidia-smi reports them.

    Raises:
        NotReckoned: its quantisation or the type of its KV is not known here.

    """
    budget = engine.gpu_memory_utilization * (card_bytes - DRIVER_BYTES)
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
        layout=layout_of([_on_a_card(layers, engine) for layers in shape.cache]),
        # The next step is prepared while one runs (`async_scheduling`).
        in_flight=2 * engine.max_num_batched_tokens,
        states=2 if engine.enable_prefix_caching else 1,
    )


def weight_bytes(shape: ModelShape, engine: EngineMemory) -> float:
    """Bytes of the loaded weights, over all cards of a replica."""
    return _bytes(shape, engine, shape.linear, shape.other)


def active_weight_bytes(shape: ModelShape, engine: EngineMemory) -> float:
    """Bytes of weights that one token's step reads, over all cards; experts' for a batch of one."""
    return _bytes(shape, engine, shape.active_linear, shape.other - shape.embedding - shape.encoder)


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
    layers = (_on_a_card(layers, engine) for layers in shape.cache)
    return sum(kind.count * kind.token_bytes for kind in layers) / engine.pipeline_parallel_size


def kv_number_bytes(engine: EngineMemory) -> float:
    """Bytes of one number of the KV cache, without the scales that some types have."""
    return _kv_type(engine)[0]


def _on_a_card(layers: CacheLayers, engine: EngineMemory) -> Layers:
    number, scale = _kv_type(engine)
    # Heads are copied where there are fewer than cards.
    heads = max(1, layers.heads // engine.tensor_parallel_size)
    bytes_of_head = layers.values * number + (scale if layers.values else 0)
    return Layers(
        count=layers.count,
        token_bytes=heads * bytes_of_head,
        window=layers.window,
        state_bytes=layers.state_bytes // engine.tensor_parallel_size,
    )


def _kv_type(engine: EngineMemory) -> tuple[float, int]:
    wanted = engine.kv_cache_dtype
    if wanted == "auto":
        return engine.dtype_bytes, 0
    if wanted not in KV_TYPES:
        raise NotReckoned(f"how large a KV cache of {wanted} is is not known here")
    return KV_TYPES[wanted]


KV_TYPES: Mapping[str, tuple[float, int]] = {
    "fp8": (1, 0),
    "fp8_e4m3": (1, 0),
    "fp8_e5m2": (1, 0),
    "float16": (2, 0),
    "bfloat16": (2, 0),
    "int8_per_token_head": (1, 8),
    "fp8_per_token_head": (1, 8),
    "int4_per_token_head": (0.5, 8),
    "nvfp4": (NVFP4_BITS / 8, 0),
}
"""Bytes of a number, and bytes of scales for each token and head: two 32-bit ones, of K and V."""

DRIVER_BYTES = 483 * MIB
"""What nvidia-smi counts and CUDA does not give out: 24,564 MiB against the 24,081 MiB that a
4090 has for vLLM (`device_total_memory_bytes` of a recorded run; other cards: 0.3 to 0.8 GiB)."""

CONTEXT_BYTES = 0.81 * GIB
STEP_NUMBERS = 6
LOGIT_BYTES = 8
"""Overhead: CUDA's context and graphs; 16-bit numbers of the residual stream's width for each
token of a step; a logit and its copy for each sequence. The first two solve the two runs of
Llama 3.1 8B that are known: 1.15 GiB on a 4090 (vLLM 0.19, 2,048 tokens a step, 256 sequences,
2,588 blocks) and 2.16 GiB on an H100 (llm-d-planner's measured constants, taken to be at
vLLM's own settings for that card: 8,192 and 1,024).
The start-up log says what it is ("GPU KV cache size")."""
LINK_BYTES = 0.5 * GIB
"""NCCL's buffers on cards without NVLink; llm-d-planner has 1.8 GiB on H100s with it."""


def overhead_bytes(shape: ModelShape, engine: EngineMemory) -> float:
    """Bytes of a card besides weights and KV."""
    step = engine.max_num_batched_tokens * shape.hidden * STEP_NUMBERS * 2
    logits = engine.max_num_seqs * shape.vocabulary * LOGIT_BYTES
    return CONTEXT_BYTES + step + logits + (LINK_BYTES if engine.cards > 1 else 0)
