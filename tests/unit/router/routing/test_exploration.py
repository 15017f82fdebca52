"""Requests near a threshold that chance sends to the other side of it."""

from dataclasses import replace

import pytest

from router.routing.escalation import EscalationConfig, EscalationController, EscalationLevel
from router.routing.lane import decide_lane
from router.routing.levels import Band, LevelView
from router.routing.policy import Judgement, RoutingPolicy, StrongerLane
from router.routing.quantile import QuantileConfig
from router.types import Lane, Reason, RequestFacts, TierRules

CHAT, QUALITY = Lane("chat", "small", 8000), Lane("quality", "large", 8000)
FRONTIER = Lane("frontier", "largest", 8000)
LANES = {lane.name: lane for lane in (CHAT, QUALITY, FRONTIER)}
EPSILON = 0.1
ONE = RoutingPolicy(
    lanes=LANES,
    default="chat",
    stronger=(StrongerLane("quality", Reason.COMPLEX),),
    epsilon=EPSILON,
)
TWO = replace(
    ONE,
    stronger=(
        StrongerLane("frontier", Reason.FRONTIER),
        StrongerLane("quality", Reason.COMPLEX),
    ),
)
PLAIN = RequestFacts(pinned=None, has_tools=False, prompt_tokens=100, output_tokens=50)
VIEW = LevelView(0.5, 0.5, has_budget=True, has_sticky_budget=True, band=Band(0.4, 0.6))
TOP = LevelView(0.7, 0.7, has_budget=True, has_sticky_budget=True, band=Band(0.55, 0.9))
FLIPS, STAYS = 0.05, 0.5


def decide(scores, draws, *, policy=ONE, facts=PLAIN, view=VIEW):
    views = {"quality": view, "frontier": TOP}
    return decide_lane(policy, TierRules(), facts, lambda **_: Judgement(scores, views, draws))


@pytest.mark.parametrize(
    ("score", "draw", "lane", "reason", "propensity"),
    [
        (0.45, FLIPS, "quality", Reason.EXPLORED, EPSILON),
        (0.45, STAYS, "chat", Reason.DEFAULT, 1 - EPSILON),
        (0.55, FLIPS, "chat", Reason.EXPLORED, EPSILON),
        (0.55, STAYS, "quality", Reason.COMPLEX, 1 - EPSILON),
        # Too far from the threshold, on either side.
        (0.39, FLIPS, "chat", Reason.DEFAULT, 1),
        (0.6, FLIPS, "quality", Reason.COMPLEX, 1),
    ],
)
def test_a_request_near_the_threshold_goes_the_other_way_by_its_draw(
    score, draw, lane, reason, propensity
):
    decision = decide([score], [draw])

    assert (decision.lane.name, decision.reason) == (lane, reason)
    assert decision.propensity == pytest.approx(propensity)
    assert (decision.score, decision.threshold) == (score, 0.5)


@pytest.mark.parametrize(
    "view",
    [replace(VIEW, has_budget=False), replace(VIEW, yield_threshold=0.55)],
    ids=["no budget", "the lane yields"],
)
def test_nothing_goes_up_without_room(view):
    """And then chance has no part in where the request is."""
    decision = decide([0.45], [FLIPS], view=view)

    assert (decision.lane, decision.reason, decision.propensity) == (CHAT, Reason.DEFAULT, 1)


def test_a_request_that_is_refused_above_is_where_both_draws_lead():
    """Over the threshold without a budget it stays down, whichever way the draw falls."""
    spent = replace(VIEW, has_budget=False)

    decisions = [decide([0.55], [draw], view=spent) for draw in (FLIPS, STAYS)]

    assert [x.lane for x in decisions] == [CHAT, CHAT]
    assert [x.propensity for x in decisions] == pytest.approx([1, 1])


@pytest.mark.parametrize(
    "facts",
    [replace(PLAIN, has_tools=True), replace(PLAIN, is_step=True)],
    ids=["tools", "a step"],
)
def test_agents_turns_are_not_explored(facts):
    assert decide([0.45], [FLIPS], facts=facts).lane is CHAT


def test_pinned_requests_are_not_explored():
    decision = decide([0.45], [FLIPS], facts=replace(PLAIN, pinned="chat"))

    assert (decision.reason, decision.propensity) == (Reason.PINNED, 1)


def test_nothing_is_explored_without_draws():
    """A fleet file that was reloaded while a request was judged has an epsilon and no draws."""
    assert decide([0.45], []).propensity == 1


def test_a_conversation_that_was_explored_upwards_stays_there():
    """The next turn knows it by the draw of the turn before, and is not explored itself."""
    decision = decide([0.45, 0.1], [FLIPS, STAYS])

    assert (decision.lane, decision.reason, decision.propensity) == (QUALITY, Reason.STICKY, 1)


def test_a_conversation_that_was_explored_downwards_stays_there():
    """The turn before scored over the threshold, and went down by its draw."""
    decision = decide([0.55, 0.1], [FLIPS, STAYS])

    assert (decision.lane, decision.reason) == (CHAT, Reason.DEFAULT)


def test_a_conversation_above_is_not_explored_again():
    decision = decide([0.55, 0.45, 0.55], [STAYS, FLIPS, FLIPS])

    assert (decision.lane, decision.reason, decision.propensity) == (QUALITY, Reason.COMPLEX, 1)


@pytest.mark.parametrize(
    ("score", "draw", "lane", "propensity"),
    [
        # The first tenth of the draws is the frontier's, the second the complex lane's.
        (0.58, 0.05, "frontier", 0.1),
        (0.58, 0.15, "chat", 0.1),
        (0.58, 0.25, "quality", 0.8),
        (0.75, 0.05, "quality", 0.1),
        (0.75, 0.15, "frontier", 0.9),
        (0.45, 0.05, "chat", 0.9),
    ],
)
def test_of_two_levels_at_most_one_is_flipped(score, draw, lane, propensity):
    decision = decide([score], [draw], policy=TWO)

    assert decision.lane.name == lane
    assert decision.propensity == pytest.approx(propensity)


def controller(explored, window=100):
    quantile = QuantileConfig(window=window, refresh_every=10, prior_weight=0)
    config = EscalationConfig(explored=explored, quantile=quantile)
    return EscalationController([EscalationLevel("quality", 0.1)], lambda share: 1 - share, config)


def test_the_band_is_the_requests_next_to_the_threshold_by_rank():
    """Of a hundred scores, those of the next ten requests on either side, within rounding."""
    control = controller(0.1)
    for n in range(100):
        control.note("acme", {}, n / 100, None, sticky=False, now=0.0)

    band = control.view("acme", {})["quality"].band
    fixed = control.band(0.8)

    assert band.low == pytest.approx(0.8, abs=0.05)
    assert band.holds(0.95)
    assert (fixed.low, fixed.high) == pytest.approx((0.7, 0.9), abs=0.03)


def test_a_fixed_threshold_over_all_scores_has_the_top_for_its_band():
    control = controller(0.1)

    assert control.band(2.0).low == pytest.approx(0.9)


def test_there_is_no_band_where_nothing_is_explored():
    control = controller(0.0)

    assert not control.view("acme", {})["quality"].band.holds(0.9)
    assert not control.band(0.5).holds(0.5)


def test_explored_requests_count_in_the_share():
    """What chance sends up or keeps down is made up for by the threshold."""
    up, down, plain = (controller(0.1, window=1000) for _ in range(3))
    for n in range(200):
        score = (n * 37 % 100) / 100
        over = score >= 0.9
        plain.note("acme", {}, score, "quality" if over else None, sticky=False, now=0.0)
        up.note("acme", {}, score, "quality", sticky=False, now=0.0, explored=not over)
        down.note("acme", {}, score, None, sticky=False, now=0.0, explored=over)

    thresholds = [x.view("other", {})["quality"].threshold for x in (up, plain, down)]

    assert thresholds == sorted(thresholds, reverse=True)
    assert thresholds[0] > thresholds[1] > thresholds[2]
