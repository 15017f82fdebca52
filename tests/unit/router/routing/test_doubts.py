"""Which scores are so near a threshold that better ones may change the lane."""

from __future__ import annotations

import pytest

from router.routing.escalation import EscalationController, EscalationLevel
from router.routing.levels import doubt_around
from router.routing.quantile import QuantileConfig, QuantileWindow


def shipped(share: float) -> float:
    """Scores spread evenly over 0 to 1."""
    return 1.0 - share


def test_a_score_is_in_doubt_between_twice_and_half_of_the_share():
    band = doubt_around(QuantileWindow(shipped, QuantileConfig()), 0.04)

    assert (band.low, band.high) == pytest.approx((0.92, 0.98))
    assert band.holds(0.95) and not band.holds(0.91) and not band.holds(0.99)


def test_no_score_is_in_doubt_of_a_share_of_nothing():
    band = doubt_around(QuantileWindow(shipped, QuantileConfig()), 0.0)

    assert not band.holds(1.0)


def test_each_lane_has_its_doubts_at_the_share_of_it_and_all_above_it():
    levels = (EscalationLevel("frontier", 0.01), EscalationLevel("quality", 0.03))
    doubts = EscalationController(levels, shipped).doubts()

    assert list(doubts) == ["frontier", "quality"]
    assert (doubts["frontier"].low, doubts["frontier"].high) == pytest.approx((0.98, 0.995))
    assert (doubts["quality"].low, doubts["quality"].high) == pytest.approx((0.92, 0.98))
