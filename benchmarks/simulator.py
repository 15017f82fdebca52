"""What the simulated engine costs: streams in real time, an hour in virtual time."""

from __future__ import annotations

import asyncio
import time
from random import Random
from typing import Any

from benchmarks.overhead import load
from benchmarks.support import report
from benchmarks.support.deployment import cpu_s
from benchmarks.support.ways import Timing, engine
from simulator.model.profile import load_profile
from simulator.virtual_time.virtual import Result, run, tokens_per_s
from simulator.virtual_time.workload import load_workload

STREAMS = 1000
TOKENS = 60
ACTIVE = 30
PROFILE = "llama-3.1-8b-fp8-rtx4090"


def real_time(*, in_step: bool) -> dict[str, Any]:
    """1,000 streams at 5 tokens/s each."""
    with engine(Timing(0.02, 0.2, in_step)) as way:
        before, begun = cpu_s(way.engine()), time.perf_counter()
        results = asyncio.run(load(way, STREAMS, 1, TOKENS))
        took = time.perf_counter() - begun
        used = cpu_s(way.engine()) - before
    return {
        "what": f"{STREAMS} streams, 5 tokens/s each, {'in' if in_step else 'out of'} step",
        "errors": sum(not whole for _, _, whole in results),
        "cores": used / took,
        "cpu_us_per_token": 1e6 * used / (STREAMS * TOKENS),
    }


def an_hour(kind: str) -> Result:
    """An hour of 30 sessions on one engine."""
    return run(
        load_profile(PROFILE),
        load_workload(kind),
        duration_s=3600,
        random=Random(1),
        active=ACTIVE,
    )


def virtual_time(kind: str) -> dict[str, Any]:
    begun = time.perf_counter()
    result = an_hour(kind)
    return {
        "what": f"an hour of {ACTIVE} '{kind}' sessions on {PROFILE}",
        "wall_s": time.perf_counter() - begun,
        "requests": len(result.turns),
        "steps": result.engine.steps,
        "virtual_tokens_per_s": tokens_per_s(result),
    }


def main() -> None:
    rows = [
        real_time(in_step=True),
        real_time(in_step=False),
        virtual_time("saas"),
        virtual_time("agents"),
    ]
    notes = "The simulated engine itself. Command: `make bench-simulator`."
    report.write("simulator", rows, title="Cost of the simulated engine", notes=notes)
    _plot(rows)


def _plot(rows: list[dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 2.6))
    panels = (("cores", 0.5, "cores (bar: 0.5)"), ("wall_s", 5.0, "seconds (bar: 5)"))
    for axis, (key, bar, label) in zip(axes, panels, strict=True):
        shown = [row for row in rows if key in row]
        bars = axis.barh([row["what"].split(" on ")[0] for row in shown], [r[key] for r in shown])
        axis.bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
        axis.axvline(bar, color="grey", linestyle="--", linewidth=1)
        axis.set_xlabel(label)
        axis.tick_params(axis="y", labelsize=7)
    figure.tight_layout()
    figure.savefig(report.RESULTS / "simulator.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
