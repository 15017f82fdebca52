"""A plan's lanes simulated, at the busiest hour and in a burst, against the promise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from fleet.plan.plan import LanePlan, Plan
from simulator.virtual_time.report import quantile
from simulator.virtual_time.virtual import Result, run

SKIP_S = 60.0
"""The caches fill."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One replica of a lane in virtual time. Seconds, at the 95th percentile.

    Attributes:
        sessions: that talk to the replica at any time.
        seen: by the promise's names, those that are promised.
        broken: names of those that were not kept.

    """

    lane: str
    when: str
    sessions: int
    requests: int
    seen: dict[str, float]
    broken: tuple[str, ...]


def check(plan: Plan, seed: int = 1, minutes: float = 10.0) -> Iterator[Checked]:
    """Simulate a replica of each lane with its share of sessions, in both hours."""
    for lane in plan.lanes:
        for when, sessions in (("busiest hour", lane.demand.peak), ("burst", lane.demand.burst)):
            each = max(1, math.ceil(sessions / lane.replicas))
            yield _checked(plan, lane, when, each, seed, minutes)


def _checked(
    plan: Plan, lane: LanePlan, when: str, sessions: int, seed: int, minutes: float
) -> Checked:
    result = run(
        lane.served.simulated(plan.slots(lane), plan.talk.context),
        plan.wish.workload,
        duration_s=60 * minutes,
        random=Random(seed),
        active=sessions,
        skip_s=min(SKIP_S, 20 * minutes),
    )
    bounds = plan.wish.promise.model_dump(exclude_none=True)
    seen = {name: value for name, value in _seen(result).items() if name in bounds}
    # Not a number where nothing ended: that keeps no promise.
    broken = tuple(name for name, value in seen.items() if not value <= bounds[name])
    return Checked(lane.name, when, sessions, len(result.turns), seen, broken)


def _seen(result: Result) -> dict[str, float]:
    turns = result.turns
    return {
        "ttft_p95_s": quantile((x.ttft_s for x in turns), 0.95),
        "first_30_p95_s": quantile((x.first_30_s for x in turns), 0.95),
        "answer_p95_s": quantile((x.duration_s for x in turns), 0.95),
        "turn_p95_s": quantile(result.user_turns_s, 0.95),
    }
