"""Whether a trigger fires, by its signal's points."""

import math
from dataclasses import replace

import pytest

from router.advice.judge import Standing, State, judge, kept_since, replay
from router.advice.series import Point, Series, pooled
from router.advice.trigger import Pool, Severity, Trigger

STEP_S = 15.0
MEAN = Trigger(
    name="t",
    signal="s",
    says="over 10 for a minute",
    limit=10,
    clear=8,
    hold_s=60,
    remedy="",
    undo="",
    source="",
)
SHARE = replace(MEAN, pool=Pool.SHARE, limit=0.05, clear=0.04, least=20)


def judged(trigger, values, *, weight=1.0, standing=None):
    """Judge point after point; return the last verdict and all states."""
    series, standing, states = Series(STEP_S), standing or Standing(), []
    for number, value in enumerate(values, 1):
        at = number * STEP_S
        series.add(Point(at, value * weight, weight))
        found, standing = judge(trigger, series, at, standing)
        states.append(found.state)
    return found, states


def test_a_mean_fires_once_it_was_beyond_the_limit_for_the_whole_window():
    _, states = judged(MEAN, [11, 11, 11, 11])

    assert states == [State.TOO_LITTLE] * 2 + [State.FIRING] * 2  # three quarters are enough


def test_a_tall_reading_among_small_ones_is_not_sustained():
    found, states = judged(MEAN, [5, 5, 5, 100])

    assert found.value > 10
    assert State.FIRING not in states


def test_it_clears_under_its_lower_limit_and_not_between_the_two():
    _, between = judged(MEAN, [11] * 4 + [9] * 8)
    _, under = judged(MEAN, [11] * 4 + [7] * 8)

    assert between[-1] is State.FIRING
    assert under[-1] is State.CLEAR


def test_a_signal_that_nobody_feeds_any_more_does_not_fire_for_ever():
    series = Series(STEP_S, [Point(x * STEP_S, 11, 1) for x in range(1, 5)])
    _, standing = judge(MEAN, series, 60, Standing())

    soon, standing = judge(MEAN, series, 200, standing)
    late, standing = judge(MEAN, series, 61 + MEAN.keep_s, standing)

    assert soon.state is State.FIRING
    assert late.state is State.TOO_LITTLE
    assert standing == Standing()
    assert math.isnan(late.value)


def test_a_trigger_that_looks_for_too_little_fires_under_its_limit():
    low = replace(MEAN, is_above=False, clear=12)

    _, states = judged(low, [9] * 4 + [11] * 4 + [13] * 4)

    assert states[3] is states[7] is State.FIRING
    assert states[-1] is State.CLEAR


@pytest.mark.parametrize(("bad", "fires"), [(0.04, False), (0.06, False), (0.15, True)])
def test_a_share_fires_only_where_chance_does_not_explain_it(bad, fires):
    """Of 200 events 6 % over a limit of 5 % are nothing; 15 % are."""
    found, _ = judged(SHARE, [bad] * 4, weight=50)

    assert (found.state is State.FIRING) is fires
    assert found.samples == 200
    assert (found.sure >= 0.9) is fires


def test_few_events_are_too_little_data():
    found, _ = judged(SHARE, [1.0] * 4, weight=2)

    assert found.state is State.TOO_LITTLE
    assert found.sure == 0


def test_a_share_that_is_too_low_is_judged_by_chance_too():
    low = replace(SHARE, limit=0.3, clear=0.4, is_above=False)

    found, _ = judged(low, [0.1] * 4, weight=50)

    assert found.state is State.FIRING


def test_a_peak_is_the_busiest_point():
    peak = replace(MEAN, pool=Pool.PEAK)

    found, _ = judged(peak, [1, 1, 30, 1])

    assert (found.value, found.state) == (30, State.FIRING)


def test_a_swing_is_the_busiest_over_the_quietest_point_and_bounded():
    swing = replace(MEAN, pool=Pool.SWING)

    assert judged(swing, [2, 40, 40, 40])[0].value == 20
    assert judged(swing, [0, 40, 40, 40])[0].value == 100
    assert judged(swing, [0, 0, 0, 0])[0].value == 1


def test_a_rate_is_the_quotient_of_the_sums():
    rate = replace(MEAN, pool=Pool.RATE)
    series = Series(STEP_S, [Point(15, 100, 1), Point(30, 0, 99), *_quiet(45, 60)])

    found, _ = judge(rate, series, 60, Standing())

    assert found.value == 1


def _quiet(*ends):
    return [Point(at, 0, 0) for at in ends]


def test_a_process_that_begins_anew_knows_what_the_last_one_knew():
    series = Series(STEP_S, [Point(x * STEP_S, 11, 1) for x in range(1, 9)])
    standing = Standing()
    for at in series.ends:
        _, standing = judge(MEAN, series, at, standing)

    assert replay(MEAN, series, series.ends[-1]) == standing


def test_what_lies_further_back_than_its_memory_is_not_gone_through_again():
    old = [Point(x * STEP_S, 11, 1) for x in range(1, 9)]
    now = MEAN.memory_s + 600
    series = Series(STEP_S, [*old, Point(now, 5, 1)])

    assert replay(MEAN, series, now) == Standing()


def test_since_when_it_fires_may_be_known_from_before():
    fires = Standing(since=100.0, held_at=160.0)

    assert kept_since(fires, 40.0).since == 40.0
    assert kept_since(fires, 120.0) is fires
    assert kept_since(fires, None) is fires
    assert kept_since(Standing(), 40.0) == Standing()


def test_points_are_in_order_each_once_and_forgotten_by_age():
    series = Series(STEP_S)
    for at in (15, 30, 30, 20, 45):
        series.add(Point(at, 1, 1))
    series.forget(15)

    assert list(series.ends) == [30, 45]
    assert len(series) == 2
    assert pooled(series.window(0, 100)) == Point(45, 2, 2)


def test_a_long_trigger_fires_as_long_again_as_it_looks_back():
    long = replace(MEAN, hold_s=86_400.0, severity=Severity.SAVE)

    assert long.is_long
    assert long.keep_s == 86_400
    assert long.memory_s == 2 * 86_400
    assert not MEAN.is_long
