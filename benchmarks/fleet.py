"""Whole fleets in virtual time: the shipped policy under the shipped scenarios.

    make bench-fleet                             # scenarios: some minutes
    python -m benchmarks.fleet --part cells      # how much a cell's size matters: some minutes
    python -m benchmarks.fleet --part day        # a day at 50,000 requests a second, two cores

Nothing here comes from a GPU. Times are CPU times, so they hold on a machine that does other
things as well, but for what those do to its caches.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

from benchmarks.support import report
from fleet.simulation import FleetReport, FleetSpec, simulate
from fleet.traffic.scenarios import SCENARIOS, Scenario, load_scenario
from fleet.traffic.sessions import Sessions, diurnal, steady
from serve_app.commands.fleet_spec import spec_of
from serve_app.config.settings import fleet_path, load_fleet, load_tenants, tenants_path

FLEET = "rtx4090"
CARD_HOUR = {"rtx4090": 0.34, "h100": 2.69}
"""RunPod's lowest offers, March 2026."""

SMALL = ("saas", "agents", "flash-crowd", "lane-outage", "tenant-flood", "rolling-redeploy",
         "cold-starts")  # fmt: skip
CONSUMER = "consumer-chat"
CELLS = (1600.0, 800.0, 400.0, 200.0)
CELL_S, CELL_SKIP_S = 1200.0, 900.0
START_S = 120.0
"""An H100 replica's cold start: 35 GB a card from a disk of 1 GB/s, and graphs; assumed."""

SHOWN = (("chat", "paid"), ("free", "free"))
"""Lanes and tiers in the plot."""
TICKS_MS = (20, 50, 100, 200, 500, 1000)

DAY_S = 86_400.0
DAY_CELL = 1600.0
"""The day's cells: half as large as the scenario's, so that it takes minutes."""

OVERLAP_S = 1800.0
"""The second half of the day begins so much before noon, so that its caches and replicas are as
they would be."""


def shipped(path: str = FLEET) -> FleetSpec:
    fleet, tenants = load_fleet(fleet_path(path)), load_tenants(tenants_path())
    return spec_of(fleet, tenants, card_hour=CARD_HOUR["rtx4090"])


def consumer() -> FleetSpec:
    folder = SCENARIOS / "consumer"
    fleet, tenants = load_fleet(folder / "fleet.yaml"), load_tenants(folder / "tenants.yaml")
    return spec_of(fleet, tenants, start_s=START_S, card_hour=CARD_HOUR["h100"])


# -- scenarios ------------------------------------------------------------------------


def run_scenario(name: str) -> tuple[FleetReport, float]:
    scenario = load_scenario(name)
    spec = scenario.sized(shipped())
    begun = time.process_time()
    found = simulate(
        spec,
        scenario.sources(1, spec.sticky_turns),
        duration_s=scenario.duration_s,
        skip_s=scenario.skip_s,
        incidents=scenario.happenings(spec),
    )
    return found, time.process_time() - begun


def scenarios() -> None:
    with ProcessPoolExecutor(2) as pool:
        runs = dict(zip(SMALL, pool.map(run_scenario, SMALL, chunksize=1), strict=True))
    rows = [
        row for name, (found, cpu_s) in runs.items() for row in scenario_rows(name, found, cpu_s)
    ]
    notes = (
        f"**Simulated**: fleet `{FLEET}` as shipped (but for the replicas that a scenario names), "
        "its shipped tenants file, two ingress replicas; scenarios under `configs/scenarios/`, "
        "whose files say what of them is assumed. The first minute of each is not counted. "
        "`refused`: by code; `token_rate` are a tenant's own ceilings. `recovered`: what was done "
        "for requests whose replica was lost. `slo_kept`: every objective that the fleet file "
        "promises to this lane and tier. `shed_order_violations` is of the whole run and has to "
        "be 0. `cpu_s`: of the whole run, on a machine that did other things at the time. "
        "Command: `make bench-fleet`."
    )
    report.write("fleet", rows, title="Whole fleets in virtual time", notes=notes)
    plot_scenarios(rows)


def scenario_rows(name: str, found: FleetReport, cpu_s: float) -> list[dict[str, Any]]:
    return [
        {
            "scenario": name,
            "lane": row.lane,
            "tier": row.tier,
            "requests": row.requests,
            "answered": row.answered,
            "refused": told({k: v for k, v in row.codes.items() if k != "200"}),
            "recovered": told(row.recovered),
            "ttft_p50_ms": 1000 * row.percentiles["ttft_p50_s"],
            "ttft_p95_ms": 1000 * row.percentiles["ttft_p95_s"],
            "ttft_p99_ms": 1000 * row.percentiles["ttft_p99_s"],
            "itl_p50_ms": 1000 * row.percentiles["itl_p50_s"],
            "answer_p95_s": row.percentiles["duration_p95_s"],
            "cached": row.cached_ratio,
            "slo_kept": row.slo_kept,
            "shed_order_violations": found.violations,
            "card_hours": found.card_hours.get(row.lane, 0.0),
            "cpu_s": round(cpu_s, 1),
        }
        for row in found.rows
        if row.requests
    ]


def told(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def plot_scenarios(rows: Sequence[dict[str, Any]]) -> None:
    from matplotlib import pyplot as plt

    paid = [row for row in rows if (row["lane"], row["tier"]) in SHOWN]
    names = [f"{row['scenario']}, {row['tier']}" for row in paid]
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True)
    for key, style in (("ttft_p50_ms", "o"), ("ttft_p95_ms", "s"), ("ttft_p99_ms", "D")):
        axes[0].plot([row[key] for row in paid], names, style, label=key[5:8])
    axes[0].axvline(800, color="grey", linestyle="--", linewidth=1, label="promised p95, paid")
    axes[0].set_xscale("log")
    axes[0].set_xticks(TICKS_MS, [str(x) for x in TICKS_MS], minor=False)
    axes[0].set_xticks([], minor=True)
    axes[0].set_xlabel("TTFT, ms (log): paid on chat, free on its own lane")
    axes[0].legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
    axes[0].grid(axis="y", alpha=0.3)
    answered = [row["answered"] / row["requests"] for row in paid]
    bars = axes[1].barh(
        names, answered, color=["C0" if r["tier"] == "paid" else "C1" for r in paid]
    )
    axes[1].bar_label(bars, [f"{share:.1%}" for share in answered], fontsize=7, padding=2)
    axes[1].set_xlabel("answered, share of what was asked")
    axes[1].set_xlim(0, 1.15)
    axes[0].invert_yaxis()
    save(figure, "fleet")


# -- the consumer chat ------------------------------------------------------------------


def run_cell(cell: float) -> tuple[float, FleetReport, float]:
    """Run a cell at the day's peak, with the replicas that its load asks for from the start on."""
    scenario, spec = load_scenario(CONSUMER), consumer()
    sources = scenario.sources(1)
    for source, stream in zip(sources, scenario.traffic, strict=True):
        assert stream.day is not None
        source.requests_per_s = steady(stream.day.peak / cell)
    begun = time.process_time()
    found = simulate(
        begun_at(spec, scenario, DAY_S / 2, cell), sources, duration_s=CELL_S, skip_s=CELL_SKIP_S
    )
    return cell, found, time.process_time() - begun


PER_REPLICA = {"free": 55.0, "paid": 9.0}
"""Requests a second at which a run begins with one more replica."""


def begun_at(spec: FleetSpec, scenario: Scenario, at: float, cell: float) -> FleetSpec:
    """Return the fleet with about the replicas that the load at a time of the day asks for."""
    lanes = dict(spec.lanes)
    for stream in scenario.traffic:
        assert stream.day is not None
        rate = diurnal(stream.day.peak, stream.day.trough).at(at) / cell
        lane = lanes[stream.tier]
        assert lane.scaling is not None
        count = 1 + math.ceil(rate / PER_REPLICA[stream.tier])
        scaling = replace(lane.scaling, max_replicas=max(lane.scaling.max_replicas, 2 * count))
        lanes[stream.tier] = replace(lane, replicas=count, scaling=scaling)
    return replace(spec, lanes=lanes)


def cells() -> None:
    with ProcessPoolExecutor(2) as pool:
        found = list(pool.map(run_cell, CELLS, chunksize=1))
    rows = [cell_row(cell, one, cpu_s, row) for cell, one, cpu_s in found for row in one.rows]
    notes = (
        "**Simulated**, of profiles derived from data sheets: the consumer chat's peak "
        f"(50,000 requests a second), {CELL_S / 60:.0f} minutes of which the last "
        f"{(CELL_S - CELL_SKIP_S) / 60:.0f} are counted, as cells of several sizes. `cards`: of "
        "the whole fleet, the cell's mean times the number of cells. "
        "Command: `python -m benchmarks.fleet --part cells`."
    )
    report.write("fleet_cells", rows, title="The size of a cell", notes=notes)


def cell_row(cell: float, found: FleetReport, cpu_s: float, row: Any) -> dict[str, Any]:
    return {
        "cells": cell,
        "tier": row.tier,
        "requests_per_s": row.requests / (CELL_S - CELL_SKIP_S),
        "answered": row.answered / row.requests,
        "ttft_p95_ms": 1000 * row.percentiles["ttft_p95_s"],
        "itl_p50_ms": 1000 * row.percentiles["itl_p50_s"],
        "answer_p95_s": row.percentiles["duration_p95_s"],
        "cached": row.cached_ratio,
        "cards": cell * found.card_hours[row.lane] * 3600 / CELL_S,
        "cpu_s": round(cpu_s, 1),
    }


def run_half(half: int, cell: float = DAY_CELL) -> tuple[FleetReport, float, float]:
    """Run a half of the day, the second one with some time before noon that is not counted."""
    scenario = load_scenario(CONSUMER).model_copy(update={"cell": cell})
    spec = consumer()
    since = 0.0 if half == 0 else DAY_S / 2 - OVERLAP_S
    skip_s = scenario.skip_s if half == 0 else OVERLAP_S
    sources = [shifted(source, since) for source in scenario.sources(1)]
    begun = time.process_time()
    found = simulate(
        begun_at(spec, scenario, since, scenario.cell),
        sources,
        duration_s=DAY_S / 2 if half == 0 else DAY_S / 2 + OVERLAP_S,
        skip_s=skip_s,
    )
    return found, since, time.process_time() - begun


def shifted(source: Sessions, since: float) -> Sessions:
    curve = source.requests_per_s
    assert curve is not None
    points = tuple((at - since, value) for at, value in curve.points if at >= since)
    source.requests_per_s = replace(curve, points=((0.0, curve.at(since)), *points))
    return source


def day() -> None:
    with ProcessPoolExecutor(2) as pool:
        write_day(list(pool.map(run_half, (0, 1))))


def write_day(halves: Sequence[tuple[FleetReport, float, float]]) -> None:
    rows = [
        {
            "half": ("first", "second")[number],
            "tier": row.tier,
            "requests": row.requests,
            "answered": row.answered / row.requests,
            "refused": told({k: v for k, v in row.codes.items() if k != "200"}),
            "ttft_p95_ms": 1000 * row.percentiles["ttft_p95_s"],
            "ttft_p99_ms": 1000 * row.percentiles["ttft_p99_s"],
            "answer_p95_s": row.percentiles["duration_p95_s"],
            "slo_kept": row.slo_kept,
            "shed_order_violations": found.violations,
            "card_hours_of_all_cells": DAY_CELL * found.card_hours[row.lane],
            "cpu_s": round(cpu_s, 1),
        }
        for number, (found, _, cpu_s) in enumerate(halves)
        for row in found.rows
    ]
    notes = (
        f"**Simulated**, of profiles derived from data sheets: one of {DAY_CELL:g} cells that "
        "together take 50,000 requests a second at noon and 5,000 at midnight; replicas follow "
        "by the shipped autoscaling policy. The halves of the day run beside each other, the "
        f"second from {OVERLAP_S / 60:.0f} minutes before noon. What a cell's size matters: "
        "fleet_cells.md. `cpu_s`: of a half, on a machine that did other things at "
        "the time. Command: `python -m benchmarks.fleet --part day`."
    )
    report.write("fleet_day", rows, title="A day at 50,000 requests a second", notes=notes)
    plot_day(halves)


def plot_day(halves: Sequence[tuple[FleetReport, float, float]]) -> None:
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(9, 3.8))
    for lane, colour in (("free", "C1"), ("paid", "C0")):
        at, count = [], []
        for found, since, _ in halves:
            for when, ready, starting in found.replicas[lane]:
                if not since or when >= OVERLAP_S:
                    at.append((since + when) / 3600)
                    count.append(ready + starting)
        axis.step(at, count, where="post", color=colour, label=f"replicas of {lane}")
    other = axis.twinx()
    curve = diurnal(50_000, 5_000)
    hours = [x / 4 for x in range(97)]
    other.plot(hours, [curve.at(3600 * x) for x in hours], color="grey", linestyle="--")
    other.set_ylabel("requests a second, all cells (dashed)")
    axis.set_xlabel("hour of the day")
    axis.set_ylabel("replicas of one cell")
    axis.legend(fontsize=8)
    save(figure, "fleet_day")


def save(figure: Any, name: str) -> None:
    figure.tight_layout()
    figure.savefig(report.RESULTS / f"{name}.png", dpi=110)


def main() -> None:
    import matplotlib

    matplotlib.use("Agg")
    parser = argparse.ArgumentParser(description=__doc__)
    parts = {"scenarios": scenarios, "cells": cells, "day": day}
    parser.add_argument("--part", choices=parts, default="scenarios")
    parts[parser.parse_args().part]()


if __name__ == "__main__":
    main()
