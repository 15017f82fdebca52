"""One ingress replica's view: reports, its own open requests, and spilled sessions."""

import itertools

from router.placement.affinity import AffinityConfig, Outcome, TurnFacts
from router.placement.placement import CHOSEN_S, LanePlacement, Report
from router.placement.spilled_sessions import session_hash

SLOTS = 4
IDLE = {f"r{i}": {} for i in range(1, 5)}


def placement(**config):
    return LanePlacement(AffinityConfig(**config), "me", warm_s=60)


def turn(session="s", group="g", history=0):
    return TurnFacts(group, session, history)


def report(**fields):
    return Report(**fields).to_mapping()


def fill(ingress, replica, count=SLOTS):
    for _ in range(count):
        ingress.begin(replica)


def test_groups_orders_are_remembered_within_a_bound_and_until_the_replicas_change(monkeypatch):
    monkeypatch.setattr("router.placement.placement.ORDERS", 2)
    remembers = placement()
    replicas = [IDLE, IDLE, {"r1": {}, "r2": {}}]

    for number, (stats, group) in enumerate(itertools.product(replicas, "abcab")):
        asked = turn(session=str(number), group=group)
        placed = remembers.choose(asked, stats, SLOTS, now=10 * number)

        assert placed.order == placement().choose(asked, stats, SLOTS, now=0).order


def test_an_ingress_adds_its_own_requests_to_what_others_had():
    """Its own as published are left out: it knows better."""
    ingress = placement()
    stats = {"r1": report(open={"me": 7, "other": 2})}

    ingress.choose(turn(), stats, SLOTS, now=0)
    chosen = ingress.loads(now=0)
    ingress.begin("r1")
    opened = ingress.loads(now=10)
    ingress.end("r1")

    assert (chosen, opened, ingress.loads(now=10)) == ({"r1": 3}, {"r1": 3}, {"r1": 2})


def test_a_choice_that_is_never_opened_stops_counting():
    """A client that left between the two leaves no count behind."""
    ingress = placement()
    ingress.choose(turn(), {"r1": {}}, SLOTS, now=0)

    assert ingress.loads(now=CHOSEN_S / 2) == {"r1": 1}
    assert ingress.loads(now=CHOSEN_S) == {"r1": 0}
    ingress.end("r1")
    assert ingress.loads(now=CHOSEN_S) == {"r1": 0}


def test_a_spilled_session_stays_and_everyone_finds_it():
    """Here by the note, elsewhere by what the replica publishes."""
    ingress = placement()
    home = ingress.choose(turn(), IDLE, SLOTS, now=0).order[0]
    fill(ingress, home)

    spilled = ingress.choose(turn(), IDLE, SLOTS, now=1)
    for _ in range(SLOTS):
        ingress.end(home)
    there = spilled.order[0]
    again = ingress.choose(turn(history=2_000), IDLE, SLOTS, now=2)
    told = IDLE | {there: report(spilled=dict([spilled.spilled]))}
    elsewhere = placement().choose(turn(history=2_000), told, SLOTS, now=2)

    assert spilled.outcome is Outcome.SPILLED
    assert spilled.spilled == (session_hash("s"), 1)
    assert (again.order[0], again.outcome, again.spilled) == (
        there,
        Outcome.AWAY,
        (session_hash("s"), 1),
    )
    assert elsewhere.order[0] == there


def test_the_latest_move_wins():
    """Home claims a session that came back with a higher number."""
    ingress = placement()
    home = ingress.choose(turn(), IDLE, SLOTS, now=0).order[0]
    other = next(name for name in IDLE if name != home)
    key = session_hash("s")
    claims = IDLE | {other: report(spilled={key: 1}), home: report(spilled={key: 2})}

    assert ingress.choose(turn(history=2_000), claims, SLOTS, now=1).order[0] == home


def test_a_cold_spilled_session_is_forgotten():
    """After `warm_s` its blocks are no better there than at home."""
    ingress = placement()
    home = ingress.choose(turn(), IDLE, SLOTS, now=0).order[0]
    fill(ingress, home)
    ingress.choose(turn(), IDLE, SLOTS, now=0)
    for _ in range(SLOTS):
        ingress.end(home)

    assert ingress.choose(turn(history=2_000), IDLE, SLOTS, now=100).order[0] == home


def test_a_session_stays_where_it_is_warm_when_its_home_changes():
    """Only sessions of the lost replica move; of one that stayed away from home all are told."""
    ingress, other = (LanePlacement(AffinityConfig(), me, warm_s=1e6) for me in ("me", "you"))
    turns = [turn(f"s{n}", history=5_000) for n in range(200)]
    # One after the other: nothing is open when the next one comes.
    clock = itertools.count(step=2 * CHOSEN_S)
    before = {v.session: ingress.choose(v, IDLE, SLOTS, now=next(clock)).order[0] for v in turns}
    lost = max(set(before.values()), key=list(before.values()).count)
    left = {name: {} for name in IDLE if name != lost}

    chosen = {v.session: ingress.choose(v, left, SLOTS, now=next(clock)) for v in turns}

    stayed = [v for v in turns if before[v.session] != lost]
    assert stayed and all(chosen[v.session].order[0] == before[v.session] for v in stayed)
    away = [v for v in stayed if chosen[v.session].spilled is not None]
    assert away and all(chosen[v.session].spilled[1] == 1 for v in away)
    for v in away:
        here = chosen[v.session].order[0]
        told = left | {here: report(spilled={session_hash(v.session): 1})}
        assert other.choose(v, told, SLOTS, now=next(clock)).order[0] == here


def test_last_places_are_bounded():
    """The least recently used goes first."""
    ingress = LanePlacement(AffinityConfig(), "me", tracked=3)
    fill(ingress, "r1", 99)
    fill(ingress, "r2", 99)
    for number in range(50):
        ingress.choose(turn(f"s{number}"), IDLE, SLOTS, now=number)

    assert len(ingress.last_places) <= 3


def test_a_failed_replica_comes_last_or_not_at_all():
    """The next one of the session's order takes over; all avoided, it is tried again."""
    ingress = placement()
    order = ingress.choose(turn(), IDLE, SLOTS, now=0).order

    second = ingress.choose(turn(), IDLE, SLOTS, frozenset({order[0]}), now=1)
    none_left = ingress.choose(turn(), IDLE, SLOTS, frozenset(IDLE), now=2)

    assert second.order[0] == order[1]
    assert sorted(second.order) == sorted(none_left.order) == sorted(IDLE)


def test_an_owner_keeps_others_off_its_replicas():
    """They spill to it no more than they live there; it may spill to theirs."""
    busy = report(groups={"big": [20.0, 150_000.0]})
    stats = IDLE | {"r1": busy}
    ingress = placement(dedicated_replicas=True)

    homes = {
        group: {
            ingress.choose(turn(f"{group}{i}", group), stats, 1000, now=i * 10).order[0]
            for i in range(60)
        }
        for group in ("big", "small", "other")
    }

    assert not homes["big"] & (homes["small"] | homes["other"])


def test_an_owner_whose_replicas_failed_uses_the_others():
    """And so does a group whose shared replicas failed."""
    stats = {"r1": report(groups={"big": [1.0, 150_000.0]}), "r2": {}}
    ingress = placement(dedicated_replicas=True)
    own = ingress.choose(turn(group="big"), stats, SLOTS, now=0).order[0]
    shared = ingress.choose(turn(group="small"), stats, SLOTS, now=0).order[0]

    big = ingress.choose(turn(group="big"), stats, SLOTS, frozenset({own}), now=5)
    small = ingress.choose(turn(group="small"), stats, SLOTS, frozenset({shared}), now=5)

    assert own != shared
    assert (big.order[0], small.order[0]) == (shared, own)


def test_a_replica_that_leaves_is_no_candidate():
    """Nor is anything kept of it."""
    ingress = placement()
    ingress.choose(turn(), IDLE, SLOTS, now=0)

    chosen = ingress.choose(turn(), {"r9": {}}, SLOTS, now=1)

    assert chosen.order == ["r9"]
    assert set(ingress.loads(now=1)) == {"r9"}


def test_a_draining_replica_gets_no_turn_and_its_sessions_move_and_stay():
    """By what it reports; afterwards nobody moves back for tidiness."""
    ingress = placement()
    home = ingress.choose(turn(), IDLE, SLOTS, now=0).order[0]
    draining = IDLE | {home: report(draining=True)}

    moved = ingress.choose(turn(history=2_000), draining, SLOTS, now=2)
    others = [turn(f"s{n}", f"g{n}") for n in range(50)]
    chosen = {ingress.choose(v, draining, SLOTS, now=9 + n).order[0] for n, v in enumerate(others)}
    back = ingress.choose(turn(history=2_000), IDLE, SLOTS, now=59)

    assert moved.order[0] != home and moved.order[-1] == home
    assert home not in chosen and len(chosen) == len(IDLE) - 1
    assert back.order[0] == moved.order[0]


def test_an_ingress_that_was_told_withdraws_it_before_it_reports():
    """And goes by the report again once it is restored."""
    ingress = placement()
    home = ingress.choose(turn(), IDLE, SLOTS, now=0).order[0]

    ingress.withdraw(home)
    moved = ingress.choose(turn("new", "g"), IDLE, SLOTS, now=2)
    first = {ingress.choose(turn(f"s{n}"), IDLE, SLOTS, now=3 + 2 * n).order[0] for n in range(50)}
    ingress.restore(home)
    again = {ingress.choose(turn(f"s{n}"), IDLE, SLOTS, now=999 + n).order[0] for n in range(200)}

    assert moved.order[0] != home
    assert home not in first
    assert home in again


def test_where_all_of_them_drain_one_is_better_than_none():
    ingress = placement()
    stats = {"r1": report(draining=True), "r2": report(draining=True)}

    assert ingress.choose(turn(), stats, SLOTS, now=0).order[0] in stats


def test_a_draining_replica_is_the_last_resort_of_a_request_that_failed_elsewhere():
    """Before it those that live and take turns, after it those that have failed it already."""
    ingress = placement()
    stats = {"r1": {}, "r2": {}, "r3": report(draining=True)}

    second = ingress.choose(turn(), stats, SLOTS, frozenset({"r1"}), now=0)
    third = ingress.choose(turn(), stats, SLOTS, frozenset({"r1", "r2"}), now=1)

    assert (second.order[0], third.order[0]) == ("r2", "r3")
