"""`pointsman tenants`, over a tenants file and a store of its own."""

import json
from datetime import UTC, datetime

import pytest
import yaml

from serve_app.cli import main
from serve_app.commands import tenants as command
from serve_app.config.settings import fleet_path, load_tenants, tenancy_path, usage_folder
from serve_app.tenancy.auth import Authenticator, Tenant, make_key
from serve_app.tenancy.keys import KeyBook
from serve_app.tenancy.sqlite_store import SqliteStore
from serve_app.tenancy.store import Counts
from tests.unit.serve_app.tenancy.usage_made import kill, make_meter, spend

FILE = """\
# A comment that stays.
tiers:
  paid: {}
  free: {priority: 10}
tenants:
  acme:
    tier: paid
"""


@pytest.fixture(autouse=True)
def path(tmp_path, monkeypatch):
    found = tmp_path / "tenants.yaml"
    found.write_text(FILE)
    monkeypatch.setenv("POINTSMAN_TENANTS", str(found))
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path / "state"))
    return found


@pytest.fixture
def store(path):
    made = SqliteStore(tenancy_path(load_tenants(path)))
    yield made
    made.close()


@pytest.fixture
def run(capsys):
    """The command's JSON."""

    def call(*args):
        assert main(["tenants", *args, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return call


def identify(path, store, key):
    book = KeyBook(store)
    book.load()
    return Authenticator(load_tenants(path), book=book).identify(key, is_local=False)


def test_a_new_key_opens_its_tenant_and_leaves_the_file_alone(path, store, run):
    """Its hash is in the store."""
    made = run("add", "acme")

    assert identify(path, store, made["key"]).name == "acme"
    assert path.read_text() == FILE
    assert made["store"] == str(store.path)


def test_a_new_tenant_is_written_to_the_file_without_a_key(path, store, run):
    """The file says which tenants there are; its comments stay."""
    made = run("add", "guest", "--tier", "free")

    tenant = identify(path, store, made["key"])
    assert (tenant.name, tenant.tier_name) == ("guest", "free")
    assert "# A comment that stays." in path.read_text()
    assert yaml.safe_load(path.read_text())["tenants"]["guest"] == {"tier": "free"}


def test_a_file_without_tenants_gets_its_first(path, store, run):
    """As after a fresh start."""
    path.write_text("tiers: {paid: {}}\n")

    assert identify(path, store, run("add", "acme", "--tier", "paid")["key"]).name == "acme"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["guest"], "needs --tier"),
        (["guest", "--tier", "payd"], "did you mean 'paid'"),
        (["acme", "--tier", "free"], "is of tier 'paid'"),
    ],
)
def test_a_tier_that_cannot_be_is_refused(path, capsys, args, told):
    """And nothing is made."""
    assert main(["tenants", "add", *args]) == 1

    assert told in capsys.readouterr().err
    assert path.read_text() == FILE


def test_a_key_is_shown_once(run, capsys):
    """Nothing else prints it, or its hash."""
    made = run("add", "acme")
    secret = made["key"].removeprefix(f"pm-{made['id']}-")

    main(["tenants", "list", "--all"])
    main(["tenants", "list", "--all", "--json"])

    shown = capsys.readouterr().out
    assert made["id"] in shown
    assert secret not in shown and "hash" not in shown and "salt" not in shown


def test_a_tenant_has_several_keys_with_rights_and_expiry(path, store, run):
    """Each its own."""
    keys = [run("add", "acme", *rights) for rights in (["--admin"], ["--proxy", "--days", "30"])]

    ((first, second),) = [row["keys"] for row in run("list")]

    assert [identify(path, store, key["key"]).is_admin for key in keys] == [True, False]
    assert (first["admin"], first["proxy"], first["expires"]) == (True, False, None)
    assert (second["admin"], second["proxy"]) == (False, True)
    left = datetime.fromisoformat(second["expires"]) - datetime.now(UTC)
    assert 29 <= left.days <= 30


def test_a_revoked_key_is_refused_and_others_work(path, store, run):
    """By its id; listed only when asked for."""
    first, second = run("add", "acme"), run("add", "acme")

    run("revoke", first["id"])

    assert not isinstance(identify(path, store, first["key"]), Tenant)
    assert isinstance(identify(path, store, second["key"]), Tenant)
    assert [key["id"] for key in run("list")[0]["keys"]] == [second["id"]]
    states = {key["id"]: key["state"] for key in run("list", "--all")[0]["keys"]}
    assert states == {first["id"]: "revoked", second["id"]: "valid"}


@pytest.fixture
def in_file(path):
    """A key in the tenants file, as earlier versions wrote them."""
    key, entry = make_key()
    data = yaml.safe_load(FILE)
    data["tenants"]["acme"]["keys"] = [entry.model_dump(mode="json", exclude_defaults=True)]
    path.write_text(yaml.safe_dump(data))
    return key, entry.id


def test_a_key_of_the_file_works_and_is_revoked_in_both_places(path, store, run, in_file):
    """Losing the store does not bring it back."""
    key, key_id = in_file
    assert isinstance(identify(path, store, key), Tenant)

    run("revoke", key_id)

    assert store.keys().revoked == {key_id}
    assert load_tenants(path).tenants["acme"].keys == []


@pytest.mark.parametrize("written", ["8e1234567890", '"012345678912"', "0o17"])
def test_what_the_file_says_stays_as_it_is_written(path, run, written):
    """An id that is text in YAML 1.1 and a number in 1.2 was written back as infinity."""
    hashed = "{salt: " + "1" * 31 + "e, hash: " + "2" * 60 + "e123}"
    content = FILE + f"    keys:\n    - id: {written}\n      <<: {hashed}\n"
    path.write_text(content)

    run("add", "other", "--tier", "free")

    assert path.read_text().startswith(content)


@pytest.mark.parametrize("name", ["no", "12", "1e5", "true", "2026-01-01", "a: b", "x #y", "[z"])
def test_a_name_that_looks_like_something_else_is_quoted(path, run, name):
    run("add", name, "--tier", "free")

    assert load_tenants(path).tenants[name].tier == "free"


def test_a_file_that_cannot_be_written_does_not_stop_a_revocation(
    path, store, monkeypatch, capsys, in_file
):
    """And the operator is told what is left to do."""

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(command, "remove_key", refuse)

    assert main(["tenants", "revoke", in_file[1]]) == 0

    assert "remove it there" in capsys.readouterr().err
    assert not isinstance(identify(path, store, in_file[0]), Tenant)


def test_an_unknown_key_is_an_error(capsys):
    """A typing mistake must not look like a revocation."""
    assert main(["tenants", "revoke", "0123abcd"]) == 1
    assert "no key has the id '0123abcd'" in capsys.readouterr().err


@pytest.fixture
def used(store):
    """Two tenants' usage, of a replica that was killed before it could flush."""
    meter = make_meter(store, clock=lambda: datetime.now(UTC))
    meter.usage_log.close(is_accounted=True)
    meter.usage_log = type(meter.usage_log)(usage_folder(store.path))
    spend(meter, 10)
    spend(meter, 5)
    spend(meter, 1, "guest")
    kill(meter)


def test_usage_is_what_the_store_and_dead_replicas_have(run, used):
    """This month by tenant; killed processes' usage logs are read first."""
    assert run("usage") == {
        "acme": Counts(2, 0, 0, 15)._asdict(),
        "guest": Counts(1, 0, 0, 1)._asdict(),
    }


def test_usage_by_day_and_lane_and_for_one_tenant(run, used):
    """Every way of asking."""
    today = datetime.now(UTC).date().isoformat()

    by_day = run("usage", "--by", "day", "--tenant", "acme", "--since", "2026-01-01")
    by_lane = run("usage", "--by", "lane")

    assert sum(day["acme"]["completion"] for day in by_day.values()) == 15
    assert set(by_lane["acme"]) == {"chat"}
    assert run("usage", "--until", "2020-01-01") == {}
    assert today[:7] in next(iter(by_day))


def test_usage_has_its_cost_where_tokens_have_a_price(run, used, tmp_path):
    """At the prices of today, by lane."""
    path = tmp_path / "priced.yaml"
    text = fleet_path("local").read_text()
    path.write_text(f"{text}\nprices: {{lanes: {{chat: {{prompt: 1, completion: 1000}}}}}}\n")

    assert run("usage", "--fleet", str(path))["acme"]["cost"] == pytest.approx(0.015)


@pytest.mark.parametrize(
    "args",
    [["add", "a", "--days", "0"], ["usage", "--since", "yesterday"], ["usage", "--by", "hour"]],
)
def test_bad_arguments_are_told(capsys, args):
    """Exit status 2, as everywhere."""
    with pytest.raises(SystemExit) as ended:
        main(["tenants", *args])

    assert ended.value.code == 2


def test_a_damaged_store_is_told_with_its_path(store, capsys):
    """No traceback."""
    store.path.parent.mkdir()
    store.path.write_bytes(b"no database" * 1000)

    for args in (["list"], ["usage"], ["add", "acme"]):
        assert main(["tenants", *args]) == 1
        assert str(store.path) in capsys.readouterr().err
