"""Estimates of other policies: how near the truth, how often their intervals have it."""

import numpy as np
import pytest

from evals.off_policy import outcome
from evals.off_policy.estimators import Method, bernstein, effective_size, gain, value
from evals.off_policy.logged import Logged
from evals.off_policy.policies import at_share, at_threshold
from tests.unit.evals.off_policy.made_logs import made_log

RUNS = 150


def truth(log, target_up, weak, strong):
    """Return the gain in expected reward over the policy that logged, as it explores."""
    return float(((target_up - log.chance_up) * (strong - weak)).mean())


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("share", [0.05, 0.15])
def test_intervals_cover_the_truth_at_their_stated_rate(method, share):
    """Of 150 logs, 90 % intervals miss no more than 15 + 3 standard deviations."""
    missed = 0
    for seed in range(RUNS):
        log, weak, strong = made_log(4000, seed)
        target = at_threshold(log.score, 1 - share)
        found = gain(log, target, method, level=0.9)
        missed += not found.low <= truth(log, target, weak, strong) <= found.high

    assert missed <= 0.1 * RUNS + 3 * (0.09 * RUNS) ** 0.5


def test_intervals_cover_where_the_turns_of_a_conversation_go_one_way():
    """Four turns with one outcome are one observation: as if each counted, half would miss."""
    missed = naive = 0
    for seed in range(RUNS):
        log, weak, strong = made_log(8000, seed, turns=4)
        target = at_threshold(log.score, 0.85)
        alone = Logged(**{**_columns(log), "cluster": np.arange(len(log))})
        for each, is_naive in ((log, False), (alone, True)):
            found = gain(each, target, Method.SNIPS, level=0.9)
            is_missed = not found.low <= truth(log, target, weak, strong) <= found.high
            naive += is_naive and is_missed
            missed += not is_naive and is_missed

    assert missed <= 0.1 * RUNS + 3 * (0.09 * RUNS) ** 0.5
    assert naive > 2 * missed


def _columns(log):
    return {name: getattr(log, name) for name in log.__dataclass_fields__}


def test_a_model_takes_noise_out_of_the_estimate():
    """DR's interval is narrower than that of IPS, whose weights carry the whole reward."""
    log, _, _ = made_log(6000, 1)
    target = at_threshold(log.score, 0.85)

    widths = {m: (x := gain(log, target, m)).high - x.low for m in Method}

    assert widths[Method.DR] < 0.7 * widths[Method.IPS]


def test_what_could_not_have_gone_up_is_not_identified():
    """A threshold far below the band: the interval says so, and is as wide as that could hide."""
    log, weak, strong = made_log(4000, 2)
    target = at_share(log.score, 0.5)

    found = gain(log, target)

    assert not found.is_identified
    assert found.unsupported == pytest.approx(0.3, abs=0.02)
    assert found.low <= truth(log, target, weak, strong) <= found.high
    assert found.high - found.low > 0.5


def test_the_policy_that_runs_brings_nothing_new():
    """Nothing changes but the exploration, and no explored request is needed to say so."""
    log, _, _ = made_log(4000, 3)

    found = gain(log, log.usual_up.astype(float))

    assert found.changed == 0
    assert found.is_enough
    assert abs(found.value) < 0.01


def test_the_value_of_a_policy_is_in_the_rewards_range():
    log, weak, strong = made_log(20_000, 4)
    target = at_threshold(log.score, 0.85)
    expected = float(np.where(target > 0, strong, weak).mean())

    found = {method: value(log, target, method) for method in Method}

    assert all(x.low <= expected <= x.high for x in found.values())


def test_a_few_explored_requests_that_all_went_well_prove_nothing():
    """With the same outcome everywhere the interval has a width, and too few are said to be."""
    log, _, _ = made_log(300, 5)
    same = Logged(**{**_columns(log), "reward": np.ones(len(log))})

    found = gain(same, at_threshold(log.score, 0.85))

    assert not found.is_enough
    assert found.high - found.low > 0.01


def test_one_conversation_has_no_interval():
    log, _, _ = made_log(50, 6, turns=50)

    found = gain(log, 1.0 - log.usual_up, Method.IPS)

    assert (found.low, found.high) == (-np.inf, np.inf)


def test_the_bound_for_any_number_is_wider_than_that_for_many():
    values = np.random.default_rng(7).random(200)
    low, high = bernstein(values, 1.0)

    assert low < values.mean() - 0.1
    assert high > values.mean() + 0.1
    assert bernstein(values[:1], 1.0) == (-np.inf, np.inf)


def test_unequal_weights_are_worth_fewer():
    assert effective_size(np.ones(10)) == 10
    assert effective_size(np.array([10.0, 1, 1])) == pytest.approx(144 / 102)
    assert effective_size(np.array([])) == 0


def test_the_model_of_a_lane_that_nobody_went_to_is_the_mean_of_all():
    log, _, _ = made_log(200, 8)
    down = log.take(~log.went_up)

    weak, strong = outcome.cross_fitted(down)

    assert strong == pytest.approx(np.full(len(down), down.reward.mean()))
    assert weak.std() < 0.2


@pytest.mark.parametrize(
    ("name", "wrong", "says"),
    [
        ("propensity", 0.0, "propensities"),
        ("reward", 1.5, "rewards"),
    ],
)
def test_columns_that_make_no_sense_are_refused(name, wrong, says):
    log, _, _ = made_log(10, 9)

    with pytest.raises(ValueError, match=says):
        Logged(**{**_columns(log), name: np.full(10, wrong)})
    with pytest.raises(ValueError, match="length"):
        Logged(**{**_columns(log), name: np.ones(9)})
