"""How often guard rails stop a lane that is as quick as the other, and how soon a slow one.

    python -m benchmarks.guard_rails

Requests are simulated from a seed: each goes to one of two lanes by chance, its time to the first
token is lognormal. The rail `ttft_p95_ratio: 1.5` is looked at after each 25 requests of a day
(`router.experiments.slowness`). No clock is read.
"""

from __future__ import annotations

import math
from collections import Counter
from random import Random
from typing import Any

from benchmarks.support import report
from router.experiments.guard import Rails
from router.experiments.slowness import TTFT, bucket, slower

RATIO = 1.5
RAILS = Rails({}, ratios={TTFT: RATIO})
MEDIAN_S, SIGMA = 0.3, 0.5
LOOKS = 25
LOAD = 1.2
"""Of busy days: log of how much slower both lanes are at their busiest than on average."""

DAYS = 100
"""Simulated of each row."""


def stop(times_as_slow: float, seed: int, requests: int, load: float = 0.0) -> int | None:
    """Requests of both arms after which the treatment was stopped; None: it was not."""
    random = Random(seed)
    treatment: Counter[int] = Counter()
    control: Counter[int] = Counter()
    for n in range(1, requests + 1):
        busy = math.exp(load * math.sin(6 * math.pi * n / requests))
        seconds = busy * random.lognormvariate(math.log(MEDIAN_S), SIGMA)
        if random.random() < 0.5:
            treatment[bucket(seconds * times_as_slow / RATIO)] += 1
        else:
            control[bucket(seconds)] += 1
        if n % LOOKS == 0 and slower(RAILS, treatment, control) is not None:
            return n
    return None


def row(times_as_slow: float, requests: int, load: float = 0.0) -> dict[str, Any]:
    stops = [stop(times_as_slow, seed, requests, load) for seed in range(DAYS)]
    found = sorted(x for x in stops if x is not None)
    return {
        "treatment_times_as_slow": times_as_slow,
        "hours": "busy and quiet" if load else "even",
        "requests_a_day": requests,
        "stopped_ratio": len(found) / DAYS,
        "requests_median": _quantile(found, 0.5),
        "requests_80_percent": _quantile(found, 0.8),
    }


def _quantile(found: list[int], share: float) -> int | str:
    """Requests by which so many days' treatments were stopped; empty: not so many were."""
    index = math.ceil(share * DAYS) - 1
    return found[index] if index < len(found) else ""


def plot(rows: list[dict[str, Any]]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    shown = [x for x in rows if x["requests_median"] != ""]
    figure, axes = plt.subplots(figsize=(5, 3.5))
    slow = [x["treatment_times_as_slow"] for x in shown]
    for key, label in (("requests_median", "half"), ("requests_80_percent", "80 %")):
        axes.plot(slow, [x[key] or math.nan for x in shown], "o-", label=f"{label} stopped by")
    axes.axvline(RATIO, color="grey", linestyle=":", label="allowed")
    axes.set(xlabel="treatment, times as slow", ylabel="requests of both arms", yscale="log")
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(report.RESULTS / "guard_rails.png", dpi=110)


def main() -> None:
    rows = [row(slow, 4_000, load) for slow in (1.0, RATIO) for load in (0.0, LOAD)]
    rows += [row(slow, 8_000) for slow in (2.0, 2.5, 3.0, 5.0)]
    report.write(
        "guard_rails",
        rows,
        title="Guard rails on time beside the control's",
        notes=(
            f"{DAYS} simulated days a row, half of the requests in each arm, lognormal times of "
            f"sigma {SIGMA:g}; `ttft_p95_ratio: {RATIO:g}`, error {RAILS.error:g} over "
            f"{RAILS.days} days, looked at after each {LOOKS} requests. Busy hours have both arms "
            f"{math.exp(LOAD):.1f} times as slow as on average, quiet ones as much quicker."
        ),
    )
    plot(rows)


if __name__ == "__main__":
    main()
