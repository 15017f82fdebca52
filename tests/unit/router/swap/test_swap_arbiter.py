"""What ingress replicas say of a pool, and are told."""

from router.swap.arbiter import FORGET_S, MAX_HOLDERS, Arbiter, Report, report_from_wire
from router.swap.costs import STREAM_HALF_LIFE_S, Estimate
from router.swap.pool import SwapPool
from router.swap.terms import Act, Order, Phase, PoolBounds, PooledLane

LONG = 100.0


def an_arbiter(epoch=0):
    lanes = [PooledLane(x, can_sleep=True) for x in "ab"]
    pool = SwapPool(PoolBounds(), lanes, host_gib=100.0)
    for name, phase in (("a", Phase.AWAKE), ("b", Phase.ASLEEP)):
        pool.found(name, phase, 0.0)
        pool.lanes[name].was_loaded, pool.lanes[name].weights_gib = True, 1.0
    return Arbiter(pool, now=0.0, epoch=epoch)


def test_holders_hear_what_is_open_and_how_long_the_rest_takes():
    verdict = an_arbiter().hear(Report("x"), 1.0)

    assert verdict.open_lanes == {"a"}
    assert list(verdict.wait_s) == ["b"]
    assert verdict.broken_s == {}


def test_a_lane_rests_once_every_holder_goes_by_its_closing():
    arbiter = an_arbiter(epoch=7)
    arbiter.hear(Report("x", 7, {"b": {0: 1.0}}), LONG)
    arbiter.hear(Report("y", 7), LONG)
    assert arbiter.step(LONG) == []
    closing = arbiter.verdict(LONG).closing
    assert closing == 8

    arbiter.hear(Report("x", closing, {"b": {0: 1.1}}), LONG + 0.1)
    assert arbiter.step(LONG + 0.1) == []
    arbiter.hear(Report("y", closing), LONG + 0.2)
    assert arbiter.step(LONG + 0.2) == [Order("a", Act.SLEEP)]


def test_a_holder_that_is_not_heard_of_holds_nobody_up_after_its_lease():
    arbiter = an_arbiter()
    arbiter.hear(Report("lost", 0, {}, {"a": {0: 1}}), LONG)
    arbiter.hear(Report("x", 0, {"b": {0: 59.0}}), LONG)
    arbiter.step(LONG)
    later = LONG + FORGET_S + 0.1
    arbiter.hear(Report("x", 1, {"b": {0: 63.0}}), later)

    assert arbiter.demands()["a"].is_idle
    assert arbiter.step(later) == [Order("a", Act.SLEEP)]


def test_a_new_arbiter_waits_for_the_leases_of_the_one_before():
    arbiter = an_arbiter()
    arbiter.hear(Report("x", 0, {"b": {0: 1.0}}), 3.0)
    arbiter.step(3.0)
    arbiter.hear(Report("x", 1, {"b": {0: 1.5}}), 3.5)
    assert arbiter.step(3.5) == []
    arbiter.hear(Report("x", 1, {"b": {0: 2.5}}), FORGET_S)
    assert arbiter.step(FORGET_S) == [Order("a", Act.SLEEP)]


def test_demand_is_summed_and_the_oldest_counts():
    arbiter = an_arbiter()
    arbiter.hear(Report("x", 0, {"b": {0: 1.0}}, {"a": {0: 2, 5: 1}}), 10.0)
    arbiter.hear(Report("y", 0, {"b": {0: 4.0}}, {"a": {0: 1}}), 10.0)

    demands = arbiter.demands()
    assert demands["b"].waiting == {0: 6.0}
    assert demands["a"].running == {0: 3, 5: 1}
    assert demands["a"].strongest == 0


def test_there_are_not_more_holders_than_ingress_replicas_can_be():
    arbiter = an_arbiter()
    for number in range(MAX_HOLDERS + 1):
        arbiter.hear(Report(str(number), 0, {"b": {0: float(number)}}), 100.0)

    assert arbiter.demands()["b"].oldest == 100.0 - (MAX_HOLDERS - 1)
    assert arbiter.hear(Report("0"), 100.0).open_lanes == {"a"}


def test_a_lane_that_does_not_wake_is_told_as_broken():
    arbiter = an_arbiter()
    arbiter.pool.failed("b", 1.0)

    assert arbiter.verdict(2.0).broken_s == {"b": 4.0}
    assert arbiter.verdict(7.0).broken_s == {}


def test_a_report_comes_as_plain_values():
    wire = {
        "holder": "x",
        "heard": 3,
        "waiting": {"b": {0: 1.0}},
        "running": {},
        "longest": {"a": 7.0},
    }
    assert report_from_wire(wire) == Report("x", 3, {"b": {0: 1.0}}, {}, {"a": 7.0})


def test_room_is_made_in_time_for_the_longest_stream_that_was_seen():
    arbiter = an_arbiter()
    before = arbiter.verdict(LONG).wait_s["b"]
    arbiter.hear(Report("x", longest={"a": 30.0}), LONG)
    arbiter.hear(Report("x", longest={"a": 5.0}), LONG)

    assert arbiter.verdict(LONG).wait_s["b"] == before + 20.0
    half = arbiter.verdict(LONG + STREAM_HALF_LIFE_S).wait_s["b"]
    assert half == before + 5.0


def test_an_estimate_is_safe_against_what_it_has_seen():
    estimate = Estimate()
    assert (estimate.safe(7.0), estimate.usual(7.0)) == (7.0, 7.0)
    for seconds in (2.0, 2.0, 9.0, 2.0):
        estimate.note(seconds)
    assert 2.0 < estimate.usual(7.0) < 4.0
    assert 8.5 < estimate.safe(7.0) < 9.0


def test_a_holder_of_an_older_file_may_have_lanes_that_are_gone():
    arbiter = an_arbiter()
    gone = Report("old", 0, {"gone": {0: 1.0}}, {"gone": {0: 1}}, {"gone": 2.0, "a": 30.0})

    assert arbiter.hear(gone, 1.0).open_lanes == {"a"}
    assert arbiter.demands().keys() == {"a", "b"}
    assert arbiter.pool.lanes["a"].costs.leave_s(1.0) > 30.0
