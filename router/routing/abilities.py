"""Requests that not every lane can serve: embeddings, scores of texts, and those with images.

A lane generates text, or it makes embeddings, or it scores texts. None is asked for what it
cannot do: whoever names it is told which lanes can. Vectors of two models do not compare, so
an unknown name never leads to the lane that embeds.
"""

from __future__ import annotations

from collections.abc import Callable

from router.errors import Rejected, RejectReason
from router.routing.policy import RoutingPolicy
from router.types import Lane, LaneDecision, Reason, RequestFacts, Task, TierRules

_DOES = {
    Task.GENERATE: "generate text",
    Task.EMBED: "make embeddings",
    Task.SCORE: "score or rerank texts",
}
_SEES = "read images"

MAX_TOLD = 8
"""Lanes that a refusal names."""


def inability(
    policy: RoutingPolicy, tier: TierRules, facts: RequestFacts, lane: Lane
) -> Rejected | None:
    """Return why a lane cannot serve a request that names it (400), and which lanes can."""
    if facts.task not in lane.tasks:
        what, can = _DOES[facts.task], _does(facts.task)
    elif facts.has_images and not lane.sees:
        what, can = _SEES, _sees
    else:
        return None
    others = [x.name for x in policy.lanes.values() if can(x) and tier.allows(x.name)]
    named = (
        f"these do: {', '.join(others[:MAX_TOLD])}"
        if others
        else "none that is open to this API key does"
    )
    message = f"The model '{lane.model_id}' does not {what}; {named}."
    return Rejected(RejectReason.INVALID_REQUEST, message, param="model")


def by_task(policy: RoutingPolicy, tier: TierRules, task: Task) -> LaneDecision | Rejected:
    """Choose the lane for a task that generates nothing, of a request that names none."""
    able = [lane for lane in policy.lanes.values() if task in lane.tasks]
    name = policy.pooling.get(task)
    if name is not None and tier.allows(name):
        return LaneDecision(policy.lanes[name], Reason.DEFAULT)
    allowed = [lane for lane in able if tier.allows(lane.name)]
    if allowed:
        return LaneDecision(allowed[0], Reason.TIER)
    if able:
        message = f"No lane that is open to this API key can {_DOES[task]}."
        return Rejected(RejectReason.MODEL_NOT_ALLOWED, message, param="model")
    message = f"No lane here can {_DOES[task]}."
    return Rejected(RejectReason.MODEL_NOT_FOUND, message, param="model")


def by_sight(policy: RoutingPolicy, tier: TierRules) -> LaneDecision | Rejected:
    """Choose the lane for images that the lane of all else does not read."""
    name = policy.vision
    if name is not None and tier.allows(name):
        return LaneDecision(policy.lanes[name], Reason.VISION)
    allowed = [lane for lane in policy.lanes.values() if _sees(lane) and tier.allows(lane.name)]
    if allowed:
        return LaneDecision(allowed[0], Reason.VISION)
    message = f"No model that is open to this API key can {_SEES}: send text alone."
    return Rejected(RejectReason.INVALID_REQUEST, message)


def _sees(lane: Lane) -> bool:
    return lane.generates and lane.sees


def _does(task: Task) -> Callable[[Lane], bool]:
    return lambda lane: task in lane.tasks
