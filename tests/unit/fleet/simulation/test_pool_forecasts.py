"""Lanes that share a card and are woken ahead of their first request, as the days before say."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from fleet.simulation import simulate
from fleet.simulation.pools.foreseen import Foreseen
from fleet.simulation.world import World
from router.scaling.forecast import DAY_S, SLOTS, STEP_S
from router.swap.choice import PAUSE_S
from tests.unit.fleet.simulation.small_fleet import Asked
from tests.unit.fleet.simulation.test_simulated_pools import LOADED_S, pooled

NOON = SLOTS // 2
HOUR = SLOTS // 24
MORNING = [0.5] * NOON + [0.0] * (NOON - HOUR) + [0.5] * HOUR
AFTERNOON = [0.5 - rate for rate in MORNING]
"""Requests a second by five minutes; the run begins in the second hour of the morning."""


def history(chat, coder, days=3):
    return {"chat": chat * days, "coder": coder * days}


def waited(history, at):
    """What a first request for `chat` waits where `coder` was the last that was asked."""
    coder = Asked(LOADED_S, pinned="coder")
    chat = Asked(at, pinned="chat", tenant="other")
    report = simulate(
        replace(pooled(), history=history), [coder, chat], duration_s=at + 60, skip_s=LOADED_S
    )
    assert chat.codes == ["200"]
    return report.turns["chat"].wait_most_s, report.turns["chat"].wakings


def test_a_lane_that_is_usually_asked_at_this_hour_is_awake_before_it_is():
    at = LOADED_S + PAUSE_S + 20
    assert waited(history(MORNING, AFTERNOON), at) == (0.0, 1)


def test_without_a_history_or_with_one_of_a_single_lane_it_waits_to_be_asked():
    at = LOADED_S + PAUSE_S + 20
    for known in ({}, {"chat": MORNING * 3}, history(MORNING, AFTERNOON, days=1)):
        assert waited(known, at)[0] > 2.0


def test_one_that_is_usually_asked_later_is_not_woken_yet():
    assert waited(history(AFTERNOON, MORNING), LOADED_S + PAUSE_S + 20)[0] > 2.0


def test_what_a_run_adds_is_learnt_as_a_deployment_learns_it():
    """A point of five minutes for each lane, and a forecast once an hour, after two days."""

    begun = {}
    pool = SimpleNamespace(lanes=("chat", "coder"))
    watched = SimpleNamespace(
        gates=[SimpleNamespace(begun=begun)], arbiter=SimpleNamespace(pool=pool)
    )
    world = World()
    foreseen = Foreseen(world, {})
    expected = foreseen.expected(["chat", "coder"])

    def ask(now):
        if now % DAY_S < DAY_S / 2:
            begun["chat"] = 30
        else:
            begun["coder"] = 30

    world.every(STEP_S, ask)
    foreseen.watch([watched])
    world.run(2 * DAY_S - 60)
    assert expected("chat", world.now + 3600) == 0.0, "two days are not over"
    world.run(2 * DAY_S + 3700)
    assert expected("chat", world.now + 3600) == pytest.approx(30 / STEP_S, rel=0.1)
    assert expected("coder", world.now + 3600) == pytest.approx(0.0, abs=0.01)
    assert expected("coder", world.now + 15 * 3600) == pytest.approx(30 / STEP_S, rel=0.1)
