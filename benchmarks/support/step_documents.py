"""Steps derived from data sheets, beside another card's run and beside documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.support.recorded_run import Outcome, figures, simulated
from simulator.model.profile import Profile, load_profile
from simulator.model.step_cost import derive

PRO_6000: dict[str, Any] = {"flops_per_s": 500e12, "bandwidth_bytes_per_s": 1_597e9}
"""Server Edition: NVIDIA's 4 PFLOPS of sparse FP4 are 500 TFLOPS of dense 16 bits."""

# casys-kaist/LLMServingSim (MIT), bench/examples/RTXPRO6000/Llama-3.1-8B, vLLM's column of
# validation/summary.txt and vllm/meta.json: the same 300 requests, 35,913 blocks, 128 at once.
PRO_6000_MS = {
    "TTFT": (7097.2, 9442.7, 16852.7, 18397.9, 19755.3),
    "TPOT": (32.5, 33.4, 36.5, 36.9, 37.3),
    "latency": (28200.7, 29615.6, 35450.7, 36617.4, 37638.8),
}


def card_rows(run: Sequence[Outcome], model: dict[str, Any]) -> list[dict[str, Any]]:
    """The run of the RTX PRO 6000, foretold from its data sheet."""
    fields = {
        "name": "derived",
        "source": "",
        "timing": {"step": derive(**PRO_6000, **model)},
        "scheduling": {
            "max_num_seqs": 128,
            "max_num_batched_tokens": 2_048,
            "scheduler_reserve_full_isl": True,
            "async_scheduling": True,
            "scheduling_policy": "fcfs",
            "num_gpu_blocks": 35_912,
        },
    }
    seen = figures(simulated(Profile.model_validate(fields), run))
    real = [ms / 1000 for of in PRO_6000_MS.values() for ms in of]
    return [
        {"figure": figure, "real_s": true, "derived_s": mine, "error_share": mine / true - 1}
        for (figure, mine), true in zip(seen.items(), real, strict=True)
    ]


# Parameters that a token is multiplied with, head included, the embedding table not; bytes of
# each (AWQ: 4 bits, and a scale and a zero for 128 of them); shapes by their config.json.
DOCUMENTS: dict[str, tuple[float, float, int, int, int]] = {
    # name: parameters, bytes, KV bytes a token (FP8), width of attention, layers
    "llama-3.1-8b-fp8": (7.50e9, 1.0, 65_536, 4_096, 32),
    "mistral-7b-fp8": (7.12e9, 1.0, 65_536, 4_096, 32),
    "mistral-nemo-12b-fp8": (11.58e9, 1.0, 81_920, 4_096, 40),
    "phi-3-mini-fp8": (3.72e9, 1.0, 196_608, 3_072, 32),
    "qwen-2.5-14b-awq": (13.99e9, 0.52, 98_304, 5_120, 48),
    "qwen-2.5-32b-awq": (31.98e9, 0.52, 131_072, 5_120, 64),
    "llama-3.1-70b-awq-int4": (69.50e9, 0.52, 163_840, 8_192, 80),
    # Of eight experts two: what one token reads.
    "mixtral-8x7b-awq": (12.75e9, 0.52, 65_536, 4_096, 32),
}
CHECKED = {"llama-3.1-8b-fp8", "qwen-2.5-14b-awq"}
"""The others are the first's scaled by their speed at batch 1: only that is a document's."""

FP8_FLOPS = 330.3e12
CONTEXT = 1_000


def document_rows(card: dict[str, Any]) -> list[dict[str, Any]]:
    """The documents' decode steps at 1,000 tokens of context each."""
    return list(_document_rows(card))


def _document_rows(card: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, (parameters, size, kv_bytes, width, layers) in DOCUMENTS.items():
        figures_of = card | ({"flops_per_s": FP8_FLOPS} if name.endswith("fp8") else {})
        step = derive(
            **figures_of,
            weight_bytes=parameters * size,
            active_parameters=parameters,
            kv_bytes_per_token=kv_bytes,
            attention_width=width,
            layers=layers,
        )
        least_ms = 1e3 * parameters * size / card["bandwidth_bytes_per_s"]
        for batch, ms in load_profile(f"{name}-rtx4090").timing.decode_step_ms.items():
            if batch == 1 or name in CHECKED:
                yield {
                    "model": name,
                    "batch": batch,
                    "document_ms": ms,
                    "derived_ms": 1e3 * step.seconds(0, 0, batch, CONTEXT * batch),
                    "least_ms": least_ms,
                    "below the least": "yes" if ms < least_ms else "",
                }
