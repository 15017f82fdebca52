"""Which lane serves a request.

The order is fixed, and each step is one function, tried until one answers:

1. `pinned`: the caller named a lane or its model id;
2. `long_context`: prompt and answer do not fit the default lane's window;
3. `tools`: the request carries tools and the fleet has a lane for them;
4. `complex` or `sticky`: the newest user turn scores over the threshold, or one
   of the few before it did, so that a conversation does not change lanes (and
   re-read its history) twice;
5. `tier`: the tenant's tier has a default lane of its own;
6. `default`.

Stickiness needs no table. Chat clients send the whole conversation each time, so
the scores of the last turns can be had again from the request itself, and every
ingress replica reaches the same answer. `scores` is called only at step 4: a
pinned, long or tool request is never scored for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from router.errors import Rejected, RejectReason
from router.types import Lane, LaneDecision, Reason, RequestFacts, TierRules

AUTO = "auto"

Scores = Callable[[], Sequence[float]]
"""Scores of the last user turns, newest last; called at most once."""


@dataclass(frozen=True, slots=True)
class RoutingPolicy:
    """The fleet's routing table.

    Attributes:
        lanes: name to lane, in the order the fleet file gives them.
        default: lane that answers unless something below says otherwise.
        complex: lane for complex queries, or None to escalate nothing.
        long_context: lane for prompts past the default window, or None.
        tools: lane for requests with tools, or None.
        threshold: scores at or above it escalate.

    """

    lanes: Mapping[str, Lane]
    default: str
    complex: str | None = None
    long_context: str | None = None
    tools: str | None = None
    threshold: float = 1.1
    by_model: Mapping[str, str] = field(default_factory=dict)

    def find(self, model: str) -> Lane | None:
        """The lane called `model`, or the first one that serves that model id."""
        lane = self.lanes.get(model)
        if lane is None and model in self.by_model:
            lane = self.lanes[self.by_model[model]]
        return lane


def decide_lane(
    policy: RoutingPolicy, tier: TierRules, facts: RequestFacts, scores: Scores
) -> LaneDecision | Rejected:
    """Choose the lane for one request, or refuse it (404, 403 or 400)."""
    if facts.pinned is not None and facts.pinned != AUTO:
        return _pinned(policy, tier, facts.pinned)
    base = _base_lane(policy, tier)
    if base is None:
        return Rejected(RejectReason.MODEL_NOT_ALLOWED, "No lane is open to this API key.")
    return (
        _by_length(policy, tier, facts, base)
        or _by_tools(policy, tier, facts)
        or _by_complexity(policy, tier, facts, base, scores)
        or base
    )


def _pinned(policy: RoutingPolicy, tier: TierRules, model: str) -> LaneDecision | Rejected:
    lane = policy.find(model)
    if lane is None:
        return Rejected(
            RejectReason.MODEL_NOT_FOUND,
            "The requested model does not exist; GET /v1/models lists the models.",
            param="model",
        )
    if not tier.allows(lane.name):
        return Rejected(
            RejectReason.MODEL_NOT_ALLOWED,
            f"This API key may not use the model '{lane.model_id}'.",
            param="model",
        )
    return LaneDecision(lane, Reason.PINNED)


def _base_lane(policy: RoutingPolicy, tier: TierRules) -> LaneDecision | None:
    """Where a request goes that nothing else moves."""
    own = tier.default_lane
    if own is not None and own in policy.lanes and tier.allows(own):
        return LaneDecision(policy.lanes[own], Reason.TIER)
    if tier.allows(policy.default):
        return LaneDecision(policy.lanes[policy.default], Reason.DEFAULT)
    allowed = [lane for lane in policy.lanes.values() if tier.allows(lane.name)]
    return LaneDecision(allowed[0], Reason.TIER) if allowed else None


def _by_length(
    policy: RoutingPolicy, tier: TierRules, facts: RequestFacts, base: LaneDecision
) -> LaneDecision | None:
    if _fits(facts, base.lane):
        return None
    name = policy.long_context
    if name is None or not tier.allows(name):
        return None
    lane = policy.lanes[name]
    if lane.window_tokens <= base.lane.window_tokens:
        return None
    return LaneDecision(lane, Reason.LONG_CONTEXT)


def _by_tools(policy: RoutingPolicy, tier: TierRules, facts: RequestFacts) -> LaneDecision | None:
    if not facts.has_tools or policy.tools is None or not tier.allows(policy.tools):
        return None
    lane = policy.lanes[policy.tools]
    if not _fits(facts, lane):
        return None
    return LaneDecision(lane, Reason.TOOLS)


def _fits(facts: RequestFacts, lane: Lane) -> bool:
    return facts.prompt_tokens + facts.output_tokens <= lane.window_tokens


def _by_complexity(
    policy: RoutingPolicy, tier: TierRules, facts: RequestFacts, base: LaneDecision, scores: Scores
) -> LaneDecision | None:
    name = policy.complex
    if name is None or name == base.lane.name or not tier.allows(name):
        return None
    lane = policy.lanes[name]
    if not _fits(facts, lane):
        return None
    turns = scores()
    if not turns:
        return None
    newest, threshold = turns[-1], policy.threshold
    if newest >= threshold:
        return LaneDecision(lane, Reason.COMPLEX, newest, threshold)
    if any(score >= threshold for score in turns):
        return LaneDecision(lane, Reason.STICKY, newest, threshold)
    return LaneDecision(base.lane, base.reason, newest, threshold)
