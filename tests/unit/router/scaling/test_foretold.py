"""A published forecast, as whoever decides reads it."""

from __future__ import annotations

import pytest

from router.scaling.forecast import SLOTS, STEP_S, Forecast
from router.scaling.foretold import OLD_S, READ_EVERY_S, Foretold, expected_of

MADE_AT = 86_400.0 * 28


def rising(made_at=MADE_AT):
    """One request more every five minutes."""
    return Forecast(made_at, "daily", tuple(map(float, range(SLOTS))), 0.0, 0.1, 0.2)


def test_the_load_of_the_slot_before_is_to_be_met_too():
    foretold = Foretold("chat", 2, lambda _: rising())
    assert foretold.worth(10 * STEP_S, MADE_AT) == 10 / 2
    assert foretold.worth(0.0, MADE_AT) == 0.0


def test_what_is_old_or_does_not_reach_so_far_is_none():
    foretold = Foretold("chat", 1, lambda _: rising())
    assert foretold.worth(SLOTS * STEP_S, MADE_AT) is None
    assert foretold.worth(60.0, MADE_AT + OLD_S - 60) is not None
    assert foretold.worth(60.0, MADE_AT + OLD_S + 60) is None


def test_a_lane_without_a_forecast_has_none():
    assert Foretold("chat", 1, lambda _: None).worth(0.0, MADE_AT) is None


def test_it_is_read_once_a_minute():
    asked = []

    def read(lane):
        asked.append(lane)
        return rising()

    foretold = Foretold("chat", 8, read)
    for second in range(2 * round(READ_EVERY_S)):
        assert foretold.worth(STEP_S, MADE_AT + second) == pytest.approx(1 / 8)
    assert asked == ["chat", "chat"]


def flat(rate, margin=0.0):
    return Forecast(MADE_AT, "daily", (rate,) * SLOTS, margin, 0.1, 0.2)


def expected(told, *pools):
    return expected_of(pools, told.get, clock=lambda: 5.0, wall=lambda: MADE_AT)


def test_a_lane_is_expected_as_its_forecast_says_and_one_in_ten_times_more():
    told = {"chat": flat(0.2), "coder": flat(0.4, margin=0.5)}
    known = expected(told, ["chat", "coder"])
    assert (known("chat", 65.0), known("coder", 65.0)) == (
        pytest.approx(0.2),
        pytest.approx(0.6),
    )


def test_nothing_is_expected_where_a_lane_of_the_pool_has_no_forecast():
    known = expected({"chat": flat(0.2), "other": flat(0.4)}, ["chat", "coder"], ["other"])
    assert (known("chat", 65.0), known("other", 65.0)) == (0.0, pytest.approx(0.4))


def test_a_quiet_lane_is_expected_at_nothing():
    known = expected({"chat": flat(0.0), "coder": flat(0.4)}, ["chat", "coder"])
    assert (known("chat", 65.0), known("coder", 65.0)) == (0.0, pytest.approx(0.4))
