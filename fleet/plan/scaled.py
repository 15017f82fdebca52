"""Which lanes of a plan follow the day, and between which bounds.

A lane that is scaled is judged by what runs in its replicas over what makes one full. A plan
holds a replica to its promise, which is met long before its slots are taken: 38 sessions that
read and write what they got are eight sequences. So the file says what full means (`full_at`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from fleet.plan.plan import LanePlan, Plan
from fleet.plan.reckoning.sizing import replicas
from router.scaling.lane_load import ScalingTerms

HIGH = ScalingTerms(1, 1).high
"""Share of what is full above which another replica is started."""

Replicas = int | dict[str, int]
"""What the fleet file says: a number, or bounds."""


def replicas_by_lane(plan: Plan) -> Mapping[str, Replicas]:
    """Return what to write as `replicas` of each lane.

    The least is what the quietest hour needs, the most what the busiest hour or a burst does: of
    cards that the plan has no lane for, a burst's replicas are given some. A lane whose most is
    its least is fixed, and so are all lanes on bought cards, which cost the same at rest.
    """
    spare = dict(plan.spare)
    return {lane.name: _replicas(plan, lane, spare) for lane in plan.lanes}


def _replicas(plan: Plan, lane: LanePlan, spare: dict[str, int]) -> Replicas:
    full_at = _full_at(lane)
    if plan.wish.tariff.months is not None or not full_at:
        return lane.replicas
    least = replicas(lane.demand.planned / plan.wish.users.swing, lane.capacity.sessions)
    more = replicas(lane.demand.burst, lane.capacity.sessions) - lane.replicas
    kind, each = lane.served.card_name, lane.served.engine.cards
    more = max(0, min(more, spare.get(kind, 0) // each))
    most = lane.replicas + more
    if least >= most:
        return most
    spare[kind] = spare.get(kind, 0) - more * each
    return {"min": least, "max": most, "full_at": full_at}


def _full_at(lane: LanePlan) -> int:
    """Return the sequences of a full replica; 0: so few that no whole number says it.

    With as many sessions as the promise allows, what runs is `HIGH` of them.
    """
    at = lane.capacity.at
    assert at is not None
    return math.floor(at.in_flight / HIGH)
