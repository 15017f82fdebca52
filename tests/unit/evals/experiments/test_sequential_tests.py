"""Tests that may be looked at at any time: right by other reckonings, and not wrong too often."""

import math
from random import Random

import numpy as np
import pytest

from evals.experiments.sequential import (
    log_preference,
    mean_evidence,
    mixture_size,
    preference,
    preference_interval,
)


def flips(n: int, chance: float, seed: int = 3) -> list[bool]:
    random = Random(seed)
    return [random.random() < chance for _ in range(n)]


@pytest.mark.parametrize(("wins", "n"), [(0, 0), (3, 4), (0, 30), (56, 100), (310, 500)])
def test_the_e_value_is_the_likelihood_ratio_mixed_over_the_prior(wins, n):
    """By a sum over a fine grid of preferences, weighted by the prior."""
    a = mixture_size(0.05)
    grid = (np.arange(200_000) + 0.5) / 200_000
    weight = np.exp((a - 1) * np.log(grid * (1 - grid) * 4))
    weight /= weight.sum()
    ratios = np.exp(wins * np.log(2 * grid) + (n - wins) * np.log(2 * (1 - grid)))

    assert log_preference(wins, n, a) == pytest.approx(math.log(weight @ ratios), abs=1e-6)


def test_ville_finds_the_same_e_values_and_intervals():
    """The library of that name has the same test, written by others."""
    ville = pytest.importorskip("ville")
    wins, a = flips(600, 0.56), mixture_size(0.05)
    x = np.array(wins, dtype=float)

    theirs = ville.BernoulliTest(p0=0.5, prior=(a, a)).fit(x)
    sequence = ville.BernoulliCS(alpha=0.05, prior=(a, a), intersect=False).fit(x)

    for n in (1, 7, 100, 600):
        count = sum(wins[:n])
        assert log_preference(count, n, a) == pytest.approx(math.log(theirs.e_values_[n - 1]))
        ours = preference_interval(count, n, 0.05)
        assert ours == pytest.approx((sequence.lower_[n - 1], sequence.upper_[n - 1]), abs=1e-6)


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_ville_finds_the_same_interval_of_a_difference(share):
    """Of the estimates by arm, which both make alike but for the centre of the first ones."""
    ville = pytest.importorskip("ville")
    random = Random(5)
    outcomes = [(random.random() < share, float(random.random() < 0.7)) for _ in range(400)]

    found = mean_evidence(outcomes, share, alpha=0.1)

    centre, x = 0.5, []
    for n, (treated, y) in enumerate(outcomes, 1):
        x.append((y - centre) * (1 / share if treated else -1 / (1 - share)))
        centre = (0.5 + sum(y for _, y in outcomes[:n])) / (n + 1)
    bound = max(1 / share, 1 / (1 - share))
    theirs = ville.EmpiricalBernsteinCS(bounds=(-bound, bound), alpha=0.1).fit(np.array(x))
    low, high = theirs.interval()
    assert found.estimate == pytest.approx(np.mean(x))
    assert (found.low, found.high) == pytest.approx((max(-1.0, low), min(1.0, high)))


def test_equal_answers_are_seldom_called_different_however_often_one_looks():
    """After each of 400 ratings, in 1,500 experiments; the chance of more alarms is 1e-4."""
    a, alpha, alarms = mixture_size(0.1), 0.1, 0
    limits = [
        next((w for w in range(n // 2, n + 1) if log_preference(w, n, a) >= math.log(10)), n + 1)
        for n in range(401)
    ]
    rng = np.random.default_rng(1)
    wins = (rng.random((1500, 400)) < 0.5).cumsum(axis=1)
    n = np.arange(1, 401)
    least = np.array(limits[1:])
    alarms = ((wins >= least) | (n - wins >= least)).any(axis=1).mean()

    assert 0.02 < alarms <= alpha + 4 * math.sqrt(alpha * (1 - alpha) / 1500)


@pytest.mark.parametrize("share", [0.5, 0.15])
def test_equal_arms_are_seldom_called_different(share):
    """Thumbs of which 8 in 10 are up in both arms, whatever the arms' sizes."""
    random, alpha = Random(9), 0.1
    alarms = sum(
        mean_evidence(
            [(random.random() < share, float(random.random() < 0.8)) for _ in range(120)],
            share,
            alpha,
        ).decided_at
        is not None
        for _ in range(200)
    )

    assert alarms <= 200 * alpha + 4 * math.sqrt(200 * alpha * (1 - alpha))


def test_a_difference_of_means_is_found_and_covered():
    """0.9 against 0.6."""
    random = Random(2)
    outcomes = []
    for _ in range(1500):
        treated = random.random() < 0.5
        outcomes.append((treated, float(random.random() < (0.9 if treated else 0.6))))

    found = mean_evidence(outcomes, 0.5)

    assert found.decided_at is not None
    assert found.decided_at < 400
    assert 0 < found.low < 0.3 < found.high < 0.6
    assert found.p_value < 1e-6


def test_a_decision_stays_though_the_evidence_falls():
    """It was made at the first crossing; what came after does not take it back."""
    found = preference([True] * 60 + [False] * 60, smallest=0.2)

    assert found.decided_at is not None
    assert found.decided_at < 30
    assert found.e_value < 1 < found.most
    assert found.low < 0.5 < found.high


def test_nothing_is_known_of_nothing():
    """No rating: no estimate, the whole range, no evidence."""
    found = preference([])
    means = mean_evidence([], 0.5)

    assert (found.estimate, found.low, found.high, found.p_value) == (None, 0.0, 1.0, 1.0)
    assert (means.estimate, means.low, means.high, means.e_value) == (None, -1.0, 1.0, 1.0)
