"""The ledger's epoch in the store: who may answer, and what a new one waits for."""

import sqlite3
from contextlib import closing

import pytest

from router.leases.holder import LeaseHolder
from router.leases.messages import Answer, LeaseTerms
from router.limits.ceiling import CeilingConfig
from serve_app.config.settings import load_tenants, tenancy_path
from serve_app.leases.ledger import AHEAD_S, TAKEOVER_S, LedgerServer, LedgerService, boot_id
from serve_app.tenancy.sqlite_store import SqliteStore
from serve_app.tenancy.store import Epoch

TERMS = LeaseTerms()
CONFIG = CeilingConfig(tokens_per_second=80)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path):
    made = SqliteStore(tmp_path / "tenancy.db")
    yield made
    made.close()


async def beat(service, holder, now) -> bool:
    wire = await service.exchange(holder.report({}, now=now).to_wire())
    return wire is not None and holder.apply(Answer.from_wire(wire), now=now)


async def test_the_first_ledger_waits_for_nobody(store, clock):
    """Nothing was granted before it."""
    service = LedgerService(store, TERMS, "boot", clock)
    holder = LeaseHolder("i1", TERMS)
    ceiling = holder.ceiling("acme", CONFIG, now=clock.now)
    ceiling.pacer.book(100, now=clock.now)

    assert await beat(service, holder, clock.now)

    assert holder.epoch == service.ledger.epoch == store.epoch() == 1
    assert ceiling.pacer.rate(now=clock.now) == pytest.approx(
        80 * (TERMS.leased + TERMS.safe_share)
    )


async def test_a_new_ledger_goes_on_with_what_is_held_and_grants_no_more(store, clock):
    """Until all that the old one granted has run out; the old one answers nobody."""
    old = LedgerService(store, TERMS, "boot", clock)
    holder, late = LeaseHolder("i1", TERMS), LeaseHolder("i2", TERMS)
    ceiling = holder.ceiling("acme", CONFIG, now=clock.now)
    ceiling.pacer.book(10_000, now=clock.now)
    assert await beat(old, holder, clock.now)
    clock.now += 1.0

    new = LedgerService(store, TERMS, "boot", clock)

    assert not await beat(old, holder, clock.now)
    assert await beat(new, holder, clock.now)
    assert (holder.epoch, ceiling.share) == (2, 1.0)
    assert new.ledger.is_learning(clock.now)
    # Everybody whom the old one had answered has, with an answer of the new one, said what
    # it holds: learning mode is over.
    assert await beat(new, holder, clock.now)
    assert not new.ledger.is_learning(clock.now)
    other = late.ceiling("acme", CONFIG, now=clock.now)
    other.pacer.book(10_000, now=clock.now)
    assert await beat(new, late, clock.now)
    assert other.share == 0.0
    assert late.expiry.has_seat(clock.now)


async def test_a_new_ledger_is_quiet_while_one_is_missing(store, clock):
    """It may hold what the old one gave it, and free work; until its lease has run out."""
    old = LedgerService(store, TERMS, "boot", clock)
    silent, late = LeaseHolder("i1", TERMS), LeaseHolder("i2", TERMS)
    silent.ceiling("acme", CONFIG, now=clock.now).pacer.book(10_000, now=clock.now)
    assert await beat(old, silent, clock.now)
    granted_at = clock.now
    clock.now += 1.0
    new = LedgerService(store, TERMS, "boot", clock)
    other = late.ceiling("acme", CONFIG, now=clock.now)
    other.pacer.book(10_000, now=clock.now)

    assert await beat(new, late, clock.now)

    assert other.share == 0.0
    assert not late.expiry.has_seat(clock.now)
    # A third one knows of both.
    third = LedgerService(store, TERMS, "boot", clock)
    assert third.ledger.known(now=clock.now) == {"i1", "i2"}
    clock.now = granted_at + TERMS.lease_s + AHEAD_S + 1.1
    assert await beat(third, late, clock.now)
    assert other.share == 1.0


async def test_a_ledger_after_a_reboot_waits_for_a_whole_lease(store, clock):
    """The clock that the old one's note was on is gone."""
    LedgerService(store, TERMS, "first boot", clock)
    await beat(
        LedgerService(store, TERMS, "first boot", clock), LeaseHolder("i1", TERMS), clock.now
    )
    clock.now = 5.0

    service = LedgerService(store, TERMS, "second boot", clock)

    assert service.ledger.learning_until == 5.0 + TERMS.lease_s


async def test_a_long_stop_leaves_nothing_to_wait_for(store, clock):
    """On the same boot, what was granted is known to have run out."""
    await beat(LedgerService(store, TERMS, "boot", clock), LeaseHolder("i1", TERMS), clock.now)
    clock.now += 600

    service = LedgerService(store, TERMS, "boot", clock)

    assert service.ledger.learning_until < clock.now
    holder = LeaseHolder("i2", TERMS)
    assert await beat(service, holder, clock.now)
    assert holder.expiry.has_seat(clock.now)


async def test_a_ledger_that_is_asked_long_after_it_was_replaced_takes_over_again(store, clock):
    """A rollout that was rolled back leaves only the old one."""
    old, holder = LedgerService(store, TERMS, "boot", clock), LeaseHolder("i1", TERMS)
    LedgerService(store, TERMS, "boot", clock)
    assert not await beat(old, holder, clock.now)
    clock.now += TAKEOVER_S - 0.1
    assert not await beat(old, holder, clock.now)
    clock.now += 0.2

    assert await beat(old, holder, clock.now)

    assert holder.epoch == store.epoch() == 3


async def test_a_store_that_was_replaced_does_not_lock_everyone_out(store, clock, tmp_path):
    """An empty store begins at 1; holders know of a higher epoch, and it goes over that."""
    holder = LeaseHolder("i1", TERMS)
    holder.epoch = 7
    service = LedgerService(store, TERMS, "boot", clock)

    assert await beat(service, holder, clock.now)

    assert holder.epoch == store.epoch() == 8
    assert service.ledger.learning_until >= clock.now + TERMS.lease_s


async def test_grants_are_noted_before_they_are_made(store, clock):
    """And the note is renewed only when it does not reach far enough."""
    service, holder = LedgerService(store, TERMS, "boot", clock), LeaseHolder("i1", TERMS)
    assert await beat(service, holder, clock.now)
    noted = service.noted_until
    assert noted == clock.now + TERMS.lease_s + AHEAD_S
    clock.now += 1.0
    assert await beat(service, holder, clock.now)
    assert service.noted_until == noted
    clock.now += 1.5
    assert await beat(service, holder, clock.now)

    _, before = store.next_epoch()

    until = clock.now + TERMS.lease_s + AHEAD_S
    assert before == Epoch(1, "boot", until, frozenset({"i1"}))


def test_the_store_refuses_the_note_of_an_older_epoch(store):
    """What a newer one noted stays."""
    first, _ = store.next_epoch()
    second, _ = store.next_epoch()
    assert store.extend_epoch(Epoch(second, "b", 20.0))

    assert not store.extend_epoch(Epoch(first, "b", 10.0))

    assert store.next_epoch() == (3, Epoch(2, "b", 20.0))


def test_a_store_of_the_last_version_gets_the_new_table(tmp_path, store):
    """Keys and usage stay as they are."""
    store.epoch()
    store.close()
    with sqlite3.connect(store.path) as db:
        db.executescript("DROP TABLE ledger; PRAGMA user_version = 1")
    db.close()

    assert store.epoch() == 0
    assert store.next_epoch()[0] == 1


async def test_without_its_store_a_ledger_answers_nobody(tmp_path, monkeypatch):
    """Leases run down; it goes on when the store is back."""
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path))
    tenants = tmp_path / "tenants.yaml"
    tenants.write_text("tiers: {paid: {}}\n")
    server = LedgerServer(
        {"lease_s": 10, "seat_s": 60, "seats": 4, "safe_share": 0.01, "stale_s": 0.5},
        tenants_file=str(tenants),
    )
    holder = LeaseHolder("i1", TERMS)

    def broken():
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "epoch", lambda _: broken())
        patch.setattr(SqliteStore, "extend_epoch", lambda *_: broken())
        assert await server.exchange(holder.report({}, now=0.0).to_wire()) is None
    answer = await server.exchange(holder.report({}, now=0.0).to_wire())
    assert holder.apply(Answer.from_wire(answer), now=0.0)
    with closing(SqliteStore(tenancy_path(load_tenants(tenants)))) as store:
        _, before = store.next_epoch()
    assert (before.number, before.holders) == (1, {"i1"})
    assert before.boot == boot_id()
    server._store.close()
