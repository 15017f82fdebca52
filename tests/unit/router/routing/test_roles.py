"""Lanes that have a role: hard turns of agents, sub-agents, background requests, languages."""

from dataclasses import replace

import pytest

from router.routing.escalation import LevelView
from router.routing.lane import decide_lane
from router.routing.policy import Judgement, RoutingPolicy, StrongerLane
from router.types import HeldLane, Lane, LaneDecision, Reason, RequestFacts, TierRules

CHAT = Lane("chat", "org/8b", 4_000)
QUALITY = Lane("quality", "org/14b", 8_000)
AGENT = Lane("agent", "org/14b-agent", 6_000)
HEAVY = Lane("heavy", "org/32b", 6_000)
TINY = Lane("tiny", "org/mini", 2_000, calls_tools=False)
NEMO = Lane("nemo", "org/nemo", 5_000)
CHEAP = Lane("cheap", "org/7b", 3_000)
LONG = Lane("long", "org/long", 100_000)
LANES = {lane.name: lane for lane in (CHAT, QUALITY, AGENT, HEAVY, TINY, NEMO, CHEAP, LONG)}

POLICY = RoutingPolicy(
    lanes=LANES,
    default="chat",
    stronger=(StrongerLane("quality", Reason.COMPLEX),),
    long_context="long",
    tools="agent",
    planning="heavy",
    sub_agents="tiny",
    background="cheap",
    languages={"de": "nemo", "fr": "nemo", "en": "chat"},
)
OPEN = LevelView(0.5, 0.5, has_budget=True, has_sticky_budget=True)
SPENT = LevelView(0.5, 0.5, has_budget=False, has_sticky_budget=False, may_adopt=False)
PLAIN = RequestFacts(pinned=None, has_tools=False, prompt_tokens=100, output_tokens=50)
TURN = replace(PLAIN, has_tools=True)
SUB_AGENT = replace(PLAIN, is_background=True, is_sub_agent=True)
TITLE = replace(PLAIN, is_background=True)
ANY = TierRules()


class Scores:
    """Hands out fixed scores, and says by which share they were asked for."""

    def __init__(self, *scores, view=OPEN):
        self._scores, self._view = scores, view
        self.asked = []

    def __call__(self, *, is_planning=False):
        self.asked.append("planning" if is_planning else "complex")
        lane = "heavy" if is_planning else "quality"
        return Judgement(self._scores, {lane: self._view})


def decide(facts, *scores, policy=POLICY, tier=ANY, view=OPEN):
    return decide_lane(policy, tier, facts, Scores(*scores, view=view))


# -- planning ----------------------------------------------------------------------


def test_a_hard_turn_of_an_agent_goes_to_the_planning_lane():
    """It is judged as an agent's turn, once, and not by the stronger lanes' share."""
    scores = Scores(0.9)

    decision = decide_lane(POLICY, ANY, TURN, scores)

    assert decision == LaneDecision(HEAVY, Reason.PLANNING, 0.9, 0.5, is_planning=True)
    assert scores.asked == ["planning"]


def test_any_other_turn_goes_where_its_tools_lead_and_is_counted():
    """A share needs to know of those that do not go up."""
    decision = decide(TURN, 0.1)

    assert decision == LaneDecision(AGENT, Reason.TOOLS, 0.1, 0.5, is_planning=True)


def test_a_conversation_of_an_agent_stays_on_the_planning_lane_for_its_next_turns():
    assert decide(TURN, 0.9, 0.1) == LaneDecision(HEAVY, Reason.STICKY, 0.1, 0.5, is_planning=True)


def test_a_hard_turn_without_budget_yields():
    decision = decide(TURN, 0.9, view=SPENT)

    assert decision == LaneDecision(AGENT, Reason.YIELDED, 0.9, 0.5, is_planning=True)


@pytest.mark.parametrize(
    ("facts", "policy", "tier"),
    [
        (PLAIN, replace(POLICY, stronger=()), ANY),
        (replace(TURN, is_background=True), replace(POLICY, background=None), ANY),
        (TURN, replace(POLICY, planning=None), ANY),
        (TURN, replace(POLICY, planning="agent"), ANY),
        (TURN, replace(POLICY, planning="tiny"), ANY),
        (TURN, POLICY, TierRules(frozenset({"chat", "agent"}))),
        (TURN, POLICY, TierRules(planning_budget=0.0)),
        (replace(TURN, prompt_tokens=5_990), replace(POLICY, long_context=None), ANY),
    ],
    ids=[
        "no tools",
        "nobody waits",
        "no such lane",
        "it goes there anyway",
        "the lane calls no tools",
        "closed",
        "no budget",
        "too long",
    ],
)
def test_a_turn_that_could_not_go_to_the_planning_lane_is_not_scored(facts, policy, tier):
    scores = Scores(0.9)

    decision = decide_lane(policy, tier, facts, scores)

    assert "planning" not in scores.asked
    assert decision.lane in (CHAT, AGENT, QUALITY)


def test_a_turn_without_words_is_not_scored():
    assert decide(TURN) == LaneDecision(AGENT, Reason.TOOLS)


def test_without_a_lane_for_tools_an_easy_turn_stays_on_the_default_lane():
    """The stronger lanes are not asked as well: one share counts one request."""
    scores = Scores(0.1)

    decision = decide_lane(replace(POLICY, tools=None), ANY, TURN, scores)

    assert decision == LaneDecision(CHAT, Reason.DEFAULT, 0.1, 0.5, is_planning=True)
    assert scores.asked == ["planning"]


@pytest.mark.parametrize(
    ("scores", "view", "expected"),
    [
        ((0.9,), OPEN, LaneDecision(HEAVY, Reason.STICKY, is_planning=True, is_adopted=True)),
        ((0.9,), SPENT, LaneDecision(AGENT, Reason.YIELDED)),
        ((0.1,), OPEN, LaneDecision(AGENT, Reason.TOOLS)),
    ],
    ids=["it went up elsewhere", "that cannot be", "it did not"],
)
def test_a_step_whose_turn_is_not_known_goes_by_its_turns_score(scores, view, expected):
    assert decide(replace(TURN, is_step=True), *scores, view=view) == expected


def test_a_step_stays_on_the_planning_lane():
    facts = replace(TURN, is_step=True, held=HeldLane("heavy", Reason.STICKY))

    assert decide(facts) == LaneDecision(HEAVY, Reason.STICKY)


# -- sub-agents and background -----------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (SUB_AGENT, LaneDecision(TINY, Reason.SUB_AGENT)),
        (replace(SUB_AGENT, has_tools=True), LaneDecision(AGENT, Reason.TOOLS)),
        (replace(SUB_AGENT, prompt_tokens=3_000), LaneDecision(CHAT, Reason.DEFAULT)),
        (replace(SUB_AGENT, language="de"), LaneDecision(NEMO, Reason.LANGUAGE)),
        (TITLE, LaneDecision(CHEAP, Reason.BACKGROUND)),
        (replace(TITLE, language="de"), LaneDecision(CHEAP, Reason.BACKGROUND)),
        (replace(TITLE, prompt_tokens=3_500), LaneDecision(CHAT, Reason.DEFAULT)),
        (replace(TITLE, prompt_tokens=50_000), LaneDecision(LONG, Reason.LONG_CONTEXT)),
    ],
    ids=[
        "a sub-agent",
        "with tools that its lane does not call",
        "too long for its lane",
        "in a language that has a lane",
        "a title",
        "in whatever language",
        "too long for its lane",
        "too long for most",
    ],
)
def test_what_nobody_waits_for_goes_to_the_lane_for_it(facts, expected):
    scores = Scores(0.9)

    assert decide_lane(POLICY, ANY, facts, scores) == expected
    assert scores.asked == []


def test_a_lane_that_is_closed_to_the_tenant_is_passed_over():
    tier = TierRules(frozenset({"chat"}))

    for facts in (SUB_AGENT, TITLE, replace(PLAIN, language="de")):
        assert decide(facts, tier=tier) == LaneDecision(CHAT, Reason.DEFAULT)


def test_where_no_lane_has_the_role_nothing_changes():
    policy = replace(POLICY, sub_agents=None, background=None)

    for facts in (SUB_AGENT, TITLE):
        assert decide(facts, policy=policy) == LaneDecision(CHAT, Reason.DEFAULT)


# -- languages ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "scores", "expected"),
    [
        (PLAIN, (0.1,), LaneDecision(NEMO, Reason.LANGUAGE, 0.1, 0.5)),
        (PLAIN, (0.9,), LaneDecision(QUALITY, Reason.COMPLEX, 0.9, 0.5)),
        (TURN, (0.1,), LaneDecision(NEMO, Reason.LANGUAGE, 0.1, 0.5, is_planning=True)),
        (TURN, (0.9,), LaneDecision(HEAVY, Reason.PLANNING, 0.9, 0.5, is_planning=True)),
        (replace(PLAIN, prompt_tokens=50_000), (), LaneDecision(LONG, Reason.LONG_CONTEXT)),
    ],
    ids=["a question", "a hard one", "with tools", "a hard turn", "too long for its lane"],
)
def test_a_language_stands_in_for_the_default_lane_and_the_one_for_tools(facts, scores, expected):
    """A hard question is hard in any language."""
    assert decide(replace(facts, language="de"), *scores) == expected


@pytest.mark.parametrize("language", ["en", "xx", None])
def test_other_languages_change_nothing(language):
    """Not even the reason, where the lane is the default one."""
    decision = decide(replace(PLAIN, language=language), 0.1)

    assert decision == LaneDecision(CHAT, Reason.DEFAULT, 0.1, 0.5)


def test_a_language_whose_lane_calls_no_tools_is_for_requests_without():
    policy = replace(POLICY, languages={"de": "tiny"}, planning=None)

    assert decide(replace(TURN, language="de"), policy=policy) == LaneDecision(AGENT, Reason.TOOLS)
