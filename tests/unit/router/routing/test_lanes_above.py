"""Which requests may still move to the stronger lane, and where a moved conversation goes on."""

from dataclasses import replace

import pytest

from router.routing.escalation import LevelView
from router.routing.lane import decide_lane
from router.types import LaneDecision, Reason, TierRules
from tests.unit.router.routing.test_lane import ANY, CHAT, OPEN, PLAIN, POLICY, QUALITY, FakeScores

CASCADE = replace(POLICY, cascade="quality")
SPENT = LevelView(0.5, 0.5, has_budget=False, has_sticky_budget=False)


def decide(*scores, facts=PLAIN, tier=ANY, policy=CASCADE, view=OPEN) -> LaneDecision:
    return decide_lane(policy, tier, facts, FakeScores(*scores, quality=view))


def test_what_stays_under_the_threshold_may_move():
    assert decide(0.4) == LaneDecision(CHAT, Reason.DEFAULT, 0.4, 0.5, above=QUALITY)


@pytest.mark.parametrize(
    "facts", [{"has_tools": True}, {"is_background": True}, {"pinned": "chat"}]
)
def test_what_is_not_scored_stays(facts):
    assert decide(0.4, facts=replace(PLAIN, **facts)).above is None


@pytest.mark.parametrize(("scores", "view"), [((0.9,), OPEN), ((0.9,), SPENT), ((0.9, 0.1), SPENT)])
def test_what_is_up_or_was_meant_to_be_stays(scores, view):
    """There is no budget for it twice."""
    assert decide(*scores, view=view).above is None


def test_nothing_moves_where_that_is_off_or_not_open():
    rules = TierRules(budgets={"quality": 0.0})

    assert decide(0.4, policy=POLICY).above is None
    assert decide(0.4, tier=rules).above is None


def test_another_stronger_lane_that_is_open_is_no_reason_to_move():
    """The one that requests move to does not hold this prompt."""
    stronger = (*POLICY.stronger, replace(POLICY.stronger[0], lane="long"))
    policy = replace(CASCADE, stronger=stronger, long_context=None)
    facts = replace(PLAIN, prompt_tokens=7_990)

    decision = decide(0.4, facts=facts, policy=policy)

    assert decision.lane is CHAT and decision.above is None


@pytest.mark.parametrize(
    ("view", "lane", "reason"),
    [(OPEN, QUALITY, Reason.STICKY), (SPENT, CHAT, Reason.YIELDED)],
)
def test_a_moved_conversation_stays_up_out_of_the_sticky_budget(view, lane, reason):
    decision = decide(0.1, 0.2, facts=replace(PLAIN, moved="quality"), view=view)

    assert decision == LaneDecision(lane, reason, 0.2, 0.5)


def test_a_conversation_that_was_moved_to_a_lane_that_is_closed_stays():
    facts, rules = replace(PLAIN, moved="quality"), TierRules(budgets={"quality": 0.0})

    assert decide(0.1, facts=facts, tier=rules).reason is Reason.DEFAULT
