"""Lanes that yield, the share and its alarm, and what replicas tell each other of them."""

import json
import math

import pytest

from router.routing.escalation import EscalationConfig, EscalationController, EscalationLevel
from router.routing.quantile import QuantileConfig
from tests.unit.router.routing.test_escalation import COMPLEX, FRONTIER, controller_of, one, shipped


def test_a_yielding_lane_takes_the_top_of_its_share():
    controller = controller_of()
    controller.set_yield("complex", 0.5)

    view = one(controller)

    assert view.threshold == pytest.approx(0.97)
    assert view.yield_threshold == pytest.approx(0.985)


def test_a_level_yields_only_its_own_share():
    controller = controller_of(FRONTIER, COMPLEX)
    controller.set_yield("complex", 0.5)

    view = controller.view("a", {})

    assert view["frontier"].yield_threshold == view["frontier"].threshold
    assert view["complex"].yield_threshold == pytest.approx(1 - 0.025)


def test_a_lane_that_yields_all_takes_nothing_new():
    controller = controller_of(FRONTIER, COMPLEX)
    controller.set_yield("complex", 1.0)

    assert controller.view("a", {})["complex"].yield_threshold == math.inf


def test_yielding_does_not_wind_up_the_threshold():
    controller = controller_of()
    controller.set_yield("complex", 1.0)
    for number in range(5000):
        score = (number * 0.6180339887) % 1
        controller.note(f"t{number % 20}", {}, score, None, sticky=False, now=0.0)

    assert one(controller).threshold == pytest.approx(0.97, abs=0.005)


def test_sticky_load_lowers_the_share_of_new_escalations():
    controller = controller_of()
    for number in range(3000):
        tenant = f"t{number % 20}"
        score = (number * 0.6180339887) % 1
        lane = "complex" if score > 0.97 or number % 50 == 0 else None
        controller.note(tenant, {}, score, lane, sticky=number % 50 == 0, now=0.0)

    assert one(controller).threshold > 0.98


def test_the_share_is_of_the_last_requests_and_calm_at_first():
    controller = controller_of(FRONTIER, COMPLEX)
    controller.note("a", {}, 0.99, "frontier", sticky=False, now=0.0)

    assert controller.share(now=0.0) == {"frontier": 1 / 500, "complex": 0}

    for number in range(4000):
        lane = "complex" if number % 25 == 0 else "elsewhere"
        controller.note("a", {}, 0.5, lane, sticky=False, now=0.0)
    assert controller.share(now=0.0)["complex"] == pytest.approx(0.04, abs=0.001)
    assert controller.share(now=0.0)["frontier"] == 0


def note_share(controller, every, count=2560):
    for number in range(count):
        lane = "complex" if number % every == 0 else None
        controller.note("a", {}, 0.5, lane, sticky=False, now=0.0)


def test_the_alarm_rises_over_one_share_and_clears_under_the_other():
    controller = controller_of()
    seen = []
    for every in (22, 18, 22, 30):  # 4.5 %, 5.6 %, 4.5 %, 3.3 %
        note_share(controller, every)
        seen.append(controller.alarm)

    assert seen == [False, True, True, False]


def test_the_share_is_the_whole_deployments_once_merged():
    here, peer = controller_of(), controller_of()
    note_share(here, 20, 1000)
    note_share(peer, 50, 1000)
    exported = json.loads(json.dumps(peer.export()))

    here.merge("b", exported, now=0.0)
    here.merge("b", exported, now=1.0)

    assert here.share(now=1.0)["complex"] == pytest.approx(0.035)
    assert here.share(now=32.0)["complex"] == pytest.approx(0.05)


def test_a_peers_scores_move_the_threshold():
    here, peer = controller_of(), controller_of()
    for number in range(2048):
        here.note(f"t{number % 50}", {}, 0.2, None, sticky=False, now=0.0)
        peer.note(f"t{number % 50}", {}, 0.2 + number % 10 / 100, None, sticky=False, now=0.0)
    before = one(here).threshold

    here.merge("b", peer.export(), now=0.0)
    for number in range(64):
        here.note(f"t{number % 50}", {}, 0.2, None, sticky=False, now=0.0)

    assert before == 0.2
    assert one(here).threshold > 0.28


def test_replicas_of_one_process_tell_each_other_what_an_export_would():
    """A simulated fleet's: nothing is written down and read again."""
    told, read = controller_of(), controller_of()
    peer = EscalationController([COMPLEX], shipped, replica="b")
    note_share(peer, 50, 1000)

    told.merge_own(peer, now=1.0)
    told.merge_own(told, now=1.0)
    read.merge("b", peer.export(), now=1.0)
    for here in (told, read):
        note_share(here, 20, 1000)

    assert told.share(now=2.0) == read.share(now=2.0) == {"complex": 0.035}
    assert one(told) == one(read)


def test_a_silent_peer_is_forgotten():
    """Neither its scores nor its requests count after `peer_ttl_s`, nor are they kept."""
    here, peer = controller_of(), controller_of()
    for number in range(2048):
        here.note(f"t{number % 50}", {}, 0.2, None, sticky=False, now=0.0)
        peer.note(f"t{number % 50}", {}, 0.9, None, sticky=False, now=0.0)
    here.merge("b", peer.export(), now=0.0)

    seen = []
    for now in (30.0, 30.1):
        for number in range(64):
            here.note(f"t{number % 50}", {}, 0.2, None, sticky=False, now=now)
        seen.append(one(here).threshold)

    assert seen == [0.9, 0.2]
    assert not here._peers


def test_its_own_export_is_not_merged_back():
    controller = EscalationController((COMPLEX,), shipped, replica="a")
    note_share(controller, 20, 1000)
    before = controller.share(now=0.0)

    controller.merge("a", {"scored": 10_000, "lanes": {}}, now=0.0)

    assert controller.share(now=0.0) == before


@pytest.mark.parametrize(
    "exported",
    [
        {},
        {"scored": 1, "lanes": [], "tail": {"weight": 1, "pairs": []}},
        {"scored": None, "lanes": {}, "tail": {"weight": 1, "pairs": []}},
        {"scored": 1, "lanes": {}, "tail": {"weight": 1}},
        {"scored": 1, "lanes": {}, "tail": None},
    ],
)
def test_an_unreadable_export_is_refused_and_changes_nothing(exported):
    controller = controller_of()

    with pytest.raises(ValueError, match="no export of a replica"):
        controller.merge("b", exported, now=0.0)

    assert controller.share(now=0.0) == {"complex": 0}


@pytest.mark.parametrize("budget", [-0.1, 1.1])
def test_a_budget_out_of_range_is_refused(budget):
    with pytest.raises(ValueError, match="budget"):
        one(controller_of(), budgets={"complex": budget})


def test_the_tail_reaches_as_far_as_thresholds_can():
    """A share of 20 % with a gain of 3 needs the upper 60 %."""
    config = EscalationConfig(quantile=QuantileConfig(window=64, refresh_every=64))
    controller = EscalationController((EscalationLevel("complex", 0.2),), shipped, config)
    for number in range(64):
        controller.note("a", {}, number / 64, None, sticky=False, now=0.0)

    assert len(controller.export()["tail"]["pairs"]) == pytest.approx(0.6 * 64, abs=1)
