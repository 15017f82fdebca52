"""Session affinity on a simulated fleet: six policies, the same traffic, virtual time.

Nothing here comes from a GPU. Four simulated RTX 4090 engines (Llama 3.1 8B FP8, 32
sequences each, as the production fleet's chat lane) answer the documents' chat workload:
200 tenants with 1,400-token system prompts, 6.4 turns a session. 28 to 42 live sessions
are the documents' peak; they are run for the whole fleet and for each card of it.
"""

from __future__ import annotations

import logging
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from statistics import mean
from typing import Any

from benchmarks.support import report
from benchmarks.support.affinity_policies import POLICIES
from simulator.model.engine import BatchingEngine
from simulator.model.profile import Profile, Scheduling, load_profile
from simulator.virtual_time.fleet import FleetResult, run_fleet
from simulator.virtual_time.report import quantile
from simulator.virtual_time.virtual import run
from simulator.virtual_time.workload import Workload, load_workload

PROFILE = "llama-3.1-8b-fp8-rtx4090"
REPLICAS = 4
SLOTS = 32
TENANTS = 200
LIVE = (28, 42, 112, 168)
SEEDS = (1, 2, 3)
DURATION_S, SKIP_S = 600.0, 120.0
IDEAL = "one engine, summed cache"
OURS = "Pointsman"

# 4 -> 3 -> 4 replicas. How many sessions a lost replica held is chance: more seeds.
LOSS_LIVE = (42, 112)
LOSS_SEEDS = (1, 2, 3, 4, 5, 6)
LOST_AT_S, BACK_AT_S, LOSS_DURATION_S = 300.0, 450.0, 600.0
WINDOW_S = 60.0


@dataclass(frozen=True)
class Job:
    """One run: a policy, sessions, a seed, and whether a replica is lost."""

    policy: str
    live: int
    seed: int
    loses: bool = False


def main() -> None:
    jobs = [Job(p, live, seed) for live in LIVE for p in (*POLICIES, IDEAL) for seed in SEEDS]
    jobs += [
        Job(p, n, seed, loses=True) for n in LOSS_LIVE for p in POLICIES for seed in LOSS_SEEDS
    ]
    # The longest first, so that the last ones are short.
    jobs.sort(key=lambda job: -job.live)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = dict(zip(jobs, pool.map(_measure, jobs, chunksize=1), strict=True))
    rows = [_policy_row(found, p, live) for live in LIVE for p in POLICIES]
    losses = [_loss_row(found, p, live) for live in LOSS_LIVE for p in POLICIES]
    notes = (
        f"**Simulated**: {REPLICAS} engines of profile {PROFILE} ({SLOTS} sequences each) in "
        f"virtual time, {TENANTS} tenants with 1,400-token system prompts, 6.4 turns a session; "
        f"{len(SEEDS)} seeds of {DURATION_S - SKIP_S:.0f} s each, turns pooled. `live_sessions` "
        "are of the whole fleet: 28 and 42, the documents' peak, and the same for each of the "
        "four cards. `hit_ratio`: cached prompt tokens over prompt tokens, as the engines "
        f"count; `hit_of_ideal`: over that of {IDEAL}. `imbalance`: running sequences of the "
        "busiest replica over the mean, by minute averages; `imbalance_1s`: by the second, "
        "where a replica runs so few that whole requests show. `moved`: turns answered by "
        "another replica than the turn before. Rows with `moved_on_loss` are "
        f"{len(LOSS_SEEDS)} runs in which one of four replicas is lost at {LOST_AT_S:.0f} s and "
        f"back, empty, at {BACK_AT_S:.0f} s: share of the sessions with turns on both sides "
        f"that changed replica within {WINDOW_S:.0f} s, beside the same in a minute without "
        "cause. Ray's routers see exact queue lengths; what of them is Ray's code: "
        "benchmarks/support/affinity_policies.py. Command: `make bench-affinity`."
    )
    title = "Session affinity (simulated fleet)"
    report.write("affinity", [*rows, *losses], title=title, notes=notes)
    _plot(rows, losses)


# -- one run ------------------------------------------------------------------


def _measure(job: Job) -> dict[str, Any]:
    logging.disable(logging.INFO)
    profile, workload = _fleet()
    if job.policy == IDEAL:
        return _measure_ideal(profile, workload, job)
    engines = [_engine(profile, profile.scheduling) for _ in range(REPLICAS)]
    chooser = POLICIES[job.policy](engines, Random(100 + job.seed))
    result = run_fleet(
        profile,
        workload,
        chooser,
        engines,
        duration_s=LOSS_DURATION_S if job.loses else DURATION_S,
        random=Random(job.seed),
        active=job.live,
        skip_s=SKIP_S,
        without=(job.seed % REPLICAS, LOST_AT_S, BACK_AT_S) if job.loses else None,
    )
    return _moves(result) if job.loses else _figures(result)


def _fleet() -> tuple[Profile, Workload]:
    profile = load_profile(PROFILE)
    # Replicas take traffic when they are warm.
    timing = profile.timing.model_copy(update={"warm_up_s": 0.0})
    scheduling = profile.scheduling.model_copy(update={"max_num_seqs": SLOTS})
    workload = load_workload("saas").model_copy(update={"tenants": TENANTS})
    return profile.model_copy(update={"timing": timing, "scheduling": scheduling}), workload


def _engine(profile: Profile, scheduling: Scheduling) -> BatchingEngine:
    return BatchingEngine(profile.timing, scheduling, keeps_step_times=True)


def _measure_ideal(profile: Profile, workload: Workload, job: Job) -> dict[str, Any]:
    """One engine with the cache, the slots and the speed of all: only its hits mean anything."""
    own = profile.scheduling
    summed = own.model_copy(
        update={
            "num_gpu_blocks": REPLICAS * own.num_gpu_blocks,
            "max_num_seqs": REPLICAS * own.max_num_seqs,
            "max_num_batched_tokens": REPLICAS * own.max_num_batched_tokens,
        }
    )
    result = run(
        profile,
        workload,
        duration_s=DURATION_S,
        random=Random(job.seed),
        active=job.live,
        scheduling=summed,
        skip_s=SKIP_S,
    )
    return _hits(result.turns)


def _hits(turns: list[Any]) -> dict[str, Any]:
    return {
        "cached": sum(turn.cached_tokens for turn in turns),
        "prompt": sum(turn.prompt_tokens for turn in turns),
    }


def _figures(result: FleetResult) -> dict[str, Any]:
    running = [counts for at, counts in result.running if at > SKIP_S]
    pairs = [
        before[1] != after[1]
        for places in result.places.values()
        for before, after in pairwise(places)
    ]
    return {
        **_hits(result.turns),
        "ttft": [turn.ttft_s for turn in result.turns],
        "imbalance": _imbalance(running, 60),
        "imbalance_1s": _imbalance(running, 1),
        "running": mean(map(sum, running)),
        "moved": sum(pairs) / len(pairs),
    }


def _imbalance(running: list[list[int]], window: int) -> float:
    """Mean over windows of so many seconds of busiest over mean replica."""
    found: list[float] = []
    for begin in range(0, len(running) - window + 1, window):
        loads = [sum(replica) for replica in zip(*running[begin : begin + window], strict=True)]
        if any(loads):
            found.append(max(loads) / mean(loads))
    return mean(found)


def _moves(result: FleetResult) -> dict[str, Any]:
    return {
        "loss": _moved_at(result, LOST_AT_S),
        "return": _moved_at(result, BACK_AT_S),
        "still": _moved_at(result, LOST_AT_S - WINDOW_S),
    }


def _moved_at(result: FleetResult, at: float) -> tuple[int, int]:
    """Sessions with turns in the windows on both sides of `at`: those that moved, and all."""
    moved = seen = 0
    for places in result.places.values():
        before = [replica for _, replica, when in places if at - WINDOW_S <= when < at]
        after = [replica for _, replica, when in places if at <= when < at + WINDOW_S]
        if before and after:
            seen += 1
            moved += any(replica != before[-1] for replica in after)
    return moved, seen


# -- rows ---------------------------------------------------------------------


def _policy_row(found: dict[Job, dict[str, Any]], policy: str, live: int) -> dict[str, Any]:
    runs = [found[Job(policy, live, seed)] for seed in SEEDS]
    ideal = _ratio([found[Job(IDEAL, live, seed)] for seed in SEEDS])
    ttft = [value for one in runs for value in one["ttft"]]
    ratio = _ratio(runs)
    return {
        "policy": policy,
        "live_sessions": live,
        "turns": len(ttft),
        "hit_ratio": ratio,
        "hit_of_ideal": ratio / ideal,
        "ttft_p50_ms": 1000 * quantile(ttft, 0.5),
        "ttft_p95_ms": 1000 * quantile(ttft, 0.95),
        "ttft_p99_ms": 1000 * quantile(ttft, 0.99),
        "ttft_p99_by_seed_ms": " ".join(f"{1000 * quantile(x['ttft'], 0.99):.0f}" for x in runs),
        "imbalance": mean(one["imbalance"] for one in runs),
        "imbalance_1s": mean(one["imbalance_1s"] for one in runs),
        "running_mean": mean(one["running"] for one in runs),
        "moved_share": mean(one["moved"] for one in runs),
    }


def _ratio(runs: list[dict[str, Any]]) -> float:
    return float(sum(one["cached"] for one in runs) / sum(one["prompt"] for one in runs))


def _loss_row(found: dict[Job, dict[str, Any]], policy: str, live: int) -> dict[str, Any]:
    runs = [found[Job(policy, live, seed, loses=True)] for seed in LOSS_SEEDS]

    def share(name: str) -> float:
        return float(sum(one[name][0] for one in runs) / sum(one[name][1] for one in runs))

    return {
        "policy": policy,
        "live_sessions": live,
        "moved_on_loss": share("loss"),
        "moved_on_return": share("return"),
        "moved_without_cause": share("still"),
        "moved_on_loss_by_seed": " ".join(f"{a / b:.2f}" for a, b in (x["loss"] for x in runs)),
    }


# -- plot ---------------------------------------------------------------------


def _plot(rows: list[dict[str, Any]], losses: list[dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(11, 7.5))
    panels = (
        (axes[0][0], "ttft_p99_ms", "TTFT p99 in ms (log scale)", None),
        (axes[0][1], "hit_of_ideal", f"cache hits, share of {IDEAL}", None),
        (axes[1][0], "imbalance", "busiest replica / mean, by the minute", 1.25),
    )
    for axis, key, label, bar in panels:
        for policy in POLICIES:
            mine = [row for row in rows if row["policy"] == policy]
            style = {"linewidth": 3, "zorder": 3} if policy == OURS else {"linewidth": 1.3}
            positions = range(len(mine))
            axis.plot(positions, [r[key] for r in mine], marker="o", label=policy, **style)
        axis.set_xticks(range(len(LIVE)), [str(live) for live in LIVE])
        axis.set_xlabel("live sessions on four replicas")
        axis.set_ylabel(label)
        if bar is not None:
            axis.axhline(bar, color="grey", linestyle="--", linewidth=1)
    axes[0][0].set_yscale("log")
    axes[0][0].legend(fontsize=7)
    _plot_losses(axes[1][1], losses)
    figure.suptitle("Session affinity, simulated RTX 4090 fleet", fontsize=11)
    figure.tight_layout()
    figure.savefig(report.RESULTS / "affinity.png", dpi=110)
    plt.close(figure)


def _plot_losses(axis: Any, losses: list[dict[str, Any]]) -> None:
    losses = [row for row in losses if row["live_sessions"] == LOSS_LIVE[0]]
    keys = ("moved_on_loss", "moved_on_return", "moved_without_cause")
    for number, key in enumerate(keys):
        places = [i + 0.27 * (1 - number) for i in range(len(losses))]
        axis.barh(places, [row[key] for row in losses], 0.25, label=key.replace("_", " "))
    axis.set_yticks(range(len(losses)), [row["policy"] for row in losses], fontsize=7)
    axis.axvline(0.3, color="grey", linestyle="--", linewidth=1)
    axis.set_xlabel(f"share of {LOSS_LIVE[0]} sessions that moved, 4 → 3 → 4 replicas")
    axis.legend(fontsize=7)


if __name__ == "__main__":
    main()
