"""A lane's settings as `fleet.memory` takes them, and whether its window and batch have room."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.memory.budget import (
    DEFAULT_UTILIZATION,
    EngineMemory,
    Memory,
    memory_of,
)
from fleet.memory.shape import ModelShape
from serve_app.config.lane import DEFAULT_SLOTS, LaneConfig


@dataclass(frozen=True, slots=True)
class Fit:
    """A lane on its card.

    Attributes:
        window: tokens of one full window.
        slots: sequences that run at once.

    """

    memory: Memory
    window: int
    slots: int

    @property
    def pool_tokens(self) -> float:
        return self.memory.pool_tokens

    @property
    def fits(self) -> bool:
        """Whether vLLM starts: one full window has room."""
        return self.memory.has_room_for(self.window)

    @property
    def tokens_each(self) -> float:
        """Tokens for each sequence when all slots are taken."""
        return self.pool_tokens / self.slots


def engine_of(lane: LaneConfig) -> EngineMemory:
    """Return the settings of a lane that decide about memory."""
    args = lane.engine_args
    return EngineMemory(
        quantization=args.get("quantization"),
        kv_cache_dtype=str(args.get("kv_cache_dtype") or "auto"),
        dtype=str(args.get("dtype") or "auto"),
        gpu_memory_utilization=float(args.get("gpu_memory_utilization") or DEFAULT_UTILIZATION),
        tensor_parallel_size=lane.tensor_parallel_size,
        pipeline_parallel_size=lane.workers // lane.tensor_parallel_size,
        max_num_batched_tokens=int(args.get("max_num_batched_tokens") or 2048),
        max_num_seqs=lane.max_num_seqs or DEFAULT_SLOTS,
        enable_prefix_caching=args.get("enable_prefix_caching") is not False,
        kv_cache_memory_bytes=args.get("kv_cache_memory_bytes"),
    )


def reckon(lane: LaneConfig, shape: ModelShape, card_bytes: int) -> Fit:
    """Reckon a lane on a card.

    Raises:
        NotReckoned: its quantisation or the type of its KV is not known here.

    """
    engine = engine_of(lane)
    memory = memory_of(shape, engine, card_bytes)
    return Fit(memory=memory, window=lane.max_model_len, slots=engine.max_num_seqs)
