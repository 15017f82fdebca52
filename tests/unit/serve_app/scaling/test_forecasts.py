"""Forecasts on their way from the history to the policies of lanes."""

from __future__ import annotations

import asyncio
import json
import math

import pytest

from router.scaling.forecast import DAY_S, SLOTS, STEP_S, Forecast
from router.scaling.foretold import Foretold, expected_of
from serve_app.scaling import forecasts
from serve_app.scaling.forecasts import Foreteller, published
from serve_app.swap.expecting import KnownForecasts

NOW = 20_000 * DAY_S + 4 * 3600


@pytest.fixture
def store(monkeypatch):
    """Ray's key-value store."""
    kept: dict[bytes, bytes] = {}

    def put(key, value, *, namespace):
        kept[namespace + key] = value

    def get(key, *, namespace):
        return kept.get(namespace + key)

    monkeypatch.setattr("ray.experimental.internal_kv._internal_kv_put", put)
    monkeypatch.setattr("ray.experimental.internal_kv._internal_kv_get", get)
    return kept


def load(at):
    """Of two replicas with eight slots each, at noon; next to nothing at night."""
    return 0.5 + 15 * max(0.0, math.sin(2 * math.pi * (at % DAY_S / DAY_S - 0.25)))


class History:
    def __init__(self, *, season=True):
        self.asked = 0
        self.season = season

    def points(self, after, until):
        self.asked += 1
        first = int(max(after, until - 4 * DAY_S) // STEP_S + 1) * STEP_S
        for end in range(first, int(until) + 1, STEP_S):
            values = {("kv_use", "chat"): (0.5, 1.0)}
            if self.season:
                # Two readings of a lane within the five minutes.
                values["concurrent", "chat"] = (2 * load(end - STEP_S), 2.0)
            yield end, values


def test_a_forecast_reaches_the_policy(store):
    Foreteller(lambda: {"chat": "concurrent"}).tell(History().points, NOW)
    foretold = Foretold("chat", 8, published)
    noon_s = 8 * 3600
    assert foretold.worth(noon_s, NOW) == pytest.approx(load(NOW + noon_s) / 8, rel=0.1)
    assert foretold.worth(0.0, NOW) == pytest.approx(0.5 / 8, abs=0.1)
    assert foretold.worth(2 * DAY_S, NOW) is None, "beyond it"
    assert Foretold("quality", 8, published).worth(noon_s, NOW) is None


def test_it_is_made_once_an_hour_and_of_scaled_lanes_alone(store):
    history, lanes = History(), {"chat": "concurrent"}
    teller = Foreteller(lambda: lanes)
    for minute in range(0, 120, 5):
        teller.tell(history.points, NOW + 60 * minute)
    assert history.asked == 2
    lanes.clear()
    teller.tell(history.points, NOW + DAY_S)
    assert history.asked == 2


def test_a_season_that_ends_is_told_too(store):
    Foreteller(lambda: {"chat": "concurrent"}).tell(History().points, NOW)
    Foreteller(lambda: {"chat": "concurrent"}).tell(History(season=False).points, NOW)
    assert Foretold("chat", 8, published).worth(60.0, NOW) is None


def test_lanes_that_share_cards_expect_what_all_of_them_have_a_forecast_of(store):
    expected = expected_of(
        [["chat", "coder"], ["other"]], forecasts.published, clock=lambda: 5.0, wall=lambda: NOW
    )
    for lane, rate in (("chat", 0.2), ("other", 0.4)):
        forecasts.publish(lane, Forecast(NOW, "daily", (rate,) * SLOTS, 0.5, 0.1, 0.2))
    assert expected("other", 65.0) == pytest.approx(0.6)
    assert expected("chat", 65.0) == 0.0, "nobody knows of its neighbour"
    forecasts.publish("coder", Forecast(NOW, "daily", (0.2,) * SLOTS, 0.0, 0.1, 0.2))
    again = expected_of(
        [["chat", "coder"]], forecasts.published, clock=lambda: 5.0, wall=lambda: NOW
    )
    assert (again("chat", 65.0), again("coder", 65.0)) == (pytest.approx(0.3), pytest.approx(0.2))


async def test_the_arbiter_reads_them_beside_its_event_loop(store):
    forecasts.publish("chat", Forecast(NOW, "daily", (1.0,) * SLOTS, 0.0, 0.1, 0.2))
    known = KnownForecasts(["chat", "coder"])
    assert known.read("chat") is None
    keeping = asyncio.create_task(known.keep())
    async with asyncio.timeout(10):
        while known.read("chat") is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    keeping.cancel()
    assert known.read("coder") is None


@pytest.mark.parametrize(
    "said", [b"", b"{", b"[]", json.dumps({"values": [1]}).encode(), b'{"values": null}']
)
def test_what_another_release_wrote_is_no_forecast(store, said):
    store[b"pointsmanpointsman:forecast:chat"] = said
    assert forecasts.published("chat") is None


def test_a_store_that_does_not_answer_stops_no_decision(monkeypatch):
    monkeypatch.setattr("ray.experimental.internal_kv._internal_kv_get", None)
    assert Foretold("chat", 8, published).worth(60.0, NOW) is None
