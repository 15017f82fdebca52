"""Lanes that share a card in a simulated fleet: who waits, what is lost, who pays."""

from dataclasses import replace

import pytest

from fleet.simulation import simulate
from fleet.simulation.spec import PooledSpec, PoolSpec
from fleet.simulation.world import Incident
from router.routing.policy import RoutingPolicy
from router.swap.terms import PoolBounds, PooledLane
from router.types import Lane
from simulator.model.profile import SleepCosts
from tests.unit.fleet.simulation.small_fleet import CHAT, PAID, Asked, rows, spec

COSTS = SleepCosts(sleep_s=1.0, wake_s=2.0, load_s=10.0, unload_s=1.0, weights_gib=8.0)
CODER = Lane("coder", "other", 16_384)
LOADED_S = 40.0
"""By then both lanes were loaded once, and `coder`, the last, is awake."""


def pooled(*, can_sleep=True, bounds=None, **more):
    base = spec(**{x: more.pop(x) for x in ("paid", "ingresses", "card_hour") if x in more})
    pool = PoolSpec(
        bounds or PoolBounds(wait_bound_s=60.0),
        tuple(PooledSpec(PooledLane(x, can_sleep=can_sleep), COSTS) for x in ("chat", "coder")),
        **more,
    )
    chat = base.lanes["chat"]
    return replace(
        base,
        lanes={"chat": chat, "coder": replace(chat, lane=CODER)},
        routing=RoutingPolicy({"chat": CHAT, "coder": CODER}, "chat"),
        pools={"one": pool},
    )


def test_a_request_for_a_lane_that_sleeps_waits_until_the_other_has_left_and_it_is_awake():
    chat = Asked(LOADED_S, LOADED_S + 10, pinned="chat")
    coder = Asked(LOADED_S + 20, pinned="coder", tenant="other")

    report = simulate(pooled(), [chat, coder], duration_s=120, skip_s=LOADED_S)

    assert chat.codes == ["200", "200"] and coder.codes == ["200"]
    turns = report.turns["coder"]
    assert (turns.pool, turns.wakings, turns.loads, turns.waited) == ("one", 1, 0, 1)
    # The idle lane has left after a second, and this one is awake two seconds later; heartbeats.
    assert 3.0 <= turns.wait_most_s < 3.0 + 4 * 0.2
    assert rows(report)["coder", "paid"].percentiles["ttft_p50_s"] > 3.0


def test_without_room_in_host_memory_an_engine_is_started_anew():
    coder = Asked(LOADED_S + 20, pinned="coder")
    chat = Asked(LOADED_S, LOADED_S + 40, pinned="chat", tenant="other")

    report = simulate(pooled(host_gib=4.0), [chat, coder], duration_s=200, skip_s=LOADED_S)

    assert report.turns["coder"].loads == report.turns["coder"].wakings == 1
    assert 11.0 <= report.turns["coder"].wait_most_s < 12.0


def test_what_a_lane_had_cached_is_gone_after_a_swap_and_kept_without_one():
    # The same prompt again: block keys go by the request's number, so it is one of two sources.
    def cached(*sources):
        report = simulate(pooled(), sources, duration_s=200, skip_s=LOADED_S + 5)
        return rows(report)["chat", "paid"].cached_ratio

    def asked(at):
        return Asked(at, pinned="chat", prompt=1000)

    between = Asked(LOADED_S + 20, pinned="coder", tenant="other")
    assert cached(asked(LOADED_S), asked(LOADED_S + 50)) > 0.9
    assert cached(asked(LOADED_S), between, asked(LOADED_S + 50)) == 0.0


def test_who_would_wait_beyond_the_bound_is_refused_and_that_is_no_violation():
    chat = Asked(LOADED_S, pinned="chat", output=3000)
    coder = Asked(LOADED_S + 6, pinned="coder", tenant="other")
    strict = replace(PAID, tier=replace(PAID.tier, start_within_s=6.0))

    report = simulate(pooled(paid=strict), [chat, coder], duration_s=200, skip_s=LOADED_S)

    assert chat.codes == ["200"] and coder.codes == ["deadline_exceeded"]
    assert report.turns["coder"].kept_out == 1
    assert report.violations == 0


def test_no_more_wait_than_have_a_place():
    times = [LOADED_S + 20 + x / 100 for x in range(6)]
    coder = Asked(*times, pinned="coder", tenant="other")

    report = simulate(
        pooled(max_waiting=4), [Asked(LOADED_S + 15, pinned="chat"), coder], duration_s=120
    )

    # One tenant alone has half of the places.
    assert coder.codes.count("no_replica") == report.turns["coder"].kept_out == 4
    assert coder.codes.count("200") == 2


@pytest.mark.parametrize("ingresses", [1, 2])
def test_two_lanes_in_turn_are_paid_as_one_card_and_break_no_stream(ingresses):
    times = [LOADED_S + 3 * x for x in range(40)]
    chat = Asked(*times, pinned="chat", output=300)
    coder = Asked(*(x + 1 for x in times), pinned="coder", tenant="other", output=300)

    report = simulate(
        pooled(ingresses=ingresses, card_hour=2.0), [chat, coder], duration_s=360, skip_s=LOADED_S
    )

    assert set(chat.codes) == set(coder.codes) == {"200"}
    assert report.card_hours == {"one": 0.1}
    assert report.card_cost == pytest.approx(0.2)
    held = [row.card_ratio for row in report.turns.values()]
    assert all(0.2 < ratio < 0.9 for ratio in held) and sum(held) < 1.01
    assert report.to_dict()["turns"]["coder"]["wakings"] == report.turns["coder"].wakings > 1


def test_an_incident_of_a_lane_that_shares_its_card_is_refused():
    with pytest.raises(ValueError, match="'chat' shares its cards"):
        simulate(pooled(), [], duration_s=10, incidents=[Incident(1.0, "lose", "chat")])
