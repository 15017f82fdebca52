"""The routing metrics, against cases that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from classifier.training.metrics import (
    binned_metrics,
    exact_metrics,
    precision_at_share,
    weighted_quantile,
)


def test_an_oracle_recovers_the_gap_at_once() -> None:
    """With one gaining query in ten ranked first, half the gap costs 5 % of the calls."""
    gains = np.array([1.0] + [0.0] * 9)

    metrics = exact_metrics(-np.arange(10.0), gains)

    assert metrics.cpt50 == pytest.approx(0.05)
    assert metrics.apgr == pytest.approx(0.95)


def test_equal_scores_are_as_good_as_chance() -> None:
    """Ties count as random order: APGR one half, CPT(p) = p."""
    gains = np.array([1.0, 0.0, 1.0, 0.0])

    metrics = exact_metrics(np.zeros(4), gains)

    assert (metrics.apgr, metrics.cpt50, metrics.cpt80) == pytest.approx((0.5, 0.5, 0.8))


def test_ten_bins_agree_with_the_exact_curve_on_a_straight_line() -> None:
    """Binning loses nothing where the curve has no bends."""
    gains = np.ones(20)

    assert binned_metrics(np.arange(20.0), gains).apgr == pytest.approx(0.5)


def test_no_gain_at_all_has_no_metrics() -> None:
    """Nothing to recover is an error, not a number."""
    with pytest.raises(ValueError, match="gains"):
        exact_metrics(np.arange(3.0), np.zeros(3))


def test_precision_at_share_weighs_the_mix() -> None:
    """Half of the top two percent is complex."""
    scores = np.array([3.0, 2.0, 1.0])
    is_complex = np.array([True, False, False])

    found = precision_at_share(scores, is_complex, np.array([0.01, 0.01, 0.98]), 0.02)

    assert found == pytest.approx(0.5)


def test_weighted_quantile_steps_where_the_mass_does() -> None:
    """The median of 1 (10 %) and 2 (90 %) is 2."""
    values = weighted_quantile(np.array([2.0, 1.0]), np.array([0.9, 0.1]), np.array([0.05, 0.5]))

    assert values.tolist() == [1.0, 2.0]
