"""The treatment's times beside the control's: what is established, and what is not."""

import math
from collections import Counter
from random import Random

import pytest

from router.experiments.guard import Rails, Tally, log_evidence_of_fewer, rail_of
from router.experiments.slowness import (
    ANSWER,
    LEAST_S,
    TTFT,
    breach_of_ratios,
    bucket,
    edge_s,
    slower,
    times_of,
)
from router.slo.judging import End, Ended

RATIO = 1.5
RAILS = Rails({}, ratios={TTFT: RATIO})


def counted(*seconds, ratio=1.0) -> Counter:
    return Counter(bucket(x / ratio) for x in seconds)


def looked_at(times_as_slow, seed, requests, every=50, load=0.0) -> int | None:
    """Requests of both arms after which the treatment was stopped; None: it was not.

    Times are lognormal around 0.3 s; `load` has both arms slower and faster over the day.
    """
    random, treatment, control = Random(seed), Counter(), Counter()
    for n in range(1, requests + 1):
        busy = math.exp(load * math.sin(6 * math.pi * n / requests))
        seconds = busy * random.lognormvariate(math.log(0.3), 0.5)
        if random.random() < 0.5:
            treatment[bucket(seconds * times_as_slow / RATIO)] += 1
        else:
            control[bucket(seconds)] += 1
        if n % every == 0 and slower(RAILS, treatment, control) is not None:
            return n
    return None


@pytest.mark.parametrize("load", [0.0, 1.2])
def test_a_treatment_that_keeps_the_ratio_is_not_stopped_however_often_one_looks(load):
    """At the ratio itself, and where both arms are slow at some hours."""
    assert [looked_at(RATIO, seed, 1_200, load=load) for seed in range(8)] == [None] * 8


def test_one_that_is_three_times_as_slow_is_stopped():
    """After some 600 requests of both arms."""
    stops = [looked_at(3.0, seed, 2_000) for seed in range(10)]

    assert None not in stops and sorted(stops)[5] < 800


def test_a_few_slow_requests_or_a_control_that_nobody_knows_stop_nothing():
    slow, quick = counted(*[9.0] * 40, ratio=RATIO), counted(*[0.2] * 400)

    assert slower(RAILS, slow, quick) is not None
    assert slower(RAILS, counted(*[9.0] * 4, *[0.2] * 60, ratio=RATIO), quick) is None
    assert slower(RAILS, slow, counted(*[0.2] * 40)) is None
    assert slower(RAILS, slow, {}) is None
    assert slower(RAILS, slow, counted(*[9.0] * 400)) is None


def test_why_it_is_stopped_is_said_in_seconds():
    slow, quick = counted(*[9.0] * 40, ratio=RATIO), counted(*[0.2] * 400)

    why = breach_of_ratios(RAILS, {TTFT: {"treatment": slow, "control": quick}})

    assert why == (
        "ttft_ratio: 40 of 40 requests of a day took over 0.334 s, and 0 of 400 of the control's "
        "over 0.223 s (allowed 1.5 times its 95th percentile)"
    )
    assert rail_of(why) == TTFT
    assert breach_of_ratios(RAILS, {}) is None
    assert breach_of_ratios(RAILS, {TTFT: {"treatment": quick, "control": quick}}) is None
    assert breach_of_ratios(Rails({}), {TTFT: {"treatment": slow, "control": quick}}) is None


@pytest.mark.parametrize("seconds", [0.0, LEAST_S, 0.0011, 0.2, 1.0, 3600.0])
def test_a_time_is_within_its_bucket(seconds):
    number = bucket(seconds)

    assert seconds <= edge_s(number) * (1 + 1e-12)
    assert number == 0 or seconds > edge_s(number - 1) * (1 - 1e-12)


@pytest.mark.parametrize(
    ("ended", "rails"),
    [
        (Ended(End.ANSWERED, 2.0, 0.5, is_stream=True), {TTFT: 0.5, ANSWER: 2.0}),
        (Ended(End.ANSWERED, 2.0), {ANSWER: 2.0}),
        (Ended(End.LEFT, 2.0, 0.5, is_stream=True), {TTFT: 0.5}),
        (Ended(End.LEFT, 2.0, is_stream=True), {}),
        (Ended(End.FAILED, 2.0, 0.5, is_stream=True), {}),
        (Ended(End.ANSWERED, 2.0, 0.5, is_stream=True, is_timed=False), {}),
    ],
)
def test_what_a_client_was_given_is_what_is_compared(ended, rails):
    assert times_of(ended) == rails


@pytest.mark.parametrize(
    ("rails", "are_none"),
    [
        (Rails({}), True),
        (RAILS, False),
        (Rails({"ttft": 0.05}), False),
        (Rails({}, cost_ratio=2.0), False),
    ],
)
def test_rails_that_stop_nothing_are_known_as_such(rails, are_none):
    assert rails.are_none is are_none


def test_evidence_of_fewer_is_a_likelihood_ratio():
    """Its mean over what may happen is 1 where the share is the one that is tested."""
    chances = ((0.05, Tally(0, 1)), (0.95, Tally(1, 0)))

    assert sum(p * math.exp(log_evidence_of_fewer(x, 0.05)) for p, x in chances) == pytest.approx(1)
    assert log_evidence_of_fewer(Tally(400, 0), 0.05) > 10
    assert log_evidence_of_fewer(Tally(0, 9), 0.05) < 0
