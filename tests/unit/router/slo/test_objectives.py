"""What is promised to whom."""

import pytest

from router.slo.objectives import LATE_RATIO, Objective, SloPolicy, Targets

BASE = Targets(0.8, 1.2, 4.5, 0.001)


def test_each_objective_has_its_target_and_its_budget():
    """A 95th percentile lets one request in twenty be late; failures have their own share."""
    assert [BASE.target(x) for x in Objective] == [0.8, 1.2, 4.5, 0.001]
    assert [BASE.allowed_ratio(x) for x in Objective] == [LATE_RATIO] * 3 + [0.001]
    assert [BASE.limit_s(x) for x in Objective] == [0.8, 1.2, 4.5, None]


def test_an_objective_that_is_off_allows_nothing_and_has_no_target():
    """Off is not zero."""
    off = Targets()

    assert [off.target(x) for x in Objective] == [None] * 4
    assert [off.allowed_ratio(x) for x in Objective] == [None] * 4


@pytest.mark.parametrize(
    ("lane", "tier", "expected"),
    [
        ("chat", "paid", 0.8),
        ("long", "paid", 6),
        ("chat", "gold", 0.5),
        ("long", "gold", 0.5),
        ("long", "silver", 7),
        ("chat", "batch", None),
        ("long", "batch", None),
    ],
)
def test_the_most_exact_word_counts(lane, tier, expected):
    """Everywhere, then the lane, then the tier, then the tier in that lane."""
    policy = SloPolicy(
        BASE,
        lanes={"long": {"ttft_p95_s": 6}},
        tiers={"gold": {"ttft_p95_s": 0.5}, "silver": {"ttft_p95_s": 1}, "batch": NO_TTFT},
        lane_tiers={("long", "silver"): {"ttft_p95_s": 7}},
    )

    for _ in range(2):  # found, and known
        assert policy.of(lane, tier).ttft_p95_s == expected


NO_TTFT = {"ttft_p95_s": None}


def test_what_an_override_does_not_say_stays():
    """Field by field."""
    policy = SloPolicy(BASE, lanes={"long": {"ttft_p95_s": 1}}, tiers={"paid": {"answer_p95_s": 9}})

    assert policy.of("long", "paid") == Targets(1, 1.2, 9, 0.001)
