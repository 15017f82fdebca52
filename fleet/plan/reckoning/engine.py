"""A model on a card as an engine of the plan: its memory, and the time of its steps."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fleet.cards.table import Card
from fleet.memory.budget import (
    EngineMemory,
    Memory,
    kv_number_bytes,
    memory_of,
    weight_bytes,
)
from fleet.memory.quantisation import NVFP4_BITS
from fleet.memory.shape import ModelShape
from fleet.plan.reckoning.load import Replica
from simulator.model.profile import Profile, Scheduling, Timing
from simulator.model.step_cost import derive

FP8 = (8, 9)
"""Compute capability from which a card has FP8 units."""

FP8_BITS = 8.0

NVLINK_BYTES_PER_S = {"A100": 300e9, "H100": 450e9, "H200": 450e9, "B200": 900e9}
"""One way, by NVIDIA's data sheets; other cards speak over PCIe."""

OVERHEAD_MS = 6.0
"""Parsing, tokenizing and hand-over of one request; 5.4 in the fitted profile of Llama 8B."""

BLOCK = 16
"""Tokens of a block of KV."""

WINDOWS = (4096, 8192, 16384, 32768, 65536, 131072)
"""Context windows that a fleet file names."""

STEP_TOKENS = 4096
"""`max_num_batched_tokens` of the shipped fleets."""


@dataclass(frozen=True, slots=True)
class Served:
    """A model as a lane serves it on one kind of card.

    Attributes:
        source: a model hub's id or a folder.
        engine: settings that decide about memory.
        card_name: as the table of cards calls it.
        profile: measured or fitted; None: its steps are derived from data sheets.

    """

    source: str
    shape: ModelShape
    engine: EngineMemory
    card: Card
    card_name: str
    profile: Profile | None = None

    @property
    def memory(self) -> Memory:
        return memory_of(self.shape, self.engine, self.card.memory_bytes)

    @property
    def timing(self) -> Timing:
        """Cost of a step."""
        return self.profile.timing if self.profile is not None else derived(self)

    def replica(self, tokens: float) -> Replica:
        """Return the engine for sessions that hold so many tokens.

        With sliding windows a session's KV does not grow with all of them, so that the pool
        has more room for long ones.
        """
        timing = self.timing
        pool = self.memory.sessions(max(1, round(tokens))) * tokens
        return Replica(timing, pool, self.engine.cards, timing.request_overhead_ms / 1000)

    @property
    def num_gpu_blocks(self) -> int:
        """Blocks of the KV cache, for `num_gpu_blocks_override`."""
        memory = self.memory
        return int(memory.pool / memory.layout.block_bytes)

    def simulated(self, slots: int, tokens: float) -> Profile:
        """Return the engine for a simulation, with so many sequences of `tokens` at once."""
        return Profile(
            name=self.source,
            source="a plan",
            timing=self.timing.model_copy(update={"warm_up_s": 0.0}),
            scheduling=Scheduling(
                max_num_seqs=slots,
                max_num_batched_tokens=max(STEP_TOKENS, slots),
                num_gpu_blocks=max(2, int(self.replica(tokens).pool_tokens // BLOCK)),
            ),
        )

    def with_kv(self, kind: str) -> Served:
        """Return the same with KV of another type, by vLLM's name."""
        return replace(self, engine=replace(self.engine, kv_cache_dtype=kind))


def derived(served: Served) -> Timing:
    """Return the cost of a step by the roofline of the card's data sheet: an estimate."""
    shape, engine, card = served.shape, served.engine, served.card
    link = NVLINK_BYTES_PER_S.get(card.kind, card.pcie_gb_per_s * 1e9)
    step = derive(
        flops_per_s=_tflops(served) * 1e12,
        bandwidth_bytes_per_s=card.bandwidth_bytes_per_s,
        weight_bytes=weight_bytes(shape, engine) - shape.embedding * engine.dtype_bytes,
        active_parameters=shape.active_linear + shape.other - shape.embedding,
        kv_bytes_per_token=shape.kv_values_per_token() * kv_number_bytes(engine),
        attention_width=shape.hidden,
        layers=sum(layers.count for layers in shape.cache),
        # As if all that one token need not read were experts: it nearly is.
        routed_bytes=weight_bytes(shape, engine) - shape.other * engine.dtype_bytes,
        routed_share=shape.active_linear / shape.linear,
        cards=engine.cards,
        link_bytes_per_s=link if engine.cards > 1 else None,
        hidden_size=shape.hidden,
    )
    return Timing.model_validate({"step": step, "request_overhead_ms": OVERHEAD_MS})


def _tflops(served: Served) -> float:
    """Of the units that multiply: 4-bit integers and MXFP4 are widened to 16 bits before."""
    card, bits = served.card, served.shape.weight_bits
    if served.engine.quantization == "fp8" or bits == FP8_BITS:
        return card.tflops_fp8 or card.tflops_16bit
    if bits == NVFP4_BITS:
        return card.tflops_fp4 or card.tflops_16bit
    return card.tflops_16bit


def served_on(
    source: str,
    shape: ModelShape,
    card: Card,
    card_name: str,
    *,
    cards: int = 1,
    profile: Profile | None = None,
) -> Served:
    """Return a model as this card serves it best.

    16-bit checkpoints become FP8 where the card has the units for it, and stay as they are
    elsewhere. KV has 8 bits, as in the shipped fleets.
    """
    engine = EngineMemory(
        quantization="fp8" if card.capability >= FP8 and shape.weight_bits is None else None,
        kv_cache_dtype=narrow_kv(shape, card),
        tensor_parallel_size=cards,
        max_num_batched_tokens=STEP_TOKENS,
    )
    return Served(source, shape, engine, card, card_name, profile)


def narrow_kv(shape: ModelShape, card: Card) -> str:
    """Return the smallest type of KV that the model and the card have, by vLLM's name.

    Models with sliding windows or states keep 16 bits, as in the shipped fleets.
    """
    if any(x.window is not None or x.state_bytes for x in shape.cache):
        return "bfloat16"
    return "fp8" if card.capability >= FP8 else "int8_per_token_head"
