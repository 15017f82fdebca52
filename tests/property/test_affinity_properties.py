"""What must always hold of the placement of turns."""

import math
from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

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
from router.placement.replica import rank_replicas
from tests.examples import examples

TURNS = [
    TurnFacts(f"tenant-{i % 40}", f"tenant-{i % 40}\0session-{i}", history_tokens=2_000)
    for i in range(400)
]
CONFIG = AffinityConfig()

replica_sets = st.lists(
    st.text("abcdef0123456789", min_size=4, max_size=8), unique=True, min_size=1, max_size=10
)


@st.composite
def situations(draw):
    """Replicas with loads, a turn, its order over them and where it was last."""
    replicas = draw(replica_sets)
    slots = draw(st.integers(1, 40))
    loads = {
        name: ReplicaLoad(draw(st.integers(0, 50)), slots, draw(st.floats(0, 1)))
        for name in replicas
    }
    turn = TurnFacts(
        draw(st.sampled_from(["a", "b"])),
        draw(st.text("xyz", min_size=1, max_size=4)),
        draw(st.integers(0, 20_000)),
        draw(st.integers(0, 5_000)),
    )
    size = draw(st.integers(1, len(replicas)))
    order = session_order(turn, rank_replicas(turn.group, replicas), size)
    at = draw(st.sampled_from([None, "gone", *replicas]))
    return turn, order, size, loads, at


def order_of(turn, replicas, size=2):
    size = min(size, len(replicas))
    return session_order(turn, rank_replicas(turn.group, replicas), size)


def is_free(load):
    return (
        load.open + 1 <= CONFIG.target_utilization * load.slots
        and load.kv_utilization <= CONFIG.kv_bound
    )


@given(situations())
def test_a_placement_names_every_replica_once(situation):
    """No replica is lost or made up, and home is the first of the order."""
    turn, order, size, loads, at = situation

    placed = place(CONFIG, turn, order, size, loads, at)

    assert sorted(placed.order) == sorted(order)
    assert (placed.outcome is Outcome.HOME) <= (placed.replica == order[0])


@given(situations())
def test_the_hard_bound_is_kept_while_any_replica_has_room(situation):
    """A turn with nothing to read again goes to a full replica only if all are full."""
    turn, order, size, loads, at = situation
    turn = TurnFacts(turn.group, turn.session)

    placed = place(CONFIG, turn, order, size, loads, at)

    assert is_free(loads[placed.replica]) or not any(map(is_free, loads.values()))


@given(situations())
def test_a_full_replica_is_chosen_only_where_the_session_is_or_all_are_full(situation):
    """Nobody is sent to the end of a line that is not its own."""
    turn, order, size, loads, at = situation

    placed = place(CONFIG, turn, order, size, loads, at)

    own = at if at in loads else order[0]
    assert placed.replica in (own, order[0]) or is_free(loads[placed.replica])


@given(situations())
def test_a_replica_without_kv_cache_is_left_whatever_the_history(situation):
    """Its sequences would be preempted, which costs more than reading again."""
    turn, order, size, loads, at = situation
    here = at if at in loads else order[0]
    loads = {**loads, here: replace(loads[here], kv_utilization=1.0)}

    placed = place(CONFIG, turn, order, size, loads, at)

    assert is_free(loads[placed.replica]) or not any(map(is_free, loads.values()))


@given(situations())
def test_a_session_with_nothing_to_read_again_keeps_the_soft_bound(situation):
    """What is new goes past a replica over the bound, within its subset, if one has room."""
    turn, order, size, loads, _ = situation
    turn = TurnFacts(turn.group, turn.session)
    bound = math.ceil(CONFIG.load_factor * (sum(x.open for x in loads.values()) + 1) / len(order))
    has_room = [r for r in order if is_free(loads[r]) and loads[r].open + 1 <= bound]
    assume(has_room)

    placed = place(CONFIG, turn, order, size, loads)

    assert placed.replica == has_room[0]


@given(situations())
def test_a_turn_moves_only_when_that_is_cheaper_or_it_must(situation):
    """Off a replica with room, a move pays: fewer tokens to read than the slots it saves."""
    turn, order, size, loads, at = situation
    here = at if at in loads else order[0]

    placed = place(CONFIG, turn, order, size, loads, at)

    if placed.replica != here and is_free(loads[here]):
        saved = (loads[here].open - loads[placed.replica].open) * CONFIG.seat_tokens
        assert saved > turn.history_tokens


@given(situations())
def test_a_spilled_session_stays_while_loads_are_even(situation):
    """Nobody goes home for tidiness."""
    turn, order, size, loads, at = situation
    assume(at in loads and at != order[0])
    even = {name: ReplicaLoad(3, 40) for name in loads}

    placed = place(CONFIG, turn, order, size, even, at)

    assert (placed.replica, placed.outcome) == (at, Outcome.AWAY)


@given(situations())
def test_a_spilled_session_is_placed_there_again(situation):
    """Spilling settles: with the same loads, the next turn stays where this one went."""
    turn, order, size, loads, _ = situation
    first = place(CONFIG, turn, order, size, loads)

    again = place(CONFIG, turn, order, size, loads, first.replica)

    if is_free(loads[first.replica]):
        gain = (loads[first.replica].open - loads[again.replica].open) * CONFIG.seat_tokens
        assert again.replica == first.replica or gain > turn.history_tokens


@given(replicas=replica_sets, group=st.text("ab", min_size=1, max_size=3), data=st.data())
def test_a_larger_subset_contains_the_smaller(replicas, group, data):
    """Growing takes replicas at the end of the order; sessions go to the new one or stay."""
    size = data.draw(st.integers(1, len(replicas)))
    larger = data.draw(st.integers(size, len(replicas)))
    ranked = rank_replicas(group, replicas)

    for number in range(20):
        turn = TurnFacts(group, f"{group}\0{number}")
        before, after = (session_order(turn, ranked, n)[0] for n in (size, larger))
        assert after == before or after in ranked[size:larger]


@given(
    opens=st.lists(st.floats(0, 500), min_size=2, max_size=2),
    slots=st.integers(1, 64),
    replicas=st.integers(1, 16),
)
def test_subsets_grow_with_demand_and_stay_within_the_lane(opens, slots, replicas):
    """More demand never means a smaller subset."""
    little, much = (subset_size(CONFIG, mean, slots, replicas) for mean in sorted(opens))

    assert 1 <= little <= much <= replicas


@given(replicas=replica_sets.filter(lambda x: len(x) > 1), data=st.data())
def test_a_replica_that_leaves_moves_only_sessions_that_lived_there(replicas, data):
    """With subsets of one; in larger ones a subset's replacement takes only a share."""
    gone = data.draw(st.sampled_from(replicas))
    left = [replica for replica in replicas if replica != gone]

    for turn in TURNS[:40]:
        before = order_of(turn, replicas, 1)[0]
        after = order_of(turn, left, 1)[0]
        assert before in (after, gone)


def moved_share(before, after, size):
    homes = [order_of(turn, before, size)[0] for turn in TURNS]
    then = [order_of(turn, after, size)[0] for turn in TURNS]
    return sum(a != b for a, b in zip(homes, then, strict=True)) / len(TURNS)


@examples(25)
@given(count=st.integers(3, 10), seed=st.integers(0, 10_000), size=st.integers(1, 3))
def test_a_new_replica_moves_about_its_share(count, seed, size):
    """Adding one to N moves 1/(N+1) of the sessions; losing it moves them back.

    Forty tenants choose subsets, so the share has the spread of 40 draws, not of 400.
    """
    replicas = [f"{seed}-{i}" for i in range(count)]
    share = 1 / (count + 1)
    margin = 5 * (share * (1 - share) / 40) ** 0.5

    gained = moved_share(replicas, [*replicas, "new"], size)
    lost = moved_share([*replicas, "new"], replicas, size)

    assert gained == lost
    assert abs(gained - share) < margin


@given(
    replicas=replica_sets,
    turns=st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1e6), max_size=6),
    sizes=st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 4)),
)
def test_owners_share_no_replica_and_leave_half_to_the_others(replicas, turns, sizes):
    """Who owns does not take from whom; quiet groups own nothing."""
    owned = owned_replicas(turns, sizes, replicas, 100_000)

    taken = [replica for mine in owned.values() for replica in mine]
    assert len(taken) == len(set(taken)) <= len(replicas) // 2
    assert all(turns[group] >= 100_000 for group in owned)
