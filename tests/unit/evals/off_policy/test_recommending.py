"""Candidates, and which of them is recommended."""

from dataclasses import replace

import numpy as np
import pytest

from evals.off_policy.logged import Row, logged_of, reward_of
from evals.off_policy.policies import (
    Candidate,
    at_share,
    by_other_score,
    threshold_of,
    within_budgets,
)
from evals.off_policy.recommending import UNIDENTIFIED, recommended, thresholds_around
from tests.unit.evals.off_policy.made_logs import made_log


def judged(log, **more):
    return recommended(log, thresholds_around(log, log.score, 5), **more)


def test_a_larger_share_is_recommended_where_the_stronger_lane_is_better():
    log, _, _ = made_log(60_000, 1, lift=0.5)

    found = judged(log)

    assert found.best is not None
    assert found.best.candidate.share > 0.13
    assert found.best.net.low > 0


def test_a_price_per_escalation_turns_it_round():
    """Where an escalation has to bring more than it does, a smaller share is better."""
    log, _, _ = made_log(60_000, 1, lift=0.1)

    found = judged(log, price=0.6)

    assert found.best is not None
    assert found.best.candidate.share < 0.1


def test_nothing_is_recommended_where_nothing_is_sure():
    log, _, _ = made_log(20_000, 2, lift=0.0)

    found = judged(log)

    assert found.best is None
    assert "leave it" in found.says


def test_too_few_logs_are_said_to_be_too_few():
    log, _, _ = made_log(300, 3)

    assert "too few logs" in judged(log).says


def test_logs_without_exploration_say_what_to_switch_on():
    log, _, _ = made_log(300, 4)
    plain = log.take(~log.is_explored)

    found = recommended(plain, [Candidate("half", at_share(plain.score, 0.5))])

    assert found.best is None
    assert "routing.exploration" in found.says


def test_an_empty_log_has_no_recommendation():
    log, _, _ = made_log(300, 5)

    found = recommended(log.take(np.zeros(300, bool)), [])

    assert found.rows == ()
    assert thresholds_around(log.take(~log.is_explored), log.score) == []


def test_a_budget_sends_up_no_more_than_it_earns():
    """Three tenants of 1 %, all of whose requests are over the threshold."""
    log, _, _ = made_log(3000, 6)

    up = within_budgets(log, 0.0, 0.01)

    for tenant in range(3):
        assert 5 <= up[log.tenant == tenant].sum() <= 10
    assert within_budgets(log, 2.0, 0.01).sum() == 0


def test_no_share_has_an_infinite_threshold():
    assert threshold_of(np.array([0.1, 0.2]), 0.0) == np.inf


ROW = Row("r1", "acme", "s1", "chat", 0.3, 0.98)


@pytest.mark.parametrize(
    "row",
    [
        replace(ROW, score=None),
        replace(ROW, propensity=None),
        replace(ROW, lane="tools"),
        replace(ROW, tenant="other"),
    ],
    ids=["not scored", "no propensity", "another lane", "no reward"],
)
def test_requests_that_say_nothing_are_left_out(row):
    rewards = {("acme", "r1"): reward_of(1)}

    log = logged_of([ROW, row, replace(ROW, session=None)], rewards, "chat", "quality")

    assert len(log) == 2
    assert list(log.reward) == [1, 1]
    assert list(log.cluster) == [0, 1]
    assert log.other_scores.shape == (2, 0)
    assert reward_of(-1) == 0


def test_another_classifier_moves_as_many_as_go_up_now_and_only_what_it_scored():
    log, _, _ = made_log(10, 3)
    usual = replace(
        log,
        went_up=np.array([True, True, *[False] * 8]),
        propensity=np.ones(10),
        other_scores=np.array([[np.nan, 0.1, *np.arange(8) / 10]]).T,
    )

    target = by_other_score(usual, 0)

    # Of the nine that it has scored one goes up now, and one does then: its highest.
    assert list(target) == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    nothing = replace(usual, other_scores=np.full((10, 1), np.nan))
    assert list(by_other_score(nothing, 0)) == list(usual.usual_up)


def test_what_a_cascade_moved_had_begun_below():
    """Its score did not send it up: another threshold would have."""
    moved = replace(ROW, lane="quality", reason="cascade")

    log = logged_of(
        [moved, replace(moved, reason="complex")], {("acme", "r1"): 1.0}, "chat", "quality"
    )

    assert list(log.went_up) == [False, True]


def test_what_was_explored_elsewhere_is_no_lack_of_logs():
    """Enough is explored, and most of what the candidate changes never was."""
    log, _, _ = made_log(6_000, 5, epsilon=0.25)

    found = recommended(log, [Candidate("half", at_share(log.score, 0.5))])

    assert (found.best, found.says) == (None, UNIDENTIFIED)
    assert found.rows[0].gain.is_enough
