"""The autoscaling policy by example; each of the first tests is a way in which others break."""

from itertools import pairwise

import pytest

from router.scaling.lane_load import LaneLoad, Reason, ScalingTerms
from router.scaling.policy import LaneScaler

SLOTS = 32
FULL = 2_000.0
"""Tokens a second of a full replica."""


def terms(**changed):
    given = {
        "min_replicas": 1,
        "max_replicas": 16,
        "slots": SLOTS,
        "calm_s": 300,
        "low": 0.6,
        "high": 0.8,
    }
    return ScalingTerms(**given | changed)


def load(ready=1, use=0.5, **changed):
    """A lane with so many ready replicas, each of them used to `use`."""
    given = {
        "ready": ready,
        "reporting": ready,
        "age_s": 1.0,
        "running": use * SLOTS * ready,
        "kv_utilization": 0.1,
        "tokens_per_s": FULL,
        "start_up_s": 60.0,
    }
    return LaneLoad(**given | changed)


def after_calm(scaler, seen, calm_s=300, step_s=10):
    """The decision after `calm_s` of the same."""
    for at in range(0, calm_s, step_s):
        scaler.decide(seen, at)
    return scaler.decide(seen, calm_s)


def test_replicas_that_are_starting_are_not_asked_for_again():
    """2 -> 4 -> 8 -> 16, a second after the other, is what a ratio of what runs makes of it."""
    scaler = LaneScaler(terms())
    queue = {"queued_tokens": 40_000.0, "offered_tokens_per_s": 6_000.0}
    first = scaler.decide(load(2, 1.0, **queue), 0)
    assert first.target == 5 and first.reason is Reason.QUEUE
    for second in range(1, 60):
        waiting = load(2, 1.0, starting=3, **queue)
        assert scaler.decide(waiting, second).target == 5


def test_a_lost_scrape_is_not_idle():
    scaler = LaneScaler(terms())
    after_calm(scaler, load(3, 0.7))
    for second in range(301, 2_000, 10):
        lost = LaneLoad(ready=3, reporting=0, age_s=None)
        old = load(3, 0.0, age_s=16.0)
        assert scaler.decide(lost, second).target == 3
        assert scaler.decide(old, second).target == 3
        assert scaler.decide(old, second).reason is Reason.STALE


def test_what_waits_for_the_next_step_is_no_queue_where_nobody_knows_what_a_replica_gets_through():
    """A lane that was never full, ten requests a second: one of them waits at any moment."""
    scaler = LaneScaler(terms(ttft_s=2.0))
    seen = load(2, 0.1, tokens_per_s=None, queued_tokens=600.0, offered_tokens_per_s=6_000.0)
    assert after_calm(scaler, seen).target == 1

    scaler = LaneScaler(terms(ttft_s=2.0))
    queued = load(2, 0.1, tokens_per_s=None, queued_tokens=12_600.0, offered_tokens_per_s=6_000.0)
    assert scaler.decide(queued, 0).target == 3
    unknown = load(2, 0.1, tokens_per_s=None, queued_tokens=600.0)
    assert LaneScaler(terms()).decide(unknown, 0).target == 3


def test_after_a_gap_the_rest_has_to_be_enough_for_the_whole_time_again():
    scaler = LaneScaler(terms())
    after_calm(scaler, load(3, 0.7))
    scaler.decide(load(3, 0.0, age_s=None), 310)
    assert scaler.decide(load(3, 0.0), 320).reason is Reason.CALMING
    assert scaler.decide(load(3, 0.0), 600).target == 3
    assert scaler.decide(load(3, 0.0), 620).target == 1


def test_one_replica_that_does_not_report_is_as_busy_as_the_others():
    scaler = LaneScaler(terms())
    seen = load(3, 0.0, reporting=2, running=0.4 * SLOTS * 2)
    assert after_calm(scaler, seen).demand == pytest.approx(1.2)
    assert scaler.decide(seen, 301).target == 3


def test_cards_that_nobody_can_count_do_not_block():
    scaler = LaneScaler(terms())
    assert scaler.decide(load(2, 1.0, cards_free=None), 0).target == 3


@pytest.mark.parametrize(("free", "target", "reason"), [(0, 2, "no_card"), (1, 3, "no_card")])
def test_no_more_is_asked_for_than_there_are_cards(free, target, reason):
    scaler = LaneScaler(terms())
    decision = scaler.decide(load(2, 1.6, cards_free=free), 0)
    assert (decision.target, decision.reason) == (target, reason)


def test_nothing_goes_that_the_rest_could_not_take():
    """Two replicas at 0.45 are one at 0.9."""
    scaler = LaneScaler(terms())
    assert after_calm(scaler, load(2, 0.45)).target == 2
    assert scaler.decide(load(2, 0.45), 301).reason is Reason.STEADY


def test_what_the_rest_can_take_goes_after_the_calm_and_not_before():
    scaler = LaneScaler(terms())
    seen = load(4, 0.25)
    decisions = [scaler.decide(seen, at) for at in range(0, 301, 10)]
    assert {x.target for x in decisions[:-1]} == {4}
    assert {x.reason for x in decisions[:-1]} == {Reason.CALMING}
    assert (decisions[-1].target, decisions[-1].reason) == (2, Reason.SPARE)


def test_a_busy_moment_within_the_calm_keeps_its_replicas():
    scaler = LaneScaler(terms())
    for at in range(0, 300, 10):
        scaler.decide(load(4, 0.6 if at <= 20 else 0.1), at)
    assert scaler.decide(load(4, 0.1), 300).target == 4
    assert scaler.decide(load(4, 0.1), 341).target == 1


def test_kv_of_the_rest_counts_as_its_slots_do():
    scaler = LaneScaler(terms())
    assert after_calm(scaler, load(2, 0.1, kv_utilization=0.5)).target == 2


def test_a_lane_that_goes_up_and_down_within_the_calm_does_not_flap():
    scaler = LaneScaler(terms())
    have, targets = 1, []
    for at in range(0, 7_200, 5):
        busy = 1.4 if at // 120 % 2 else 0.4
        have = scaler.decide(load(have, busy / have), at).target
        targets.append(have)
    assert all(a <= b for a, b in pairwise(targets))
    assert targets[-1] <= 3


def test_one_moment_makes_no_need_but_a_queue_does():
    scaler = LaneScaler(terms())
    for at in range(0, 100, 2):
        scaler.decide(load(2, 0.7), at)
    assert scaler.decide(load(2, 0.95), 100).target == 2
    assert scaler.decide(load(2, 1.0, queued_tokens=20_000.0), 102).target == 3


def test_kv_is_a_reason_by_itself():
    decision = LaneScaler(terms()).decide(load(1, 0.2, kv_utilization=0.85), 0)
    assert (decision.target, decision.reason) == (2, Reason.KV)


def test_without_known_slots_kv_tells():
    for kv_utilization, target in ((0.2, 1), (0.9, 2)):
        seen = load(1, 1.0, kv_utilization=kv_utilization)
        assert LaneScaler(terms(slots=None)).decide(seen, 0).target == target


def test_a_queue_within_the_objective_is_none():
    scaler = LaneScaler(terms())
    within = load(1, 0.7, queued_tokens=0.7 * FULL)
    assert scaler.decide(within, 0).target == 1
    beyond = load(1, 0.7, queued_tokens=0.9 * FULL)
    assert scaler.decide(beyond, 1).reason is Reason.QUEUE


def test_a_queue_counts_before_anything_was_measured():
    scaler = LaneScaler(terms())
    for at in range(30):
        assert scaler.decide(load(1, 0.5, tokens_per_s=None, start_up_s=None), at).target == 1
    seen = load(1, 0.5, queued_tokens=100.0, tokens_per_s=None, start_up_s=None)
    assert scaler.decide(seen, 30).target == 1
    for at in range(31, 50):
        last = scaler.decide(seen, at)
    assert last.target == 2


def test_a_queue_that_goes_by_itself_makes_no_replica():
    """It is gone in 10 s, a replica would come in 60."""
    scaler = LaneScaler(terms())
    for at in range(30):
        scaler.decide(load(2, 0.5, offered_tokens_per_s=FULL), at)
    burst = load(2, 1.0, offered_tokens_per_s=FULL, queued_tokens=10 * FULL)
    assert scaler.decide(burst, 30).target == 2


def test_what_was_refused_counts_as_offered():
    seen = load(1, 1.0, offered_tokens_per_s=3 * FULL)
    decision = LaneScaler(terms()).decide(seen, 0)
    assert (decision.target, decision.reason) == (4, Reason.LOAD)


def test_a_ramp_is_met_a_start_up_ahead():
    """At 0.01 replicas a second and 60 s to start, the second is asked for early."""
    asked = {}
    for start_up_s in (10.0, 60.0):
        scaler = LaneScaler(terms())
        for at in range(100):
            decision = scaler.decide(load(1, 0.01 * at, start_up_s=start_up_s), at)
            if decision.target > 1:
                asked[start_up_s] = at
                assert decision.reason is Reason.RAMP
                break
    assert asked[60.0] <= asked[10.0] - 15


def test_a_forecast_is_met_a_start_up_ahead():
    def expected(at):
        return 3.0 if at >= 1_000 else 0.2

    scaler = LaneScaler(terms())
    decisions = {at: scaler.decide(load(1, 0.2), at, expected) for at in range(900, 950, 10)}
    assert decisions[930].target == 1
    assert (decisions[940].target, decisions[940].reason) == (4, Reason.FORECAST)


def test_nothing_goes_that_the_forecast_wants_back():
    def expected(at):
        return 3 * 0.6 if at > 500 else None

    scaler = LaneScaler(terms())
    for at in range(0, 300, 10):
        scaler.decide(load(4, 0.1), at, expected)
    assert scaler.decide(load(4, 0.1), 300, expected).target == 3
    assert scaler.decide(load(3, 0.1), 310, expected).reason is Reason.FORECAST
    unmeasured = load(3, 0.1, tokens_per_s=None)
    assert scaler.decide(unmeasured, 320, expected).reason is Reason.FORECAST


def test_standby_is_kept_beyond_the_need():
    scaler = LaneScaler(terms(standby=1))
    decision = scaler.decide(load(1, 0.5), 0)
    assert (decision.target, decision.reason) == (2, Reason.LOAD)
    assert scaler.decide(load(1, 0.5, starting=1), 1).target == 2
    assert LaneScaler(terms(standby=1)).decide(load(2, 0.9), 2).target == 4


def test_bounds_that_change_are_kept():
    assert LaneScaler(terms(min_replicas=2)).decide(load(1, 0.1), 0).reason is Reason.BOUNDS
    over = LaneScaler(terms(max_replicas=2)).decide(load(3, 0.1), 0)
    assert (over.target, over.reason) == (2, Reason.BOUNDS)
    full = LaneScaler(terms(max_replicas=2)).decide(load(2, 1.0), 0)
    assert (full.target, full.reason) == (2, Reason.AT_MAX)


def test_replicas_under_way_are_the_reason_to_wait():
    scaler = LaneScaler(terms())
    assert scaler.decide(load(1, 1.0, starting=1), 0).reason is Reason.STARTING


@pytest.mark.parametrize(
    "wrong",
    [{"min_replicas": 0}, {"min_replicas": 3, "max_replicas": 2}, {"low": 0.8}, {"low": 0}],
)
def test_terms_that_contradict_each_other_are_refused(wrong):
    with pytest.raises(ValueError, match=r"min_replicas|low"):
        terms(**wrong)
