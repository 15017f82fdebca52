"""Warm pool, throughput of a full replica, trends."""

import pytest

from router.scaling.start_up import StartUp
from router.scaling.throughput import ReplicaReading, Throughput
from router.scaling.trend import Peak, Trend
from router.scaling.warm_pool import pool_size, steepest_rise


def test_the_pool_is_the_steepest_ramp_times_the_start_up():
    """A flat night, then 20 tokens/s more every second for ten minutes."""
    morning = [(at, 1_000 + 20 * max(0, at - 3_600)) for at in range(0, 4_200, 10)]
    assert steepest_rise(morning, 120) == 20 * 120
    assert pool_size(morning, 120, 2_000) == 2
    assert pool_size(morning, 90, 2_000) == 1


def test_a_load_that_never_rises_needs_no_pool():
    assert pool_size([(0, 5.0), (1, 4.0), (2, 3.0)], 60, 1.0) == 0
    assert pool_size([], 60, 1.0) == 0


def reading(at, tokens, running=32.0, waiting=0.0):
    return ReplicaReading(at, tokens, running, waiting, 0.5)


def test_throughput_is_measured_while_a_replica_is_full():
    seen = Throughput(32)
    seen.note("a", reading(0, 0, running=10))
    seen.note("a", reading(10, 500, running=10))
    assert seen.tokens_per_s is None
    seen.note("a", reading(20, 1_000))
    seen.note("a", reading(25, 11_000))
    assert seen.tokens_per_s is None
    seen.note("a", reading(30, 21_000))
    assert seen.tokens_per_s == 2_000
    seen.note("a", reading(40, 22_000, running=3, waiting=2))
    assert seen.tokens_per_s == pytest.approx(1_050)


def test_old_throughput_stands_until_there_is_newer():
    seen = Throughput(None, keep_s=100)
    for at, tokens in ((0, 0), (10, 10_000), (200, 10_000), (210, 10_000)):
        seen.note("a", reading(at, tokens, waiting=4))
    assert seen.tokens_per_s == 1_000
    seen.note("a", reading(220, 15_000, waiting=4))
    assert seen.tokens_per_s == 500
    seen.retain(frozenset())
    seen.note("a", reading(230, 90_000, waiting=4))
    assert seen.tokens_per_s == 500


def test_who_came_since_the_last_step_makes_no_replica_full():
    """Were it so, each replica more would lower the figure, and the load be all that there are."""
    seen = Throughput(256)
    for at in range(0, 100, 10):
        seen.note("a", reading(at, 600 * at, running=40, waiting=1 + 2 * (at % 20 == 0)))
    assert seen.tokens_per_s is None


def test_a_replica_whose_cache_is_full_is_full():
    seen = Throughput(256)
    for at in (0, 10):
        seen.note("a", ReplicaReading(at, 600 * at, 40, 1, 0.95))
    assert seen.tokens_per_s == 600


def test_a_slope_takes_half_of_its_window():
    trend = Trend()
    assert trend.slope(60) == 0.0
    for at in range(0, 30, 10):
        trend.note(at, at, 60)
    assert trend.slope(60) == 0.0
    for at in range(30, 200, 10):
        trend.note(at, 2.0 * at, 60)
    assert trend.slope(60) == pytest.approx(2.0)
    assert trend.mean(20) == 2.0 * 180
    trend.clear()
    assert trend.slope(60) == 0.0


def test_a_start_up_is_what_it_took_from_the_decision():
    start_up = StartUp()
    start_up.see(0, 1, 10.0)
    start_up.see(0, 1, 40.0)
    assert start_up.took_s is None
    start_up.see(1, 1, 70.0)
    assert start_up.took_s == 60.0
    start_up.see(1, 3, 100.0)
    start_up.see(2, 3, 145.0)
    assert start_up.took_s == 45.0
    start_up.see(1, 3, 150.0)
    start_up.see(3, 3, 160.0)
    assert start_up.took_s == 60.0


def test_a_peak_takes_its_whole_window():
    peak = Peak(60)
    assert peak.highest(0) is None
    peak.note(0, 9)
    peak.note(30, 4)
    peak.note(59, 5)
    assert peak.highest(59) is None
    peak.note(60, 1)
    assert peak.highest(60) == 9
    peak.note(61, 1)
    assert peak.highest(61) == 5
    peak.clear()
    assert peak.highest(61) is None
