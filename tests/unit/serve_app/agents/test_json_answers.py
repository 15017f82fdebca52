"""Whole answers that were to match a JSON schema."""

from __future__ import annotations

import json
from typing import Any

import pytest

from serve_app.agents.json_answers import MAX_JUDGED_CHARS
from tests.unit.serve_app.agents.answers import CHAT, MESSAGES, PATHS, RESPONSES, Answer, whole
from tests.unit.serve_app.conftest import FakeResponse

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "code": {"type": "integer", "minimum": 10}},
    "required": ["city"],
}
FIELDS: dict[str, dict[str, Any]] = {
    CHAT: {
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}
    },
    MESSAGES: {
        "max_tokens": 50,
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
    },
    RESPONSES: {"text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}}},
}
OUTCOMES = ("valid", "not_json", "schema", "cut_short")


def body(path: str, **more: Any) -> dict[str, Any]:
    said = {"input" if path == RESPONSES else "messages": [{"role": "user", "content": "Where?"}]}
    return {**said, **FIELDS[path], **more}


def counted(world: Any) -> dict[str, float]:
    name = "pointsman_json_answers_total"
    found = {x: world.count(name, lane="chat", outcome=x) for x in OUTCOMES}
    return {outcome: count for outcome, count in found.items() if count}


async def answer(world: Any, path: str, text: str, **more: Any) -> Any:
    made = whole(path, Answer([text]))
    world.lanes.answers = [FakeResponse(json.dumps(made).encode())]
    response = await world.post(path, body(path, **more), key="acme")
    assert response.status_code == 200
    return response.json()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ('{"city": "Ulm", "code": 89}', "valid"),
        ('{"city": "Ulm", "code": 9}', "schema"),
        ('{"code": 89}', "schema"),
        ('{"city": "Ul', "not_json"),
        ("Ulm.", "not_json"),
        ('{"city": "Ulm", "code": 100000000000000000000000000}', "valid"),
        ("[" * 20_000, "not_json"),
    ],
)
async def test_it_is_counted_by_how_it_matches_and_passes_as_it_is(world, path, text, outcome):
    told = await answer(world, path, text)

    assert json.dumps(text) in json.dumps(told)
    assert counted(world) == {outcome: 1}


async def test_one_that_was_cut_short_is_as_its_client_asked(world):
    made = whole(CHAT, Answer(['{"city": "Ul']))
    made["choices"][0]["finish_reason"] = "length"
    world.lanes.answers = [FakeResponse(json.dumps(made).encode())]

    await world.post(CHAT, body(CHAT), key="acme")

    assert counted(world) == {"cut_short": 1}


async def test_of_a_very_long_one_nothing_is_said(world):
    await answer(world, CHAT, json.dumps({"city": "x" * MAX_JUDGED_CHARS}))

    assert counted(world) == {}


async def test_an_answer_that_calls_a_tool_is_none(world):
    made = whole(CHAT, Answer([""], [("add", ['{"a": 1}'])]))
    world.lanes.answers = [FakeResponse(json.dumps(made).encode())]

    await world.post(CHAT, body(CHAT), key="acme")

    assert counted(world) == {}


@pytest.mark.parametrize("schema", [{"$ref": "https://example.com/a.json"}, 7, None])
async def test_of_a_schema_that_cannot_be_compiled_only_json_is_asked(world, schema):
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    await answer(world, CHAT, "{}", response_format=form)

    assert counted(world) in ({"valid": 1}, {})


async def test_without_a_schema_nothing_is_judged(world):
    await answer(world, CHAT, "Ulm.", response_format={"type": "json_object"})

    assert counted(world) == {}
