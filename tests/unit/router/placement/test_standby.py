"""The warm pool of a lane: loaded, and out of the way until it is needed."""

from router.placement.affinity import AffinityConfig, TurnFacts
from router.placement.placement import LanePlacement
from router.placement.standby import standing_by


def test_the_last_stand_by_until_the_others_are_full():
    assert standing_by({"a": 0.5, "b": 0.0}, 1) == {"b"}
    assert standing_by({"a": 0.9, "b": 0.0}, 1) == frozenset()
    assert standing_by({"a": 0.7, "b": 0.7, "c": 0.0, "d": 0.0}, 2) == {"c", "d"}
    assert standing_by({"a": 0.9, "b": 0.9, "c": 0.0, "d": 0.0}, 2) == {"d"}
    assert standing_by({"a": 0.0}, 3) == frozenset()


def test_turns_go_to_the_pool_once_the_others_are_used():
    lane = LanePlacement(AffinityConfig(), "me", standby=1)
    turns = [TurnFacts(f"t{x}", f"s{x}") for x in range(20)]

    def placed(busy):
        stats = {"a": {"open": {"other": busy}}, "b": {"open": {}}}
        return {lane.choose(turn, stats, 10, now=0.0).replica for turn in turns}

    assert placed(0) == {"a"}
    assert placed(9) == {"a", "b"}


def test_the_pool_is_needed_where_the_others_are_full_for_the_scaling():
    """Four of ten slots are a full replica, where objectives are met with no more."""
    lane = LanePlacement(AffinityConfig(), "me", standby=1, full_at=4)
    stats = {"a": {"open": {"other": 4}}, "b": {"open": {}}}
    turns = [TurnFacts(f"t{x}", f"s{x}") for x in range(20)]
    assert {lane.choose(turn, stats, 10, now=0.0).replica for turn in turns} == {"a", "b"}


def test_the_pool_is_better_than_nothing():
    """A request that has failed on the others is placed on what stands by."""
    lane = LanePlacement(AffinityConfig(), "me", standby=1)
    turn, stats = TurnFacts("t", "s"), {"a": {}, "b": {}}
    assert lane.choose(turn, stats, 10, frozenset("a"), now=0.0).replica == "b"
