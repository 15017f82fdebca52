"""The load of a time of day, from what it was at that time before."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.scaling.forecast import DAY_S, SLOTS, STEP_S, Forecast, foretell

MONDAY = 4 * DAY_S
"""The fifth of January 1970."""


def usual(at: float, *, weekend: float = 1.0, by_day: tuple[float, ...] = (1.0,) * 7) -> float:
    """Requests in progress: two at night, twenty in the afternoon."""
    weekday = int(at - MONDAY) // DAY_S % 7
    hour = at % DAY_S / 3600
    day = 18 * max(0.0, math.sin(math.pi * (hour - 6) / 16))
    return 2 + day * by_day[weekday] * (weekend if weekday >= 5 else 1.0)


def history(days: float, load=usual, *, until: float = MONDAY + 28 * DAY_S, noise: float = 0.0):
    random = Random(1)
    slots = round(days * SLOTS)
    ends = [until - (slots - 1 - number) * STEP_S for number in range(slots)]
    return [(end, max(0.0, load(end - STEP_S) + random.gauss(0, noise))) for end in ends]


def error(forecast: Forecast, load=usual) -> float:
    """Mean absolute error of the 24 hours over their mean load."""
    truth = [load(forecast.made_at + slot * STEP_S) for slot in range(SLOTS)]
    return sum(map(abs, map(float.__sub__, forecast.values, truth))) / sum(truth)


def test_a_day_like_every_day_is_foretold():
    forecast = foretell(history(3))
    assert forecast is not None
    assert forecast.made_at == MONDAY + 28 * DAY_S
    assert len(forecast.values) == SLOTS
    assert error(forecast) < 0.01
    assert forecast.margin < 0.05


def test_weekends_are_days_of_their_own():
    def load(at: float) -> float:
        return usual(at, weekend=0.3)

    saturday = MONDAY + 19 * DAY_S
    forecast = foretell(history(14, load, until=saturday))
    assert forecast is not None
    assert forecast.season in {"workdays", "weekly"}
    assert error(forecast, load) < 0.02


def test_every_weekday_can_be_its_own():
    def load(at: float) -> float:
        return usual(at, by_day=(1, 0.2, 1.5, 0.4, 1.2, 0.1, 0.8))

    forecast = foretell(history(21, load))
    assert forecast is not None
    assert forecast.season == "weekly"
    assert error(forecast, load) < 0.02


def test_noise_is_averaged_and_the_margin_says_how_much_of_it_there_is():
    quiet = foretell(history(14))
    loud = foretell(history(14, noise=2.0))
    assert quiet is not None and loud is not None
    assert error(loud) < 0.15
    assert loud.margin > quiet.margin
    assert loud.error < loud.error_as_now


def test_a_busier_day_is_foretold_busier_and_tomorrow_as_usual():
    noon = MONDAY + 27 * DAY_S + 43200

    def load(at: float) -> float:
        return usual(at) * (1.5 if at >= noon - 6 * 3600 else 1.0)

    forecast = foretell(history(10, load, until=noon))
    assert forecast is not None
    assert forecast.values[0] == pytest.approx(1.5 * usual(noon), rel=0.05)
    last = noon + DAY_S - STEP_S
    assert forecast.values[-1] == pytest.approx(usual(last), rel=0.1)


def test_a_day_of_nothing_halves_what_is_expected_at_most():
    noon = MONDAY + 27 * DAY_S + 43200
    dead = history(10, lambda at: 0.0 if at >= noon - 3600 else usual(at), until=noon)
    forecast = foretell(dead)
    assert forecast is not None
    assert forecast.values[0] == pytest.approx(0.5 * usual(noon), rel=0.1)


@pytest.mark.parametrize(
    "points",
    [
        [],
        [(MONDAY, 3.0)],
        history(1.9),
        history(5, lambda at: 0.0),
        # A level that jumps about is foretold best by what it is now.
        history(9, lambda at: 40.0 if int(at // (DAY_S * 1.7)) % 2 else 1.0),
    ],
    ids=["none", "one", "too short", "no load", "no season"],
)
def test_where_nothing_repeats_nothing_is_foretold(points):
    assert foretell(points) is None


def test_a_gap_is_no_load_of_zero():
    whole = history(8)
    hole = range(int(MONDAY + 25.3 * DAY_S), MONDAY + 26 * DAY_S)
    lost = [point for point in whole if int(point[0]) not in hole]
    del lost[-3]
    forecast = foretell(lost)
    assert forecast is not None
    assert error(forecast) < 0.02


def test_of_a_history_of_gaps_a_slot_that_never_was_is_as_now():
    # Nobody has measured between one and five at night, on any day.
    day = [point for point in history(6) if not 3600 < point[0] % DAY_S < 5 * 3600]
    forecast = foretell(day)
    assert forecast is not None
    assert min(forecast.values) > 0


def test_a_history_that_ends_in_a_gap_of_days_begins_anew():
    # Two days long by its ends, with an hour at each: nothing can be judged.
    assert (
        foretell([*history(0.05, until=MONDAY), *history(0.05, until=MONDAY + 3 * DAY_S)]) is None
    )


def test_local_time_moves_the_days():
    shift = 7 * 3600

    def load(at: float) -> float:
        return usual(at + shift, weekend=0.2)

    points = history(16, load, until=MONDAY + 26 * DAY_S - shift)
    local, utc = foretell(points, offset_s=shift), foretell(points)
    assert local is not None
    assert local.made_at == points[-1][0]
    assert error(local, load) < 0.02
    assert utc is not None
    assert (local.season, utc.season) == ("workdays", "weekly")


def test_the_peak_of_a_window_has_the_margin():
    values = tuple(float(slot) for slot in range(SLOTS))
    forecast = Forecast(1000.0, "daily", values, 0.5, 0.1, 0.2)
    assert forecast.peak(1000.0, 1000.0 + 2 * STEP_S) == 2 * 1.5
    assert forecast.peak(0.0, 1001.0) == 0.0
    assert forecast.peak(1000.0 + 600, 1000.0 + 600) == 2 * 1.5
    assert forecast.peak(0.0, 500.0) is None, "before it"
    assert forecast.peak(1000.0, 1000.0 + DAY_S) is None, "beyond it"


@settings(max_examples=25)
@given(st.lists(st.floats(-10, 1e6), min_size=1, max_size=400))
def test_whatever_the_history_says_the_forecast_is_no_less_than_nothing(loads):
    points = [(end, loads[number % len(loads)]) for number, (end, _) in enumerate(history(2.5))]
    forecast = foretell(points)
    if forecast is not None:
        assert all(math.isfinite(value) and value >= 0 for value in forecast.values)
        assert forecast.margin >= 0
