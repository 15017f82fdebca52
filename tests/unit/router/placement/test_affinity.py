"""Placement of turns: what the bounds and the cost of a move come to."""

import pytest

from router.placement.affinity import (
    AffinityConfig,
    Outcome,
    ReplicaLoad,
    TurnFacts,
    owned_replicas,
    place,
    session_order,
    subset_size,
)

CONFIG = AffinityConfig(load_factor=1.0, seat_tokens=100)
ORDER = ["home", "next", "far"]


def loads(slots=10, **open_requests):
    return {name: ReplicaLoad(open_requests.get(name, 0), slots) for name in ORDER}


def turn(history=0, system=0):
    return TurnFacts("tenant", "session", history, system)


def test_a_session_is_at_home_while_there_is_room():
    """Load elsewhere is no matter."""
    placed = place(CONFIG, turn(), ORDER, 2, loads(next=3, far=2))

    assert (placed.replica, placed.outcome) == ("home", Outcome.HOME)


def test_a_new_session_goes_past_a_busy_home():
    """It has nothing to read again."""
    placed = place(CONFIG, turn(), ORDER, 2, loads(home=4, next=1, far=1))

    assert (placed.order, placed.outcome) == (["next", "home", "far"], Outcome.SPILLED)


@pytest.mark.parametrize(("history", "replica"), [(250, "next"), (350, "home")])
def test_a_warm_session_moves_when_that_is_cheaper(history, replica):
    """Three open requests more are worth 300 tokens."""
    placed = place(CONFIG, turn(history), ORDER, 2, loads(home=4, next=1, far=1))

    assert placed.replica == replica


def test_outside_the_subset_the_system_prompt_is_read_again_too():
    """Which may cost more than staying."""
    busy = loads(home=4, next=4, far=1)

    near = place(CONFIG, turn(system=1400), ORDER, 3, busy)
    far = place(CONFIG, turn(system=1400), ORDER, 2, busy)

    assert (near.replica, far.replica) == ("far", "home")


@pytest.mark.parametrize(
    ("line", "replica", "outcome"),
    [(0, "home", Outcome.HOME), (2, "home", Outcome.HOME), (4, "next", Outcome.SPILLED)],
)
def test_a_full_replica_is_left_when_its_line_costs_more_than_the_history(line, replica, outcome):
    """Where all are full, each warm session that moves makes all wait longer."""
    given = loads(slots=4, home=4 + line, next=3, far=4 + line)

    placed = place(CONFIG, turn(1_200), ORDER, 2, given)

    assert (placed.replica, placed.outcome) == (replica, outcome)


def test_a_new_session_never_stands_in_line_while_a_slot_is_empty():
    """It has nothing to read again."""
    placed = place(CONFIG, turn(0), ORDER, 2, loads(slots=4, home=4, next=4, far=3))

    assert placed.replica == "far"


def test_a_replica_whose_kv_cache_is_nearly_full_is_left():
    """Its sequences would be preempted."""
    given = loads() | {"home": ReplicaLoad(0, 10, kv_utilization=0.95)}

    assert place(CONFIG, turn(9_000), ORDER, 2, given).replica == "next"


def test_where_everyone_is_full_a_session_stays_where_it_is_warm():
    """It waits either way."""
    placed = place(CONFIG, turn(), ORDER, 2, loads(slots=1, home=2, next=1, far=1), at="far")

    assert (placed.replica, placed.outcome) == ("far", Outcome.AWAY)


def test_a_spilled_session_goes_home_when_that_is_cheaper():
    """And not for less."""
    far = loads(home=1, far=4, next=4)

    back = place(CONFIG, turn(299), ORDER, 2, far, at="far")
    stays = place(CONFIG, turn(300), ORDER, 2, far, at="far")

    assert (back.replica, back.outcome) == ("home", Outcome.RETURNED)
    assert (stays.replica, stays.outcome) == ("far", Outcome.AWAY)


def test_a_spilled_session_s_replica_that_is_gone_is_forgotten():
    """The session is derived again."""
    assert place(CONFIG, turn(), ORDER, 2, loads(), at="gone").replica == "home"


def test_a_subset_follows_demand():
    """A quarter of an engine's slots a replica, at least two replicas, at most all."""
    sizes = [subset_size(AffinityConfig(), mean, 32, 4) for mean in (0, 16, 17, 25, 500)]

    assert sizes == [2, 2, 3, 4, 4]
    assert subset_size(AffinityConfig(), 0, 32, 1) == 1


def test_a_session_s_order_is_its_subset_then_the_group_s():
    """What spills past the subset goes to the group's next replica."""
    order = session_order(turn(), ["a", "b", "c", "d"], 2)

    assert sorted(order[:2]) == ["a", "b"]
    assert order[2:] == ["c", "d"]


def test_a_lane_of_one_has_no_owner():
    """Others need it."""
    assert owned_replicas({"big": 1e6}, {}, ["r1"], 100_000) == {}
    assert list(owned_replicas({"big": 1e6, "small": 10}, {}, ["r1", "r2"], 1e5)) == ["big"]
