"""What must hold of estimates: over all draws of a small world their mean is the truth."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.off_policy.estimators import Method, gain, value
from evals.off_policy.logged import Logged

tenth = st.integers(1, 9).map(lambda n: n / 10)


@settings(max_examples=25, deadline=None)
@given(
    chance=st.lists(tenth, min_size=3, max_size=3),
    target=st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=3, max_size=3),
    rewards=st.lists(st.tuples(tenth, tenth), min_size=3, max_size=3),
    wrong=st.tuples(tenth, tenth),
)
@pytest.mark.parametrize("method", [Method.IPS, Method.DR])
def test_estimates_are_unbiased_over_all_draws(method, chance, target, rewards, wrong):
    """Three requests, each way that the router's draws could have fallen, by its probability.

    DR is so with a model that is wrong, too.
    """
    up, pi = np.array(chance), np.array(target)
    weak, strong = np.array(rewards).T
    model = np.full(3, wrong[0]), np.full(3, wrong[1])
    truth = float((pi * strong + (1 - pi) * weak).mean())
    logging = float((up * strong + (1 - up) * weak).mean())
    mean_value = mean_gain = total = 0.0

    for went_up in product((False, True), repeat=3):
        went = np.array(went_up)
        propensity = np.where(went, up, 1 - up)
        log = Logged(
            score=np.array([0.1, 0.5, 0.9]),
            went_up=went,
            propensity=propensity,
            reward=np.where(went, strong, weak),
            cluster=np.arange(3),
            tenant=np.zeros(3, int),
            other_scores=np.empty((3, 0)),
        )
        probability = float(propensity.prod())
        total += probability
        mean_value += probability * value(log, pi, method, model=model).value
        mean_gain += probability * gain(log, pi, method, model=model).value

    assert total == pytest.approx(1)
    assert mean_value == pytest.approx(truth)
    assert mean_gain == pytest.approx(truth - logging)
