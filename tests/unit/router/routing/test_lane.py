"""Which lane serves a request."""

from dataclasses import replace

import pytest

from router.errors import Rejected, RejectReason
from router.routing.aliases import AUTO
from router.routing.escalation import LevelView
from router.routing.lane import decide_lane
from router.routing.policy import Judgement, RoutingPolicy, StrongerLane
from router.types import Lane, LaneDecision, Reason, RequestFacts, TierRules

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
