"""The policy as Serve's controller calls it: cheap, silent, and never the controller's fault."""

from types import SimpleNamespace

import pytest

from router.scaling.demand import LaneDemand
from router.scaling.lane_load import Decision, Reason
from serve_app.scaling import decisions
from serve_app.scaling.cards import FreeCards
from serve_app.scaling.demand import DemandHeard, Told
from serve_app.scaling.policy import LanePolicy
from serve_app.scaling.readings import newest, stats_of, summed
from serve_app.scaling.standing import Standing, gauges_text, not_scaled

TERMS = {"min_replicas": 1, "max_replicas": 4, "slots": 10, "calm_s": 60}
BUSY = {"running": 10, "waiting": 0, "kv_utilization": 0.2}
IDLE = {"running": 0, "waiting": 0, "kv_utilization": 0.0}


@pytest.fixture
def clock(monkeypatch):
    """Seconds for both clocks; what is published goes into `told`."""
    now = SimpleNamespace(s=1_000.0, told=[])
    both = SimpleNamespace(monotonic=lambda: now.s, time=lambda: now.s)
    # Ray pickles the class by value, and reading that back in the same process gives the class
    # methods with globals of their own: those of its module are not it any more.
    monkeypatch.setitem(LanePolicy.__call__.__globals__, "time", both)
    monkeypatch.setattr(decisions, "publish", lambda lane, x: now.told.append((lane, x.reason)))
    return now


def made(ask=lambda: [{"GPU": 4}]):
    return LanePolicy(lane="chat", terms=TERMS, bundles=[{"GPU": 1}], ask=ask)


def series(rows, at, told=None):
    """What Serve has collected, of rows by replica."""
    stats = {name: stats_of(row, 5_000, 10, told, 30.0) for name, row in rows.items()}
    return {
        metric: {
            name: [SimpleNamespace(timestamp=at, value=of[metric])] for name, of in stats.items()
        }
        for metric in next(iter(stats.values()))
    }


def context(rows, at, *, ready, target, told=None):
    raw = series(rows, at, told) if rows else {}
    return SimpleNamespace(current_num_replicas=ready, target_num_replicas=target, raw_metrics=raw)


def test_a_full_lane_gets_a_replica_and_not_a_second_one_while_it_starts(clock):
    policy = made()
    assert policy(context({"a": BUSY}, clock.s, ready=1, target=1)) == (2, {})
    for _ in range(30):
        clock.s += 1
        assert policy(context({"a": BUSY}, clock.s, ready=1, target=2))[0] == 2
    assert clock.told == [("chat", Reason.LOAD), ("chat", Reason.STARTING)]


def test_it_decides_once_a_second(clock):
    policy = made()
    busy = context({"a": BUSY}, clock.s, ready=1, target=1)
    assert policy(context({"a": IDLE}, clock.s, ready=1, target=1))[0] == 1
    clock.s += 0.5
    assert policy(busy)[0] == 1
    clock.s += 30
    assert policy(context({"a": BUSY}, clock.s, ready=1, target=1))[0] == 2


def test_no_figures_and_old_figures_leave_the_target(clock):
    policy = made()
    assert policy(context({}, 0, ready=2, target=3))[0] == 3
    for _ in range(200):
        clock.s += 1
        assert policy(context({"a": IDLE}, 5.0, ready=3, target=3))[0] == 3
    assert clock.told[-1] == ("chat", Reason.STALE)


def test_one_silent_replica_does_not_stop_the_others(clock):
    """The stamps are of another machine, an hour off; `b` has said nothing new for 60 s."""
    policy = made()
    for _ in range(60):
        clock.s += 1
        stats = series({"a": BUSY, "b": IDLE}, clock.s - 3_600)
        for of in stats.values():
            of["b"][-1].timestamp = 5.0
        given = SimpleNamespace(current_num_replicas=2, target_num_replicas=2, raw_metrics=stats)
        target = policy(given)[0]
    assert target > 2


@pytest.mark.parametrize("broken", [{"running": {"a": None}}, 7, {"running": {"a": [object()]}}])
def test_whatever_is_wrong_the_controller_goes_on(clock, broken):
    policy = made()
    given = SimpleNamespace(current_num_replicas=2, target_num_replicas=2, raw_metrics=broken)
    assert policy(given)[0] == 2


def test_a_lane_without_a_card_says_so_and_one_where_nobody_knows_goes_on(clock):
    busy = context({"a": BUSY}, clock.s, ready=1, target=1)
    assert made(lambda: [{"GPU": 0}])(busy)[0] == 1
    assert clock.told == [("chat", Reason.NO_CARD)]

    def silent():
        raise ConnectionError

    assert made(silent)(busy)[0] == 2


def test_a_replica_fits_where_all_its_workers_fit_on_one_node():
    nodes = [{"GPU": 3, "CPU": 8}, {"GPU": 1, "CPU": 8}, {"CPU": 8}]
    assert FreeCards([{"GPU": 1, "CPU": 1}] * 2, lambda: nodes).replicas(0) == 1
    assert FreeCards([{"GPU": 1}], lambda: nodes).replicas(0) == 4
    assert FreeCards([], lambda: nodes).replicas(0) == 0


def test_what_a_replica_says_is_read_as_it_was_meant():
    told = Told(0, 700.0, 90.0)
    waits = {**BUSY, "waiting": 2}
    found = newest(series({"a": waits, "b": IDLE}, 50.0, told))
    assert [at for at, _ in found.values()] == [50.0, 50.0]
    readings = summed(found)
    assert (readings.running, readings.kv_utilization) == (10, 0.1)
    # Two wait in an engine, at 500 tokens a request so far; the rest before the engines.
    assert readings.queued_tokens == 700 + 2 * 500
    assert (readings.offered_tokens_per_s, readings.start_up_s) == (90.0, 30.0)
    assert summed(newest(series({"a": IDLE}, 50.0))).offered_tokens_per_s is None
    assert newest({"running": {}, "waiting": {}}) == {}


def test_a_lanes_demand_is_what_came_and_what_waits():
    demand = LaneDemand()
    demand.note_answer(100)
    demand.told(0.0)
    first = demand.arrive(500, 4_000)
    assert first == 600
    demand.arrive(500, 50)
    assert demand.told(10.0) == (1_150, 115.0)
    demand.started += first
    assert demand.told(25.0) == (550, 0.0)


def test_ingress_replicas_are_summed_and_forgotten():
    heard = DemandHeard()
    assert heard.summed(0.0) is None
    heard.hear("i1", 10, 1, 0.0)
    heard.hear("i2", 20, 2, 3.0)
    heard.hear("i1", 30, 3, 3.0)
    assert heard.summed(4.0) == Told(4.0, 50, 5)
    assert heard.summed(9.0) is None


async def test_operators_see_replicas_by_state_and_the_reason():
    async def states():
        counts = {"RUNNING": 2, "STARTING": 1, "STOPPING": 1}
        return {"lane:chat": {"states": counts}}

    told = {"target": 3, "reason": "queue", "demand": 2.2, "at": 5.0}
    rows = await Standing({"chat": 1, "tools": 2}, states, lambda _: {"chat": told}).rows()
    assert rows["chat"] == {
        "ready": 2,
        "starting": 1,
        "draining": 1,
        "target": 3,
        "reason": "queue",
        "demand": 2.2,
        "decided_at": 5.0,
    }
    assert (rows["tools"]["target"], rows["tools"]["reason"]) == (2, None)
    text = gauges_text(rows)
    assert 'pointsman_lane_replicas{lane="chat",state="draining"} 1.0' in text
    assert 'pointsman_lane_scaling_reason{lane="chat",reason="queue"} 1.0' in text
    assert gauges_text(await not_scaled().rows()) == ""


async def test_decisions_that_cannot_be_read_are_none():
    async def states():
        return {}

    def lost(_):
        raise ConnectionError

    rows = await Standing({"chat": 1}, states, lost).rows()
    assert rows["chat"]["target"] == 1


def test_a_decision_stays_within_the_cards():
    decision = Decision(5, Reason.QUEUE, 3.3)
    assert decision.within_cards(3, None) is decision
    assert decision.within_cards(3, 0) == Decision(3, Reason.NO_CARD, 3.3)
