"""Engines that admit nothing while they look well."""

from dataclasses import replace

import pytest

from router.recovery.stall import EngineProgress, StallWatch

WAITS = EngineProgress(waiting=3, running=0, tokens=100, kv_utilization=0.5)


def looks(watch: StallWatch, *seen: tuple[float, EngineProgress]) -> list[float | None]:
    return [watch.observe(progress, now=now) for now, progress in seen]


def test_an_engine_that_admits_nothing_is_found_after_so_long():
    """It is told how long that has lasted."""
    found = looks(StallWatch(30.0), *((float(now), WAITS) for now in (0, 10, 29, 30, 41)))

    assert found == [None, None, None, 30.0, 41.0]


def test_one_that_runs_requests_without_a_token_stands_still_too():
    """Nothing runs, or nothing advances."""
    stuck = replace(WAITS, running=4)

    assert looks(StallWatch(30.0), (0.0, stuck), (30.0, stuck)) == [None, 30.0]


@pytest.mark.parametrize("moved", [{"tokens": 101}, {"running": 1}, {"kv_utilization": 0.51}])
def test_any_sign_of_work_begins_the_time_anew(moved):
    """A token, an admitted request, a block of a long prompt."""
    watch, later = StallWatch(30.0), replace(WAITS, **moved)

    assert looks(watch, (0.0, WAITS), (25.0, later), (50.0, later)) == [None, None, None]
    assert watch.observe(later, now=55.0) == 30.0


def test_an_engine_in_which_nothing_waits_is_idle_or_full_never_stalled():
    """Whatever it does not do."""
    idle = replace(WAITS, waiting=0)

    assert looks(StallWatch(1.0), (0.0, idle), (99.0, idle)) == [None, None]


def test_a_stall_that_ends_is_forgotten():
    """Also one that ends because the clients went away."""
    watch, gone = StallWatch(30.0), replace(WAITS, waiting=0)

    assert looks(watch, (0.0, WAITS), (40.0, WAITS)) == [None, 40.0]
    assert watch.stalled_s(now=45.0) == 45.0
    assert looks(watch, (50.0, gone), (51.0, WAITS), (70.0, WAITS)) == [None, None, None]


def test_nothing_is_known_before_the_first_look():
    """A replica that has just begun."""
    assert StallWatch(1.0).stalled_s(now=1e9) is None
