"""Slots, the need of protected work, and the pace at which a queue drains."""

import pytest

from router.admission.slots import DrainRate, Need, ReplicaSlots, Slots, share_of


@pytest.mark.parametrize(
    ("slots", "replicas", "ingresses", "share"), [(16, 2, 1, 32), (16, 1, 3, 5), (2, 1, 5, 1)]
)
def test_an_ingress_replica_owns_its_part_of_all_slots_and_one_at_least(
    slots, replicas, ingresses, share
):
    """Rounded down, so that parts do not add up to more; but no replica is shut out."""
    assert share_of(slots, replicas, ingresses) == share


def test_a_request_for_more_than_there_is_takes_everything():
    """It starts when nothing else runs, and nothing starts beside it."""
    slots = Slots(4)
    slots.take(slots.cost(9))

    assert slots.used == 4
    assert not slots.fits(1)


def test_when_slots_are_withdrawn_a_request_still_starts_alone():
    """It was reckoned when there were more."""
    slots = Slots(4)
    slots.capacity = 2

    assert slots.fits(4)
    slots.take(1)
    assert not slots.fits(4)


def test_without_a_known_limit_everything_fits():
    """An engine that takes all there is."""
    slots = Slots(None)
    slots.take(slots.cost(5))

    assert slots.fits(1_000_000)


def test_a_need_counts_at_once_and_fades():
    """A need of the whole lane is forgotten in its time; what runs is never forgotten."""
    need = Need(Slots(8), forget_s=10)
    need.add(8, now=0)
    need.add(-6, now=0)

    assert [need.kept(now=t) for t in (0, 2.5, 5, 7.5, 100)] == [8, 6, 4, 2, 2]


def test_a_wait_is_reckoned_from_the_starts_while_someone_waited():
    """Two a second; an hour without a queue does not change that."""
    drain = DrainRate(memory_s=1e9)
    drain.note_waiting(is_waiting=True, now=0)
    for number in range(1, 9):
        drain.note_start(now=number / 2)
    drain.note_waiting(is_waiting=False, now=4)
    drain.note_waiting(is_waiting=True, now=3604)

    assert drain.wait_s(6, now=3604) == pytest.approx(3.0)


def test_few_starts_tell_nothing():
    """Nobody is refused for a guess."""
    drain = DrainRate()
    drain.note_waiting(is_waiting=True, now=0)
    for now in (1, 2, 3):
        drain.note_start(now=now)

    assert drain.wait_s(1, now=3) is None


def test_when_starts_stop_waits_grow():
    """A queue that stands still is not said to move."""
    drain = DrainRate(memory_s=30)
    drain.note_waiting(is_waiting=True, now=0)
    for number in range(1, 31):
        drain.note_start(now=number)

    before = drain.wait_s(1, now=30)
    assert before == pytest.approx(1.0, rel=0.05)
    assert drain.wait_s(1, now=60) > 2 * before


def test_a_replica_is_full_at_its_part_and_no_more_below_it():
    """Full replicas are passed by; what runs nothing is forgotten."""
    replicas = ReplicaSlots(2)

    replicas.note("a", 1)
    replicas.note("a", 1)
    assert replicas.full == {"a"}
    replicas.note("a", -1)
    assert (replicas.full, replicas.used) == (frozenset(), {"a": 1})
    replicas.note("a", -1)

    assert replicas.used == {}


def test_without_slots_or_a_replica_nothing_is_counted():
    counted, uncounted = ReplicaSlots(1), ReplicaSlots(None)

    counted.note(None, 1)
    uncounted.note("a", 1)

    assert not counted.full | uncounted.full
