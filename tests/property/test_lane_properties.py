"""What must always hold of the choice of a lane."""

from hypothesis import assume, given
from hypothesis import strategies as st

from router.errors import Rejected, RejectReason
from router.routing.escalation import LevelView
from router.routing.lane import decide_lane
from router.routing.policy import Judgement, RoutingPolicy, StrongerLane
from router.types import HeldLane, Lane, LaneDecision, Reason, RequestFacts, TierRules

NAMES = ["a", "b", "c", "d"]
CODES = ["de", "fr"]
CLIMBED = {Reason.COMPLEX, Reason.FRONTIER, Reason.PLANNING, Reason.STICKY}
UNSCORED = {Reason.PINNED, Reason.LONG_CONTEXT, Reason.SUB_AGENT, Reason.BACKGROUND}

names = st.sampled_from(NAMES)


@st.composite
def policies(draw):
    lanes = {
        name: Lane(name, f"model-{name}", draw(st.integers(64, 10_000)), draw(st.booleans()))
        for name in NAMES
    }
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
        planning=draw(st.none() | names),
        sub_agents=draw(st.none() | names),
        background=draw(st.none() | names),
        languages=draw(st.dictionaries(st.sampled_from(CODES), names)),
        by_model={lane.model_id: name for name, lane in lanes.items()},
    )


tiers = st.builds(
    TierRules,
    lanes=st.frozensets(st.sampled_from([*NAMES, "elsewhere"])),
    default_lane=st.none() | st.sampled_from([*NAMES, "elsewhere"]),
    planning_budget=st.none() | st.sampled_from([0.0, 0.05]),
)
facts = st.builds(
    RequestFacts,
    pinned=st.none() | st.sampled_from(["auto", "nothing", *NAMES, "model-a", "model-b"]),
    has_tools=st.booleans(),
    prompt_tokens=st.integers(0, 20_000),
    output_tokens=st.integers(0, 20_000),
    is_step=st.booleans(),
    held=st.none() | st.builds(HeldLane, names, st.just(Reason.DEFAULT)),
    is_background=st.booleans(),
    is_sub_agent=st.booleans(),
    language=st.none() | st.sampled_from(CODES),
)


@st.composite
def judgements(draw):
    turns = draw(st.lists(st.floats(0, 1), max_size=5))
    views = {}
    for name in NAMES:
        threshold = draw(st.floats(0, 1.1))
        views[name] = LevelView(
            threshold, threshold + draw(st.floats(0, 1)), *(draw(st.booleans()) for _ in range(3))
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

    decision = decide_lane(policy, tier, asked, lambda **_: turns)

    if isinstance(decision, LaneDecision):
        assert tier.allows(decision.lane.name)
        assert policy.lanes[decision.lane.name] == decision.lane


@given(policies(), tiers, facts, scores)
def test_the_same_request_is_decided_the_same_way_and_scored_at_most_once(
    policy, tier, asked, turns
):
    """A decision depends on its arguments alone."""
    calls = []

    def counted(**_):
        calls.append(1)
        return turns

    first = decide_lane(policy, tier, asked, counted)
    scored = len(calls)
    second = decide_lane(policy, tier, asked, lambda **_: turns)

    assert first == second
    assert scored <= 1


@given(policies(), tiers, facts, scores)
def test_pinned_long_and_background_requests_are_never_scored(policy, tier, asked, turns):
    """Scores are asked for only when they decide."""
    calls = []

    def counted(**_):
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
    decision = decide_lane(policy, tier, asked, lambda **_: turns)

    if isinstance(decision, LaneDecision) and decision.reason in CLIMBED:
        view = turns.views[decision.lane.name]
        if decision.is_adopted:
            assert asked.is_step
            assert view.may_adopt
        elif decision.reason is Reason.STICKY:
            assert view.has_sticky_budget
        else:
            assert view.has_budget
            assert decision.score >= view.yield_threshold


@given(policies(), tiers, facts, scores)
def test_a_role_gives_no_lane_what_it_cannot_take(policy, tier, asked, turns):
    """Roles are for requests that fit: window, and tools where some are offered."""
    roles = {Reason.PLANNING, Reason.LANGUAGE, Reason.SUB_AGENT, Reason.BACKGROUND}

    decision = decide_lane(policy, tier, asked, lambda **_: turns)

    if isinstance(decision, LaneDecision) and decision.reason in roles:
        assert decision.lane.calls_tools or not asked.has_tools
        assert asked.prompt_tokens <= decision.lane.window_tokens


@given(policies(), tiers, facts, scores)
def test_one_share_counts_a_request(policy, tier, asked, turns):
    """An agent's turn is the planning lane's, any other request the stronger lanes'."""
    asked_by = []

    def judge(*, is_planning=False):
        asked_by.append(is_planning)
        return turns

    decision = decide_lane(policy, tier, asked, judge)

    if isinstance(decision, LaneDecision) and (decision.score is not None or decision.is_adopted):
        assert asked_by == [decision.is_planning]
        assert asked.has_tools or not decision.is_planning


@given(policies(), tiers, facts, scores)
def test_a_refusal_is_a_404_or_a_403(policy, tier, asked, turns):
    """A lane decision refuses unknown models and closed lanes, nothing else."""
    decision = decide_lane(policy, tier, asked, lambda **_: turns)

    if isinstance(decision, Rejected):
        expected = {RejectReason.MODEL_NOT_FOUND, RejectReason.MODEL_NOT_ALLOWED}
        assert decision.reason in expected


def test_a_tier_default_outside_the_tier_s_lanes_is_not_used():
    """A tier's default lane does not open a lane that its list closes."""
    lanes = {name: Lane(name, name, 1_000) for name in ("small", "large")}
    policy = RoutingPolicy(lanes=lanes, default="small")
    tier = TierRules(frozenset({"small"}), default_lane="large")
    asked = RequestFacts(None, False, 10, 10)

    decision = decide_lane(policy, tier, asked, lambda **_: Judgement((), {}))

    assert decision == LaneDecision(lanes["small"], Reason.DEFAULT)
