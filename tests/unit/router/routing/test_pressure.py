"""Feedback on a share, and yielding, alone and in a loop with a lane."""

from collections import deque
from itertools import pairwise
from random import Random

import pytest

from router.routing.pressure import (
    LoadObservation,
    ShareFeedback,
    YieldController,
)

IDLE = LoadObservation(waiting=0, running=0.1)
FULL = LoadObservation(waiting=2, running=1.0)

SLOTS = 16
SERVICE_S = 4.0
CAPACITY = SLOTS / SERVICE_S  # requests a second
DELAY_S = 3.0


def feedback():
    return ShareFeedback(0.03)


def test_the_wanted_share_starts_at_the_share():
    assert feedback().wanted_share == 0.03


def test_too_few_high_scores_raise_the_wanted_share_and_then_the_gain():
    control = feedback()
    for _ in range(500):
        control.count(wanted=False, escalated=False)
    assert control.wanted_share == pytest.approx(0.06)

    control.integrate(1000)
    assert control.wanted_share == pytest.approx(0.075)


def test_refused_requests_wind_nothing_up():
    control = feedback()
    for number in range(5000):
        control.count(wanted=number % 30 == 0, escalated=False)
        control.integrate(1)

    assert control.slack == 15
    assert control.wanted_share <= 0.03


def test_too_many_escalations_lower_the_wanted_share_down_to_its_bound():
    control = feedback()
    for _ in range(50):
        control.count(wanted=True, escalated=True)
    assert control.wanted_share == pytest.approx(0.3 * 0.03)

    control.integrate(100_000)
    assert control.wanted_share == pytest.approx(0.3 * 0.03)


def fed(observation, seconds, controller=None, start=0.0):
    """A controller that sees one observation every 1.5 s."""
    controller = controller or YieldController(now=start)
    for step in range(1, int(seconds / 1.5) + 1):
        controller.observe(observation, now=start + 1.5 * step)
    return controller


def rising(controller, seconds, start=0.0):
    """Feed a queue that grows by one a second."""
    for step in range(1, int(seconds / 1.5) + 1):
        load = LoadObservation(waiting=1.5 * step, running=1.0)
        controller.observe(load, now=start + 1.5 * step)
    return controller.fraction(now=start + seconds)


def test_an_idle_lane_does_not_yield():
    assert fed(IDLE, 60).fraction(now=60) == 0


def test_a_growing_queue_makes_it_yield_by_bounded_steps():
    controller, before = YieldController(now=0.0), 0.0
    for step in range(1, 200):
        load = LoadObservation(waiting=10.0 * step, running=1.0)
        after = controller.observe(load, now=1.5 * step)
        assert 0 <= after - before <= 0.05 * 1.5 + 1e-9
        before = after

    assert before == 1.0


def test_a_queue_that_shrinks_needs_no_more_yielding():
    controller = YieldController(now=0.0)
    reached = rising(controller, 30)
    seen = []
    for step in range(1, 20):
        load = LoadObservation(waiting=20 - step, running=1.0)
        seen.append(controller.observe(load, now=30 + 1.5 * step))

    # The smoothing sees within a few observations that the queue shrinks.
    assert 0 < reached <= seen[4] < 1
    assert seen[4:] == [seen[4]] * len(seen[4:])


def test_between_the_thresholds_it_rests():
    controller = YieldController(now=0.0)
    reached = rising(controller, 60)
    fed(FULL, 30, controller, start=60)
    settled = controller.fraction(now=90)
    fed(FULL, 300, controller, start=90)

    assert controller.fraction(now=390) == settled >= reached


def test_under_the_low_thresholds_it_falls_slowly():
    controller = YieldController(now=0.0)
    rising(controller, 60)
    fed(IDLE, 60, controller, start=60)
    before = controller.fraction(now=120)
    fed(IDLE, 30, controller, start=120)

    assert before - controller.fraction(now=150) == pytest.approx(30 * 0.005)


def test_one_signal_over_its_low_threshold_keeps_it_from_falling():
    controller = YieldController(now=0.0)
    rising(controller, 60)
    loaded = LoadObservation(waiting=0, running=0.1, kv_utilization=0.9)
    fed(loaded, 60, controller, start=60)
    settled = controller.fraction(now=120)
    fed(loaded, 120, controller, start=120)

    assert controller.fraction(now=240) == settled > 0


@pytest.mark.parametrize("signal", ["waiting", "kv_utilization", "ttft"])
def test_any_signal_over_its_high_threshold_is_enough(signal):
    controller = YieldController(now=0.0)
    for step in range(1, 20):
        controller.observe(LoadObservation(**{signal: 1.0 * step}), now=1.5 * step)

    assert controller.fraction(now=30) > 0


def test_a_full_lane_in_which_nothing_waits_does_not_yield():
    assert fed(LoadObservation(running=1.0), 300).fraction(now=300) == 0


def test_stale_observations_relax_slowly_to_none():
    controller = YieldController(now=0.0)
    reached = rising(controller, 60)

    assert controller.fraction(now=70) == reached
    assert controller.fraction(now=80) == pytest.approx(reached - 10 * 0.005)
    assert controller.fraction(now=1000) == 0
    assert controller.fraction(now=60) == reached  # asking changed nothing


def test_an_observation_of_nothing_is_no_observation():
    controller = YieldController(now=0.0)
    reached = rising(controller, 60)
    fed(LoadObservation(), 30, controller, start=60)

    assert controller.fraction(now=90) == pytest.approx(reached - 20 * 0.005)


def test_a_late_observation_is_one_bounded_step():
    controller = YieldController(now=0.0)
    reached = rising(controller, 20)

    late = controller.observe(LoadObservation(waiting=10_000, running=1.0), now=29.5)

    assert late == pytest.approx(reached + 0.05 * 5)


class Lane:
    """A queue before `SLOTS` servers; what is seen of it is `DELAY_S` old."""

    STEP_S = 0.05

    def __init__(self, rng=None):
        self.rng = rng
        self.now = 0.0
        self.running, self.waiting, self.first_tokens = [], deque(), deque()
        self.due, self.seen = 0.0, deque()

    def advance(self, rate):
        """One step with `rate` arrivals a second; random when there is an `rng`."""
        self.now += self.STEP_S
        if self.rng is None:
            self.due += rate * self.STEP_S
        else:
            self.due += self.rng.random() < rate * self.STEP_S
        while self.due >= 1:
            self.due -= 1
            self.waiting.append(self.now)
        self.running = [end for end in self.running if end > self.now]
        while self.waiting and len(self.running) < SLOTS:
            waited = self.now - self.waiting.popleft()
            self.first_tokens.append((self.now, waited + 0.2))
            service = self.rng.expovariate(1 / SERVICE_S) if self.rng else SERVICE_S
            self.running.append(self.now + service)

    def observe(self):
        """What is known now, which is how it was `DELAY_S` ago."""
        while self.first_tokens and self.first_tokens[0][0] < self.now - 10:
            self.first_tokens.popleft()
        ttfts = [ttft for _, ttft in self.first_tokens]
        objective_s = 2.0
        ttft = sum(ttfts) / len(ttfts) / objective_s if ttfts else None
        busy = len(self.running) / SLOTS
        load = LoadObservation(len(self.waiting), busy, 0.9 * busy, ttft)
        self.seen.append((self.now, load))
        if self.seen[0][0] > self.now - DELAY_S:
            return LoadObservation()
        return self.seen.popleft()[1]


def closed_loop(offered, seconds, rng=None):
    """(time, y, waiting) every 1.5 s of a lane that yields; `offered` in capacities."""
    lane, controller, trace = Lane(rng), YieldController(now=0.0), []
    steps = int(1.5 / Lane.STEP_S)
    for step in range(int(seconds / Lane.STEP_S)):
        rate = offered(lane.now) * CAPACITY * (1 - controller.fraction(now=lane.now))
        lane.advance(rate)
        if step % steps == 0:
            controller.observe(lane.observe(), now=lane.now)
            trace.append((lane.now, controller.fraction(now=lane.now), len(lane.waiting)))
    return trace


def turns(trace):
    """How often y changes direction."""
    moves = [b[1] - a[1] for a, b in pairwise(trace) if b[1] != a[1]]
    return sum(a * b < 0 for a, b in pairwise(moves))


def between(trace, start, end):
    return [row for row in trace if start <= row[0] < end]


@pytest.mark.parametrize("load", [1.2, 1.5, 3.0])
def test_a_steady_overload_settles_and_ends(load):
    """Load steps up past what the lane serves, stays, and steps down."""
    trace = closed_loop(lambda now: load if 100 <= now < 800 else 0.5, 1100)

    settled = between(trace, 500, 800)
    assert between(trace, 0, 100)[-1][1] == 0
    assert turns(between(trace, 0, 800)) <= 1
    assert max(y for _, y, _ in settled) - min(y for _, y, _ in settled) <= 0.01
    assert 1 - 1 / load <= settled[-1][1] <= 1 - 0.7 / load
    assert max(waiting for _, _, waiting in settled) <= 1
    assert turns(between(trace, 800, 1100)) == 0
    assert trace[-1][1] == 0


def test_random_traffic_does_not_make_it_swing():
    """Bursts move y, within a bound and not faster than once in half a minute."""
    trace = closed_loop(lambda now: 1.5 if now >= 100 else 0.5, 1000, Random(3))

    settled = between(trace, 500, 1000)
    fractions = [y for _, y, _ in settled]
    assert max(fractions) - min(fractions) <= 0.5
    assert turns(settled) <= 16
    assert sum(waiting for _, _, waiting in settled) / len(settled) < 4
    assert sum(fractions) / len(fractions) == pytest.approx(1 / 3, abs=0.2)


def test_a_lane_with_room_hardly_yields():
    trace = closed_loop(lambda _: 0.7, 600, Random(4))

    assert max(y for _, y, _ in trace) <= 0.1
