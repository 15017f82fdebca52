"""Which lanes of a pool are awake: one decision at a time."""

import pytest

from router.swap.choice import PAUSE_S
from router.swap.lane_state import FIRST_RETRY_S, LAST_RETRY_S
from router.swap.pool import SwapPool
from router.swap.terms import (
    Act,
    Demand,
    Order,
    Phase,
    PoolBounds,
    PooledLane,
    nothing_expected,
)

BOUNDS = PoolBounds(gpus=1, dwell_s=15, idle_s=2, wait_bound_s=60)
PAID, FREE = 0, 10


class Bench:
    """A pool whose orders are carried out at once, at the time they are given."""

    def __init__(self, *lanes, bounds=BOUNDS, host_gib=100.0, weights_gib=10.0, cards=frozenset()):
        self.pool = SwapPool(bounds, lanes, host_gib=host_gib)
        for state in self.pool.lanes.values():
            state.weights_gib, state.cards = weights_gib, cards
        self.demands, self.now, self.expected = {}, 0.0, nothing_expected
        self.may_rest = lambda _state: True

    def wait(self, lane, priority=PAID, since=None):
        demand = self.demands.get(lane, Demand())
        at = self.now if since is None else since
        self.demands[lane] = Demand({**demand.waiting, priority: at}, demand.running)

    def run(self, lane, priority=PAID, count=1):
        self.demands[lane] = Demand({}, {priority: count})

    def end(self, lane):
        self.demands.pop(lane, None)

    def orders(self, now=None):
        self.now = self.now if now is None else now
        return self.pool.step(self.demands, self.may_rest, self.now, self.expected)

    def play(self, now=None):
        """Do what is ordered until there is nothing more to do; who waits runs once it can."""
        done = []
        while orders := self.orders(now):
            for order in orders:
                done.append(order)
                if order.act is Act.WAKE:
                    self.pool.woken(order.lane, self.now)
                    waiting = self.demands.get(order.lane, Demand()).waiting
                    if waiting:
                        self.demands[order.lane] = Demand({}, dict.fromkeys(waiting, 1))
                else:
                    self.pool.rested(order.lane, order.act, self.now)
        return done

    def phase(self, lane):
        return self.pool.lanes[lane].phase


def two(**more):
    """Lane a awake, lane b asleep, and nothing to do."""
    bench = Bench(PooledLane("a", can_sleep=True), PooledLane("b", can_sleep=True), **more)
    bench.pool.found("a", Phase.AWAKE, 0.0)
    bench.pool.found("b", Phase.ASLEEP, 0.0)
    bench.pool.lanes["b"].was_loaded = True
    return bench


def test_the_first_lane_is_woken_at_the_start():
    bench = Bench(PooledLane("a"), PooledLane("b"))

    assert bench.orders() == [Order("a", Act.WAKE)]
    assert bench.orders() == []


def test_lanes_that_can_sleep_are_loaded_once_ahead_of_their_requests():
    bench = Bench(PooledLane("a", can_sleep=True), PooledLane("b", can_sleep=True))

    assert bench.play(0.0) == [Order("a", Act.WAKE)]
    assert bench.orders(3.0) == []
    assert bench.play(3.0) == [Order("a", Act.SLEEP), Order("b", Act.WAKE)]
    assert bench.play(100.0) == []


def test_a_request_wakes_its_lane_once_the_other_one_has_nothing_to_do():
    bench = two()
    bench.run("a")
    bench.orders(10.0)
    bench.end("a")
    bench.wait("b")

    assert bench.play(11.0) == []
    assert bench.play(12.0) == []
    assert bench.phase("a") is Phase.CLOSING
    assert bench.play(12.1) == [Order("a", Act.SLEEP), Order("b", Act.WAKE)]


def test_no_lane_is_put_to_sleep_under_its_streams():
    bench = two()
    bench.run("a")
    bench.wait("b", since=0.0)

    assert bench.orders(42.9) == []
    assert bench.phase("a") is Phase.AWAKE
    bench.orders(50.0)
    assert bench.phase("a") is Phase.CLOSING
    assert bench.orders(59.0) == []
    bench.end("a")
    assert bench.orders(59.0) == [Order("a", Act.SLEEP)]


def test_a_lane_rests_only_when_everybody_knows_that_it_is_closed():
    bench = two()
    bench.wait("b")
    bench.may_rest = lambda _state: False

    bench.orders(10.0)
    assert bench.orders(11.0) == []
    bench.may_rest = lambda _state: True
    assert bench.orders(11.0) == [Order("a", Act.SLEEP)]


def test_a_stronger_tier_is_let_in_after_the_least_dwell_and_a_weaker_one_is_not():
    bench = two()
    bench.run("a", FREE)
    bench.wait("b", PAID)
    bench.orders(14.0)
    assert bench.phase("a") is Phase.AWAKE
    bench.orders(15.0)
    assert bench.phase("a") is Phase.CLOSING

    bench = two()
    bench.run("a", PAID)
    bench.wait("b", FREE)
    bench.orders(30.0)
    assert bench.phase("a") is Phase.AWAKE


def test_a_lane_dwells_no_shorter_than_waking_it_took():
    bench = two()
    bench.pool.lanes["a"].costs.woken(Phase.UNLOADED, 40.0)
    bench.run("a", FREE)
    bench.wait("b", PAID, since=30.0)

    bench.orders(39.0)
    assert bench.phase("a") is Phase.AWAKE
    bench.orders(40.0)
    assert bench.phase("a") is Phase.CLOSING


def test_a_lane_that_was_just_woken_serves_who_waited_for_it_first():
    bench = two()
    bench.wait("a", since=-100.0)
    bench.wait("b", since=-100.0)

    bench.orders(5.0)
    assert bench.phase("a") is Phase.AWAKE


def test_a_lane_opens_again_when_nobody_waits_for_its_card_any_more():
    bench = two()
    bench.wait("b")
    bench.orders(10.0)
    bench.end("b")

    assert bench.orders(10.2) == []
    assert bench.phase("a") is Phase.AWAKE


def test_room_that_was_made_goes_to_whom_it_was_made_for():
    bench = two()
    bench.wait("b", PAID)
    bench.orders(10.0)
    bench.wait("a", PAID, since=10.1)

    assert bench.orders(10.2) == [Order("a", Act.SLEEP)]
    bench.pool.rested("a", Act.SLEEP, 11.0)
    bench.pool.lanes["b"].enter(Phase.ASLEEP, 11.0)
    assert bench.orders(11.0) == [Order("b", Act.WAKE)]


def three():
    lanes = [PooledLane(x, can_sleep=True) for x in "abc"]
    bench = Bench(*lanes)
    for name, phase in (("a", Phase.AWAKE), ("b", Phase.ASLEEP), ("c", Phase.ASLEEP)):
        bench.pool.found(name, phase, 0.0)
        bench.pool.lanes[name].was_loaded = True
    return bench


def test_of_those_who_wait_the_stronger_tier_is_first_and_who_is_late_before_all():
    bench = three()
    bench.wait("b", FREE, since=0.0)
    bench.wait("c", PAID, since=5.0)
    assert [x.lane for x in bench.play(10.0) if x.act is Act.WAKE] == []
    assert [x.lane for x in bench.play(10.1) if x.act is Act.WAKE] == ["c"]

    bench = three()
    bench.run("a", PAID)
    bench.wait("b", FREE, since=0.0)
    bench.wait("c", PAID, since=5.0)
    bench.orders(50.0)
    assert bench.pool.lanes["a"].room_for == "b"


def test_of_equals_the_one_that_had_less_of_the_card_is_woken():
    bench = three()
    bench.pool.lanes["b"].enter(Phase.AWAKE, 0.0)
    bench.pool.lanes["b"].enter(Phase.ASLEEP, 30.0)
    bench.wait("b", since=39.0)
    bench.wait("c", since=40.0)

    bench.orders(40.0)
    assert bench.pool.lanes["a"].room_for == "c"


def test_a_pinned_lane_is_woken_at_once_and_never_sleeps():
    bench = Bench(PooledLane("a", can_sleep=True), PooledLane("p", is_pinned=True))
    bench.pool.found("a", Phase.AWAKE, 0.0)

    assert bench.play(0.0) == []
    assert bench.play(0.1) == [Order("a", Act.SLEEP), Order("p", Act.WAKE)]
    bench.wait("a")
    assert bench.play(1000.0) == []


def test_weights_go_to_host_memory_while_it_has_room_and_else_nowhere():
    small = two(host_gib=15.0)
    small.wait("b")
    small.orders(10.0)
    assert small.orders(10.1) == [Order("a", Act.UNLOAD)]

    large = two(host_gib=20.0)
    large.wait("b")
    large.orders(10.0)
    assert large.orders(10.1) == [Order("a", Act.SLEEP)]

    unknown = two(weights_gib=None)
    unknown.wait("b")
    unknown.orders(10.0)
    assert unknown.orders(10.1) == [Order("a", Act.UNLOAD)]


def test_a_forecast_wakes_a_lane_in_the_place_of_an_idle_one():
    bench = two()
    bench.expected = lambda lane, _at: {"a": 0.1, "b": 0.15}[lane]
    assert bench.play(30.0) == []
    bench.expected = lambda lane, _at: {"a": 0.1, "b": 0.3}[lane]
    assert bench.play(30.0) == []
    assert bench.play(30.1) == [Order("a", Act.SLEEP), Order("b", Act.WAKE)]


def test_a_forecast_ends_no_conversation():
    """Between two turns a lane is idle, and its next request nearer than its mean rate says."""
    bench = two()
    bench.expected = lambda lane, _at: float(lane == "b")
    bench.run("a")
    bench.orders(100.0)
    bench.end("a")
    assert bench.play(100.0 + PAUSE_S - 1) == []
    bench.orders(100.0 + PAUSE_S)
    assert bench.phase("a") is Phase.CLOSING


def test_a_forecast_takes_no_card_from_a_lane_with_work_or_a_pinned_one():
    bench = two()
    bench.expected = lambda lane, _at: float(lane == "b")
    bench.run("a")
    bench.orders(100.0)
    assert bench.phase("a") is Phase.AWAKE

    bench = Bench(PooledLane("a", is_pinned=True), PooledLane("b"))
    bench.pool.found("a", Phase.AWAKE, 0.0)
    bench.expected = lambda lane, _at: float(lane == "b")
    bench.orders(100.0)
    assert bench.phase("a") is Phase.AWAKE


def test_a_foreseen_swap_is_given_up_when_a_request_comes_for_the_idle_lane():
    bench = two()
    bench.expected = lambda lane, _at: float(lane == "b")
    bench.orders(30.0)
    bench.wait("a")

    assert bench.orders(30.1) == []
    assert bench.phase("a") is Phase.AWAKE


def test_a_lane_that_does_not_wake_is_tried_again_later_and_later():
    bench = two()
    bench.wait("b")
    bench.orders(10.0)
    bench.orders(10.1)
    bench.pool.rested("a", Act.SLEEP, 10.2)
    assert bench.orders(10.2) == [Order("b", Act.WAKE)]
    bench.pool.failed("b", 20.0)

    state = bench.pool.lanes["b"]
    assert state.retry_at == 20.0 + FIRST_RETRY_S
    assert bench.orders(20.1) == []
    bench.end("b")
    assert bench.orders(20.1) == [Order("a", Act.WAKE)]
    # Days of attempts: doubled so often, the pause would be no number any more.
    for _ in range(1100):
        bench.pool.failed("b", 30.0)
    assert state.retry_at == 30.0 + LAST_RETRY_S


def test_a_replica_that_finds_requests_when_told_to_rest_goes_on_closing():
    bench = two()
    bench.wait("b")
    bench.orders(10.0)
    assert bench.orders(10.1) == [Order("a", Act.SLEEP)]

    bench.pool.busy("a", 10.2)
    bench.may_rest = lambda _state: False
    assert bench.orders(10.3) == []
    bench.may_rest = lambda _state: True
    assert bench.orders(10.4) == [Order("a", Act.SLEEP)]


def test_a_replica_that_was_found_falling_asleep_may_be_awake_after_all():
    bench = two()
    bench.pool.found("a", Phase.FALLING, 1.0)
    bench.pool.busy("a", 2.0)

    assert bench.orders(2.1) == []
    assert bench.phase("a") is Phase.AWAKE


def test_what_replicas_say_is_taken_over_but_for_orders_under_way():
    bench = two()
    bench.pool.found("a", Phase.UNLOADED, 5.0)
    assert bench.phase("a") is Phase.UNLOADED
    bench.pool.found("b", Phase.UNLOADED, 5.0)
    assert bench.phase("b") is Phase.UNLOADED
    bench.wait("a")
    bench.orders(5.0)
    bench.pool.found("a", Phase.UNLOADED, 6.0)
    assert bench.phase("a") is Phase.WAKING
    bench.pool.woken("a", 7.0)
    bench.pool.found("a", Phase.AWAKE, 8.0)
    assert bench.pool.lanes["a"].since == 7.0


def test_a_replica_that_is_gone_has_no_engine():
    bench = two()
    bench.pool.lost("a", 5.0)
    bench.pool.lost("a", 6.0)

    assert bench.phase("a") is Phase.UNLOADED
    assert bench.pool.lanes["a"].since == 5.0


def test_a_replica_that_goes_while_it_wakes_leaves_its_card_for_a_while():
    bench = two()
    bench.pool.found("a", Phase.ASLEEP, 0.0)
    bench.wait("b")
    assert bench.orders(1.0) == [Order("b", Act.WAKE)]
    bench.pool.lost("b", 70.0)
    bench.wait("a")

    assert bench.orders(70.0) == [Order("a", Act.WAKE)]
    assert bench.pool.lanes["b"].retry_at == 70.0 + FIRST_RETRY_S


def cards_of(bench, **cards):
    for name, card in cards.items():
        bench.pool.lanes[name].cards = None if card is None else frozenset({card})


def test_two_lanes_on_cards_of_their_own_are_awake_together():
    bench = three()
    bench.pool.bounds = PoolBounds(gpus=2)
    cards_of(bench, a="0", b="1", c="0")

    assert bench.play(0.0) == [Order("b", Act.WAKE)]
    bench.run("b")
    bench.wait("c")
    bench.orders(10.0)
    assert bench.phase("a") is Phase.CLOSING
    assert bench.phase("b") is Phase.AWAKE


def test_a_lane_whose_card_is_unknown_is_loaded_alone():
    bench = three()
    bench.pool.bounds = PoolBounds(gpus=2)
    cards_of(bench, a="0", b=None, c="0")

    assert bench.play(0.0) == []
    bench.wait("b")
    bench.run("a")
    bench.orders(1.0)
    assert bench.phase("a") is Phase.AWAKE
    bench.end("a")
    bench.orders(10.0)
    assert bench.phase("a") is Phase.CLOSING


def test_a_full_pool_without_cards_lets_the_idle_one_go():
    bench = Bench(*(PooledLane(x) for x in "abcd"), bounds=PoolBounds(gpus=2))
    bench.pool.found("a", Phase.AWAKE, 0.0)
    bench.pool.found("b", Phase.AWAKE, 0.0)
    bench.pool.found("c", Phase.ASLEEP, 0.0)
    bench.pool.found("d", Phase.ASLEEP, 0.0)
    bench.run("a")
    bench.wait("c")

    bench.orders(10.0)
    assert (bench.phase("a"), bench.phase("b")) == (Phase.AWAKE, Phase.CLOSING)
    bench.wait("d")
    bench.orders(10.1)
    assert bench.phase("a") is Phase.AWAKE


@pytest.mark.parametrize("waits", [True, False])
def test_how_long_a_lane_will_take_is_told(waits):
    bench = two()
    state = bench.pool.lanes["b"]
    assert bench.pool.wait_s(state, 0.0) == 16.0
    if waits:
        bench.wait("b")
        bench.play(10.0)
        assert bench.orders(10.1)
        bench.pool.rested("a", Act.SLEEP, 10.1)
        bench.orders(10.1)
        assert bench.pool.wait_s(state, 12.1) == 3.0
