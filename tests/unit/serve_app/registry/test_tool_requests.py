"""Requests that name a set in place of their tools, on every route and in every step."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import anthropic
import httpx
import httpx2
import openai
import pytest

from serve_app.agents.tools import tools_of
from serve_app.bodies.prefixes import follows
from serve_app.config.fleet import FleetConfig
from serve_app.config.tenants import TenantsConfig
from serve_app.pipeline.state import IngressState
from serve_app.registry.store import DIGEST_BYTES
from serve_app.registry.tool_set import CHAT, MESSAGES, RESPONSES
from serve_app.registry.tool_sets import Promotion
from tests.unit.serve_app.conftest import FLEET, with_tier
from tests.unit.serve_app.registry.tool_files import SCHEMA, book_of, tool, write

SAID = [{"role": "user", "content": "Who is Ada?"}]
BODIES = {
    CHAT: {"messages": SAID},
    RESPONSES: {"input": SAID},
    MESSAGES: {"messages": SAID, "max_tokens": 9},
    "/v1/messages/count_tokens": {"messages": SAID},
}


@pytest.fixture
def sets(world, tmp_path):
    """The world with a registry: crm@7 is promoted, crm@8 and web@1 are there."""
    folder = tmp_path / "tools"
    write(folder, version=7, tools=[tool("find_person"), tool("add_note")])
    book = book_of(folder, tmp_path)
    write(folder, version=8, tools=[tool("find_person"), tool("add_note"), tool("call_back")])
    write(folder, name="web", version=1, tools=[tool("search", strict=True)])
    book.refresh(at_once=True)
    world.use(world.lanes, state=IngressState(world.state.policies, "s3", tool_book=book))
    return book


async def ask(world, engine, tools, path=CHAT, key="acme", **more):
    """One request's answer, and what the engine was asked."""
    world.lanes.answers.append(engine())
    body = {**BODIES[path], "tools": tools, **more}
    answer = await world.post(path, body, key=key, headers={"x-session-id": "s"})
    return answer, world.lanes.opened[-1].body if world.lanes.opened else None


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(("reference", "names"), [("crm", 2), ("crm@7", 2), ("crm@8", 3)])
async def test_the_engine_gets_the_tools_of_the_set_in_its_routes_form(
    world, engine, sets, path, reference, names
):
    answer, sent = await ask(world, engine, {"registry": reference}, path)

    version = 8 if reference == "crm@8" else 7
    form = MESSAGES if path.startswith(MESSAGES) else path
    assert answer.status_code == 200
    assert sent["tools"] == sets.sets.find(f"crm@{version}").forms[form].tools
    assert len(sent["tools"]) == names
    assert answer.headers["x-pointsman-tools"] == f"crm@{version}"


async def test_stock_sdks_name_a_set_in_their_extra_body(world, engine, sets):
    """They merge it into the body as it stands."""
    world.lanes.answers += [engine(), engine(), engine()]
    key, extra = world.keys["acme"], {"tools": {"registry": "crm@8"}}

    def http(package):
        return package.AsyncClient(
            transport=package.ASGITransport(world.gateway, client=("127.0.0.1", 1))
        )

    async with (
        openai.AsyncOpenAI(
            api_key=key, base_url="http://localhost/v1", http_client=http(httpx)
        ) as client,
        anthropic.AsyncAnthropic(
            api_key=key, base_url="http://localhost", http_client=http(httpx2)
        ) as other,
    ):
        await client.chat.completions.create(model="auto", messages=SAID, extra_body=extra)
        await client.responses.create(model="auto", input="Who is Ada?", extra_body=extra)
        await other.messages.create(model="auto", messages=SAID, max_tokens=9, extra_body=extra)

    assert [len(sent.body["tools"]) for sent in world.lanes.opened] == [3, 3, 3]


@pytest.mark.parametrize(
    ("tools", "said"),
    [
        ({"registry": "crn"}, "did you mean 'crm'? There are: crm"),
        ({"registry": "shop"}, "that you may use. There are: crm"),
        ({"registry": "crm@9"}, "has no version 9"),
        ({"registry": 7}, "must be the name of a tool set"),
        ({"registry": None}, "must be the name of a tool set"),
        ({"registry": "crm", "strict": True}, "Nothing else may stand beside it"),
        ({"name": "crm"}, "must be an array"),
        ([{"registry": "crm"}], "a set cannot stand among tools"),
        ([{"type": "function", "function": tool()}, {"registry": "crm@7"}], "among tools"),
    ],
)
@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
async def test_what_is_no_set_is_refused_before_any_engine(world, sets, tools, said, path):
    answer = await world.post(path, {**BODIES[path], "tools": tools}, key="acme")

    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error["code"], error["param"]) == ("invalid_request", "tools")
    assert said in error["message"]
    assert world.lanes.opened == []


async def test_a_route_without_tools_says_so(world, sets):
    body = {"prompt": "Who?", "tools": {"registry": "crm"}}

    answer = await world.post("/v1/completions", body, key="acme")

    assert answer.status_code == 400
    assert "this route calls no tools" in answer.json()["error"]["message"]


async def test_a_tenant_uses_and_hears_of_the_sets_that_it_may_use(world, engine, sets):
    with_tier(world, ceilings={"tokens_per_minute": 100_000}, tool_sets=["web"])

    denied, _ = await ask(world, engine, {"registry": "crm"})
    allowed, _ = await ask(world, engine, {"registry": "web"})

    assert denied.status_code == 400
    assert "There are: web" in denied.json()["error"]["message"]
    assert "find" not in denied.text and "versions 7" not in denied.text
    assert allowed.status_code == 200


def test_a_tenants_own_list_replaces_its_tiers():
    tenants = {"a": {"tier": "x"}, "b": {"tier": "x", "tool_sets": ["crm"]}}
    tenants |= {"c": {"tier": "x", "tool_sets": None}, "d": {"tier": "x", "tool_sets": []}}
    config = TenantsConfig.model_validate(
        {"tiers": {"x": {"tool_sets": ["web"]}}, "tenants": tenants}
    )

    assert [config.tool_sets_of(name) for name in "abcd"] == [{"web"}, {"crm"}, None, set()]


async def test_a_dry_run_shows_the_set_and_what_was_found_about_its_tools(world, sets):
    body = {"messages": SAID, "tools": {"registry": "crm"}}

    told = (await world.post("/v1/route", body, key="acme")).json()["tools"]
    plain = {"messages": SAID, "tools": [tool()]}
    inline = (await world.post("/v1/route", plain, key="acme")).json()

    assert (told["set"], told["count"]) == ("crm@7", 2)
    assert [x["name"] for x in told["tools"]] == ["add_note", "find_person"]
    assert inline["tools"]["set"] is None


async def test_the_prompt_is_counted_with_its_tools(world, sets):
    """Reservations and windows go by it."""
    bare = {"messages": SAID}
    inline = {**bare, "tools": sets.sets.find("crm").forms[CHAT].tools}

    async def estimate(body) -> int:
        return (await world.post("/v1/route", body, key="acme")).json()["prompt_tokens_estimate"]

    named = await estimate({**bare, "tools": {"registry": "crm"}})

    assert abs(named - await estimate(inline)) <= 12
    assert named > await estimate(bare) + 50


def with_schemas(world, **bounds) -> None:
    """The world with other bounds on grammars."""
    fleet = FleetConfig.model_validate({**FLEET, "limits": {"schemas": bounds}})
    world.state.apply(replace(world.state.policies, fleet=fleet))


async def test_a_sets_schemas_are_within_the_fleets_bounds_where_they_bind(world, engine, sets):
    """A strict tool's schema is a grammar: what would hold the engine up is refused."""
    with_schemas(world, values=1)

    free, _ = await ask(world, engine, {"registry": "crm"})
    strict, _ = await ask(world, engine, {"registry": "web"})

    assert free.status_code == 200
    assert strict.status_code == 400
    assert "limits.schemas.values" in strict.json()["error"]["message"]


async def test_calls_are_judged_by_the_sets_schemas(world, engine, sets):
    """What the gate reads is what the engine was offered."""
    _, sent = await ask(world, engine, {"registry": "crm"}, tool_choice="required")

    offered = tools_of(sent, CHAT)
    assert offered.schemas == {"find_person": SCHEMA, "add_note": SCHEMA}
    assert offered.demanded


def hold(book, sessions, version=8) -> None:
    """Promote, with these sessions left on the version before."""
    held = dict.fromkeys(sessions, 7)
    promotion = Promotion(version, 7)
    assert book.store.promote("crm", promotion, held, until=2e10, at=datetime.now(UTC))
    book.refresh()


@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
async def test_a_session_stays_on_the_version_with_which_it_began(world, engine, sets, path):
    """Its conversation is cached behind those tools; another session gets the new ones."""
    await ask(world, engine, {"registry": "crm"}, path)
    mine = world.state.tool_sessions.of("crm", now=0.0)
    assert set(mine.values()) == {7} and {len(x) for x in mine} == {DIGEST_BYTES}
    hold(sets, mine)

    _, kept = await ask(world, engine, {"registry": "crm"}, path)
    answer, pinned = await ask(world, engine, {"registry": "crm@8"}, path)
    _, others = await ask(world, engine, {"registry": "crm"}, path, key="root")

    assert [len(x["tools"]) for x in (kept, pinned, others)] == [2, 3, 3]
    assert answer.headers["x-pointsman-tools"] == "crm@8"


async def test_a_held_sessions_own_tools_are_judged_too(world, engine, sets, tmp_path):
    """What is promoted is within the bounds; what the session stays on is not."""
    write(tmp_path / "tools", version=9, tools=[tool("find_person")])
    sets.refresh(at_once=True)
    await ask(world, engine, {"registry": "crm"})
    hold(sets, world.state.tool_sessions.of("crm", now=0.0), version=9)
    with_schemas(world, values=25)

    found = [
        (await ask(world, engine, {"registry": name}, tool_choice="required", key=key))[0]
        for name, key in (("crm@9", "acme"), ("crm@7", "acme"), ("crm", "acme"), ("crm", "root"))
    ]

    assert [answer.status_code for answer in found] == [200, 400, 400, 200]


async def test_what_is_asked_for_by_version_is_no_session_of_the_name(world, engine, sets):
    await ask(world, engine, {"registry": "crm@7"})

    assert len(world.state.tool_sessions) == 0
    assert world.count("pointsman_tool_set_requests_total", tool_set="crm@7") == 1


async def test_prefixes_are_told_as_the_next_version_has_them(world, engine, sets):
    """Under the tenant's salt, once for all versions, and only those that follow the name."""
    long = {"messages": [{"role": "system", "content": "You sell bicycles. " * 30}, *SAID]}
    for tools in ({"registry": "crm"}, {"registry": "crm@8"}, [tool()]):
        world.lanes.answers.append(engine())
        body = {**long, "tools": tools if isinstance(tools, dict) else [{"function": tools[0]}]}
        assert (await world.post(CHAT, body, key="acme")).status_code == 200

    (told,) = world.state.tool_prefixes("chat", "crm", 8)

    assert follows(told["prefix"], "crm") and not follows(told["prefix"], "cr")
    made = json.loads(told["prefix"])
    assert made["body"]["tools"] == sets.sets.find("crm@8").forms[CHAT].tools
    assert made["body"]["messages"][0] == long["messages"][0]
    assert world.state.tool_prefixes("chat", "crm", 9) == []
    assert world.state.tool_prefixes("chat", "web", 1) == []


async def test_a_replica_that_begins_after_a_promotion_reads_both_versions(world, engine, sets):
    """Sessions go on with the one, and new ones begin with the other."""
    long = {"messages": [{"role": "system", "content": "You sell bicycles. " * 30}, *SAID]}
    world.lanes.answers.append(engine())
    await world.post(CHAT, {**long, "tools": {"registry": "crm"}}, key="acme")
    assert len(world.state.hot_prefixes("chat", 8)) == 1

    hold(sets, [])

    told = [json.loads(x["prefix"])["body"]["tools"] for x in world.state.hot_prefixes("chat", 8)]
    assert told == [sets.sets.find(f"crm@{version}").forms[CHAT].tools for version in (7, 8)]


async def test_a_replica_begins_where_what_is_promoted_cannot_be_read(world, engine, sets):
    """It reads what was asked for; a promoted version may be none for this release."""
    long = {"messages": [{"role": "system", "content": "You sell bicycles. " * 30}, *SAID]}
    world.lanes.answers.append(engine())
    await world.post(CHAT, {**long, "tools": {"registry": "crm"}}, key="acme")
    left = {8: sets.sets.versions["crm"][8]}

    sets.sets = replace(sets.sets, versions={"crm": left})

    assert len(world.state.hot_prefixes("chat", 8)) == 1


async def test_without_a_set_nothing_is_said_of_one(world, engine, sets):
    answer, _ = await ask(world, engine, [{"type": "function", "function": tool()}])

    assert "x-pointsman-tools" not in answer.headers
