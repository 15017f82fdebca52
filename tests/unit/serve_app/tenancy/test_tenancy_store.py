"""The tenancy store: keys, revocations, and batches that count once."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from serve_app.tenancy.auth import make_key
from serve_app.tenancy.sqlite_store import SqliteStore
from serve_app.tenancy.store import Batch, Counts, Finished, Open, Position, Slot, StoredKey

NOW = datetime(2026, 3, 4, tzinfo=UTC)
SLOT = Slot("2026-03-04", "acme", "chat")
ONE = Counts(1, 10, 4, 5)


@pytest.fixture
def peer(place, store):
    """Another process's view of the same store."""
    with closing(place.opened()) as made:
        yield made


def batch(number, counts=None, *, position=Position(), held=()):
    return Batch(number, position, counts or {}, held)


def used(store):
    return store.usage("2000-01-01", "2100-01-01")


def test_a_key_is_kept_as_it_was_made(store, peer):
    """Hash, salt, rights and expiry; seen by another process."""
    _, entry = make_key(admin=True, proxy=True, expires=NOW + timedelta(days=1))

    store.add_key(StoredKey("acme", entry, NOW))

    assert peer.keys().keys == {entry.id: StoredKey("acme", entry, NOW)}


def test_the_file_holds_no_secret_and_is_its_owner_s(file_store):
    """A reader of the store cannot make requests."""
    key, entry = make_key()
    secret = key.removeprefix(f"pm-{entry.id}-")

    file_store.add_key(StoredKey("acme", entry, NOW))
    file_store.close()

    held = b"".join(path.read_bytes() for path in file_store.path.parent.glob("tenancy.db*"))
    assert secret.encode() not in held
    assert file_store.path.stat().st_mode & 0o777 == 0o600


def test_every_key_and_revocation_has_a_version_of_its_own(store, peer):
    """That is how another process finds out, without reading the keys."""
    _, entry = make_key()
    versions = [peer.keys_version()]

    store.add_key(StoredKey("acme", entry, NOW))
    versions.append(peer.keys_version())
    store.revoke(entry.id, at=NOW)
    versions.append(peer.keys_version())

    assert len(set(versions)) == 3
    assert peer.keys().revoked == {entry.id}


def test_a_key_of_the_file_can_be_revoked_and_twice(store):
    """An id that the store has no key for."""
    store.revoke("00aa", at=NOW)
    store.revoke("00aa", at=NOW + timedelta(days=1))

    assert store.keys().revoked == {"00aa"}


def test_a_batch_that_is_given_twice_counts_once(store):
    """A commit whose answer was lost is tried again."""
    for _ in range(2):
        store.record("w", batch(1, {SLOT: ONE}))

    assert used(store) == {SLOT: ONE}
    assert store.totals(0, "w").used == {
        ("2026-03-04", "acme"): ONE,
        ("2026-03", "acme"): ONE,
    }


def test_batches_of_several_writers_add_up(store, peer):
    """Numbers are each writer's own."""
    store.record("w", batch(1, {SLOT: ONE}))
    peer.record("v", batch(1, {SLOT: ONE}))
    store.record("w", batch(2, {SLOT: ONE}))

    assert used(store) == {SLOT: Counts(3, 30, 12, 15)}


def test_one_tenant_s_usage_is_no_other_s(store):
    """On the days that were asked for."""
    others = [Slot("2026-03-04", "other", "chat"), Slot("2026-03-05", "acme", "chat")]
    store.record("w", batch(1, dict.fromkeys([SLOT, *others], ONE)))

    assert store.usage_of("acme", ["2026-03-03", "2026-03-04"]) == {SLOT: ONE}
    assert store.usage_of("acme", []) == {}


def test_totals_are_what_changed_since(store):
    """Ten thousand idle tenants are not read again."""
    other = Slot("2026-03-04", "other", "chat")
    store.record("w", batch(1, {SLOT: ONE}))
    first = store.totals(0, "w")

    store.record("w", batch(2, {other: ONE}))
    second = store.totals(first.version, "w")

    assert first.is_whole and not second.is_whole
    assert {tenant for _, tenant in second.used} == {"other"}
    assert store.totals(second.version, "w").used == {}


def test_totals_are_whole_when_another_file_has_taken_the_place(store):
    """Its versions begin anew."""
    store.record("w", batch(1, {SLOT: ONE}))

    assert store.totals(1000, "w").is_whole


def test_reserved_is_what_others_hold(store):
    """A writer knows its own better than the store does."""
    held = (Open(1, SLOT, Counts(1, 10, 0, 2), 50.0), Open(2, SLOT, Counts(1, 0, 0, 0), 25.0))
    store.record("w", batch(1, held=held))

    assert store.totals(0, "v").reserved == {"acme": 75.0}
    assert store.totals(0, "w").reserved == {}
    store.record("w", batch(2))
    assert store.totals(0, "v").reserved == {}


def test_what_a_dead_writer_left_counts_once_however_often_it_is_recovered(store):
    """Lines behind the position, and open requests that the usage log does not have."""
    held = tuple(Open(n, SLOT, Counts(1, 10, 0, n), 50.0) for n in (1, 2))
    store.record("w", batch(1, {SLOT: ONE}, position=Position(2, 70), held=held))
    asked = []

    def replay(since):
        asked.append(since)
        return [Finished(1, SLOT, ONE), Finished(3, SLOT, ONE)]

    for _ in range(2):
        store.recover("w", replay)

    assert asked == [Position(2, 70)]
    # One of the batch, two of the usage log, one cut off at two tokens.
    assert used(store) == {SLOT: Counts(4, 40, 12, 17)}
    assert store.totals(0, "v").reserved == {}


def test_a_writer_that_never_wrote_is_replayed_from_its_beginning(store):
    """It died before its first flush."""
    store.recover("w", lambda since: [Finished(1, SLOT, ONE)] if since == Position() else [])

    assert used(store) == {SLOT: ONE}


def test_a_recovery_that_fails_leaves_everything_as_it_was(store):
    """All or nothing."""
    store.record("w", batch(1, held=(Open(1, SLOT, ONE, 1.0),)))

    def replay(since):
        yield Finished(1, SLOT, ONE)
        raise OSError(5, "cannot read")

    with pytest.raises(OSError, match="cannot read"):
        store.recover("w", replay)

    assert used(store) == {}
    assert store.totals(0, "v").reserved == {"acme": 1.0}


def test_a_sweep_deletes_days_and_whole_months(store):
    """This month's sum outlives its days."""
    days = ["2026-01-31", "2026-02-01", "2026-02-14", "2026-02-15"]
    store.record("w", batch(1, {Slot(day, "acme", "chat"): ONE for day in days}))

    store.sweep("2026-02-15")

    assert [slot.day for slot in used(store)] == ["2026-02-15"]
    assert {period for period, _ in store.totals(0, "w").used} == {"2026-02", "2026-02-15"}


def test_a_file_that_is_replaced_is_noticed(file_store):
    """A restored backup is read, not what was open before (its log has to go, too)."""
    _, entry = make_key()
    assert file_store.keys().keys == {}
    other = SqliteStore(file_store.path.with_name("other.db"))
    other.add_key(StoredKey("acme", entry, NOW))
    other.close()

    for path in file_store.path.parent.glob("tenancy.db-*"):
        path.unlink()
    other.path.rename(file_store.path)

    assert list(file_store.keys().keys) == [entry.id]


def test_a_damaged_file_is_an_error_and_stays(file_store):
    """A new one in its place would bring revoked keys back to life."""
    file_store.path.parent.mkdir()
    file_store.path.write_bytes(b"no database" * 1000)

    with pytest.raises(sqlite3.DatabaseError):
        file_store.keys()

    assert file_store.path.read_bytes() == b"no database" * 1000
