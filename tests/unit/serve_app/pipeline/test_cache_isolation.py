"""Whose prefixes a tenant finds in the engine's cache, by the engine's own counters."""

import pytest

from serve_app.config.errors import ConfigError, validate
from serve_app.config.tenants import TenantsConfig
from serve_app.routing.policies import build_policies
from tests.unit.serve_app.engines import running

pytestmark = pytest.mark.security

SYSTEM = "You are the assistant of a shop that sells bicycles. " * 20
BODIES = {
    "/v1/chat/completions": {
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Hi?"}],
        "max_tokens": 2,
    },
    "/v1/completions": {"prompt": SYSTEM, "max_tokens": 2},
    "/v1/messages": {
        "system": SYSTEM,
        "messages": [{"role": "user", "content": "Hi?"}],
        "max_tokens": 2,
    },
    "/v1/responses": {"instructions": SYSTEM, "input": "Hi?", "max_output_tokens": 2},
}
every_route = pytest.mark.parametrize("path", BODIES)
CHAT = "/v1/chat/completions"


def regroup(world, **groups) -> None:
    """Put tenants into cache groups, as a reload of the tenants file does."""
    tenants = world.tenants.model_dump()
    for name, group in groups.items():
        tenants["tenants"][name]["cache_group"] = group
    now = world.state.policies
    checked = TenantsConfig.model_validate(tenants)
    world.state.apply(build_policies(now.fleet, checked, now.scorer, now.shipped))


@pytest.fixture
def through(world, engine):
    """Sends a request through the gateway and gives the engine what the gateway sent."""

    async def send(one, path: str, key: str, **fields) -> int:
        world.lanes.answers.append(engine())
        body = {**BODIES[path], **fields}
        assert (await world.post(path, body, key=key)).status_code == 200
        return await one.cached(path, world.lanes.opened[-1].body)

    return send


@every_route
async def test_a_second_tenant_with_the_same_prompt_gets_no_hit(through, path):
    """By default; the first tenant does, so that the test can fail."""
    async with running() as one:
        first = await through(one, path, "acme")
        second = await through(one, path, "slow")
        again = await through(one, path, "acme")

    assert (first, second) == (0, 0)
    assert again > 100


@every_route
async def test_a_second_tenant_of_the_same_group_gets_a_hit(world, through, path):
    """`shared` is a group like any other."""
    regroup(world, acme="shared", slow="shared")

    async with running() as one:
        await through(one, path, "acme")
        second = await through(one, path, "slow")

    assert second > 100


async def test_groups_are_apart_from_each_other_and_from_tenants(world, through):
    """A group that bears a tenant's name is not that tenant's own cache."""
    regroup(world, acme="one", slow="two", ops="guest")

    async with running() as one:
        hits = [await through(one, CHAT, key) for key in ("acme", "slow", "root", "guest")]

    assert hits == [0, 0, 0, 0]


async def test_a_client_cannot_choose_its_cache(world, through):
    """Neither by knowing another's salt nor by sending none."""
    async with running() as one:
        await through(one, CHAT, "acme")
        salt = world.lanes.opened[-1].body["cache_salt"]
        guessed = await through(one, CHAT, "slow", cache_salt=salt)
        emptied = await through(one, CHAT, "slow", cache_salt="")

    assert guessed == 0
    assert emptied > 100  # its own, from the request before


def test_another_deployment_has_other_salts(world):
    """The salt comes from the deployment's secret, not from the name alone."""
    from serve_app.pipeline.state import IngressState

    acme = world.state.policies.auth.identify(world.keys["acme"], is_local=False)
    other = IngressState(world.state.policies, "another secret")

    assert other.cache_salt(acme) != world.state.cache_salt(acme)
    assert len(world.state.cache_salt(acme)) == 32


@pytest.mark.parametrize("name", ["tenant:acme", "", "a b", "x" * 65])
def test_a_group_name_that_could_be_mistaken_is_refused(name):
    """No separator, no space, and not empty: leave it out for a cache of one's own."""
    data = {"tiers": {"t": {}}, "tenants": {"a": {"tier": "t", "cache_group": name}}}

    with pytest.raises(ConfigError, match="cache_group"):
        validate(data, TenantsConfig, "tenants.yaml")
