"""What the autoscaling policy never does, whatever it is told."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.placement.standby import standing_by
from router.scaling.lane_load import LaneLoad, Reason, ScalingTerms
from router.scaling.policy import LaneScaler
from router.scaling.warm_pool import steepest_rise

SLOTS, FULL, CALM_S = 32, 2_000.0, 120.0

TERMS = st.builds(
    lambda least, more, standby: ScalingTerms(
        least, least + more, standby, slots=SLOTS, calm_s=CALM_S
    ),
    st.integers(1, 4),
    st.integers(0, 8),
    st.integers(0, 2),
)


@st.composite
def loads(draw, replicas):
    ready = draw(st.integers(0, replicas))
    return LaneLoad(
        ready=ready,
        starting=replicas - ready,
        reporting=draw(st.integers(0, ready)),
        age_s=draw(st.none() | st.floats(0, 40)),
        running=draw(st.floats(0, 2 * SLOTS * replicas)),
        kv_utilization=draw(st.floats(0, 1)),
        queued_tokens=draw(st.floats(0, 1e6)),
        offered_tokens_per_s=draw(st.none() | st.floats(0, 1e5)),
        tokens_per_s=draw(st.none() | st.floats(1, 1e4)),
        start_up_s=draw(st.none() | st.floats(1, 600)),
        cards_free=draw(st.none() | st.integers(0, 4)),
    )


@given(TERMS, st.data())
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_told_bounds_cards_and_lost_figures_are_respected(terms, data):
    scaler, have = LaneScaler(terms), terms.min_replicas
    for at in range(0, 240, 20):
        load = data.draw(loads(have))
        decision = scaler.decide(load, float(at))
        assert terms.min_replicas <= decision.target <= terms.max_replicas
        if load.cards_free is not None:
            assert decision.target <= have + load.cards_free
        if load.starting or load.reporting < load.ready or load.age_s is None:
            assert decision.target >= have
        have = decision.target


@given(TERMS, st.lists(st.floats(0, 12), min_size=1, max_size=40), st.integers(1, 6))
@settings(max_examples=60)
def test_what_goes_was_not_needed_at_any_moment_of_the_calm(terms, demands, start_ticks):
    """Over whole runs with real start-up times: the rest would have been under `low`."""
    scaler, ready, starting, seen = LaneScaler(terms), terms.min_replicas, [], []
    for number, demand in enumerate(x for x in demands for _ in range(5)):
        at = 10.0 * number
        ready += sum(due <= number for due in starting)
        starting = [due for due in starting if due > number]
        seen.append((at, demand))
        running = min(demand, ready) * SLOTS
        load = LaneLoad(
            ready,
            len(starting),
            reporting=ready,
            age_s=0.0,
            running=running,
            queued_tokens=max(0.0, demand - ready) * FULL * 10,
            offered_tokens_per_s=demand * FULL,
            tokens_per_s=FULL,
            start_up_s=10.0 * start_ticks,
        )
        target = scaler.decide(load, at).target
        if target < ready + len(starting):
            peak = max(x for when, x in seen if when >= at - CALM_S)
            assert peak <= terms.low * (target - terms.standby) + 1e-6 or (
                target == terms.max_replicas
            )
            ready = target
        starting += [number + start_ticks] * (target - ready - len(starting))


@given(st.floats(0, 10), st.integers(1, 6))
@settings(max_examples=40)
def test_a_load_that_does_not_change_comes_to_rest(demand, start_ticks):
    terms = ScalingTerms(1, 16, slots=SLOTS, calm_s=CALM_S)
    scaler, ready, due, targets = LaneScaler(terms), 1, [], []
    for number in range(120):
        ready += due.count(number)
        due = [x for x in due if x > number]
        load = LaneLoad(
            ready,
            len(due),
            reporting=ready,
            age_s=0.0,
            running=min(demand, ready) * SLOTS,
            queued_tokens=FULL * 10 if demand > ready else 0.0,
            offered_tokens_per_s=demand * FULL,
            tokens_per_s=FULL,
            start_up_s=10.0 * start_ticks,
        )
        target = scaler.decide(load, 10.0 * number).target
        due += [number + start_ticks] * (target - ready - len(due))
        ready = min(ready, target)
        targets.append(target)
    assert len(set(targets[60:])) == 1
    assert targets[-1] >= min(16, demand / terms.high)


@given(st.lists(st.floats(0, 100), min_size=2, max_size=30), st.integers(1, 10))
def test_the_steepest_rise_is_that_of_the_worst_pair(values, window):
    points = list(enumerate(values))
    pairs = (b - a for i, a in points for j, b in points if 0 <= j - i <= window)
    assert steepest_rise(points, window) == max(pairs)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.integers(0, 4))
@settings(max_examples=40)
def test_the_pool_is_no_larger_than_it_may_be_and_leaves_one(shares, standby):
    pool = standing_by({f"r{x}": share for x, share in enumerate(shares)}, standby)
    assert len(pool) <= min(standby, len(shares) - 1)


@given(loads(3))
@settings(max_examples=40)
def test_stale_is_said_of_old_figures_alone(load):
    decision = LaneScaler(ScalingTerms(1, 8, slots=SLOTS)).decide(load, 0.0)
    old = load.age_s is None or load.age_s > 15 or not load.reporting
    assert (decision.reason is Reason.STALE) == old
