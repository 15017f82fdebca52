"""What must hold of every trigger, whatever its signal does."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from router.advice.judge import Standing, State, judge, replay
from router.advice.series import Point, Series
from router.advice.table import TRIGGERS
from router.advice.trigger import HOUR, Pool

STEP_S = 15.0
SHORT = [x for x in TRIGGERS if x.hold_s <= HOUR and x.pool is not Pool.SWING]


def of_a_signal(trigger):
    """Points of a signal around the trigger's limits, with gaps."""
    top = 2 * max(trigger.limit, trigger.clear)
    value = st.floats(0, top, allow_nan=False)
    if trigger.pool is Pool.SHARE:
        value = st.floats(0, 1)
    return st.lists(st.one_of(st.none(), value), min_size=1, max_size=60)


@st.composite
def signals(draw, pools=tuple(Pool)):
    trigger = draw(st.sampled_from([x for x in SHORT if x.pool in pools]))
    # Ten steps: a window of an hour would need more points than chance makes interesting.
    trigger = replace(trigger, hold_s=min(trigger.hold_s, 10 * STEP_S))
    return trigger, draw(of_a_signal(trigger))


def points_of(trigger, values):
    weight = 4 * max(1.0, trigger.least)
    return [
        Point((i + 1) * STEP_S, value * weight, weight)
        for i, value in enumerate(values)
        if value is not None
    ]


def run(trigger, points):
    """Return the states, point by point, and the standing at the end."""
    series, standing, states = Series(STEP_S), Standing(), []
    for point in points:
        series.add(point)
        found, standing = judge(trigger, series, point.at, standing)
        states.append(found.state)
    return states, standing


@given(signals())
def test_it_fires_no_sooner_than_most_of_its_window_was_watched(given_signal):
    trigger, values = given_signal
    states, _ = run(trigger, points_of(trigger, values))

    first = next((i for i, x in enumerate(states) if x is State.FIRING), None)

    assert first is None or first + 1 >= 0.75 * round(trigger.hold_s / STEP_S) - 0.5


@given(signals())
def test_between_its_two_limits_it_never_flaps(given_signal):
    """What lies between stays as it was: neither does it begin to fire, nor does it clear."""
    trigger, values = given_signal
    points = points_of(trigger, values)
    _, standing = run(trigger, points)
    middle = (trigger.limit + trigger.clear) / 2
    weight = 4 * max(1.0, trigger.least)
    after = points[-1].at if points else 0.0
    window = round(trigger.hold_s / STEP_S)
    # A window of it, so that nothing from before is judged any more.
    steady = [Point(after + (i + 1) * STEP_S, middle * weight, weight) for i in range(window)]
    series = Series(STEP_S, [*points, *steady])
    for point in steady:
        _, standing = judge(trigger, series, point.at, standing)
    fires = standing.since is not None

    seen = set()
    for i in range(window, window + 8):
        at = after + (i + 1) * STEP_S
        series.add(Point(at, middle * weight, weight))
        _, standing = judge(trigger, series, at, standing)
        seen.add(standing.since is not None)

    assert seen == {fires}


@given(signals(pools=(Pool.MEAN, Pool.RATE, Pool.SHARE, Pool.PEAK)), st.floats(0, 1))
def test_more_of_the_same_never_makes_it_quiet(given_signal, more):
    """A signal that is further beyond the limit at every point fires wherever the other does."""
    trigger, values = given_signal
    worse = [
        None
        if x is None
        else (x + more * (1 - x if trigger.pool is Pool.SHARE else x))
        if trigger.is_above
        else (None if x is None else x * (1 - more))
        for x in values
    ]
    states, _ = run(trigger, points_of(trigger, values))
    of_worse, _ = run(trigger, points_of(trigger, worse))

    assert all(
        b is State.FIRING for a, b in zip(states, of_worse, strict=True) if a is State.FIRING
    )


@given(signals(), st.integers(0, 60))
def test_a_restart_in_between_changes_nothing(given_signal, cut):
    """One that goes through the history comes to the same states as one that never stopped."""
    trigger, values = given_signal
    points = points_of(trigger, values)
    states, _ = run(trigger, points)
    before, after = points[:cut], points[cut:]
    if not before or not after:
        return

    series = Series(STEP_S, before)
    standing = replay(trigger, series, before[-1].at)
    resumed = []
    for point in after:
        series.add(point)
        found, standing = judge(trigger, series, point.at, standing)
        resumed.append(found.state)

    assert resumed == states[len(before) :]


@given(signals(), st.integers(0, 400))
def test_what_is_older_than_its_memory_has_no_say(given_signal, gap):
    """However a trigger stood long ago, it stands as one that was never told of it."""
    trigger, values = given_signal
    points = points_of(trigger, values)
    old = [Point(x.at - trigger.memory_s - 100 * STEP_S - gap, x.total, x.weight) for x in points]
    _, alone = run(trigger, points)
    _, both = run(trigger, [*old, *points])

    assert (alone.since is None) == (both.since is None)
