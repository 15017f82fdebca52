"""Which lane serves a request."""

from dataclasses import replace

import pytest

from router.errors import Rejected, RejectReason
from router.routing.aliases import AUTO
from router.routing.escalation import LevelView
from router.routing.lane import decide_lane
from router.routing.policy import Judgement, RoutingPolicy, StrongerLane
from router.types import HeldLane, Lane, LaneDecision, Reason, RequestFacts, TierRules

CHAT = Lane("chat", "org/small", 4_000)
QUALITY = Lane("quality", "org/large", 8_000)
LONG = Lane("long", "org/long", 100_000)
TOOLS = Lane("tools", "org/tools", 6_000)

POLICY = RoutingPolicy(
    lanes={lane.name: lane for lane in (CHAT, QUALITY, LONG, TOOLS)},
    default="chat",
    stronger=(StrongerLane("quality", Reason.COMPLEX),),
    long_context="long",
    tools="tools",
    by_model={lane.model_id: lane.name for lane in (CHAT, QUALITY, LONG, TOOLS)},
)
ANY = TierRules()
PLAIN = RequestFacts(pinned=None, has_tools=False, prompt_tokens=100, output_tokens=50)


OPEN = LevelView(0.5, 0.5, has_budget=True, has_sticky_budget=True)


class FakeScores:
    """Hands out fixed scores and counts how often they are asked for."""

    def __init__(self, *scores: float, **views: LevelView) -> None:
        self._scores = scores
        self._views = views
        self.calls = 0

    def __call__(self, *, is_planning: bool = False) -> Judgement:
        self.calls += 1
        assert not is_planning
        lanes = (CHAT, QUALITY, LONG, TOOLS)
        return Judgement(self._scores, {x.name: self._views.get(x.name, OPEN) for x in lanes})


def decide(
    facts: RequestFacts = PLAIN,
    *scores: float,
    policy: RoutingPolicy = POLICY,
    tier: TierRules = ANY,
) -> LaneDecision | Rejected:
    return decide_lane(policy, tier, facts, FakeScores(*scores))


@pytest.mark.parametrize("name", ["quality", "org/large"])
def test_a_named_lane_or_model_id_pins_the_lane(name):
    """The caller's choice wins over everything else, and is not scored."""
    scores = FakeScores(0.0)
    facts = replace(PLAIN, pinned=name, has_tools=True, prompt_tokens=50_000)

    decision = decide_lane(POLICY, ANY, facts, scores)

    assert decision == LaneDecision(QUALITY, Reason.PINNED)
    assert scores.calls == 0


@pytest.mark.parametrize("pinned", [None, AUTO])
def test_no_model_and_auto_leave_the_choice_to_the_router(pinned):
    """`auto` means the same as no model at all."""
    decision = decide(replace(PLAIN, pinned=pinned), 0.1)

    assert decision == LaneDecision(CHAT, Reason.DEFAULT, 0.1, 0.5)


def test_an_unknown_model_is_not_found():
    """A model that no lane serves is a 404, naming the field."""
    rejected = decide(replace(PLAIN, pinned="org/other"))

    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.param) == (RejectReason.MODEL_NOT_FOUND, "model")


def test_a_lane_closed_to_the_tier_may_not_be_pinned():
    """A tier's list of lanes bounds pinning too."""
    rejected = decide(replace(PLAIN, pinned="quality"), tier=TierRules(frozenset({"chat"})))

    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.param) == (RejectReason.MODEL_NOT_ALLOWED, "model")


def test_a_request_past_the_default_window_goes_to_the_long_lane_unscored():
    """A prompt that leaves no room for an answer worth having."""
    scores = FakeScores(0.9)
    facts = replace(PLAIN, prompt_tokens=3_001, output_tokens=1_001)

    decision = decide_lane(POLICY, ANY, facts, scores)

    assert decision == LaneDecision(LONG, Reason.LONG_CONTEXT)
    assert scores.calls == 0


def test_a_request_that_just_fits_the_default_window_stays():
    """The window is inclusive."""
    decision = decide(replace(PLAIN, prompt_tokens=3_000, output_tokens=1_000), 0.1)

    assert decision == LaneDecision(CHAT, Reason.DEFAULT, 0.1, 0.5)


@pytest.mark.parametrize("wish", [4_000, 32_000, 1_000_000])
def test_a_wish_for_a_long_answer_chooses_no_lane(wish):
    """Clients ask for 32,000 with every "hi": the lane of a short chat, scored as one."""
    hi = replace(PLAIN, prompt_tokens=40, output_tokens=wish)

    assert decide(hi, 0.1) == LaneDecision(CHAT, Reason.DEFAULT, 0.1, 0.5)
    assert decide(hi, 0.9) == LaneDecision(QUALITY, Reason.COMPLEX, 0.9, 0.5)
    assert decide(replace(hi, has_tools=True)) == LaneDecision(TOOLS, Reason.TOOLS)


@pytest.mark.parametrize(
    ("policy", "tier"),
    [
        (replace(POLICY, long_context=None), ANY),
        (replace(POLICY, long_context="chat"), ANY),
        (POLICY, TierRules(frozenset({"chat"}))),
    ],
    ids=["no long lane", "long lane is no longer", "long lane closed to the tier"],
)
def test_a_long_request_without_a_usable_long_lane_falls_through(policy, tier):
    """Without a wider lane, the base lane's engine is left to judge."""
    decision = decide(replace(PLAIN, prompt_tokens=50_000), policy=policy, tier=tier)

    assert decision == LaneDecision(CHAT, Reason.DEFAULT)


def test_a_request_with_tools_goes_to_the_tool_lane_unscored():
    """The tool lane comes before scoring."""
    scores = FakeScores(0.9)

    decision = decide_lane(POLICY, ANY, replace(PLAIN, has_tools=True), scores)

    assert decision == LaneDecision(TOOLS, Reason.TOOLS)
    assert scores.calls == 0


@pytest.mark.parametrize(
    ("policy", "tier", "prompt_tokens"),
    [
        (replace(POLICY, tools=None), ANY, 100),
        (POLICY, TierRules(frozenset({"chat", "quality"})), 100),
        (replace(POLICY, long_context=None), ANY, 7_000),
    ],
    ids=["no tool lane", "tool lane closed to the tier", "prompt too long for it"],
)
def test_tools_without_a_usable_tool_lane_are_decided_by_score(policy, tier, prompt_tokens):
    """The next step answers when the tool lane cannot."""
    facts = replace(PLAIN, has_tools=True, prompt_tokens=prompt_tokens)

    decision = decide(facts, 0.9, policy=policy, tier=tier)

    assert decision == LaneDecision(QUALITY, Reason.COMPLEX, 0.9, 0.5)


def test_a_score_on_the_threshold_escalates():
    """The threshold is inclusive."""
    assert decide(PLAIN, 0.5) == LaneDecision(QUALITY, Reason.COMPLEX, 0.5, 0.5)


def test_a_conversation_stays_escalated_after_a_complex_turn():
    """An easy turn after a complex one keeps the lane; the reason says why."""
    assert decide(PLAIN, 0.8, 0.1) == LaneDecision(QUALITY, Reason.STICKY, 0.1, 0.5)


def test_a_request_without_user_turns_is_not_escalated():
    """Nothing to score means nothing to escalate."""
    assert decide(PLAIN) == LaneDecision(CHAT, Reason.DEFAULT)


@pytest.mark.parametrize(
    ("policy", "tier"),
    [
        (replace(POLICY, stronger=()), ANY),
        (replace(POLICY, stronger=(StrongerLane("chat", Reason.COMPLEX),)), ANY),
        (POLICY, TierRules(frozenset({"chat"}))),
        (POLICY, TierRules(budgets={"quality": 0.0})),
    ],
    ids=["no complex lane", "complex lane is the base", "lane closed to the tier", "no budget"],
)
def test_nothing_is_scored_when_the_score_could_change_nothing(policy, tier):
    """Scoring is skipped where there is no lane to escalate to."""
    scores = FakeScores(0.9)

    decision = decide_lane(policy, tier, PLAIN, scores)

    assert decision == LaneDecision(CHAT, Reason.DEFAULT)
    assert scores.calls == 0


@pytest.mark.parametrize(
    "view",
    [
        replace(OPEN, yield_threshold=0.8),
        replace(OPEN, has_budget=False),
        replace(OPEN, has_budget=False, has_sticky_budget=False),
    ],
    ids=["the lane yields", "budget spent", "hard budget spent"],
)
def test_a_complex_query_stays_where_it_is_when_the_stronger_lane_has_no_room(view):
    """Its reason says so, and the score is told."""
    decision = decide_lane(POLICY, ANY, PLAIN, FakeScores(0.7, quality=view))

    assert decision == LaneDecision(CHAT, Reason.YIELDED, 0.7, 0.5)


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
