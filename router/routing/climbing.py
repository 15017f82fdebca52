"""Whether a request goes to a stronger lane for its score.

Two rules ask for scores, and a request is judged by one of them at most: the first request of
an agent's turn by the planning lane's share and budgets, any other by those of the stronger
lanes. A step whose turn began elsewhere is judged by the same scores; it is paid for from the
tenant's adoption bucket (`router.routing.budget`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from router.routing.exploration import by_chance, slots_of, wanted_before
from router.routing.levels import LevelView
from router.routing.policy import Judge, Judgement, RoutingPolicy, StrongerLane, fits
from router.types import LaneDecision, Reason, RequestFacts, TierRules


def by_planning(
    policy: RoutingPolicy, tier: TierRules, facts: RequestFacts, usual: LaneDecision, judge: Judge
) -> LaneDecision | None:
    """Decide for an agent's turn; `usual` is where it goes that is not hard.

    None: the request is no such turn, or could not go to the planning lane anyway.
    """
    name = policy.planning
    if name is None or not facts.has_tools or facts.is_background or not tier.may_plan(name):
        return None
    lane = policy.open_lane(name, tier, facts)
    if lane is None or lane is usual.lane:
        return None
    judgement = judge(is_planning=True)
    if not judgement.scores:
        return None
    view, newest = judgement.views[name], judgement.scores[-1]
    if facts.is_step:
        return _adopted(policy, [name], usual, judgement, is_planning=True)
    is_sticky = any(score >= view.threshold for score in judgement.scores[:-1])
    why = _escalation(StrongerLane(name, Reason.PLANNING), view, newest, is_sticky=is_sticky)
    if why is None or why is Reason.YIELDED:
        reason = why or usual.reason
        return LaneDecision(usual.lane, reason, newest, view.threshold, is_planning=True)
    return LaneDecision(lane, why, newest, view.threshold, is_planning=True)


def by_complexity(
    policy: RoutingPolicy, tier: TierRules, facts: RequestFacts, base: LaneDecision, judge: Judge
) -> LaneDecision | None:
    """Decide by the stronger lanes; None: none of them is open to the request."""
    if facts.is_background:
        return None
    open_to_it = [
        stronger
        for stronger in policy.stronger
        if stronger.lane != base.lane.name
        and tier.may_escalate(stronger.lane)
        and fits(facts, policy.lanes[stronger.lane])
    ]
    if not open_to_it:
        return None
    judgement = judge()
    if not judgement.scores:
        return None
    names = [stronger.lane for stronger in open_to_it]
    if facts.is_step:
        return _adopted(policy, names, base, judgement)
    # A turn of an agent is many requests, and each of another lane reads all of it anew.
    epsilon = 0.0 if facts.has_tools else policy.epsilon
    slots = slots_of(policy.stronger)
    wanted = wanted_before(judgement, names, slots, epsilon)
    if facts.moved is not None and facts.moved in names:
        wanted.add(facts.moved)

    def decide(flipped: str | None) -> LaneDecision:
        return _climb(policy, base, open_to_it, judgement, wanted, flipped)

    if not epsilon or not judgement.draws or wanted:
        return decide(None)
    return by_chance(judgement, names, slots, epsilon, decide)


def _climb(
    policy: RoutingPolicy,
    base: LaneDecision,
    open_to_it: Sequence[StrongerLane],
    judgement: Judgement,
    wanted: Collection[str],
    flipped: str | None,
) -> LaneDecision:
    """Decide with the answer of one level, `flipped`, the other way round.

    `wanted`: the lanes that earlier turns are meant for.
    """
    newest, reason = judgement.scores[-1], base.reason
    for stronger in open_to_it:
        view = judgement.views[stronger.lane]
        if stronger.lane == flipped:
            why = None if newest >= view.threshold else Reason.EXPLORED
        else:
            why = _escalation(stronger, view, newest, is_sticky=stronger.lane in wanted)
        if why is Reason.YIELDED:
            reason = why
        elif why is not None:
            return LaneDecision(policy.lanes[stronger.lane], why, newest, view.threshold)
    decision = LaneDecision(base.lane, reason, newest, view.threshold)
    if policy.cascade is None or reason is Reason.YIELDED:
        return decision
    may = any(stronger.lane == policy.cascade for stronger in open_to_it)
    return replace(decision, above=policy.lanes[policy.cascade]) if may else decision


def _adopted(
    policy: RoutingPolicy,
    names: Sequence[str],
    usual: LaneDecision,
    judgement: Judgement,
    *,
    is_planning: bool = False,
) -> LaneDecision:
    """Decide for a step of a turn that began elsewhere. It has no score: it is not counted."""
    reason, highest = usual.reason, max(judgement.scores)
    for name in names:
        view = judgement.views[name]
        if highest >= view.threshold and view.may_adopt:
            lane = policy.lanes[name]
            return LaneDecision(lane, Reason.STICKY, is_planning=is_planning, is_adopted=True)
        if highest >= view.threshold:
            reason = Reason.YIELDED
    return LaneDecision(usual.lane, reason)


def _escalation(
    stronger: StrongerLane, view: LevelView, newest: float, *, is_sticky: bool
) -> Reason | None:
    """Return why a request goes to this lane; YIELDED: it would and may not; None: it does not."""
    if newest >= view.threshold:
        may = newest >= view.yield_threshold and view.has_budget
        return stronger.reason if may else Reason.YIELDED
    if is_sticky:
        return Reason.STICKY if view.has_sticky_budget else Reason.YIELDED
    return None
