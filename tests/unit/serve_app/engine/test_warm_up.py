"""A new replica reads the hottest prefixes before it takes traffic."""

import asyncio
import logging

import orjson
import pytest

from router.placement.hot_prefixes import HotPrefix
from serve_app.bodies.parsed_request import parse
from serve_app.bodies.prefixes import prefix_of, request_of
from serve_app.bodies.routes import ROUTES
from serve_app.config.serving import WarmUpConfig
from serve_app.engine.warm_up import dummy_turn, first_grammar, prefill, together, warm_up
from tests.unit.serve_app.engines import BLOCK, running

SYSTEM = "You are the assistant of a shop that sells bicycles. " * 20
TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]
CHAT = "/v1/chat/completions"

# The same conversation in every dialect that has a system prompt.
FORMS = {
    CHAT: {
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Hi?"}],
        "max_tokens": 2,
    },
    "/v1/messages": {
        "system": SYSTEM,
        "messages": [{"role": "user", "content": "Hi?"}],
        "max_tokens": 2,
    },
    "/v1/responses": {
        "instructions": SYSTEM,
        "input": "Hi?",
        "max_output_tokens": 2,
        "store": False,
    },
}


def prefix(path: str, body) -> bytes | None:
    return prefix_of(parse(orjson.dumps(body), ROUTES[path]))


async def ask(world, path: str, key: str, engine) -> dict:
    """One request through the gateway; returns the body that the engine was sent."""
    world.lanes.answers.append(engine())
    assert (await world.post(path, FORMS[path], key=key)).status_code == 200
    return world.lanes.opened[-1].body


@pytest.mark.parametrize("path", FORMS)
async def test_the_first_request_of_a_hot_tenant_finds_its_prefix_cached(world, engine, path):
    """By the engine's own counters; without the warm-up it finds nothing."""
    sent = await ask(world, path, "acme", engine)
    hot = together([world.state.hot_prefixes("chat", 8)], 8)

    async with running() as cold, running() as warm:
        done = await prefill(warm.http, "small", hot, within_s=20)
        cached = await warm.cached(path, sent)

        assert await cold.cached(path, sent) == 0
    assert done == 1
    assert cached >= len(SYSTEM.split()) // BLOCK * BLOCK > 0


async def test_a_warm_prefix_is_of_no_use_to_another_tenant(world, engine):
    """It lies under the salt of the tenant that asked for it."""
    await ask(world, CHAT, "acme", engine)
    hot = together([world.state.hot_prefixes("chat", 8)], 8)
    other = await ask(world, CHAT, "root", engine)

    async with running() as warm:
        await prefill(warm.http, "small", hot, within_s=20)

        assert await warm.cached(CHAT, other) == 0


async def test_hottest_first_and_no_more_than_the_time_allows():
    """An engine that takes a while per prefix reads as many as fit."""
    one = prefix(CHAT, FORMS[CHAT])
    hot = [HotPrefix(f"salt {number}", one, 1.0) for number in range(500)]

    async with running(prefill_ms_per_token=0.2) as engine:
        done = await prefill(engine.http, "small", hot, within_s=0.3)

    assert 1 <= done <= 15


async def test_a_prefix_that_the_engine_refuses_is_left_out():
    """A request that was good for another model is no reason not to start."""
    good = prefix(CHAT, FORMS[CHAT])
    bad = good.replace(b"max_tokens", b"max_tokenz").replace(b'"messages"', b'"massages"')

    async with running() as engine:
        done = await prefill(
            engine.http, "small", [HotPrefix("a", bad, 2), HotPrefix("a", good, 1)], within_s=20
        )

    assert done == 1


async def test_an_engine_that_hangs_does_not_hold_up_the_start():
    """The budget is a bound, not a hope."""
    body = {**FORMS[CHAT], "messages": [{"role": "system", "content": SYSTEM}]}
    hanging = prefix(CHAT, body).replace(b'"content":"."', b'"content":"[hang]"')

    async with running() as engine:
        done = await asyncio.wait_for(
            prefill(engine.http, "small", [HotPrefix("a", hanging, 1)] * 3, within_s=0.2), 10
        )

    assert done == 0


async def test_a_dummy_turn_that_fails_is_a_failed_start():
    """Serve tries again with another replica."""
    async with running("other") as engine:
        with pytest.raises(RuntimeError, match="404"):
            await dummy_turn(engine.http, "small")
        await dummy_turn(engine.http, "other")


class Heard:
    """A session that notes what it posts."""

    def __init__(self, http) -> None:
        self.http = http
        self.bodies = []

    def post(self, path, json, **options):
        self.bodies.append(json)
        return self.http.post(path, json=json, **options)


async def test_a_replica_has_read_a_grammar_before_its_first_request():
    """The first one decides how the engine reads all others: it is none of a client's."""
    async with running() as engine:
        heard = Heard(engine.http)
        await warm_up(heard, "app", "chat", "small", WarmUpConfig(prefixes=0))

    assert [("structured_outputs" in body) for body in heard.bodies] == [False, True]


async def test_a_model_without_grammars_serves_all_else(caplog):
    """It is said, and the replica takes traffic."""
    async with running("other") as engine:
        await first_grammar(engine.http, "small")

    assert "404" in caplog.text


async def test_prompts_do_not_reach_the_log(world, engine, caplog):
    """Neither what is noted nor what is prefilled."""
    with caplog.at_level(logging.DEBUG):
        await ask(world, CHAT, "acme", engine)
        async with running() as warm:
            hot = together([world.state.hot_prefixes("chat", 8)], 8)
            await prefill(warm.http, "small", hot, within_s=20)

    assert "bicycles" not in caplog.text


def test_faults_among_the_answers_are_left_out():
    """A broadcast returns what its replicas raised."""
    one = [{"salt": "a", "prefix": b"x", "weight": 1.0}]

    assert together([one, RuntimeError(), one], 4) == [HotPrefix("a", b"x", 2.0)]


async def test_only_answered_requests_count_and_by_lane(world, engine):
    """What the engine refused tells nothing about the next replica's traffic."""
    world.lanes.answers.append(engine({"error": {"message": "no"}}, status=400))
    await world.post(CHAT, FORMS[CHAT], key="acme")
    assert world.state.hot_prefixes("chat", 8) == []

    await ask(world, CHAT, "acme", engine)
    await ask(world, CHAT, "acme", engine)

    (hot,) = world.state.hot_prefixes("chat", 8)
    assert hot["weight"] == pytest.approx(2.0, rel=0.01)
    assert world.state.hot_prefixes("quality", 8) == []


@pytest.mark.parametrize("path", FORMS)
def test_turns_of_a_conversation_have_one_prefix(path):
    """Whatever the user says and however long the answer may be."""
    body = FORMS[path]
    name = "input" if path == "/v1/responses" else "messages"
    items = (
        body[name] if isinstance(body[name], list) else [{"role": "user", "content": body[name]}]
    )
    later = {
        **body,
        name: [*items, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "?"}],
        "temperature": 0.3,
        "stream": True,
    }

    assert prefix(path, later) == prefix(path, body) is not None


def test_what_shapes_the_prompt_is_part_of_the_prefix():
    """Tools, the template and its arguments; `tool_choice` only where it removes the tools."""
    body = {**FORMS[CHAT], "tools": TOOLS}
    shaped = [
        body,
        {**body, "tool_choice": "none"},
        {**body, "chat_template_kwargs": {"thinking": True}},
        {**FORMS[CHAT]},
    ]

    assert len({prefix(CHAT, one) for one in shaped}) == 4
    assert prefix(CHAT, {**body, "tool_choice": "required"}) == prefix(CHAT, body)
    path, sent = request_of(prefix(CHAT, body), model="small", cache_salt="salt")
    assert (path, sent["model"], sent["cache_salt"]) == (CHAT, "small", "salt")
    assert sent["tools"] == TOOLS and sent["max_tokens"] == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": [{"role": "user", "content": "x" * 1000}]}),
        (CHAT, {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user"}]}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "x" * 1000}]}),
        ("/v1/responses", {"input": "x" * 1000}),
        ("/v1/completions", {"prompt": "x" * 1000}),
    ],
    ids=["no system", "a short one", "messages", "responses", "completions"],
)
def test_what_is_not_worth_a_warm_up(path, body):
    """No system prompt and no tools, or less than fills a few blocks."""
    assert prefix(path, body) is None
