"""Wakings of lanes that share a card which come to nothing, and what the policy does then."""

from collections import Counter
from dataclasses import replace

import pytest

from fleet.simulation import simulate
from fleet.simulation.pools.faults import FAILS_AFTER_S, REPLACED_S, PlannedFaults, WakeFault
from fleet.simulation.world import Incident
from router.swap.lane_state import FIRST_RETRY_S
from router.swap.terms import WAKE_WITHIN_S, PoolBounds
from tests.unit.fleet.simulation.small_fleet import CHAT, PAID, Asked, spec
from tests.unit.fleet.simulation.test_simulated_pools import COSTS, LOADED_S, pooled

PATIENT = replace(PAID, tier=replace(PAID.tier, start_within_s=None))
CAME = LOADED_S + 10
"""`chat` is awake by then, and idle."""


def run(incident, *sources, **more):
    chat = Asked(LOADED_S, pinned="chat")
    report = simulate(
        pooled(**more), [chat, *sources], duration_s=400, skip_s=LOADED_S, incidents=[incident]
    )
    return report.turns, report


def fails(lane="coder", for_s=15.0):
    return Incident(CAME, "wake_fails", lane, for_s=for_s)


def while_the_coder_hangs(wait_bound_s):
    """Somebody asks for it, and later somebody for the other lane; both, and the run."""
    incident = Incident(CAME, "wake_hangs", "coder", for_s=30.0)
    waits = Asked(CAME, pinned="coder", tenant="other")
    chat = Asked(CAME + 20, pinned="chat", tenant="third")
    bounds = PoolBounds(wait_bound_s=wait_bound_s)
    return waits, chat, run(incident, waits, chat, bounds=bounds, paid=PATIENT)


def test_who_waits_for_a_lane_that_does_not_wake_is_refused_and_who_comes_soon_after_too():
    waits, comes = (Asked(x, pinned="coder", tenant="other") for x in (CAME, CAME + 6))

    turns, report = run(fails(), waits, comes)

    assert waits.codes == comes.codes == ["no_replica"]
    # The other lane has left by then, and the engine says so a second later.
    assert waits.ended[0] == pytest.approx(CAME + COSTS.sleep_s + FAILS_AFTER_S + 1, abs=1.0)
    assert comes.ended == [CAME + 6]
    assert (turns["coder"].failures, turns["coder"].kept_out) == (1, 2)
    assert report.violations == 0


def test_a_whole_queue_is_refused_one_after_the_other():
    """Each slot that is given back goes to the next one: more of them than Python may nest."""
    crowd = [Asked(CAME + x / 1000, pinned="coder", tenant=f"t{x % 40}") for x in range(600)]

    turns, _ = run(fails(for_s=60.0), *crowd, paid=PATIENT)

    codes = Counter(code for one in crowd for code in one.codes)
    assert codes.keys() <= {"no_replica", "shed"} and codes.total() == 600
    assert turns["coder"].kept_out == codes["no_replica"] > 300


def test_its_card_goes_to_the_other_lane_meanwhile():
    waits = Asked(CAME, pinned="coder", tenant="other")
    chat = Asked(CAME + 6, pinned="chat", tenant="third")

    turns, _ = run(fails(), waits, chat)

    assert chat.codes == ["200"]
    assert turns["chat"].wakings == 2
    assert sum(row.card_ratio for row in turns.values()) < 1.01


def test_it_is_tried_again_and_started_anew_when_somebody_asks_after_the_pause():
    waits = Asked(CAME, pinned="coder", tenant="other")
    later = Asked(CAME + 20 + FIRST_RETRY_S, pinned="coder", tenant="other")

    turns, _ = run(fails(), waits, later)

    assert later.codes == ["200"]
    assert (turns["coder"].failures, turns["coder"].loads) == (1, 1)
    assert turns["coder"].wait_most_s > COSTS.load_s


def test_a_waking_that_hangs_holds_the_card_until_its_bound_and_its_replica_is_replaced():
    waits, chat, (turns, _) = while_the_coder_hangs(wait_bound_s=40.0)

    assert waits.codes == ["deadline_exceeded"]
    assert chat.codes == ["deadline_exceeded"], "nobody has the card while it hangs"
    held_s = turns["coder"].card_ratio * (400 - LOADED_S)
    awake_before_s = 20.0
    assert held_s < WAKE_WITHIN_S + REPLACED_S + awake_before_s
    assert turns["coder"].failures == 1


def test_after_it_the_other_lane_is_served_again():
    _, chat, (_, report) = while_the_coder_hangs(wait_bound_s=120.0)

    assert chat.codes == ["200"]
    took_s = chat.ended[0] - CAME
    assert WAKE_WITHIN_S + REPLACED_S < took_s < WAKE_WITHIN_S + REPLACED_S + 20
    assert report.violations == 0


def test_a_load_that_hangs_has_the_lanes_own_bound():
    incident = Incident(CAME, "wake_hangs", "coder", for_s=30.0)
    waits = Asked(CAME, pinned="coder", tenant="other")
    chat = Asked(CAME + 20, pinned="chat", tenant="third")
    base = pooled(can_sleep=False, bounds=PoolBounds(wait_bound_s=300.0), paid=PATIENT)
    pool = base.pools["one"]
    lanes = tuple(replace(x, load_within_s=30.0) for x in pool.lanes)

    simulate(
        replace(base, pools={"one": replace(pool, lanes=lanes)}),
        [Asked(LOADED_S, pinned="chat"), waits, chat],
        duration_s=400,
        incidents=[incident],
    )

    assert waits.codes == ["no_replica"]
    assert waits.ended[0] == pytest.approx(CAME + 30 + REPLACED_S, abs=6.0)
    assert chat.codes == ["200"]


def test_the_last_planned_fault_holds_in_its_time():
    planned = PlannedFaults()
    planned.add(Incident(10.0, "wake_fails", "coder", for_s=20.0))
    planned.add(Incident(15.0, "wake_hangs", "coder", for_s=5.0))
    told = [planned("coder", at) for at in (9.9, 10.0, 15.0, 20.0, 30.0)]
    assert told == [None, WakeFault.FAILS, WakeFault.HANGS, WakeFault.FAILS, None]
    assert planned("chat", 15.0) is None


def test_a_lane_with_cards_of_its_own_has_no_such_fault():
    with pytest.raises(ValueError, match=f"'{CHAT.name}' shares no cards"):
        simulate(spec(), [], duration_s=10, incidents=[fails("chat")])
