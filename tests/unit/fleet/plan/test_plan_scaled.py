"""Which lanes of a written plan follow the day, and that the scaler then keeps the plan."""

from dataclasses import replace

import pytest

from fleet.cards.table import cards
from fleet.plan.plan import Wish, plan
from fleet.plan.reckoning.money import Tariff
from fleet.plan.scaled import replicas_by_lane
from fleet.plan.written import fleet_data, remarks
from router.scaling.lane_load import LaneLoad
from router.scaling.policy import LaneScaler
from serve_app.config.fleet import FleetConfig
from simulator.virtual_time.users import Users
from simulator.virtual_time.workload import load_workload

SAAS = load_workload("saas")


def planned(active, stock=99, swing=10.0, **more):
    users = Users(active=active, swing=swing)
    wish = Wish(SAAS, users, cards(), {"rtx4090": stock}, SAAS.promise, **more)
    return plan(wish)


def test_a_lane_of_several_replicas_follows_the_day():
    """600 sessions at once, 60 in the quietest hour, 900 in a burst."""
    found = planned(600)
    chat = found.lanes[0]
    written = replicas_by_lane(found)["chat"]
    held = chat.capacity.sessions
    assert (written["min"] - 1) * held < chat.demand.planned / 10 <= written["min"] * held
    assert written["max"] > chat.replicas
    assert (written["max"] - 1) * held < chat.demand.burst <= written["max"] * held


def test_a_burst_gets_only_the_cards_that_are_there():
    found = planned(600)
    enough, chat = found.cards, found.lanes[0].replicas
    assert replicas_by_lane(planned(600, enough))["chat"]["max"] == chat
    assert replicas_by_lane(planned(600, enough + 1))["chat"]["max"] == chat + 1
    assert sum(found.spare.values()) > 1


def test_lanes_do_not_get_the_same_spare_card_twice():
    found = replace(planned(600), spare={"rtx4090": 1})
    more = [
        written["max"] - lane.replicas
        for lane, written in zip(found.lanes, replicas_by_lane(found).values(), strict=True)
        if isinstance(written, dict)
    ]
    assert sum(more) == 1


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (planned(3, stock=2), "one replica each, and no card beyond"),
        (planned(600, swing=1.0, stock=1), "no swing, and no card for a burst"),
        (planned(600, tariff=Tariff(months=36)), "bought cards cost the same at rest"),
    ],
)
def test_a_lane_is_fixed_where_nothing_is_to_be_had(found, why):
    written = replicas_by_lane(found)
    assert written == {lane.name: lane.replicas for lane in found.lanes}, why
    assert not any("full_at" in x for x in remarks(found))


def test_the_scaler_keeps_what_was_planned_at_every_hour():
    """By the slots alone it would take eight busy sequences of 57 for idleness."""
    found = planned(600)
    chat = found.lanes[0]
    lane = FleetConfig.model_validate(fleet_data(found, "mine")).lanes["chat"]
    assert any("full_at" in x for x in remarks(found))

    def target(ratio, terms):
        """After a calm of 600 s with this share of the busiest hour's load."""
        scaler, ready = LaneScaler(terms), terms.max_replicas
        running = ratio * chat.now.in_flight * chat.replicas
        for second in range(1300):
            load = LaneLoad(ready, reporting=ready, age_s=0.0, running=running)
            ready = scaler.decide(load, float(second)).target
        return ready

    own = lane.replicas.terms(lane.slots, 0.8)
    assert chat.demand.peak <= target(1.0, own) * chat.capacity.sessions
    assert target(1.0, own) <= chat.replicas + 2
    assert target(0.1, own) == lane.replicas.min
    by_slots = replace(own, slots=lane.slots)
    assert chat.demand.peak > target(1.0, by_slots) * chat.capacity.sessions
