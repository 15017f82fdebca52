"""A reload that removes who is using the deployment says so; it is applied all the same."""

import copy
import logging
from datetime import UTC, datetime

import pytest
import yaml

from serve_app.config.fleet import FleetConfig
from serve_app.config.tenants import TenantsConfig
from serve_app.routing.reload import Reloader, load_policies
from serve_app.tenancy.auth import Authenticator, make_key
from serve_app.tenancy.keys import KeyBook
from serve_app.tenancy.sqlite_store import SqliteStore
from serve_app.tenancy.store import StoredKey
from serve_app.tenancy.uses import LATELY_S, Uses
from tests.unit.serve_app.conftest import FLEET, TIERS


class Deployment:
    """A reloader over real files, and callers with keys."""

    def __init__(self, folder) -> None:
        self.now = 0.0
        self.store = SqliteStore(folder / "tenancy.db")
        self.book = KeyBook(self.store)
        self.book.uses = Uses(clock=lambda: self.now)
        self.keys, tenants = {}, {}
        for name, count in (("acme", 2), ("guest", 1)):
            made = [make_key() for _ in range(count)]
            self.keys[name] = [key for key, _ in made]
            tenants[name] = {"tier": "paid", "keys": [x.model_dump() for _, x in made]}
        tenants["local"] = {"tier": "local"}
        self.data = {"tiers": TIERS, "tenants": tenants, "local_tenant": "local"}
        self.files = folder / "fleet.yaml", folder / "tenants.yaml"
        self.files[0].write_text(yaml.safe_dump(FLEET))
        self.write(self.data)
        self.policies = load_policies(*self.files, self.book)
        self.reloader = Reloader(
            *self.files,
            FleetConfig.model_validate(FLEET),
            self._apply,
            book=self.book,
            auth=self.policies.auth,
        )

    def _apply(self, policies) -> None:
        self.policies = policies

    def write(self, data) -> None:
        self.files[1].write_text(yaml.safe_dump(data))

    def ids(self, name) -> list[str]:
        return [row["id"] for row in self.data["tenants"][name].get("keys", ())]

    def call(self, key: str | None) -> bool:
        """Whether a request with this key is let in; its tenant is noted as serving does."""
        tenant = self.policies.auth.identify(key, is_local=True)
        name = getattr(tenant, "name", None)
        if name is not None:
            self.policies.auth.uses.note_tenant(name)
        return name is not None

    async def reload_without(self, *path, item=None) -> list[str]:
        """Removes one thing from the file; returns what is told of tenants and keys."""
        data = copy.deepcopy(self.data)
        place = data
        for part in path[:-1]:
            place = place[part]
        del place[path[-1]]
        self.write(data)
        return await self.reload()

    async def reload(self) -> list[str]:
        result = await self.reloader.reload()
        assert result["ok"]
        return [x for x in result.get("warnings", ()) if "was removed" in x]


@pytest.fixture
def deployment(tmp_path):
    made = Deployment(tmp_path)
    yield made
    made.store.close()


async def test_a_tenant_with_traffic_is_told_by_name(deployment, caplog):
    """In the answer, in the log and in `/status`; the change holds."""
    key = deployment.keys["acme"][0]
    assert deployment.call(key)
    deployment.now += 40

    with caplog.at_level(logging.WARNING):
        (told,) = await deployment.reload_without("tenants", "acme")

    assert "tenant 'acme' was in use (last request 40 s before)" in told
    assert told in [x.getMessage() for x in caplog.records]
    (kept,) = deployment.reloader.status()["warnings"]
    assert kept.startswith(told)
    secret = key.split("-")[2]
    assert secret not in caplog.text + kept
    assert not deployment.call(key)


async def test_a_key_that_opened_something_is_told_by_its_id(deployment):
    """The other key of the same tenant was not used: nothing is said of it."""
    used, unused = deployment.ids("acme")
    deployment.call(deployment.keys["acme"][0])

    (told,) = await deployment.reload_without("tenants", "acme", "keys")

    assert f"key '{used}' of tenant 'acme' was in use" in told and unused not in told


async def test_a_key_with_another_secret_is_another_key(deployment):
    """The old one is refused."""
    deployment.call(deployment.keys["guest"][0])
    _, other = make_key()
    data = copy.deepcopy(deployment.data)
    data["tenants"]["guest"]["keys"][0] |= {"salt": other.salt, "hash": other.hash}
    deployment.write(data)

    (told,) = await deployment.reload()

    assert f"key '{deployment.ids('guest')[0]}'" in told
    # Until the old one is back: the next reload of the same file changes nothing.
    assert await deployment.reload() == []
    assert len(deployment.reloader.status()["warnings"]) >= 1
    deployment.write(deployment.data)
    assert await deployment.reload() == [] == deployment.reloader.status()["warnings"]


async def test_a_key_that_has_changed_hands_is_told(deployment):
    """Its callers get another tenant's limits, and that tenant their usage."""
    deployment.call(deployment.keys["guest"][0])
    data = copy.deepcopy(deployment.data)
    data["tenants"]["acme"]["keys"] += data["tenants"]["guest"].pop("keys")
    deployment.write(data)

    (told,) = await deployment.reload()

    assert "of tenant 'guest'" in told


async def test_keyless_callers_are_told(deployment):
    """`local_tenant` is what lets them in."""
    deployment.call(None)

    (told,) = await deployment.reload_without("local_tenant")

    assert "requests without a key are refused" in told


@pytest.mark.parametrize("path", [("tenants", "guest"), ("tenants", "guest", "keys")])
async def test_who_was_not_there_is_not_missed(deployment, path):
    """Housekeeping is no alarm."""
    deployment.call(deployment.keys["acme"][0])

    assert await deployment.reload_without(*path) == []
    assert deployment.reloader.status()["warnings"] == []


async def test_who_was_there_yesterday_is_not_missed(deployment):
    """In use is of the last day."""
    deployment.call(deployment.keys["acme"][0])
    deployment.now += LATELY_S + 1

    assert await deployment.reload_without("tenants", "acme") == []


async def test_a_wrong_key_is_no_use(deployment):
    """Whoever guesses ids makes no warnings, and fills no memory."""
    key_id = deployment.ids("guest")[0]
    assert deployment.policies.auth.identify(f"pm-{key_id}-no", is_local=True).reason
    assert deployment.policies.auth.identify("pm-nobody-no", is_local=True).reason

    assert deployment.book.uses.keys() == {}


async def test_a_key_that_had_expired_is_not_missed(deployment):
    """It opened nothing any more."""
    deployment.call(deployment.keys["guest"][0])
    data = copy.deepcopy(deployment.data)
    data["tenants"]["guest"]["keys"][0]["expires"] = "2020-01-01T00:00:00"
    deployment.write(data)
    (told,) = await deployment.reload()
    assert "was in use" in told  # it was made to expire

    del data["tenants"]["guest"]["keys"]
    deployment.write(data)
    assert await deployment.reload() == []


async def test_a_revoked_key_is_removed_on_purpose(deployment):
    """`pointsman tenants revoke` takes it out of the file as well."""
    deployment.call(deployment.keys["guest"][0])
    deployment.store.revoke(deployment.ids("guest")[0], at=datetime.now(UTC))

    assert await deployment.reload_without("tenants", "guest", "keys") == []


async def test_a_key_that_moved_to_the_store_opens_as_before(deployment):
    """The file is not the only place for keys."""
    deployment.call(deployment.keys["guest"][0])
    row = deployment.data["tenants"]["guest"]["keys"][0]
    config = TenantsConfig.model_validate(deployment.data).tenants["guest"].keys[0]
    assert config.id == row["id"]
    deployment.store.add_key(StoredKey("guest", config, datetime.now(UTC)))

    assert await deployment.reload_without("tenants", "guest", "keys") == []
    assert deployment.call(deployment.keys["guest"][0])


async def test_what_is_back_is_no_longer_told(deployment):
    """The operator has seen it."""
    deployment.call(deployment.keys["acme"][0])
    deployment.call(deployment.keys["guest"][0])
    deployment.call(None)
    data = copy.deepcopy(deployment.data)
    del data["tenants"]["acme"], data["tenants"]["guest"]["keys"], data["local_tenant"]
    deployment.write(data)
    assert len(await deployment.reload()) == 3
    assert len(deployment.reloader.status()["warnings"]) == 3

    deployment.write(deployment.data)
    assert await deployment.reload() == []

    assert deployment.reloader.status()["warnings"] == []


async def test_status_says_what_each_ingress_replica_made_of_the_files(world, monkeypatch):
    """Each has its own traffic; the same word of two is said once."""
    removed = "tenants.yaml: tenant 'acme' was in use and was removed"
    parts = [
        {"error": "", "changing_s": None, "warnings": [removed]},
        {"error": "tenants.yaml: is not YAML", "changing_s": 1.0, "warnings": [removed]},
    ]
    base = {"active_sessions": {}, "tenants_near_limit": []}

    async def broadcast(method, within_s=3.0):
        return [{**base, "files": part} for part in parts]

    world.use(world.lanes, broadcast=broadcast)
    async with world.client(key="root") as client:
        status = (await client.get("/status")).json()

    assert [x for x in status["warnings"] if "HAProxy" not in x] == [
        removed,
        "the last reload was refused: tenants.yaml: is not YAML",
    ]
    assert [x["files"] for x in status["ingress"]] == parts


async def test_requests_note_their_tenant_and_their_key(world, engine):
    """What is served is what is in use."""
    world.lanes.answers.append(engine())
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    assert (await world.post("/v1/chat/completions", body, key="acme")).status_code == 200

    assert set(world.book.uses.tenants()) == {"acme"}
    assert set(world.book.uses.keys()) == {world.keys["acme"].split("-")[1]}


def test_an_authenticator_outlives_nothing(tmp_path):
    """Uses are the book's: each reading of the file has the same ones."""
    book = KeyBook()
    config = TenantsConfig.model_validate({"tiers": TIERS})
    assert Authenticator(config, book=book).uses is Authenticator(config, book=book).uses


async def test_a_store_that_was_replaced_by_one_of_the_same_count_is_read(tmp_path):
    """Versions count from zero in every file."""
    stores = [SqliteStore(tmp_path / name) for name in ("a.db", "b.db")]
    entries = [make_key()[1] for _ in stores]
    for store, entry in zip(stores, entries, strict=True):
        store.add_key(StoredKey("acme", entry, datetime.now(UTC)))
        store.close()
    watching = SqliteStore(tmp_path / "a.db")
    book = KeyBook(watching)
    book.load()
    assert book.find(entries[0].id, None)

    for suffix in ("-wal", "-shm"):
        (tmp_path / f"a.db{suffix}").unlink(missing_ok=True)
    (tmp_path / "b.db").replace(tmp_path / "a.db")
    book.refresh()

    assert book.find(entries[1].id, None) and not book.find(entries[0].id, None)
    watching.close()
