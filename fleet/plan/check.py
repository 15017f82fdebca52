"""What a simulation says of a plan; turns of an agent, which no gateway knows of, simulated."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from fleet.plan.plan import Plan
from simulator.virtual_time.report import quantile
from simulator.virtual_time.virtual import run

SKIP_S = 60.0
"""The caches fill."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Requests of a lane and a tier in virtual time.

    Attributes:
        sessions: that talk to what was simulated, at any time.
        replicas: of the lane that were simulated.
        refused: requests that got no answer.
        seen: 95th percentiles in seconds, by the promise's names.
        broken: names of those that were not kept.

    """

    lane: str
    tier: str
    when: str
    sessions: int
    replicas: int
    requests: int
    refused: int
    seen: dict[str, float]
    broken: tuple[str, ...]


def hours(plan: Plan) -> tuple[tuple[str, float], ...]:
    """Return what is simulated, and its sessions over those of the busiest hour."""
    burst = plan.wish.users.burst
    return (("busiest hour", 1.0), *((("burst", burst),) if burst > 1 else ()))


def skip_s(minutes: float) -> float:
    return min(SKIP_S, 20 * minutes)


def check_turns(plan: Plan, seed: int, minutes: float) -> Iterator[Checked]:
    """Simulate one replica of each lane with its share of sessions, for the time of whole turns."""
    bound = plan.wish.promise.turn_p95_s
    if bound is None:
        return
    for when, times in hours(plan):
        for lane in plan.lanes:
            sessions = max(1, math.ceil(times * lane.demand.peak / lane.replicas))
            result = run(
                lane.served.simulated(plan.slots(lane), plan.talk.context),
                plan.wish.workload,
                duration_s=60 * minutes,
                random=Random(seed),
                active=sessions,
                skip_s=skip_s(minutes),
            )
            seen = quantile(result.user_turns_s, 0.95)
            # Not a number where nothing ended: that keeps no promise.
            broken = () if seen <= bound else ("turn_p95_s",)
            told = {"turn_p95_s": seen}
            yield Checked(lane.name, "all", when, sessions, 1, len(result.turns), 0, told, broken)
