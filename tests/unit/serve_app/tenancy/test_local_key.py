"""The local admin key: what it opens, and what is open without it."""

from __future__ import annotations

import logging
import os
import stat

import pytest

from serve_app.config.fleet import FleetConfig
from serve_app.config.settings import deployment_secret
from serve_app.front.door import NO_TENANT, Door
from serve_app.routing.policies import build_policies
from serve_app.tenancy.callers import caller_of
from serve_app.tenancy.local_key import (
    admin_key_path,
    keep_admin_key,
    kept_admin_key,
    local_admin_key,
)
from tests.unit.serve_app.conftest import FLEET, FakeScorer
from tests.unit.serve_app.front.test_gateway import CHAT, GENERATION, HELLO, REMOTE
from tests.unit.serve_app.tenancy.test_identity import SPELLINGS, ask

pytestmark = pytest.mark.security

KEY = local_admin_key("s3")
"""Of `World`'s secret."""
OWN_PART = {"tenant": "local", "tier": "local", "near_limit": []}


def with_local_tenant(world, name) -> None:
    """Another reading of the tenants file."""
    tenants = world.tenants.model_copy(update={"local_tenant": name})
    fleet = FleetConfig.model_validate(FLEET)
    world.state.apply(build_policies(fleet, tenants, FakeScorer(), lambda _: 0.5))


@pytest.fixture
def keyed_only(world):
    """The world without a local tenant."""
    with_local_tenant(world, None)
    return world


def code_of(response) -> str:
    error = response.json()["error"]
    return error["code"]


# -- without a key ------------------------------------------------------------------


async def test_a_keyless_caller_at_this_machine_sees_what_a_tenant_sees(world):
    """Not the lanes, replicas, addresses and other tenants."""
    assert (await ask(world)).json() == OWN_PART


async def test_a_keyless_caller_at_this_machine_reloads_nothing(world):
    """And is told how it is done, without the key itself."""
    world.reloads = [AssertionError("nobody may be asked")]

    async with world.client() as client:
        response = await client.post("/admin/reload")

    assert (response.status_code, code_of(response)) == (403, "admin_only")
    assert "pointsman reload" in response.text
    assert "admin-key" in response.text
    assert KEY not in response.text


async def test_metrics_stay_open_at_this_machine(world):
    """As long as anybody there is let in without a key."""
    opened = await ask(world, path="/metrics")
    with_local_tenant(world, None)
    closed = await ask(world, path="/metrics")

    assert (opened.status_code, closed.status_code) == (200, 401)
    assert "pointsman_requests_in_flight" in opened.text


@pytest.mark.parametrize(
    "headers",
    [
        [("origin", "http://localhost:5173")],
        [("origin", "http://127.0.0.1")],
        [("origin", "null")],
        [("origin", "https://evil.example")],
        [("origin", "http://localhost"), ("origin", "http://localhost:5173")],
        [("host", "evil.example")],
        [("via", "1.1 x")],
    ],
    ids=lambda headers: " ".join(f"{k}={v}" for k, v in headers),
)
@pytest.mark.parametrize("path", ["/metrics", "/status"])
async def test_no_page_and_no_proxy_reads_them(world, path, headers):
    """Unlike chats: pages of other ports of this machine may use models."""
    assert (await ask(world, *headers, path=path)).status_code == 401


@pytest.mark.parametrize("path", ["/metrics", "/status"])
async def test_the_page_of_the_server_itself_reads_them(world, path):
    """Host and Origin are the same."""
    assert (await ask(world, ("origin", "http://LOCALHOST"), path=path)).status_code == 200


async def test_a_page_of_another_port_goes_on_using_models(world):
    """A page under development calls its model."""
    response = await ask(world, ("origin", "http://localhost:5173"), path="/v1/models")

    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "http://localhost:5173"


async def test_a_tenant_s_key_reads_no_metrics_at_this_machine_either(world):
    """Who sends a key is its tenant."""
    response = await ask(world, ("x-api-key", world.keys["acme"]), path="/metrics")

    assert (response.status_code, code_of(response)) == (403, "admin_only")


# -- with it ------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "value"), SPELLINGS.values(), ids=SPELLINGS)
async def test_the_local_key_is_read_like_any_other(world, name, value):
    """Wherever keys are read; from any machine, as it is a secret."""
    for host in ("127.0.0.1", REMOTE):
        status = await ask(world, (name, value.format(KEY)), host=host)

        assert status.json()["fleet"] == "test"


@pytest.mark.parametrize("name", ["cookie", "proxy-authorization", "x-auth-token", "referer"])
@pytest.mark.parametrize("form", ["{}", "key={}", "xkey{}"])
async def test_where_keys_are_not_read_it_is_refused(world, name, form):
    """Not taken for a request without a key."""
    assert (await ask(world, (name, form.format(KEY)))).status_code == 401


async def test_in_a_url_it_is_refused(world):
    """URLs are logged."""
    assert (await ask(world, path=f"/status?key={KEY}")).status_code == 401


@pytest.mark.parametrize(
    "wrong",
    [
        KEY[:-1],
        f"{KEY}0",
        KEY.upper().replace("PM-", "pm-"),
        f"{KEY[:-1]}{'0' if KEY[-1] != '0' else '1'}",
        local_admin_key("another deployment's"),
        KEY.removeprefix("pm-"),
    ],
)
async def test_nothing_but_the_key_is_the_key(world, wrong):
    """A word that is nearly it opens nothing, not even as the local tenant."""
    assert (await ask(world, ("authorization", f"Bearer {wrong}"))).status_code == 401


async def test_the_local_key_reloads_and_generates_as_the_local_tenant(world, engine):
    """It acts for nobody else."""
    world.lanes.answers = [engine()]
    async with world.client(key=KEY) as client:
        reloaded = await client.post("/admin/reload")
        answer = await client.post(CHAT, json=HELLO, headers={"x-tenant-id": "guest"})

    assert reloaded.json() == {"ok": True, "replicas": [{"ok": True}]}
    assert answer.status_code == 200
    assert world.count("pointsman_tokens_total", tenant="local", kind="completion") == 3


@pytest.mark.parametrize("path", ["/status", "/metrics", "/v1/models", "/v1/models/auto"])
async def test_without_a_local_tenant_it_is_an_operator_s(keyed_only, path):
    """Everything that operates the deployment."""
    for host in ("127.0.0.1", REMOTE):
        assert (await ask(keyed_only, ("x-api-key", KEY), path=path, host=host)).is_success


async def test_without_a_local_tenant_it_reloads(keyed_only):
    """And the whole status is there."""
    async with keyed_only.client(key=KEY) as client:
        reloaded = await client.post("/admin/reload")
        status = await client.get("/status")

    assert reloaded.json()["ok"]
    assert status.json()["fleet"] == "test"


@pytest.mark.parametrize(
    "path", [*GENERATION, "/v1/messages/count_tokens", "/v1/route", "/v1/feedback"]
)
async def test_without_a_local_tenant_it_generates_nothing(keyed_only, path):
    """It is no tenant's: nobody's limits would hold, nobody's usage would count it."""
    response = await keyed_only.post(path, HELLO, key=KEY)

    assert (response.status_code, code_of(response)) == (403, "model_not_allowed")
    assert "pointsman tenants add" in response.text
    assert not keyed_only.lanes.opened


async def test_an_operator_s_socket_is_refused(keyed_only):
    """As its requests are."""
    headers = [(b"x-api-key", KEY.encode())]
    caller = caller_of({"path": "/v1/chat/ws", "headers": headers, "client": (REMOTE, 1)})

    assert Door(keyed_only.state, trusts_local=True).socket(caller) == NO_TENANT


async def test_it_is_told_to_nobody(world, caplog):
    """Not in status, metrics, refusals or the log."""
    with caplog.at_level(logging.DEBUG):
        async with world.client(key=KEY) as client:
            told = [await client.get(path) for path in ("/status", "/metrics", "/v1/models", "/")]
            told += [await client.post(path, json=HELLO) for path in (CHAT, "/admin/reload")]
    told += [await ask(world, ("cookie", KEY), path=path) for path in ("/status", "/v1/none")]

    secret = KEY.split("-")[2]
    assert all(secret not in f"{x.headers} {x.text}" for x in told)
    assert secret not in caplog.text


# -- its file -----------------------------------------------------------------------


@pytest.fixture
def state(tmp_path, monkeypatch):
    """A state directory that is not there yet."""
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def mode_of(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_goes_with_the_secret_and_lies_in_a_private_file(state):
    """The same after a restart; another one with another secret."""
    before = os.umask(0)
    try:
        secret = deployment_secret()
        keep_admin_key(secret)
    finally:
        os.umask(before)
    first = kept_admin_key()

    keep_admin_key(deployment_secret())
    assert kept_admin_key() == first == local_admin_key(secret)
    assert (mode_of(admin_key_path()), mode_of(state)) == (0o600, 0o700)
    assert sorted(path.name for path in state.iterdir()) == ["admin-key", "endpoint-secret"]

    (state / "endpoint-secret").unlink()
    keep_admin_key(deployment_secret())
    assert kept_admin_key() not in (None, first)


def test_what_others_could_read_is_replaced(state, tmp_path):
    """A file with another mode, or a link to one."""
    state.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("before")
    admin_key_path().symlink_to(elsewhere)

    keep_admin_key("s3")

    assert not admin_key_path().is_symlink()
    assert (mode_of(admin_key_path()), elsewhere.read_text()) == (0o600, "before")


def test_without_a_file_there_is_none(state):
    """Nothing has been started by this user."""
    assert kept_admin_key() is None


def test_the_graph_s_build_writes_it(state):
    """Beside the secret, before anything is deployed."""
    from serve_app.app import build

    build({"engine": "simulated", "fleet": "local"})

    assert kept_admin_key() == local_admin_key(deployment_secret())
