"""Keys of the store at the gateway: made, revoked, expired and proxied while it runs."""

import asyncio
import contextlib
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from serve_app.config.errors import ConfigError
from serve_app.tenancy.auth import make_key
from serve_app.tenancy.keys import WATCH_PERIOD_S, KeyBook
from serve_app.tenancy.sqlite_store import SqliteStore
from serve_app.tenancy.store import StoredKey

pytestmark = pytest.mark.security

NOW = datetime(2026, 3, 4, tzinfo=UTC)
CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20}


@pytest.fixture
def other(world):
    """The command line: another connection to the same file."""
    made = SqliteStore(world.tenancy_path)
    yield made
    made.close()


def add(store, tenant="acme", **rights):
    key, entry = make_key(**rights)
    store.add_key(StoredKey(tenant, entry, NOW))
    return key, entry.id


async def until(is_true):
    while not is_true():  # noqa: ASYNC110 - the watch is what is tested
        await asyncio.sleep(0.001)


async def status_of(world, key, **headers) -> int:
    async with world.client("10.0.0.1", key) as client:
        return (await client.get("/v1/models", headers=headers)).status_code


async def test_a_key_works_from_the_next_look_at_the_store(world, other):
    """And no longer after its revocation; the policies are not built again."""
    policies = world.state.policies
    key, key_id = add(other)
    assert await status_of(world, key) == 401

    world.book.refresh()
    assert await status_of(world, key) == 200

    other.revoke(key_id, at=NOW)
    world.book.refresh()
    assert await status_of(world, key) == 401
    assert world.state.policies is policies


async def test_every_replica_sees_a_revocation_by_itself(world, other):
    """Within its watch's period and one reading; nothing is called, nothing restarts."""
    _, key_id = add(other)
    store = SqliteStore(world.tenancy_path)
    books = [KeyBook(other), KeyBook(store)]
    tasks = [asyncio.create_task(book.watch(0.001)) for book in books]
    async with asyncio.timeout(10):
        await until(lambda: all(book.find(key_id, None) for book in books))

        other.revoke(key_id, at=NOW)

        await until(lambda: not any(book.find(key_id, None) for book in books))
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    store.close()
    assert WATCH_PERIOD_S <= 1, "two seconds less a reading that waits behind a writer"


async def test_a_reading_does_not_wait_for_a_writer(world, other):
    """A long batch of usage must not hold up a revocation."""
    _, key_id = add(other)
    other.revoke(key_id, at=NOW)
    with contextlib.closing(sqlite3.connect(world.tenancy_path)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM usage")

        world.book.refresh()

    assert world.book.last_error == ""
    # A revocation alone is stronger than the file.
    in_file = "acme", world.tenants.tenants["acme"].keys[0]
    assert world.book.find(key_id, in_file) is None


async def test_a_revocation_wins_over_the_file(world, other):
    """A key of the tenants file is refused, too."""
    entry = world.tenants.tenants["acme"].keys[0]
    assert await status_of(world, "acme") == 200

    other.revoke(entry.id, at=NOW)
    world.book.refresh()

    assert await status_of(world, "acme") == 401


async def test_a_store_that_is_lost_brings_no_revoked_key_back(world, other):
    """As long as the process lives."""
    entry = world.tenants.tenants["acme"].keys[0]
    other.revoke(entry.id, at=NOW)
    world.book.refresh()
    for path in world.tenancy_path.parent.glob("tenancy.db*"):
        if path.is_file():
            path.unlink()
    other.close()

    add(other)
    world.book.refresh()

    assert await status_of(world, "acme") == 401


async def test_a_store_that_cannot_be_read_leaves_the_keys_as_they_were(world, other, monkeypatch):
    """Known keys go on working; /status says so; it ends by itself."""
    key, _ = add(other)
    world.book.refresh()
    error = sqlite3.OperationalError("disk I/O error")
    monkeypatch.setattr(SqliteStore, "keys_version", lambda _: (_ for _ in ()).throw(error))

    world.book.refresh()

    assert await status_of(world, key) == 200
    assert "disk I/O error" in world.book.last_error
    monkeypatch.undo()
    world.book.refresh()
    assert world.book.last_error == ""


def test_nothing_starts_with_a_store_that_cannot_be_read(tmp_path):
    """Revoked keys would open doors."""
    path = tmp_path / "tenancy.db"
    path.write_bytes(b"no database" * 1000)

    with pytest.raises(ConfigError, match="tenancy store"):
        KeyBook(SqliteStore(path)).load()


async def test_a_key_of_a_tenant_that_the_file_does_not_have_opens_nothing(world, other):
    """The file says which tenants there are."""
    key, _ = add(other, "nobody")
    world.book.refresh()

    assert await status_of(world, key) == 401


async def test_a_key_of_the_store_expires(world, other):
    """As one of the file does."""
    past, _ = add(other, expires=datetime.now(UTC) - timedelta(seconds=1))
    future, _ = add(other, expires=datetime.now(UTC) + timedelta(days=1))
    world.book.refresh()

    assert [await status_of(world, key) for key in (past, future)] == [401, 200]


async def test_admin_is_a_right_of_the_key(world, other):
    """`/metrics` and reloads."""
    plain, _ = add(other)
    admin, _ = add(other, admin=True)
    world.book.refresh()

    for key, status in ((plain, 403), (admin, 200)):
        async with world.client("10.0.0.1", key) as client:
            assert (await client.get("/metrics")).status_code == status


async def owner_of(world, key, tenant_id):
    headers = {"x-tenant-id": tenant_id}
    async with world.client("10.0.0.1", key) as client:
        return (await client.get("/status", headers=headers)).json()


async def test_a_proxy_s_key_acts_for_the_tenant_it_names(world, other):
    """With that tenant's tier, and for its own tenant when it names none."""
    proxy, _ = add(other, "ops", proxy=True)
    world.book.refresh()

    assert await owner_of(world, proxy, "guest") == {
        "tenant": "guest",
        "tier": "free",
        "near_limit": [],
    }
    assert (await owner_of(world, proxy, ""))["tenant"] == "ops"


async def test_without_the_right_the_header_is_ignored(world, other):
    """Whoever could name a tenant would be that tenant. Not even an admin may."""
    plain, _ = add(other, "acme")
    world.book.refresh()

    assert (await owner_of(world, plain, "guest"))["tenant"] == "acme"
    assert (await owner_of(world, plain, "nobody"))["tenant"] == "acme"
    assert "tenant" not in await owner_of(world, "root", "guest")


async def test_without_a_key_the_header_is_ignored(world):
    """The local tenant has no key, so no right."""
    async with world.client() as client:
        status = (await client.get("/status", headers={"x-tenant-id": "guest"})).json()

    assert status["tenant"] == "local"


async def test_a_proxy_is_no_admin_on_behalf_of_a_tenant(world, other):
    """What it may do for itself it may not do in a tenant's name."""
    both, _ = add(other, "ops", proxy=True, admin=True)
    world.book.refresh()

    assert (await owner_of(world, both, "guest"))["tenant"] == "guest"
    assert "lanes" in await owner_of(world, both, "")


async def test_an_unknown_tenant_is_forbidden_to_a_proxy(world, other):
    """Not 401: the key is good, and nobody should change it for this."""
    proxy, _ = add(other, "ops", proxy=True)
    world.book.refresh()

    async with world.client("10.0.0.1", proxy) as client:
        response = await client.post(CHAT, json=HELLO, headers={"x-tenant-id": "nobody"})

    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (403, "model_not_allowed")
    assert error["param"] == "x-tenant-id"
    assert world.lanes.opened == []
