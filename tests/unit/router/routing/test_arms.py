"""An experiment's arm in place of the lane that routing chose."""

from dataclasses import replace

import pytest

from router.routing.lane import decide_lane
from router.types import Arm, HeldLane, Lane, Reason, TierRules
from tests.unit.router.routing.test_lane import ANY, PLAIN, POLICY, FakeScores, decide

CANDIDATE = Lane("candidate", "org/new", 3_000)
WITH_IT = replace(POLICY, lanes={**POLICY.lanes, "candidate": CANDIDATE})
TREATED = Arm("models", "treatment", "candidate", "chat", "candidate", 0.3)
CONTROL = Arm("models", "control", "chat", "chat", "candidate", 0.7)


def in_arm(arm, *scores, tier=ANY, policy=WITH_IT, **facts):
    return decide(replace(PLAIN, arms=(arm,), **facts), *scores, policy=policy, tier=tier)


def test_the_treatment_goes_to_its_lane():
    """With the reason, and with what routing had decided."""
    found = in_arm(TREATED, 0.1)

    assert (found.lane, found.reason) == (CANDIDATE, Reason.EXPERIMENT)
    assert (found.experiment, found.arm, found.propensity) == ("models", "treatment", 0.3)
    assert (found.score, found.threshold) == (0.1, 0.5)
    assert (found.routed.lane.name, found.routed.reason) == ("chat", Reason.DEFAULT)


def test_the_control_stays_and_is_counted():
    """Its reason is the one it had."""
    found = in_arm(CONTROL, 0.1)

    assert (found.lane.name, found.reason, found.arm) == ("chat", Reason.DEFAULT, "control")
    assert found.routed is found


@pytest.mark.parametrize("arm", [TREATED, CONTROL])
@pytest.mark.parametrize(
    ("facts", "lane"),
    [
        ({"pinned": "chat"}, "chat"),
        ({"prompt_tokens": 3_500}, "chat"),
        ({"prompt_tokens": 50_000}, "long"),
        ({"has_tools": True}, "tools"),
    ],
)
def test_what_could_not_go_to_either_lane_is_in_no_arm(arm, facts, lane):
    """Pinned; too long for the treatment's window; long; with tools: not the control's."""
    found = in_arm(arm, 0.1, **facts)

    assert (found.lane.name, found.experiment, found.arm) == (lane, None, None)


@pytest.mark.parametrize("arm", [TREATED, CONTROL])
def test_a_tier_that_may_not_use_the_lane_is_in_no_arm(arm):
    """Its requests are no comparison."""
    found = in_arm(arm, 0.1, tier=TierRules(lanes=frozenset({"chat", "quality"})))

    assert (found.lane.name, found.experiment) == ("chat", None)


def test_a_lane_without_tools_takes_no_request_with_tools():
    """Even if the control's lane would."""
    blind = {**WITH_IT.lanes, "candidate": replace(CANDIDATE, calls_tools=False)}
    policy = replace(WITH_IT, lanes=blind, tools=None)

    found = in_arm(TREATED, 0.1, has_tools=True, policy=policy)

    assert (found.lane.name, found.experiment) == ("chat", None)


def test_an_escalated_request_is_in_the_experiment_on_its_lane():
    """The share of the stronger lane is used all the same."""
    arm = Arm("strong", "treatment", "candidate", "quality", "candidate")

    found = in_arm(arm, 0.9)

    assert (found.lane.name, found.routed.lane.name) == ("candidate", "quality")
    assert found.routed.reason is Reason.COMPLEX
    assert in_arm(arm, 0.1).experiment is None


def test_a_turn_stays_in_its_arm():
    """Its lane is kept as routing had it, and the arm is found again."""
    found = in_arm(TREATED, is_step=True, held=HeldLane("chat", Reason.DEFAULT))

    assert (found.lane, found.reason) == (CANDIDATE, Reason.EXPERIMENT)


def test_a_washout_goes_there_and_does_not_count():
    """The arm is none."""
    found = in_arm(replace(TREATED, name=None), 0.1)

    assert (found.lane, found.experiment, found.arm) == (CANDIDATE, "models", None)


def test_of_several_experiments_the_lane_s_own_counts():
    """Whatever stands before it."""
    other = Arm("other", "treatment", "long", "tools", "long")
    facts = replace(PLAIN, arms=(other, TREATED))

    assert decide_lane(WITH_IT, ANY, facts, FakeScores(0.1)).experiment == "models"
