"""A lane's level: up at once, down in steps."""

import pytest

from router.admission.saturation import Level, Saturation, SaturationConfig, Thresholds

CONFIG = SaturationConfig(
    hold=Thresholds(2, 0.8),
    shed=Thresholds(4, 0.9),
    evict=Thresholds(8, 0.95),
    leave_ratio=0.5,
    cooldown_s=3,
)


@pytest.mark.parametrize(
    ("waiting", "kv", "level"),
    [
        (1.9, 0.79, Level.NORMAL),
        (2, 0, Level.HOLD),
        (0, 0.8, Level.HOLD),
        (4, 0, Level.SHED),
        (0, 0.99, Level.EVICT),
        (8, 0, Level.EVICT),
    ],
)
def test_either_signal_at_its_threshold_enters_a_level_at_once(waiting, kv, level):
    """From nothing to the top, if need be."""
    assert Saturation(CONFIG).observe(waiting, kv, now=0) is level


def test_a_level_is_left_one_at_a_time_when_it_was_calm_for_long_enough():
    """Under half the level's threshold, for three seconds each."""
    saturation = Saturation(CONFIG)
    saturation.observe(8, 0, now=0)

    levels = [saturation.observe(0, 0, now=t) for t in range(1, 12)]

    assert levels == [3, 3, 3, 2, 2, 2, 1, 1, 1, 0, 0]


def test_between_the_thresholds_nothing_moves():
    """Over half the threshold it is not calm, and calm begins anew."""
    saturation = Saturation(CONFIG)
    saturation.observe(2, 0, now=0)
    loads = [0, 0, 1.5, 0, 0, 0, 0]

    levels = [saturation.observe(load, 0, now=t) for t, load in enumerate(loads, 1)]

    assert levels == [1, 1, 1, 1, 1, 1, 0]


def test_without_observations_the_level_falls():
    """Better a full lane than one shut by a dead sensor."""
    saturation = Saturation(CONFIG)
    saturation.observe(8, 0, now=0)

    levels = [saturation.level(now=t) for t in (4, 6, 9, 12, 15)]

    assert levels == [3, 3, 2, 1, 0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"shed": Thresholds(1, 0.9)},
        {"hold": Thresholds(0, 0.8)},
        {"evict": Thresholds(8, 0.85)},
        {"leave_ratio": 0},
    ],
)
def test_thresholds_out_of_order_are_refused(wrong):
    """Each level is at least as high as the one below."""
    with pytest.raises(ValueError, match=r"must"):
        SaturationConfig(**wrong)
