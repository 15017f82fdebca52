"""Background requests and sessions of coding agents, by what their clients send."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from router.agents.background import Background
from serve_app.agents.background import background_of
from serve_app.bodies.parsed_request import ParsedRequest, parse
from serve_app.bodies.routes import ROUTES

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
HARD: list[dict[str, Any]] = [{"role": "user", "content": "hard"}]
TITLE = {"type": "object", "properties": {"title": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
TITLES: dict[str, tuple[str, dict[str, Any]]] = {
    "claude-code": (
        MESSAGES,
        {
            "max_tokens": 32_000,
            "output_config": {"format": {"type": "json_schema", "schema": TITLE}},
        },
    ),
    "opencode": (
        CHAT,
        {"messages": [{"role": "system", "content": "You are a title generator. You ..."}, *HARD]},
    ),
    "chat": (
        CHAT,
        {"response_format": {"type": "json_schema", "json_schema": {"name": "t", "schema": TITLE}}},
    ),
    "responses": (
        RESPONSES,
        {"text": {"format": {"type": "json_schema", "name": "t", "schema": TITLE}}},
    ),
}  # fmt: skip


def parsed_of(path: str, **more: Any) -> ParsedRequest:
    said = {"input" if path == RESPONSES else "messages": HARD}
    limit = {"max_tokens": 100} if path == MESSAGES else {}
    parsed = parse(orjson.dumps({**said, **limit, **more}), ROUTES[path])
    assert isinstance(parsed, ParsedRequest), parsed
    return parsed


@pytest.fixture
def policy(world):
    return world.state.policies.routing


@pytest.mark.parametrize("client", TITLES)
def test_a_title_is_known_by_its_form(policy, client):
    """Whatever its limit: all of them ask for as much as ever."""
    path, more = TITLES[client]

    assert background_of(parsed_of(path, **more), {}, policy) is Background.TITLE


@pytest.mark.parametrize(
    "name",
    [
        "x-claude-code-agent-id",
        "x-openai-subagent",
        "x-codex-parent-thread-id",
        "x-parent-session-id",
    ],
)
def test_a_sub_agent_is_known_by_its_header(policy, name):
    parsed = parsed_of(CHAT, tools=[TOOL])

    assert background_of(parsed, {name.encode(): b"a2e8"}, policy) is Background.SUB_AGENT
    assert background_of(parsed, {name.encode(): b""}, policy) is None


def test_a_schema_of_more_than_a_title_is_an_answer(policy):
    """An article has a title, too."""
    fields = {name: {"type": "string"} for name in ("title", "text", "author")}
    schema = {"name": "t", "schema": {"type": "object", "properties": fields}}
    parsed = parsed_of(CHAT, response_format={"type": "json_schema", "json_schema": schema})

    assert background_of(parsed, {}, policy) is None


def test_a_small_models_name_marks_where_no_lane_has_it(policy):
    """A lane of that name is chosen by a person."""
    assert background_of(parsed_of(CHAT, model="some-haiku"), {}, policy) is Background.SMALL_MODEL
    for name in ("auto", "chat", "small"):
        assert background_of(parsed_of(CHAT, model=name), {}, policy) is None


def test_a_short_answer_marks_a_coding_agents_request_only(policy):
    parsed = parsed_of(CHAT, max_tokens=16)

    assert background_of(parsed, {}, policy) is None
    headers = {b"x-claude-code-session-id": b"s"}
    assert background_of(parsed, headers, policy) is Background.SHORT
    assert background_of(parsed, {**headers, b"x-pointsman-background": b"0"}, policy) is None


async def test_it_is_told_and_does_not_go_up(world):
    """In the dry run; the same request that somebody waits for goes up."""
    body = {"messages": HARD}

    plain = (await world.post("/v1/route", body)).json()
    marked = (await world.post("/v1/route", body, headers={"x-pointsman-background": "1"})).json()

    assert (plain["lane"], plain["reason"], plain["background"]) == ("quality", "complex", None)
    assert (marked["lane"], marked["reason"], marked["background"]) == ("chat", "default", "asked")


async def test_it_is_queued_and_recorded_as_one(world, engine, monkeypatch):
    """The lane's queue puts it behind its tenant's others."""
    world.lanes.answers = [engine(), engine()]
    taken, records = [], []
    take = world.state.admission.take
    monkeypatch.setattr(
        world.state.admission, "take", lambda *a, **more: taken.append(more) or take(*a, **more)
    )
    monkeypatch.setattr(world.recorder.log, "put", records.append)

    await world.post(CHAT, {"messages": HARD}, headers={"x-pointsman-background": "1"})
    await world.post(CHAT, {"messages": HARD})

    assert [more["is_background"] for more in taken] == [True, False]
    assert [record.background for record in records] == ["asked", None]


@pytest.mark.parametrize(
    ("headers", "more", "session"),
    [
        ({"session-id": "s", "thread-id": "t"}, {"prompt_cache_key": "k"}, "s"),
        ({"session_id": "s"}, {}, "s"),
        ({"x-session-id": "mine", "session-id": "s"}, {}, "mine"),
        ({"x-session-affinity": "s"}, {}, "s"),
        ({"x-claude-code-session-id": "s", "x-claude-code-agent-id": "a"}, {}, "s"),
    ],
)
async def test_a_session_is_what_its_client_names(world, headers, more, session):
    """A sub-agent has its parent's: a task is one session where its requests are placed."""
    told = await world.post("/v1/route", {"messages": HARD, **more}, headers=headers)

    assert told.json()["session_id"] == session


async def session_of(world: Any, messages: list[Any], key: Any = None) -> str:
    told = await world.post("/v1/route", {"messages": messages, "prompt_cache_key": key})
    return told.json()["session_id"]


async def test_a_cache_key_tells_conversations_apart_that_begin_alike(world):
    """It stays over a conversation's turns, as its beginning does."""
    later = [*HARD, {"role": "assistant", "content": "Well."}, {"role": "user", "content": "And?"}]

    mine = await session_of(world, HARD, "one")

    assert await session_of(world, later, "one") == mine
    assert await session_of(world, HARD, "two") != mine
    assert await session_of(world, HARD) != mine


async def test_a_cache_key_of_a_whole_app_makes_no_session_of_its_users(world):
    """Some clients send one key with everything."""
    other = [{"role": "user", "content": "Something else."}]

    assert await session_of(world, HARD, "app") != await session_of(world, other, "app")


@pytest.mark.parametrize("key", ["", "  ", "x" * 300, "a\nb", 7, None])
async def test_a_key_that_is_no_session_id_is_passed_by(world, key):
    """It is another field's value, and valid there."""
    assert await session_of(world, HARD, key) == await session_of(world, HARD)
