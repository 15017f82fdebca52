"""Which lane serves a request.

The order is fixed, and each step is one function, tried until one answers:

1. `pinned`: the caller named a lane or its model id, or an alias of a lane (an alias of
   `auto` is routed as `auto` is). A lane that cannot do it is refused
   (`router.routing.abilities`), and what is to be embedded or scored goes by no other rule
   but `default`: to the lane for that;
2. a step of an agent's turn, which brings tool results: where the turn runs, if that is
   known (`router.routing.turn_lanes`) and the prompt fits there; the reason is `sticky`,
   or the turn's own where that says all (`default`, `tools`, `language`, ...);
3. `sub_agent`, `background`: a sub-agent sends it, or nobody waits for it, and the fleet
   has a lane for those. A sub-agent's request in a language that has a lane goes there;
4. `long_context`: the prompt does not fit the default lane's window, with some room
   for an answer: how long that is allowed to be decides nothing (`router.routing.window_room`);
5. `planning`: the request begins an agent's turn (it carries tools) and scores over the
   planning lane's threshold; see `router.routing.climbing`;
6. `tools`: the request carries tools and the fleet has a lane for them;
7. `frontier`, `complex` or `sticky`: the newest user turn scores over a stronger
   lane's threshold, or one of the few before it did, so that a conversation does
   not change lanes (and re-read its history) twice; `yielded` when it does and the
   lane has no room for borderline cases, or the tenant's budget is spent;
8. `language`: its language has a lane, which stands in for the default lane and for the
   one for tools in all of the above;
9. `vision`: it has images, which the lane of 10 or 11 does not read. It stands in for
   that lane in all of the above, and no rule leads to a lane that reads none;
10. `tier`: the tenant's tier has a default lane of its own;
11. `default`.

A request whose score stays under all thresholds may move after all, once its lane has begun to
answer: `above` of the decision, `cascade` (`router.routing.cascade`).

Then, in place of the lane that 2 to 11 chose, `experiment`: the session is in an arm of an
experiment on that lane which goes elsewhere (`router.routing.arms`).

Stickiness needs no table, but for turns that were moved so (`router.routing.moved`). Chat
clients send the whole conversation each time, so the scores of the last turns can be had
again from the request itself, and every ingress replica reaches the same answer. `judge` is
called only at 5 or 7, and only when a stronger lane is open to the request: a pinned, long or
background request, or one of a tenant without a budget, is never scored for nothing.
"""

from __future__ import annotations

from router.errors import Rejected, RejectReason
from router.routing.abilities import by_sight, by_task, inability
from router.routing.arms import in_arm
from router.routing.climbing import by_complexity, by_planning
from router.routing.policy import Judge, RoutingPolicy, fits
from router.types import LaneDecision, Reason, RequestFacts, Task, TierRules


def decide_lane(
    policy: RoutingPolicy, tier: TierRules, facts: RequestFacts, judge: Judge
) -> LaneDecision | Rejected:
    """Choose the lane for one request, or refuse it (404, 403 or 400)."""
    if facts.pinned is not None and not policy.leaves_choice(facts.pinned):
        return _pinned(policy, tier, facts, facts.pinned)
    if facts.task is not Task.GENERATE:
        return by_task(policy, tier, facts.task)
    usual = _base_lane(policy, tier)
    if usual is None:
        return Rejected(RejectReason.MODEL_NOT_ALLOWED, "No lane is open to this API key.")
    is_blind = facts.has_images and not usual.lane.sees
    base = by_sight(policy, tier) if is_blind else usual
    if isinstance(base, Rejected):
        return base
    base = _by_language(policy, tier, facts, base) or base
    tools = _by_tools(policy, tier, facts, base)
    decision = (
        _by_turn(policy, tier, facts)
        or _by_purpose(policy, tier, facts, base)
        or _by_length(policy, tier, facts, base)
        or by_planning(policy, tier, facts, tools or base, judge)
        or tools
        or by_complexity(policy, tier, facts, base, judge)
        or base
    )
    return in_arm(policy, tier, facts, decision) if facts.arms else decision


def auto_window(policy: RoutingPolicy, tier: TierRules) -> int | None:
    """Return the tokens of prompt and answer that `auto` has a window for; None: no lane is open.

    It is the window of the lane where prompts go that fit nowhere else: the long-context
    lane, where the fleet has one that is open to the tier and longer; else the tier's base
    lane. Whatever smaller windows other lanes have, a conversation may grow up to this: a
    stronger lane or one for tools gets a request only while the request fits it. A stronger
    lane with a longer window does not count, since a long prompt may be a simple one.
    """
    base = _base_lane(policy, tier)
    if base is None:
        return None
    name = policy.long_context
    longest = policy.lanes[name].window_tokens if name is not None and tier.allows(name) else 0
    return max(base.lane.window_tokens, longest)


def _pinned(
    policy: RoutingPolicy, tier: TierRules, facts: RequestFacts, model: str
) -> LaneDecision | Rejected:
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
    return inability(policy, tier, facts, lane) or LaneDecision(lane, Reason.PINNED)


def _base_lane(policy: RoutingPolicy, tier: TierRules) -> LaneDecision | None:
    """Return where a request goes that nothing else moves."""
    own = policy.lanes.get(tier.default_lane or "")
    if own is not None and own.generates and tier.allows(own.name):
        return LaneDecision(own, Reason.TIER)
    if tier.allows(policy.default):
        return LaneDecision(policy.lanes[policy.default], Reason.DEFAULT)
    lanes = policy.lanes.values()
    allowed = [lane for lane in lanes if lane.generates and tier.allows(lane.name)]
    return LaneDecision(allowed[0], Reason.TIER) if allowed else None


def _by_language(
    policy: RoutingPolicy, tier: TierRules, facts: RequestFacts, base: LaneDecision
) -> LaneDecision | None:
    if facts.language is None:
        return None
    lane = policy.open_lane(policy.languages.get(facts.language), tier, facts)
    return LaneDecision(lane, Reason.LANGUAGE) if lane not in (None, base.lane) else None


def _by_turn(policy: RoutingPolicy, tier: TierRules, facts: RequestFacts) -> LaneDecision | None:
    held = facts.held
    if held is None or held.lane not in policy.lanes or not tier.allows(held.lane):
        return None
    lane = policy.lanes[held.lane]
    return LaneDecision(lane, held.reason) if fits(facts, lane) else None


def _by_purpose(
    policy: RoutingPolicy, tier: TierRules, facts: RequestFacts, base: LaneDecision
) -> LaneDecision | None:
    if not facts.is_background:
        return None
    if not facts.is_sub_agent:
        lane = policy.open_lane(policy.background, tier, facts)
        return LaneDecision(lane, Reason.BACKGROUND) if lane is not None else None
    if base.reason is Reason.LANGUAGE:
        return base
    lane = policy.open_lane(policy.sub_agents, tier, facts)
    return LaneDecision(lane, Reason.SUB_AGENT) if lane is not None else None


def _by_length(
    policy: RoutingPolicy, tier: TierRules, facts: RequestFacts, base: LaneDecision
) -> LaneDecision | None:
    name = policy.long_context
    if fits(facts, base.lane) or name is None or not tier.allows(name):
        return None
    lane = policy.lanes[name]
    is_longer = lane.window_tokens > base.lane.window_tokens
    is_blind = facts.has_images and not lane.sees
    return LaneDecision(lane, Reason.LONG_CONTEXT) if is_longer and not is_blind else None


def _by_tools(
    policy: RoutingPolicy, tier: TierRules, facts: RequestFacts, base: LaneDecision
) -> LaneDecision | None:
    """Return where a request with tools goes that is not hard; None: it is like any other."""
    if not facts.has_tools or policy.tools is None or not tier.allows(policy.tools):
        return None
    if base.reason is Reason.LANGUAGE:
        return base
    lane = policy.lanes[policy.tools]
    return LaneDecision(lane, Reason.TOOLS) if fits(facts, lane) else None
