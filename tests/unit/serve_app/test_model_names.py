"""Model names: aliases of the fleet file, and what `/v1/models` says of each name."""

from __future__ import annotations

import pytest

from serve_app.config.errors import ConfigError, validate
from serve_app.config.fleet import FleetConfig
from serve_app.routing.policies import build_policies
from tests.unit.serve_app.conftest import FLEET, FakeScorer

ALIASES = {
    "claude-*haiku*": "chat",
    "gpt-*": "auto",
    "claude-large": {"to": "quality", "list": True},
    "claude-auto": {"to": "auto", "list": True},
    "quiet": "quality",
}
ANTHROPIC = {"anthropic-version": "2023-06-01"}
HELLO = {"messages": [{"role": "user", "content": "hello"}]}


def fleet_with(**parts) -> FleetConfig:
    return validate({**FLEET, **parts}, FleetConfig, "fleet.yaml")


def with_fleet(world, fleet: FleetConfig, **tenant) -> None:
    tenants = world.tenants.model_dump(exclude_unset=True)
    tenants["tenants"]["acme"] |= tenant
    tenants = type(world.tenants).model_validate(tenants)
    world.state.apply(build_policies(fleet, tenants, FakeScorer(), lambda _: 0.5, book=world.book))


@pytest.fixture
def aliased(world):
    with_fleet(world, fleet_with(aliases=ALIASES))
    return world


async def cards(world, path="/v1/models", key="acme", headers=None):
    async with world.client(key=key) as client:
        return (await client.get(path, headers=headers or {})).json()


@pytest.mark.parametrize(
    ("aliases", "told"),
    [
        ({"gpt-*": "qualty"}, "aliases.gpt-*: 'qualty' is neither auto nor an enabled lane; did"),
        ({"gpt-*": {"to": "auto", "list": True}}, "aliases.gpt-*: a pattern cannot be listed"),
        ({"chat": "quality"}, "aliases.chat: is a lane's name or model id"),
        ({"LARGE": "chat"}, "aliases.LARGE: is a lane's name or model id"),
        ({"Auto": "chat"}, "aliases.Auto: is a lane's name or model id, or auto"),
        ({" ": "chat"}, "1 to 256 characters"),
        ({"gpt": "chat", "GPT": "quality"}, "two of them differ in capitals only"),
        ({"gpt": {"to": "chat", "lists": True}}, "unknown key; did you mean 'list'?"),
        ({"gpt": {"list": True}}, "aliases.gpt.to"),
    ],
)
def test_an_alias_that_cannot_be_is_told_with_the_nearest_name(aliases, told):
    """A start stops there, and a reload changes nothing."""
    with pytest.raises(ConfigError) as caught:
        fleet_with(aliases=aliases)

    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("model", "lane", "reason"),
    [
        ("claude-3-haiku-latest", "chat", "pinned"),
        ("claude-large", "quality", "pinned"),
        ("gpt-5", "chat", "default"),
        ("claude-auto", "chat", "default"),
    ],
)
async def test_a_request_is_served_by_what_its_alias_leads_to(aliased, engine, model, lane, reason):
    """The engine is asked by its own model's id, and the headers say what serves."""
    aliased.lanes.answers = [engine()]

    answer = await aliased.post("/v1/chat/completions", {"model": model, **HELLO}, key="acme")

    told = {name: answer.headers[f"x-pointsman-{name}"] for name in ("lane", "reason", "model")}
    [asked] = aliased.lanes.opened
    assert told == {"lane": lane, "reason": reason, "model": asked.body["model"]}


async def test_aliases_come_and_go_with_a_reload(world, engine):
    """They are looked up in the policies in force."""
    body = {"model": "gpt-5", **HELLO}
    assert (await world.post("/v1/chat/completions", body)).status_code == 404
    with_fleet(world, fleet_with(aliases=ALIASES))
    world.lanes.answers = [engine()]

    assert (await world.post("/v1/chat/completions", body)).status_code == 200


async def test_a_list_of_models_has_the_aliases_that_ask_for_it(aliased):
    """Last, with what they stand for; a lane that is closed to the caller has none."""
    found = (await cards(aliased))["data"]
    guest = (await cards(aliased, key="guest"))["data"]

    names = ["auto", "chat", "quality", "small", "large", "claude-large", "claude-auto"]
    assert [card["id"] for card in found] == names
    assert [card.get("alias_of") for card in found[-2:]] == ["quality", "auto"]
    assert [card["id"] for card in guest] == ["auto", "chat", "small", "claude-auto"]


@pytest.mark.parametrize(
    ("name", "root"),
    [
        ("gpt-5.1", "auto"),
        ("claude-haiku-4-5-20251001", "small"),
        ("quiet", "large"),
        ("chat", "small"),
    ],
)
async def test_every_name_that_a_request_may_have_has_a_card(aliased, name, root):
    """Whether the list shows it or not."""
    card = await cards(aliased, f"/v1/models/{name}")

    assert (card["id"], card["root"], card["context_length"]) == (name, root, 4096)


async def test_a_name_that_leads_to_a_closed_lane_has_no_card(aliased):
    """As the lane itself has none."""
    assert (await cards(aliased, "/v1/models/quiet", key="guest"))["error"]["code"] == (
        "model_not_found"
    )


async def test_the_window_of_auto_is_the_long_lanes(world):
    """A prompt that fits nowhere else goes there."""
    lanes = FLEET["lanes"] | {
        "long": {"model_id": "long", "model_source": "x", "max_model_len": 65_536}
    }
    with_fleet(world, fleet_with(lanes=lanes, routing=FLEET["routing"] | {"long_context": "long"}))

    found = {card["id"]: card for card in (await cards(world))["data"]}
    free = {card["id"]: card for card in (await cards(world, key="guest"))["data"]}

    windows = ("max_model_len", "context_length")
    assert [found["auto"][name] for name in windows] == [65_536, 65_536]
    assert [found["chat"][name] for name in windows] == [4096, 4096]
    assert [free["auto"][name] for name in windows] == [4096, 4096]


async def test_a_bound_on_sessions_bounds_the_context_that_is_told(world):
    """The engine's window stays what it is."""
    with_fleet(world, fleet_with(), kv={"tokens_per_session": 1000})

    for card in (await cards(world))["data"]:
        assert (card["max_model_len"], card["context_length"]) == (4096, 1000)


async def test_anthropics_form_has_windows_and_labels_for_all(aliased):
    """Its pickers show the label: what an alias is here."""
    page = await cards(aliased, "/v1/models?limit=1000", headers=ANTHROPIC)
    one = await cards(aliased, "/v1/models/claude-haiku-4-5", headers=ANTHROPIC)

    assert page["has_more"] is False
    assert {card["max_input_tokens"] for card in page["data"]} == {4096}
    assert [card["display_name"] for card in page["data"][-2:]] == [
        "claude-large (quality)",
        "claude-auto (auto)",
    ]
    assert (one["display_name"], one["max_input_tokens"]) == ("claude-haiku-4-5 (chat)", 4096)
