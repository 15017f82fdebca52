"""The store on a server: lost connections, other writers, passwords and certificates."""

import threading
from contextlib import closing
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from router.leases.holder import LeaseHolder
from router.leases.messages import LeaseTerms
from serve_app.config.records import PostgresConfig, StoreConfig
from serve_app.leases.ledger import LedgerService
from serve_app.tenancy.auth import make_key
from serve_app.tenancy.keys import KeyBook
from serve_app.tenancy.postgres.store import PostgresStore
from serve_app.tenancy.store import (
    Batch,
    Counts,
    Finished,
    Open,
    Position,
    Slot,
    StoredKey,
    StoreError,
)
from serve_app.tenancy.stores import open_store
from tests.postgres import PASSWORD, until_usable
from tests.unit.serve_app.tenancy.conftest import Place, on_server

NOW = datetime(2026, 3, 4, tzinfo=UTC)
SLOT = Slot("2026-03-04", "acme", "chat")
ONE = Counts(1, 10, 4, 5)
REPORT = LeaseHolder("ingress-1", LeaseTerms()).report({}, now=1000.0).to_wire()


@pytest.fixture
def place(postgres, tmp_path):
    return Place(tmp_path / "tenancy.db", on_server(postgres))


def over_tcp(server, tmp_path, *, password=PASSWORD, **kwargs) -> StoreConfig:
    """As another machine reaches it: TLS, a name, a password from a file."""
    (tmp_path / "password").write_text(password + "\n")
    given = {
        "host": "localhost",
        "port": server.port,
        "tls": True,
        "ca_file": str(server.folder / "server.crt"),
        "password_file": str(tmp_path / "password"),
        **kwargs,
    }
    return on_server(server, **given)


def test_a_server_is_reached_with_a_password_over_tls(postgres, tmp_path):
    """Its certificate and its name are checked."""
    with closing(open_store(over_tcp(postgres, tmp_path), tmp_path / "x.db")) as store:
        store.record("w", Batch(1, Position(), {SLOT: ONE}))

        assert store.usage("2026-03-04", "2026-03-04") == {SLOT: ONE}


def test_a_wrong_password_is_told_without_it(postgres, tmp_path):
    """Neither it nor the right one is in the error."""
    config = over_tcp(postgres, tmp_path, password="no such word")
    store = open_store(config, tmp_path / "x.db")
    with pytest.raises(StoreError, match="password authentication failed") as told:
        store.epoch()

    assert "no such word" not in str(told.value)
    assert f"pointsman@localhost:{postgres.port}" in str(told.value)


def test_a_server_that_does_not_prove_who_it_is_gets_no_password(postgres, tmp_path):
    """A certificate that nobody here trusts."""
    config = over_tcp(postgres, tmp_path, ca_file=None)
    store = open_store(config, tmp_path / "x.db")
    with pytest.raises(StoreError, match="CERTIFICATE_VERIFY_FAILED"):
        store.epoch()


@pytest.mark.parametrize(
    "given",
    [
        {"host": "db.example.com", "tls": False, "password_file": "/p"},
        {"host": "postgres://user:secret@db.example.com/x"},
    ],
)
def test_no_password_goes_over_a_network_in_the_clear(given):
    """Nor does it stand in the tenants file."""
    with pytest.raises(ValidationError):
        PostgresConfig.model_validate(given)


def test_a_connection_that_was_lost_is_opened_again(postgres, place, store):
    """The server was started anew; nothing of a call had been done."""
    store.record("w", Batch(1, Position(), {SLOT: ONE}))

    postgres.run("restart")

    assert until_usable(store) == 0
    store.record("w", Batch(2, Position(), {SLOT: ONE}))
    assert store.usage("2026-03-04", "2026-03-04") == {SLOT: Counts(2, 20, 8, 10)}


def test_keys_stay_known_while_the_server_is_away(postgres, place, store):
    """What was read before goes on, the fault is told, and a revocation is seen afterwards."""
    _, entry = make_key()
    store.add_key(StoredKey("acme", entry, NOW))
    book = KeyBook(store)
    book.load()

    postgres.run("stop")
    try:
        book.refresh()
        assert book.find(entry.id, None) == ("acme", entry)
        assert "postgres://" in book.last_error
    finally:
        postgres.run("start")
    until_usable(store)
    with closing(place.opened()) as other:
        other.revoke(entry.id, at=NOW)
    book.refresh()

    assert book.find(entry.id, None) is None
    assert book.last_error == ""


def test_several_nodes_may_open_an_empty_database_at_once(place):
    """Each makes the tables that are missing."""
    faults = []

    def use():
        try:
            with closing(place.opened()) as store:
                store.epoch()
        except StoreError as error:
            faults.append(error)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert faults == []


def test_whoever_reads_a_version_has_all_that_was_added_before(place, store):
    """Readings while many write add up to everything: none is passed over."""
    writers = 6
    each = 20

    def write(number):
        with closing(place.opened()) as mine:
            for batch in range(1, each + 1):
                mine.record(f"w{number}", Batch(batch, Position(), {SLOT: ONE}))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(writers)]
    for thread in threads:
        thread.start()
    version, seen = 0, Counts()
    while True:
        was_writing = any(thread.is_alive() for thread in threads)
        found = store.totals(version, "reader")
        assert found.version >= version
        version = found.version
        seen = found.used.get(("2026-03", "acme"), seen)
        if not was_writing:
            break
    for thread in threads:
        thread.join()

    assert seen.requests == writers * each


def test_two_nodes_recover_a_dead_writer_once(place, store):
    """The second waits for the first, and finds it done."""
    store.record("w", Batch(1, Position(1, 5), {SLOT: ONE}))
    entered, release = threading.Event(), threading.Event()
    asked = []

    def replay(since):
        asked.append(since)
        entered.set()
        assert release.wait(20)
        return [Finished(7, SLOT, ONE)]

    def recover():
        with closing(place.opened()) as mine:
            mine.recover("w", replay)

    first = threading.Thread(target=recover)
    first.start()
    assert entered.wait(20)
    second = threading.Thread(target=recover)
    second.start()
    release.set()
    first.join()
    second.join()

    assert asked == [Position(1, 5)]
    assert store.usage("2026-03-04", "2026-03-04") == {SLOT: Counts(2, 20, 8, 10)}


def test_a_node_that_is_gone_holds_no_quota_for_good(postgres, tmp_path):
    """Its open requests are counted when it comes back: only what it held is let go."""
    config = on_server(postgres)
    held = (Open(1, SLOT, Counts(1, 10, 0, 2), 50.0),)
    with closing(open_store(config, tmp_path / "a.db")) as gone:
        gone.record("w", Batch(1, Position(), {}, held))
        patient = PostgresStore(config.postgres, tmp_path / "b.db")
        hasty = PostgresStore(config.postgres, tmp_path / "b.db", silent_s=0)
        with closing(patient), closing(hasty):
            assert patient.totals(0, "v").reserved == {"acme": 50.0}
            assert hasty.totals(0, "v").reserved == {}

        gone.recover("w", lambda _: [])
        assert gone.usage("2026-03-04", "2026-03-04") == {SLOT: Counts(1, 10, 0, 2)}


async def test_a_ledger_of_another_node_is_refused_once_it_is_overtaken(place, store):
    """Two services on one database: the later has the last word."""
    with closing(place.opened()) as other:
        first = LedgerService(store, LeaseTerms(), "boot-a", lambda: 1000.0)
        assert await first.exchange(REPORT) is not None
        second = LedgerService(other, LeaseTerms(), "boot-b", lambda: 5.0)
        await second.exchange(REPORT)

        assert (first.ledger.epoch, second.ledger.epoch) == (1, 2)
        assert await first.exchange(REPORT) is None
