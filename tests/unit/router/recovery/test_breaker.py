"""When a replica is left alone, and when it is tried again."""

import pytest

from router.recovery.breaker import MEMORY_S, BreakerConfig, Breakers
from tests.unit.router.recovery.ejections import is_ejected


def breakers_of(*replicas, **config) -> Breakers:
    made = Breakers(BreakerConfig(**config))
    for replica in replicas:
        made.note_success(replica, now=0.0)
    return made


def test_faults_in_a_row_eject_and_an_answer_between_them_does_not():
    """Three in a row; one success starts the count again."""
    breakers = breakers_of("a", "b")

    outcomes = [breakers.note_fault("a", now=0.0) for _ in range(2)]
    breakers.note_success("a", now=0.0)
    outcomes += [breakers.note_fault("a", now=0.0) for _ in range(3)]

    assert outcomes == [False, False, False, False, True]
    assert breakers.avoided(now=0.1) == {"a"}


def test_a_replica_that_is_gone_is_left_alone_at_once():
    """Nothing answers at its address: more proof is not needed."""
    breakers = breakers_of("a", "b")

    assert breakers.note_fault("a", now=0.0, is_gone=True)
    assert breakers.avoided(now=0.1) == {"a"}


def test_after_its_back_off_one_request_tries_it():
    """Others leave it alone until the trial has ended or taken too long."""
    breakers = breakers_of("a", "b")
    breakers.note_fault("a", now=0.0, is_gone=True)
    before = breakers.avoided(now=1.0)
    breakers.note_chosen("a", now=1.0)

    during = breakers.avoided(now=2.0)

    assert (before, during) == (frozenset(), {"a"})
    assert is_ejected(breakers, "a")
    assert breakers.avoided(now=11.5) == frozenset()


def test_a_good_trial_closes_and_a_bad_one_doubles_the_back_off():
    """From three quarters of the time to all of it."""
    breakers = breakers_of("a", "b", eject_s=4)
    breakers.note_fault("a", now=0.0, is_gone=True)
    breakers.note_chosen("a", now=4.0)
    breakers.note_fault("a", now=4.0)

    assert breakers.avoided(now=4.0 + 5.9) == {"a"}
    assert breakers.avoided(now=4.0 + 8.0) == frozenset()

    breakers.note_chosen("a", now=12.0)
    breakers.note_success("a", now=12.5)
    assert not is_ejected(breakers, "a")


def test_faults_of_requests_that_were_under_way_do_not_lengthen_the_back_off():
    """Thirty-two streams break at once: that is one event."""
    breakers = breakers_of("a", "b")
    for _ in range(32):
        breakers.note_fault("a", now=0.0)

    assert breakers.avoided(now=1.0) == frozenset()


def test_no_more_than_the_share_is_left_alone_the_latest_first():
    """The one that failed longest ago is used again."""
    breakers = breakers_of("a", "b", "c", "d", eject_s=30)
    for at, replica in enumerate("abc"):
        breakers.note_fault(replica, now=float(at), is_gone=True)

    assert breakers.avoided(now=3.0) == {"b", "c"}


def test_the_only_replica_is_never_left_alone():
    """There is nothing better to choose."""
    breakers = breakers_of("a")
    breakers.note_fault("a", now=0.0, is_gone=True)

    assert breakers.avoided(now=0.0) == frozenset()


def test_replicas_that_are_gone_for_good_are_forgotten():
    """Serve gives new ones new names."""
    breakers = breakers_of("a", "b")
    breakers.note_fault("a", now=0.0, is_gone=True)

    breakers.note_success("c", now=1.0 + MEMORY_S)

    assert not is_ejected(breakers, "a")


def test_one_tenant_s_faults_eject_nothing_while_another_is_answered() -> None:
    """Its own answers say nothing of what others get."""
    breakers = breakers_of("a", "b", eject_after=3)
    breakers.note_success("a", "other", now=0.0)
    breakers.note_success("a", "acme", now=1.0)

    alone = [breakers.note_fault("a", "acme", now=2.0) for _ in range(9)]
    joined = breakers.note_fault("a", "other", now=3.0)

    assert not any(alone)
    assert joined


@pytest.mark.parametrize(("witness", "at"), [("acme", 1.0), ("other", 31.0)])
def test_one_tenant_s_faults_eject_where_nobody_speaks_for_the_lane(
    witness: str, at: float
) -> None:
    """There is only one tenant, or the others' answers are long ago."""
    breakers = Breakers(BreakerConfig(eject_after=3))
    breakers.note_success("b", witness, now=0.0)

    assert [breakers.note_fault("a", "acme", now=at) for _ in range(3)] == [False, False, True]


def test_what_another_replica_answered_was_not_the_request_s_fault() -> None:
    """Its faults count, whoever is answered in the meantime; an answer begins anew."""
    breakers = Breakers(BreakerConfig(eject_after=3))
    breakers.note_success("b", "other", now=0.0)
    breakers.note_fault("a", "acme", now=1.0)
    few = breakers.confirm("a", now=1.0)
    breakers.note_success("a", "acme", now=1.0)

    faults = [breakers.note_fault("a", "acme", now=2.0) for _ in range(4)]
    confirmed = [breakers.confirm("a", now=2.0) for _ in range(2)]

    assert (few, faults, confirmed) == (False, [False] * 4, [True, False])
    assert is_ejected(breakers, "a")


def test_a_replica_that_is_gone_is_ejected_whoever_finds_it() -> None:
    """Nothing answers there: no request is the reason."""
    breakers = breakers_of("a", "b", eject_after=3)
    breakers.note_success("a", "other", now=0.0)

    assert breakers.note_fault("a", "acme", now=1.0, is_gone=True)


def test_nobody_is_avoided_where_nothing_failed():
    assert breakers_of("a", "b").avoided(now=0.0) == frozenset()


def test_a_long_time_without_faults_makes_the_back_off_short_again():
    """The next one is the first one's, not twice as long."""
    breakers = breakers_of("a", "b", eject_s=4, eject_max_s=60)
    breakers.note_fault("a", now=0.0, is_gone=True)
    breakers.note_chosen("a", now=4.0)
    breakers.note_success("a", now=4.0)
    breakers.note_success("a", now=70.0)

    breakers.note_fault("a", now=71.0, is_gone=True)

    assert breakers.avoided(now=71.0 + 4.0) == frozenset()


def test_a_request_under_way_does_not_begin_a_trial():
    """It was sent there before the back-off, which is not over."""
    breakers = breakers_of("a", "b", eject_s=4)
    breakers.note_fault("a", now=0.0, is_gone=True)

    breakers.note_chosen("a", now=1.0)

    assert breakers.avoided(now=5.0) == frozenset()
