"""Requests near a threshold that chance sends to the other side of it.

Theory of operation. What another threshold would bring cannot be told from requests that the
threshold at hand has all sent one way. So a request whose score lies in the band around a level's
threshold (`router.routing.levels.band_around`) goes the other way with probability epsilon, and the
log has the probability with which it went where it went: its *propensity*.

- **One draw a turn.** The draw, uniform in [0, 1), is made from the conversation and the turn's
  text, so that a turn that is sent again goes the same way, each ingress replica reaches the same
  answer, and the next turn knows without a table which way this one went.
- **One draw for all levels.** Level k is flipped by a draw in [k * epsilon, (k + 1) * epsilon): of
  two levels at most one is.
- **Conversations keep their lane.** None is flipped of which an earlier turn in view is meant for
  a stronger lane, and an earlier turn that was flipped counts as what it became.
- **Up only where there is room**: out of the tenant's budget, and while the lane does not yield.
  A request that could not have gone up has propensity 1 where it is.

The propensity is exact: the decision is made once for each way the draw could have fallen, and the
chances of those that end on the same lane are added up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import repeat

from router.routing.policy import Judgement, StrongerLane
from router.types import LaneDecision, Reason

Slots = Mapping[str, int]
"""By lane, which part of the draws flips its level."""


def slots_of(stronger: Sequence[StrongerLane]) -> Slots:
    """Return the slots of a fleet's stronger lanes, whichever of them are open to a request."""
    return {level.lane: slot for slot, level in enumerate(stronger)}


def wanted_before(
    judgement: Judgement, open_to_it: Sequence[str], slots: Slots, epsilon: float
) -> set[str]:
    """Return the lanes that turns before the newest are meant for, by score or by their draw."""
    wanted: set[str] = set()
    draws = judgement.draws or repeat(1.0)
    for score, draw in zip(judgement.scores[:-1], draws, strict=False):
        is_first = not wanted
        for lane in open_to_it:
            view = judgement.views[lane]
            is_flipped = is_first and view.band.holds(score) and _falls(draw, slots[lane], epsilon)
            if (score >= view.threshold) is not is_flipped:
                wanted.add(lane)
    return wanted


def by_chance(
    judgement: Judgement,
    open_to_it: Sequence[str],
    slots: Slots,
    epsilon: float,
    decide: Callable[[str | None], LaneDecision],
) -> LaneDecision:
    """Return where the newest turn goes, by its draw, and with which probability.

    `decide` is asked where it would go with one level flipped, or none; it is only asked about
    levels that may be. No earlier turn may be meant for a stronger lane.
    """
    usual = decide(None)
    ways = {slots[lane]: decide(lane) for lane in open_to_it if _may_flip(judgement, lane)}
    if not ways:
        return usual
    draw = judgement.draws[-1]
    chosen = next((way for slot, way in ways.items() if _falls(draw, slot, epsilon)), usual)
    chances = [(usual, 1.0 - epsilon * len(ways)), *((way, epsilon) for way in ways.values())]
    propensity = sum(chance for way, chance in chances if way.lane is chosen.lane)
    if chosen.lane is usual.lane:
        return replace(usual, propensity=propensity)
    return replace(chosen, reason=Reason.EXPLORED, propensity=propensity)


def _may_flip(judgement: Judgement, lane: str) -> bool:
    newest, view = judgement.scores[-1], judgement.views[lane]
    if not view.band.holds(newest):
        return False
    return newest >= view.threshold or (view.has_budget and not view.is_yielding)


def _falls(draw: float, slot: int, epsilon: float) -> bool:
    return slot * epsilon <= draw < (slot + 1) * epsilon
