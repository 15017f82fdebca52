"""When a treatment has to stop."""

import math
from itertools import accumulate
from random import Random

import pytest

from router.experiments.guard import Costs, Rails, Tally, breach, log_evidence

RAILS = Rails({"ttft": 0.05, "failures": 0.001})


def costs(n: int, mean: float, spread: float = 1.0) -> Costs:
    return Costs(n, n * mean, n * (mean**2 + spread**2))


@pytest.mark.parametrize(
    ("day", "why"),
    [
        ({}, None),
        ({"ttft": Tally(95, 5)}, None),
        ({"ttft": Tally(0, 4)}, None),
        (
            {"ttft": Tally(40, 12)},
            "ttft: 12 of 52 requests of a day were bad (23.1%, allowed 5.0%)",
        ),
        ({"ttft": Tally(900, 100)}, "ttft: 100 of 1000"),
        ({"failures": Tally(10_000, 10)}, None),
        ({"failures": Tally(100, 5)}, "failures: 5 of 105"),
        ({"unknown": Tally(0, 100)}, None),
    ],
)
def test_a_rail_breaks_where_more_than_allowed_is_established(day, why):
    """Not at the first bad events, and not while they may be chance."""
    found = breach(RAILS, day, {})

    assert (found or "").startswith(why or "\0"[:0])
    assert (found is None) == (why is None)


def test_a_lane_that_keeps_its_promise_is_hardly_ever_stopped():
    """Looked at after each of 250 requests, 5 % of which are late as allowed, for 200 days."""
    random, limit, stops = Random(6), math.log(14 / 0.5), 0
    for _ in range(200):
        bad = list(accumulate(random.random() < 0.05 for _ in range(250)))
        stops += any(
            log_evidence(Tally(n - bad[n - 1], bad[n - 1]), 0.05) >= limit for n in range(1, 251)
        )

    assert stops / 200 <= 0.5 / 14 + 4 * math.sqrt(0.036 / 200)


@pytest.mark.parametrize(
    ("treatment", "control", "stops"),
    [
        (costs(1000, 30.0), costs(1000, 10.0), True),
        (costs(1000, 19.0), costs(1000, 10.0), False),
        (costs(99, 30.0), costs(1000, 10.0), False),
        (costs(150, 21.0, 15.0), costs(150, 10.0, 15.0), False),
    ],
)
def test_the_bill_is_a_rail(treatment, control, stops):
    """Twice as much is allowed; few requests and chance stop nothing."""
    rails = Rails({}, cost_ratio=2.0)

    found = breach(rails, {}, {"treatment": treatment, "control": control})

    assert (found is not None) == stops
    assert found is None or found.startswith("cost: 30 a request of the treatment's, 10 of the")


def test_without_costs_nothing_is_dear():
    """Nor without the rail."""
    dear = {"treatment": costs(1000, 30.0), "control": costs(1000, 1.0)}

    assert breach(Rails({}, cost_ratio=2.0), {}, {}) is None
    assert breach(Rails({}, cost_ratio=2.0), {}, {"treatment": costs(1000, 9.0)}) is None
    assert breach(Rails({}), {}, dear) is None
    assert Costs(0, 0.0, 0.0).mean == 0.0
