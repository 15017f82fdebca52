"""A plan's fleet under the shipped policy, in virtual time: does it keep its promise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from fleet.plan.check import Checked, check_turns, hours, skip_s
from fleet.plan.plan import Plan, promise_for
from fleet.plan.written import fleet_data
from fleet.simulation.report import Row
from fleet.simulation.run import simulate
from fleet.simulation.spec import FleetSpec
from fleet.traffic.sessions import Sessions
from router.slo.objectives import Objective
from serve_app.commands.fleet_spec import spec_of
from serve_app.config.fleet import FleetConfig
from serve_app.config.tenants import TenantsConfig

MOST_REPLICAS = 8
"""Of a lane that are simulated; a larger fleet is so many cells that are alike."""

REFUSED = 0.01
"""Share of requests without an answer from which that is what is broken."""

NAMES = {
    "ttft_p95_s": Objective.TTFT,
    "first_30_p95_s": Objective.FIRST_TOKENS,
    "answer_p95_s": Objective.ANSWER,
}


def check(plan: Plan, seed: int = 1, minutes: float = 10.0) -> Iterator[Checked]:
    """Simulate the busiest hour and a burst.

    The tenants have no ceilings: what is asked is whether the cards hold it. Scores of
    complex questions are drawn, and routed by the shipped thresholds.
    """
    cell = max(1.0, max(lane.replicas for lane in plan.lanes) / MOST_REPLICAS)
    spec = _spec(plan, cell)
    for when, times in hours(plan):
        sources = [
            Sessions(plan.wish.workload, tier, seed, active=count, prefix=tier, number=number)
            for number, (tier, count) in enumerate(_sessions(plan, times / cell).items())
        ]
        report = simulate(spec, sources, duration_s=60 * minutes, seed=seed, skip_s=skip_s(minutes))
        for row in report.rows:
            sessions = sum(x.active or 0 for x in sources if x.tier == row.tier)
            replicas = spec.lanes[row.lane].replicas if row.lane in spec.lanes else 0
            yield _checked(plan, row, when, sessions, replicas)
    yield from check_turns(plan, seed, minutes)


def _sessions(plan: Plan, times: float) -> dict[str, int]:
    """Sessions at once by tier; those of `quality` begin as the others' do."""
    found = {"paid": 0.0, "free": 0.0}
    for lane in plan.lanes:
        found["free" if lane.name == "free" else "paid"] += lane.demand.peak * times
    return {tier: math.ceil(count) for tier, count in found.items() if count}


def _spec(plan: Plan, cell: float) -> FleetSpec:
    names = [lane.name for lane in plan.lanes]
    free = {"default_lane": "free", "lanes": ["free"]} if "free" in names else {}
    tenants = TenantsConfig.model_validate(
        {"tiers": {"paid": {}, "free": {"priority": 10, "sheddable": True, **free}}}
    )
    profiles = {
        lane.name: lane.served.simulated(plan.slots(lane), plan.talk.context) for lane in plan.lanes
    }
    spec = spec_of(FleetConfig.model_validate(fleet_data(plan, "plan")), tenants, profiles=profiles)
    # What holds the busiest hour is asked: all that is planned, from the first minute on.
    lanes = {
        lane.name: replace(
            spec.lanes[lane.name],
            replicas=max(1, math.ceil(lane.replicas / cell)),
            scaling=None,
        )
        for lane in plan.lanes
    }
    return replace(spec, lanes=lanes)


def _checked(plan: Plan, row: Row, when: str, sessions: int, replicas: int) -> Checked:
    promise = promise_for(row.lane, plan.wish.promise).model_dump(exclude_none=True)
    seen = {
        name: value
        for name, value in row.percentiles.items()
        if name in ("ttft_p95_s", "duration_p95_s")
    }
    told = {"ttft_p95_s": seen["ttft_p95_s"], "answer_p95_s": seen["duration_p95_s"]}
    late = [
        name
        for name, objective in NAMES.items()
        if name in promise and row.misses.get(objective.value, 0.0) > 0.05
    ]
    refused = row.requests - row.answered
    broken = [*late, *(["refused"] if refused > REFUSED * row.requests else [])]
    return Checked(
        row.lane, row.tier, when, sessions, replicas, row.requests, refused, told, tuple(broken)
    )
