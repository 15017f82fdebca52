"""How many ratings an experiment takes."""

import math
from itertools import accumulate
from random import Random

import pytest

from evals.experiments.power import fixed_horizon, power_of, stopping
from evals.experiments.sequential import log_preference, mixture_size


@pytest.mark.parametrize(("share", "known"), [(0.56, 543), (0.6, 194), (0.44, 543), (0.5, None)])
def test_the_fixed_horizon_is_that_of_the_textbook(share, known):
    """(1.96 / 2 + 0.8416 sqrt(0.56 * 0.44))^2 / 0.06^2 = 542.5, and so on."""
    assert fixed_horizon(share) == known


@pytest.mark.parametrize(("share", "look_every"), [(0.6, 1), (0.6, 7), (0.5, 1)])
def test_the_exact_chance_of_a_decision_is_that_of_simulated_experiments(share, look_every):
    """400 experiments of 150 ratings, by the test itself."""
    random, stops, size = Random(4), 0, mixture_size(0.1)
    for _ in range(400):
        wins = list(accumulate(random.random() < share for _ in range(150)))
        looks = range(look_every, 151, look_every)
        stops += any(log_preference(wins[n - 1], n, size) >= math.log(20) for n in looks)

    exact = stopping(share, 150, smallest=0.1, look_every=look_every)[-1]

    assert stops / 400 == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 400))


def test_looking_at_every_rating_errs_no_more_than_stated():
    """Exactly, over 5,000 of them: 3.4 % where 5 % are stated."""
    assert 0.02 < stopping(0.5, 5000)[-1] < 0.05


def test_56_to_44_takes_about_as_many_ratings_on_average_as_a_single_look():
    """605 on average and 883 for 80 %, where a test that may look once takes 543."""
    found = power_of(0.56)

    assert found.fixed == 543
    assert found.median == pytest.approx(522, abs=2)
    assert found.mean == pytest.approx(605, abs=1)
    assert found.enough == pytest.approx(883, abs=2)
    assert found.decided_ratio > 0.999


def test_what_is_not_found_in_time_is_said_to_be_so():
    """100 ratings are too few."""
    found = power_of(0.56, horizon=100)

    assert (found.median, found.enough) == (None, None)
    assert found.decided_ratio < 0.1


@pytest.mark.parametrize("name", ["preference", "alpha", "power"])
def test_what_is_no_probability_is_refused(name):
    """By its name."""
    with pytest.raises(ValueError, match=f"{name} must be between 0 and 1, not 1.5"):
        power_of(**{"preference": 0.56, name: 1.5})
