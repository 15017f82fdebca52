"""Lanes that yield, are full or closed, and steps of turns that run already."""

from dataclasses import replace

import pytest

from router.errors import Rejected, RejectReason
from router.routing.escalation import LevelView
from router.routing.lane import decide_lane
from router.routing.policy import StrongerLane
from router.types import HeldLane, LaneDecision, Reason, TierRules
from tests.unit.router.routing.test_lane import (
    ANY,
    CHAT,
    LONG,
    OPEN,
    PLAIN,
    POLICY,
    QUALITY,
    TOOLS,
    FakeScores,
    decide,
)


def test_while_a_lane_yields_only_the_borderline_cases_stay():
    """The highest scores still go up."""
    view = replace(OPEN, yield_threshold=0.8)

    decision = decide_lane(POLICY, ANY, PLAIN, FakeScores(0.85, quality=view))

    assert decision == LaneDecision(QUALITY, Reason.COMPLEX, 0.85, 0.5)


@pytest.mark.parametrize(
    ("has_sticky", "expected"),
    [(True, (QUALITY, Reason.STICKY)), (False, (CHAT, Reason.YIELDED))],
)
def test_a_conversation_stays_up_as_long_as_the_hard_budget_lasts(has_sticky, expected):
    """A yielding lane and a spent budget do not send a running conversation back."""
    view = LevelView(0.5, 0.99, has_budget=False, has_sticky_budget=has_sticky)

    decision = decide_lane(POLICY, ANY, PLAIN, FakeScores(0.8, 0.1, quality=view))

    assert (decision.lane, decision.reason) == expected


BOTH = replace(
    POLICY,
    stronger=(StrongerLane("long", Reason.FRONTIER), StrongerLane("quality", Reason.COMPLEX)),
)


FRONTIER = replace(OPEN, threshold=0.9, yield_threshold=0.9)


@pytest.mark.parametrize(
    ("score", "frontier", "expected"),
    [
        (0.95, FRONTIER, (LONG, Reason.FRONTIER, 0.9)),
        (0.7, FRONTIER, (QUALITY, Reason.COMPLEX, 0.5)),
        (0.95, replace(FRONTIER, has_budget=False), (QUALITY, Reason.COMPLEX, 0.5)),
        (0.2, FRONTIER, (CHAT, Reason.DEFAULT, 0.5)),
    ],
    ids=["strongest", "next", "next when the strongest has no room", "neither"],
)
def test_of_two_stronger_lanes_the_strongest_that_is_open_answers(score, frontier, expected):
    """The strongest lane is tried first."""
    decision = decide_lane(BOTH, ANY, PLAIN, FakeScores(score, long=frontier))

    assert (decision.lane, decision.reason, decision.threshold) == expected


def test_a_prompt_too_long_for_the_complex_lane_is_not_scored():
    """A complex lane that cannot hold the prompt is no choice."""
    scores = FakeScores(0.9)
    policy = replace(POLICY, long_context=None, tools=None)

    decision = decide_lane(policy, ANY, replace(PLAIN, prompt_tokens=9_000), scores)

    assert decision == LaneDecision(CHAT, Reason.DEFAULT)
    assert scores.calls == 0


def test_a_tier_may_have_a_default_lane_of_its_own():
    """The tier's default takes the place of the fleet's."""
    decision = decide(PLAIN, 0.1, tier=TierRules(default_lane="tools"))

    assert decision == LaneDecision(TOOLS, Reason.TIER, 0.1, 0.5)


def test_a_tier_default_that_is_no_lane_of_this_fleet_is_passed_over():
    """A tenants file may serve several fleets."""
    decision = decide(PLAIN, 0.1, tier=TierRules(default_lane="elsewhere"))

    assert decision == LaneDecision(CHAT, Reason.DEFAULT, 0.1, 0.5)


def test_a_tier_shut_out_of_the_default_lane_gets_its_first_open_lane():
    """Fleet order decides among the lanes that are open."""
    tier = TierRules(frozenset({"tools", "long"}))

    assert decide(PLAIN, tier=tier) == LaneDecision(LONG, Reason.TIER)


def test_a_tier_without_any_lane_of_this_fleet_is_refused():
    """A key that opens nothing is told so."""
    rejected = decide(PLAIN, tier=TierRules(frozenset({"elsewhere"})))

    assert isinstance(rejected, Rejected)
    assert rejected.reason is RejectReason.MODEL_NOT_ALLOWED


STEP = replace(PLAIN, is_step=True, has_tools=True)


SPENT = LevelView(0.5, 0.5, has_budget=False, has_sticky_budget=False)


@pytest.mark.parametrize("lane", [CHAT, QUALITY, LONG])
def test_a_step_stays_where_its_turn_runs_unscored(lane):
    """Not even the lane for tools has its prefix."""
    scores = FakeScores(0.9, quality=SPENT)
    facts = replace(STEP, held=HeldLane(lane.name, Reason.STICKY))

    assert decide_lane(POLICY, ANY, facts, scores) == LaneDecision(lane, Reason.STICKY)
    assert scores.calls == 0


def test_a_step_that_outgrows_its_lane_is_decided_anew():
    """It has to be read from the start on any lane that holds it."""
    facts = replace(STEP, prompt_tokens=7_999, held=HeldLane("quality", Reason.STICKY))

    assert decide(facts, 0.9) == LaneDecision(LONG, Reason.LONG_CONTEXT)


@pytest.mark.parametrize("held", ["elsewhere", "quality"])
def test_a_step_stays_on_no_lane_that_is_gone_or_closed(held):
    """Files are read again while turns run."""
    tier = TierRules(frozenset({"chat"}))
    facts = replace(STEP, held=HeldLane(held, Reason.STICKY))

    assert decide(facts, 0.9, tier=tier) == LaneDecision(CHAT, Reason.DEFAULT)


@pytest.mark.parametrize(
    ("scores", "decision"),
    [
        ((0.9,), LaneDecision(QUALITY, Reason.STICKY, is_adopted=True)),
        ((0.9, 0.1), LaneDecision(QUALITY, Reason.STICKY, is_adopted=True)),
        ((0.1,), LaneDecision(CHAT, Reason.DEFAULT)),
    ],
)
def test_a_step_of_a_turn_that_is_not_known_goes_by_its_turns_scores(scores, decision):
    """It needs no budget of escalations, and has no score that would be counted."""
    policy = replace(POLICY, tools=None)

    assert decide_lane(policy, ANY, STEP, FakeScores(*scores, quality=SPENT)) == decision


def test_a_turn_is_taken_over_while_its_tenant_may():
    """A conversation can be made up: where too many were, the turn stays below."""
    policy, closed = replace(POLICY, tools=None), replace(SPENT, may_adopt=False)

    decision = decide_lane(policy, ANY, STEP, FakeScores(0.9, quality=closed))

    assert decision == LaneDecision(CHAT, Reason.YIELDED)


def test_a_background_request_is_not_scored():
    """A title of a hard question is no hard question."""
    scores = FakeScores(0.9)

    decision = decide_lane(POLICY, ANY, replace(PLAIN, is_background=True), scores)

    assert (decision, scores.calls) == (LaneDecision(CHAT, Reason.DEFAULT), 0)
