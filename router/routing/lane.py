"""Which lane serves a request.

The order is fixed, and each step is one function, tried until one answers:

1. `pinned`: the caller named a lane or its model id, or an alias of a lane (an alias of
   `auto` is routed as `auto` is);
2. a step of an agent's turn, which brings tool results: where the turn runs, if that is
   known (`router.routing.turn_lanes`) and the prompt fits there; the reason is `sticky`,
   or the turn's own where that says all (`default`, `tools`, `long_context`, `tier`);
3. `long_context`: the prompt does not fit the default lane's window, with some room
   for an answer: how long that is allowed to be decides nothing (`router.routing.window_room`);
4. `tools`: the request carries tools and the fleet has a lane for them;
5. `frontier`, `complex` or `sticky`: the newest user turn scores over a stronger
   lane's threshold, or one of the few before it did, so that a conversation does
   not change lanes (and re-read its history) twice; `yielded` when it does and the
   lane has no room for borderline cases, or the tenant's budget is spent. A step whose
   turn is not known is `sticky` by the same scores, and neither needs nor spends budget;
6. `tier`: the tenant's tier has a default lane of its own;
7. `default`.

Stickiness needs no table. Chat clients send the whole conversation each time, so
the scores of the last turns can be had again from the request itself, and every
ingress replica reaches the same answer. `judge` is called only at 5, and only when a
stronger lane is open to the request: a pinned, long, tool or background request, or one
of a tenant without a budget, is never scored for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from router.errors import Rejected, RejectReason
from router.routing.aliases import AUTO, Aliases
from router.routing.escalation import LevelView
from router.routing.window_room import least_room
from router.types import Lane, LaneDecision, Reason, RequestFacts, TierRules


@dataclass(frozen=True, slots=True)
class StrongerLane:
    """A lane and the reason that a request goes there for its score."""

    lane: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Judgement:
    """Scores of the last user turns, newest last, and the tenant's levels by lane."""

    scores: Sequence[float]
    views: Mapping[str, LevelView]


Judge = Callable[[], Judgement]
"""Scores the request; called at most once."""


@dataclass(frozen=True, slots=True)
class RoutingPolicy:
    """The fleet's routing table.

    Attributes:
        lanes: by name, in the order the fleet file gives them.
        stronger: for complex queries, strongest first.
        long_context: lane for prompts past the default window.
        by_model: model id to the name of the first lane that serves it.
        aliases: other names, which are looked up after the lanes and their model ids.

    """

    lanes: Mapping[str, Lane]
    default: str
    stronger: tuple[StrongerLane, ...] = ()
    long_context: str | None = None
    tools: str | None = None
    by_model: Mapping[str, str] = field(default_factory=dict)
    aliases: Aliases = field(default_factory=Aliases)

    def find(self, model: str) -> Lane | None:
        """Return the lane that a name pins: its own, its model id, or an alias of it."""
        return self._own(model) or self.lanes.get(self.aliases.find(model) or "")

    def is_auto(self, model: str) -> bool:
        """Return whether a name leaves the choice to the router: `auto`, or an alias of it."""
        return model == AUTO or (self._own(model) is None and self.aliases.find(model) == AUTO)

    def _own(self, model: str) -> Lane | None:
        return self.lanes.get(model) or self.lanes.get(self.by_model.get(model, ""))


def decide_lane(
    policy: RoutingPolicy, tier: TierRules, facts: RequestFacts, judge: Judge
) -> LaneDecision | Rejected:
    """Choose the lane for one request, or refuse it (404, 403 or 400)."""
    if facts.pinned is not None and not policy.is_auto(facts.pinned):
        return _pinned(policy, tier, facts.pinned)
    base = _base_lane(policy, tier)
    if base is None:
        return Rejected(RejectReason.MODEL_NOT_ALLOWED, "No lane is open to this API key.")
    return (
        _by_turn(policy, tier, facts)
        or _by_length(policy, tier, facts, base)
        or _by_tools(policy, tier, facts)
        or _by_complexity(policy, tier, facts, base, judge)
        or base
    )


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
    """Return where a request goes that nothing else moves."""
    own = tier.default_lane
    if own is not None and own in policy.lanes and tier.allows(own):
        return LaneDecision(policy.lanes[own], Reason.TIER)
    if tier.allows(policy.default):
        return LaneDecision(policy.lanes[policy.default], Reason.DEFAULT)
    allowed = [lane for lane in policy.lanes.values() if tier.allows(lane.name)]
    return LaneDecision(allowed[0], Reason.TIER) if allowed else None


def _by_turn(policy: RoutingPolicy, tier: TierRules, facts: RequestFacts) -> LaneDecision | None:
    held = facts.held
    if held is None or held.lane not in policy.lanes or not tier.allows(held.lane):
        return None
    lane = policy.lanes[held.lane]
    return LaneDecision(lane, held.reason) if _fits(facts, lane) else None


def _by_length(
    policy: RoutingPolicy, tier: TierRules, facts: RequestFacts, base: LaneDecision
) -> LaneDecision | None:
    name = policy.long_context
    if _fits(facts, base.lane) or name is None or not tier.allows(name):
        return None
    lane = policy.lanes[name]
    is_longer = lane.window_tokens > base.lane.window_tokens
    return LaneDecision(lane, Reason.LONG_CONTEXT) if is_longer else None


def _by_tools(policy: RoutingPolicy, tier: TierRules, facts: RequestFacts) -> LaneDecision | None:
    if not facts.has_tools or policy.tools is None or not tier.allows(policy.tools):
        return None
    lane = policy.lanes[policy.tools]
    return LaneDecision(lane, Reason.TOOLS) if _fits(facts, lane) else None


def _fits(facts: RequestFacts, lane: Lane) -> bool:
    room = least_room(facts.output_tokens, lane.window_tokens)
    return facts.prompt_tokens + room <= lane.window_tokens


def _by_complexity(
    policy: RoutingPolicy, tier: TierRules, facts: RequestFacts, base: LaneDecision, judge: Judge
) -> LaneDecision | None:
    if facts.is_background:
        return None
    open_to_it = [
        stronger
        for stronger in policy.stronger
        if stronger.lane != base.lane.name
        and tier.may_escalate(stronger.lane)
        and _fits(facts, policy.lanes[stronger.lane])
    ]
    if not open_to_it:
        return None
    judgement = judge()
    if not judgement.scores:
        return None
    if facts.is_step:
        return _by_turn_scores(policy, open_to_it, judgement)
    newest, reason = judgement.scores[-1], base.reason
    for stronger in open_to_it:
        view = judgement.views[stronger.lane]
        why = _escalation(stronger, view, judgement.scores)
        if why is Reason.YIELDED:
            reason = why
        elif why is not None:
            return LaneDecision(policy.lanes[stronger.lane], why, newest, view.threshold)
    return LaneDecision(base.lane, reason, newest, view.threshold)


def _by_turn_scores(
    policy: RoutingPolicy, open_to_it: Sequence[StrongerLane], judgement: Judgement
) -> LaneDecision | None:
    """Choose for a step of a turn that began elsewhere. It has no score: it is not counted."""
    for stronger in open_to_it:
        if max(judgement.scores) >= judgement.views[stronger.lane].threshold:
            return LaneDecision(policy.lanes[stronger.lane], Reason.STICKY)
    return None


def _escalation(stronger: StrongerLane, view: LevelView, scores: Sequence[float]) -> Reason | None:
    """Return why a request goes to this lane; YIELDED: it would and may not; None: it does not."""
    newest = scores[-1]
    if newest >= view.threshold:
        may = newest >= view.yield_threshold and view.has_budget
        return stronger.reason if may else Reason.YIELDED
    if any(score >= view.threshold for score in scores):
        return Reason.STICKY if view.has_sticky_budget else Reason.YIELDED
    return None
