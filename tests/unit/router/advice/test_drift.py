"""Whether a stream has come to another level."""

from random import Random

import pytest

from router.advice.drift import LEAST_POINTS, drift_of
from router.advice.series import Point
from router.advice.trigger import HOUR


def stream(seed, days, *, rate=0.1, then=None, at_day=0.0, swing=0.0, events=60):
    """Return hours of events that are good by chance; from a day on, by another chance.

    `swing`: of the chance over the day, as part of it.
    """
    random, points = Random(seed), []
    for hour in range(int(24 * days)):
        chance = rate if then is None or hour < 24 * at_day else then
        chance *= 1 + (swing if hour % 24 < 12 else -swing)
        good = sum(random.random() < chance for _ in range(events))
        points.append(Point((hour + 1) * HOUR, float(good), float(events)))
    return points


@pytest.mark.parametrize("then", [0.2, 0.03])
def test_a_change_of_level_is_seen_and_dated(then):
    """Up or down, within a day or two of where it happened."""
    drift = drift_of(stream(1, 12, then=then, at_day=9))

    assert drift.strength > 1
    assert abs(drift.since - 9 * 24 * HOUR) < 36 * HOUR
    assert drift.before == pytest.approx(0.1, abs=0.02)
    assert drift.after == pytest.approx(then, abs=0.03)


@pytest.mark.parametrize("swing", [0.0, 0.5])
def test_what_stays_as_it_was_does_not_drift(swing):
    """Also where nights are other than days, from when the day is known."""
    strengths = [drift_of(stream(seed, 14, swing=swing)).strength for seed in range(20)]

    assert max(strengths) < 1


def test_one_bad_hour_is_no_drift():
    points = stream(2, 10)
    points[200] = Point(points[200].at, 60.0, 60.0)

    assert drift_of(points).strength < 1


def test_too_few_hours_say_nothing():
    assert drift_of(stream(3, (LEAST_POINTS - 1) / 24)) is None


def test_hours_with_few_events_are_added_up():
    """Two events an hour are a reading in five hours."""
    points = stream(4, 4, events=2)

    assert drift_of(points) is None
    assert drift_of(stream(4, 12, events=2)) is not None


def test_a_stream_without_any_noise_says_nothing():
    """Every call valid, all the time: a first invalid one is for another trigger."""
    assert drift_of(stream(5, 10, rate=1.0)) is None


def test_nothing_is_said_before_the_day_is_known():
    """Of three days, what is usual at an hour cannot be told from a change."""
    assert drift_of(stream(6, 3, swing=0.9)) is None
    assert drift_of(stream(6, 5)) is not None
