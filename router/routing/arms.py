"""An experiment's arm in place of the lane that the routing rules chose.

What is compared has to differ by the lane alone. So a request is in an experiment only if it
could go to either of its lanes: where the treatment's does not take it (its window, tools,
images, the tier's lanes), it goes where it would go, and counts for neither arm. Neither does
one whose caller named a lane.
"""

from __future__ import annotations

from dataclasses import replace

from router.routing.policy import RoutingPolicy
from router.types import LaneDecision, Reason, RequestFacts, TierRules


def in_arm(
    policy: RoutingPolicy, tier: TierRules, facts: RequestFacts, decision: LaneDecision
) -> LaneDecision:
    """Return the decision with its session's arm of the experiment on its lane, if there is one."""
    for arm in facts.arms:
        if arm.control != decision.lane.name:
            continue
        lane = policy.open_lane(arm.treatment, tier, facts)
        if lane is None:
            return decision
        # Both draws, of exploration and of the arm, had to fall so.
        chance = decision.propensity * arm.propensity
        told = replace(decision, experiment=arm.experiment, arm=arm.name, propensity=chance)
        if arm.lane == arm.control:
            return told
        return replace(told, lane=lane, reason=Reason.EXPERIMENT, instead_of=decision)
    return decision
