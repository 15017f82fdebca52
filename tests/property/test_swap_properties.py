"""Whatever is asked of a pool: what fits is awake, no stream is broken, nobody is forgotten."""

from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.support.swap_world import Request, SwapCosts, World
from router.swap.terms import Phase, PoolBounds, PooledLane

LANES = "abcd"
READY_S = 40.0
"""By then all lanes were loaded once."""

requests = st.lists(
    st.builds(
        Request,
        st.sampled_from(LANES),
        st.floats(READY_S, READY_S + 100),
        st.floats(0.01, 15),
        st.sampled_from((0, 10)),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=15, deadline=None)
@given(requests, st.integers(1, 3), st.integers(1, 2), st.integers(0, 100), st.booleans())
def test_what_fits_is_awake_no_stream_is_broken_and_nobody_is_forgotten(
    asked, gpus, holders, seed, has_pin
):
    lanes = [PooledLane(x, can_sleep=True) for x in LANES]
    if has_pin and gpus > 1:
        lanes[0] = PooledLane("a", is_pinned=True)
    bounds = PoolBounds(gpus=gpus, wait_bound_s=1000)
    world = World(
        asked, bounds, lanes, SwapCosts(2.0, 1.0, load_s=4.0), seed, holders=holders
    ).run()

    assert world.most_awake <= gpus
    assert world.broken == []
    assert all(request.started is not None for request in asked)
    if has_pin and gpus > 1:
        assert "a" not in world.slept


@settings(max_examples=15, deadline=None)
@given(requests, st.integers(0, 100))
def test_nobody_waits_beyond_a_bound_that_can_be_kept(asked, seed):
    for request in asked:
        request.lane = "ab"[request.lane in "cd"]
    lanes = [PooledLane(x, can_sleep=True) for x in "ab"]
    # A round of both lanes: their streams to their end, and two swaps.
    bounds = PoolBounds(wait_bound_s=60)
    World(asked, bounds, lanes, SwapCosts(2.0, 1.0, load_s=4.0), seed).run()

    assert max(request.wait_s for request in asked) <= 60


@settings(max_examples=15, deadline=None)
@given(requests, st.integers(0, 100))
def test_lanes_that_sometimes_do_not_wake_are_tried_until_they_do(asked, seed):
    attempts = {}

    def fails(lane, _now):
        attempts[lane] = attempts.get(lane, 0) + 1
        return attempts[lane] % 2 == 1

    lanes = [PooledLane(x, can_sleep=True) for x in LANES]
    bounds = PoolBounds(wait_bound_s=1000)
    world = World(
        asked, bounds, lanes, SwapCosts(2.0, 1.0, load_s=4.0), seed, refuses=False, fails=fails
    ).run()

    assert world.broken == []
    assert all(request.started is not None for request in asked)
    phases = [x.phase for x in world.arbiter.pool.lanes.values()]
    assert phases.count(Phase.AWAKE) <= 1
