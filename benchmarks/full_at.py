"""What `full_at` is worth: a day of a planned fleet with it and without, in virtual time.

    python -m benchmarks.full_at        # four minutes of CPU

The fleet is what the planner writes:

    pointsman plan --turns-per-s 4 --swing 8 --cards rtx4090:12 --complex-share 0 \
        --model chat=Qwen/Qwen2.5-14B-Instruct-AWQ --profile chat=qwen-2.5-14b-awq-rtx4090 \
        --write benchmarks/full_at_fleet.yaml
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.support import report
from fleet.simulation import simulate
from fleet.traffic.sessions import Sessions, diurnal
from router.slo.objectives import Objective
from serve_app.commands.fleet_spec import spec_of
from serve_app.config.settings import load_fleet, load_tenants, tenants_path
from simulator.virtual_time.workload import load_workload

FLEET = Path(__file__).with_name("full_at_fleet.yaml")
DAY_S = 86_400.0
PEAK, SWING = 4.0, 8.0
"""Turns a second in the busiest hour, and how many times the quietest one's; as planned."""
SKIP_S = 600.0
LANE = "chat"


def run_day(has_full_at: bool) -> dict[str, Any]:  # noqa: FBT001 - mapped over
    spec = spec_of(load_fleet(FLEET), load_tenants(tenants_path()))
    lane = spec.lanes[LANE]
    assert lane.scaling is not None
    if not has_full_at:
        lane = replace(lane, scaling=replace(lane.scaling, slots=lane.slots))
    workload = load_workload("saas").model_copy(update={"tenants": 200, "tenant_skew": 0.3})
    traffic = Sessions(workload, "paid", requests_per_s=diurnal(PEAK, PEAK / SWING))
    begun = time.process_time()
    found = simulate(replace(spec, lanes={LANE: lane}), traffic, duration_s=DAY_S, skip_s=SKIP_S)
    cpu_s = time.process_time() - begun
    (row,) = [x for x in found.rows if x.lane == LANE]
    return {
        "full at": lane.scaling.slots if lane.scaling else None,
        "requests": row.requests,
        "answered": row.answered / row.requests,
        "ttft_p95_ms": 1000 * row.percentiles["ttft_p95_s"],
        "itl_p50_ms": 1000 * row.percentiles["itl_p50_s"],
        "itl_p95_ms": 1000 * row.percentiles["itl_p95_s"],
        "first_tokens_late": row.misses[Objective.FIRST_TOKENS.value],
        "answer_p95_s": row.percentiles["duration_p95_s"],
        "slo_kept": row.slo_kept,
        "card_hours": found.card_hours[LANE],
        "most_replicas": max(ready for _, ready, _ in found.replicas[LANE]),
        "cpu_s": round(cpu_s, 1),
    }


def main() -> None:
    with ProcessPoolExecutor(2) as pool:
        rows = list(pool.map(run_day, (True, False), chunksize=1))
    notes = (
        "**Simulated**: a day of a fleet as `pointsman plan --write` gives it (Qwen 2.5 14B AWQ on "
        f"RTX 4090, 11 slots, one to four replicas; {FLEET.name}), {PEAK:g} turns a second at noon "
        f"and {PEAK / SWING:g} at midnight; with the `full_at` that it wrote and without, where a "
        "replica is full at its slots. Promised: the first token within 0.8 s and the first 30 "
        "within 1.2, for 95 of 100; `first_tokens_late`: the share that was not. The first ten "
        "minutes are not counted. Command: `python -m benchmarks.full_at`."
    )
    report.write("full_at", rows, title="What full_at is worth, over a day", notes=notes)


if __name__ == "__main__":
    main()
