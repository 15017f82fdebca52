"""What must always hold of the choice of a lane."""

from hypothesis import assume, given
from hypothesis import strategies as st

from router.errors import Rejected, RejectReason
from router.routing.escalation import LevelView
from router.routing.lane import Judgement, RoutingPolicy, StrongerLane, decide_lane
from router.types import Lane, LaneDecision, Reason, RequestFacts, TierRules

NAMES = ["a", "b", "c", "d"]
CLIMBED = {Reason.COMPLEX, Reason.FRONTIER, Reason.STICKY}
UNSCORED = {Reason.PINNED, Reason.LONG_CONTEXT, Reason.TOOLS}

names = st.sampled_from(NAMES)


@st.composite
def policies(draw):
    lanes = {name: Lane(name, f"model-{name}", draw(st.integers(64, 10_000))) for name in NAMES}
    return RoutingPolicy(
        lanes=lanes,
        default=draw(names),
        stronger=tuple(
            StrongerLane(name, reason)
            for name, reason in zip(
                draw(st.lists(names, max_size=2, unique=True)),
                (Reason.FRONTIER, Reason.COMPLEX),
                strict=False,
            )
        ),
        long_context=draw(st.none() | names),
        tools=draw(st.none() | names),
        by_model={lane.model_id: name for name, lane in lanes.items()},
    )


tiers = st.builds(
    TierRules,
    lanes=st.frozensets(st.sampled_from([*NAMES, "elsewhere"])),
    default_lane=st.none() | st.sampled_from([*NAMES, "elsewhere"]),
)
facts = st.builds(
    RequestFacts,
    pinned=st.none() | st.sampled_from(["auto", "nothing", *NAMES, "model-a", "model-b"]),
    has_tools=st.booleans(),
    prompt_tokens=st.integers(0, 20_000),
    output_tokens=st.integers(0, 20_000),
)


@st.composite
def judgements(draw):
    turns = draw(st.lists(st.floats(0, 1), max_size=5))
    views = {}
    for name in NAMES:
        threshold = draw(st.floats(0, 1.1))
        views[name] = LevelView(
            threshold, threshold + draw(st.floats(0, 1)), draw(st.booleans()), draw(st.booleans())
        )
    return Judgement(turns, views)


scores = judgements()


def has_open_default(tier: TierRules) -> bool:
    """Whether the tier's own default lane is one that it may use."""
    return tier.default_lane is None or tier.allows(tier.default_lane)


@given(policies(), tiers, facts, scores)
def test_a_lane_that_the_tier_may_not_use_is_never_chosen(policy, tier, asked, turns):
    """Whatever the request, the tier's list of lanes holds."""
    assume(has_open_default(tier))

    decision = decide_lane(policy, tier, asked, lambda: turns)

    if isinstance(decision, LaneDecision):
        assert tier.allows(decision.lane.name)
        assert policy.lanes[decision.lane.name] == decision.lane


@given(policies(), tiers, facts, scores)
def test_the_same_request_is_decided_the_same_way_and_scored_at_most_once(
    policy, tier, asked, turns
):
    """A decision depends on its arguments alone."""
    calls = []

    def counted():
        calls.append(1)
        return turns

    first = decide_lane(policy, tier, asked, counted)
    scored = len(calls)
    second = decide_lane(policy, tier, asked, lambda: turns)

    assert first == second
    assert scored <= 1


@given(policies(), tiers, facts, scores)
def test_pinned_long_and_tool_requests_are_never_scored(policy, tier, asked, turns):
    """Scores are asked for only when they decide."""
    calls = []

    def counted():
        calls.append(1)
        return turns

    decision = decide_lane(policy, tier, asked, counted)

    if isinstance(decision, Rejected) or decision.reason in UNSCORED:
        assert calls == []
    elif decision.score is not None:
        assert calls == [1]
        assert decision.score == turns.scores[-1]


@given(policies(), tiers, facts, scores)
def test_a_lane_without_room_or_budget_takes_nothing_for_its_score(policy, tier, asked, turns):
    """Yielding and budgets bind whatever the request."""
    decision = decide_lane(policy, tier, asked, lambda: turns)

    if isinstance(decision, LaneDecision) and decision.reason in CLIMBED:
        view = turns.views[decision.lane.name]
        if decision.reason is Reason.STICKY:
            assert view.has_sticky_budget
        else:
            assert view.has_budget
            assert decision.score >= view.yield_threshold


@given(policies(), tiers, facts, scores)
def test_a_refusal_is_a_404_or_a_403(policy, tier, asked, turns):
    """A lane decision refuses unknown models and closed lanes, nothing else."""
    decision = decide_lane(policy, tier, asked, lambda: turns)

    if isinstance(decision, Rejected):
        expected = {RejectReason.MODEL_NOT_FOUND, RejectReason.MODEL_NOT_ALLOWED}
        assert decision.reason in expected


def test_a_tier_default_outside_the_tier_s_lanes_is_not_used():
    """A tier's default lane does not open a lane that its list closes."""
    lanes = {name: Lane(name, name, 1_000) for name in ("small", "large")}
    policy = RoutingPolicy(lanes=lanes, default="small")
    tier = TierRules(frozenset({"small"}), default_lane="large")
    asked = RequestFacts(None, False, 10, 10)

    decision = decide_lane(policy, tier, asked, lambda: Judgement((), {}))

    assert decision == LaneDecision(lanes["small"], Reason.DEFAULT)
