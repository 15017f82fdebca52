"""The simulated engine beside a real RTX 4090, request by request.

    make bench-engine_truth
    python -m benchmarks.engine_truth --write   # and the profile, made by the fit

Fitted to the card's kernel times and the run's first 100 requests; the other 200 judge.
"""

from __future__ import annotations

import sys
from typing import Any

import yaml

from benchmarks.support import report
from benchmarks.support.kernel_times import kernel_cost
from benchmarks.support.recorded_run import (
    FIGURES,
    FITTED,
    errors,
    figures,
    recorded,
    simulated,
    warm_up_s,
)
from benchmarks.support.step_documents import card_rows, document_rows
from simulator.model.profile import PROFILES, Profile, load_profile
from simulator.model.step_cost import StepCost, derive

NAME = "llama-3.1-8b-bf16-rtx4090"
BAR = 0.05

HELD_OUT = slice(FITTED, None)
PARTS = {"held-out": HELD_OUT, "first 100": slice(0, FITTED), "all": slice(None)}

MISSED = {("all", "TTFT p95"): 0.10}
"""What misses the bar of 5 %, and by how much at most; docs/engine_model.md says why."""

DERIVED = {"TTFT": 0.31, "TPOT": 0.07, "latency": 0.12}
"""Largest errors of another card's run, foretold from its data sheet."""

# Llama-3.1-8B in 16 bits: 8,030,261,248 parameters, of which the embedding table and the
# head are 128,256 x 4,096 each; 2 x 32 layers x 8 KV heads of 128, two bytes each.
TABLE = 128_256 * 4_096
LLAMA: dict[str, Any] = {
    "weight_bytes": 2 * (8_030_261_248 - TABLE),
    "active_parameters": 8_030_261_248 - 2 * TABLE,
    "kv_bytes_per_token": 131_072,
    "attention_width": 4_096,
    "layers": 32,
}
RTX_4090: dict[str, Any] = {"flops_per_s": 165.2e12, "bandwidth_bytes_per_s": 1_008e9}

SOURCE = (
    "Llama 3.1 8B, bf16, one RTX 4090, vLLM 0.19.0: kernel times of that card; {extra_ms:g} ms "
    "more a step and the first step's delay are fitted to the first 100 requests of a recorded "
    "run, whose other 200 it foretells within 5 % (docs/engine_model.md). One of its 2,588 KV "
    "blocks is vLLM's null block."
)


def profile_of(step: StepCost, source: str = "", blocks: int = 2_587) -> Profile:
    """The recorded engine with such steps."""
    fields = {
        "name": NAME,
        "source": source,
        "timing": {"step": step, "warm_up_s": round(warm_up_s(), 3)},
        "scheduling": {
            "max_num_seqs": 256,
            "max_num_batched_tokens": 2_048,
            "scheduler_reserve_full_isl": True,
            "async_scheduling": True,
            "scheduling_policy": "fcfs",
            "num_gpu_blocks": blocks,
        },
    }
    return Profile.model_validate(fields)


def fit() -> Profile:
    """The kernel times, and what every step costs besides by the first 100 requests."""
    kernels, run = kernel_cost(), recorded()

    def error(extra_ms: float) -> float:
        seen = simulated(profile_of(_with(kernels, extra_ms)), run)[:FITTED]
        return sum(abs(share) for share in errors(seen, run[:FITTED]).values())

    extra_ms = min((step / 10 for step in range(-5, 16)), key=error)
    return profile_of(_with(kernels, extra_ms), SOURCE.format(extra_ms=extra_ms))


def _with(kernels: StepCost, extra_ms: float) -> StepCost:
    return kernels.model_copy(update={"fixed_ms": round(kernels.fixed_ms + extra_ms, 3)})


def from_memory(total_bytes: float, overhead_bytes: float) -> int:
    """KV blocks by what is left of 90 % of a card beside weights and overhead."""
    weights = 2 * 8_030_261_248
    return int((0.9 * total_bytes - weights - overhead_bytes) // (16 * 131_072))


def cases() -> dict[str, Profile]:
    """What foretells the run."""
    fitted = load_profile(NAME)
    step = fitted.timing.step
    assert step is not None
    doctors = from_memory(24 * 2**30, 1.5 * 2**30)
    return {
        "fitted": fitted,
        f"KV from memory ({doctors} blocks)": profile_of(step, blocks=doctors),
        "from the data sheet": profile_of(derive(**RTX_4090, **LLAMA)),
    }


def rows() -> list[dict[str, Any]]:
    """Each figure of each part of the run, and what each case makes of it."""
    run = recorded()
    seen = {case: simulated(profile, run) for case, profile in cases().items()}
    found = []
    for part, of in PARTS.items():
        shares = {case: errors(outcomes[of], run[of]) for case, outcomes in seen.items()}
        simulated_s = figures(seen["fitted"][of])
        for figure, seconds in figures(run[of]).items():
            row: dict[str, Any] = {"requests": part, "figure": figure, "real_s": seconds}
            row["simulated_s"] = simulated_s[figure]
            row |= {f"error_share, {case}": share[figure] for case, share in shares.items()}
            found.append(row)
    return found


def main() -> None:
    if "--write" in sys.argv:
        fields = fit().model_dump(exclude_defaults=True, exclude={"timing": set(_READ_OFF)})
        text = yaml.safe_dump(fields, sort_keys=False, width=100, default_flow_style=None)
        (PROFILES / f"{NAME}.yaml").write_text(text)
    mine = rows()
    notes = (
        "The simulated engine beside a recorded run of a real RTX 4090: Llama-3.1-8B in bf16 on "
        "vLLM 0.19.0, 300 requests at ten a second. Held-out: the 200 that nothing was fitted to. "
        "Read in docs/engine_model.md. Command: `make bench-engine_truth`."
    )
    report.write("engine_truth", mine, title="A real engine, foretold", notes=notes)
    notes = (
        "A step's cost derived from a data sheet, beside a recorded run of another card, another "
        "vLLM and the same 300 requests: RTX PRO 6000 Blackwell Server Edition, vLLM 0.28.0. "
        "Command: `make bench-engine_truth`."
    )
    second = card_rows(recorded(), LLAMA)
    report.write("engine_truth_card", second, title="Another card, derived", notes=notes)
    notes = (
        "The documents' decode steps of one RTX 4090 beside the same step derived from its data "
        "sheet, and beside the time that reading the weights once takes at its full bandwidth, "
        "which nothing can go below. Command: `make bench-engine_truth`."
    )
    documents = document_rows(RTX_4090)
    report.write("engine_truth_documents", documents, title="Documents and card", notes=notes)
    _plot()


_READ_OFF = (
    "decode_step_ms",
    "context_ns_per_token",
    "reference_context",
    "prefill_ms_per_token",
    "prefill_step_ms",
    "interference",
)


def _plot() -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    run, seen = recorded(), simulated(load_profile(NAME), recorded())
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4))
    for axis, (name, of) in zip(axes, FIGURES.items(), strict=True):
        for part, colour in (("first 100", "tab:grey"), ("held-out", "tab:blue")):
            real = [of(one) for one in run[PARTS[part]]]
            mine = [of(one) for one in seen[PARTS[part]]]
            axis.scatter(real, mine, s=6, color=colour, label=part)
        ends = [0, max(of(one) for one in run)]
        axis.plot(ends, ends, color="black", linewidth=0.7)
        axis.set(xlabel=f"real {name}, s", ylabel="simulated, s")
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(report.RESULTS / "engine_truth.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
