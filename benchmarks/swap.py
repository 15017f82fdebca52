"""Two models on one card: swaps and waits under an alternating load, in virtual time.

    make bench-swap

The policy is the very class that a deployment has (`router.swap`), with its reports and
heartbeats. Beside it: the fewest swaps that keep the same bound on the wait (dynamic
programming over all requests, known beforehand), serving in the order of arrival, and two ways
to collate without a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from benchmarks.support import report
from benchmarks.support.swap_optimum import collated, fewest_swaps, in_order
from benchmarks.support.swap_world import Request, SwapCosts, World
from router.swap.terms import PoolBounds, PooledLane
from simulator.virtual_time.report import quantile

REQUESTS = 1000
BEGIN_S = 200.0
"""By then both models were loaded once."""
BOUND_S = 60.0
COSTS = SwapCosts(wake_s=4.5, rest_s=4.5, load_s=48.0)
"""Level 1 of a large model (3 to 6 s to wake), and a load; vLLM's own measurements
(https://blog.vllm.ai/2025/10/26/sleep-mode.html). Falling asleep copies as much."""
TOKENS_PER_S = 40.0
PAID_SHARE = 0.5
BAR = 1.3

SEEDS = (1, 2, 3, 4, 5)

Row = dict[str, Any]
Policy = Callable[[list[Request]], int]
LOADS = {"dense": 1.0, "busy": 4.0, "light": 0.2}
"""Requests a second."""


def load(rate: float, seed: int) -> list[Request]:
    """Requests for two models in turn; answers of 8 to 512 tokens, log-normal."""
    random, at, requests = Random(seed), BEGIN_S, []
    for number in range(REQUESTS):
        at += random.expovariate(rate)
        tokens = min(512.0, max(8.0, random.lognormvariate(5.0, 0.8)))
        priority = 0 if random.random() < PAID_SHARE else 10
        requests.append(Request("ab"[number % 2], at, tokens / TOKENS_PER_S, priority))
    return requests


def ours(requests: Sequence[Request], idle_s: float) -> int:
    """Play the shipped policy; return its swaps from the first request on."""
    lanes = [PooledLane(x, can_sleep=True) for x in "ab"]
    bounds = PoolBounds(idle_s=idle_s, wait_bound_s=BOUND_S)
    world = World(requests, bounds, lanes, COSTS).run()
    if world.broken:
        raise AssertionError("a lane was put to sleep under its streams")
    # Both were loaded once before.
    return world.swaps - len(lanes)


def row(name: str, rate: float, policy: Policy, optima: list[int]) -> Row:
    """Play one policy over all runs of a load."""
    runs = [load(rate, seed) for seed in SEEDS]
    swaps = [policy(run) for run in runs]
    requests = [x for run in runs for x in run]
    waits = sorted(x.wait_s for x in requests if x.started is not None)
    paid = sorted(x.wait_s for x in requests if x.started is not None and not x.priority)
    return {
        "requests_per_s": rate,
        "policy": name,
        "swaps": sum(swaps) / len(SEEDS),
        "swaps_over_optimum": sum(swaps) / sum(optima),
        "worst_run": max(x / least for x, least in zip(swaps, optima, strict=True)),
        "refused": sum(x.started is None for x in requests),
        "over_bound": sum(x.wait_s > BOUND_S for x in requests),
        "wait_p50_s": quantile(waits, 0.5),
        "wait_p99_s": quantile(waits, 0.99),
        "longest_wait_s": waits[-1],
        "paid_wait_p99_s": quantile(paid, 0.99),
    }


def rows_of(rate: float) -> list[Row]:
    swap_s = COSTS.wake_s + COSTS.rest_s
    optima = [fewest_swaps(load(rate, seed), swap_s, BOUND_S) for seed in SEEDS]
    best = {"requests_per_s": rate, "policy": "offline optimum", "swaps": sum(optima) / len(SEEDS)}
    policies: dict[str, Policy] = {
        "Pointsman": lambda x: ours(x, 2.0),
        "Pointsman, idle_s 30": lambda x: ours(x, 30.0),
        "in order of arrival (llama-swap before it collated)": lambda x: in_order(x, swap_s),
        "collated (llama-swap)": lambda x: collated(x, swap_s, joins=False),
        "naive LRU, when idle": lambda x: collated(x, swap_s, joins=True),
    }
    return [best, *(row(name, rate, policy, optima) for name, policy in policies.items())]


def main() -> None:
    rows = [row for rate in LOADS.values() for row in rows_of(rate)]
    judged = [
        x for x in rows if x["policy"] == "Pointsman" and x["requests_per_s"] != LOADS["light"]
    ]
    holds = all(x["swaps_over_optimum"] <= BAR and not x["over_bound"] for x in judged)
    notes = (
        f"{len(SEEDS)} runs of {REQUESTS} requests for two models in turn on one card, Poisson "
        f"arrivals; half of them of a paid tier. A swap takes {COSTS.rest_s:g} + "
        f"{COSTS.wake_s:g} s (each +-10 % in Pointsman's rows), and nobody is to wait over "
        f"{BOUND_S:g} s. The optimum keeps that bound and knows all requests beforehand. "
        "llama-swap: as its author describes it, in order of arrival "
        "(https://github.com/mostlygeek/llama-swap/issues/612) and collated since "
        "(https://github.com/mostlygeek/llama-swap/pull/784), without a bound. At 0.2 requests/s "
        "the loaded model is often idle; Pointsman swaps after `idle_s` then: more swaps for "
        f"shorter waits. Bar at 1 and 4 requests/s: {BAR} times the optimum, nobody over the "
        f"bound: {'held' if holds else 'MISSED'}. Command: `make bench-swap`."
    )
    report.write("swap", rows, title="Swaps of two models on one card", notes=notes)
    _plot(rows)


def _plot(rows: list[Row]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 3.4))
    shown = [x for x in rows if x["requests_per_s"] == LOADS["dense"]]
    names = [x["policy"].split(" (")[0] for x in shown]
    axes[0].barh(names, [x["swaps"] for x in shown])
    axes[0].axvline(BAR * shown[0]["swaps"], color="black", linestyle=":")
    axes[0].set_xlabel(f"swaps in {REQUESTS} requests (dotted: {BAR} x optimum)")
    axes[1].barh(names, [x.get("paid_wait_p99_s", 1.0) for x in shown])
    axes[1].axvline(BOUND_S, color="black", linestyle=":")
    axes[1].set_xlabel("paid p99 of the wait, s (dotted: the bound)")
    axes[1].set_yticklabels([])
    for axis, least in zip(axes, (10, 1), strict=True):
        axis.set_xscale("log")
        axis.set_xlim(left=least)
    figure.tight_layout()
    figure.savefig(report.RESULTS / "swap.png", dpi=120)


if __name__ == "__main__":
    main()
