"""The request that asks for a call once more, and what is taken from its answer."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from serve_app.agents.forms import form_of
from serve_app.agents.gate import Fault, Gate
from serve_app.agents.repair import repair_body
from serve_app.agents.schemas import Schemas
from serve_app.agents.tools import tools_of
from serve_app.agents.verdict import EMPTY, IN_TEXT, CallOutcome, Verdict
from serve_app.bodies.parsed_request import parse
from serve_app.bodies.routes import ROUTES
from simulator.script.conversation import CORRECTIONS
from tests.unit.serve_app.agents.answers import (
    CHAT,
    MESSAGES,
    PATHS,
    RESPONSES,
    Answer,
    offered,
    whole,
)
from tests.unit.serve_app.agents.test_gate import BAD, GOOD, SCHEMAS

WRONG = Fault((0, 0), "add", 'add({"a": "x"})', Verdict(CallOutcome.SCHEMA, "at /a: no integer"))


def body_of(path: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Add."}]
    field = "input" if path == RESPONSES else "messages"
    limits = {"max_tokens": 100} if path == MESSAGES else {}
    return offered(
        path, SCHEMAS, **{field: messages, "model": "m", "stream": True, **limits, **more}
    )


def asked(path: str, fault: Fault, **more: Any) -> dict[str, Any]:
    body = body_of(path, **more)
    tools = tools_of(body, path)
    assert tools is not None
    return repair_body(body, path, tools, fault)


@pytest.mark.parametrize("path", PATHS)
def test_the_conversation_is_kept_and_the_tool_is_named(path: str) -> None:
    body = asked(path, WRONG)
    turns = body["input" if path == RESPONSES else "messages"]
    assert turns[0] == {"role": "user", "content": "Add."}
    assert [turn["role"] for turn in turns[1:]] == ["assistant", "user"]
    assert "at /a: no integer" in turns[2]["content"] and '"required":["a"]' in turns[2]["content"]
    assert body["tools"] == body_of(path)["tools"] and not body.get("stream")
    assert body["tool_choice"] == {
        CHAT: {"type": "function", "function": {"name": "add"}},
        MESSAGES: {"type": "tool", "name": "add", "disable_parallel_tool_use": True},
        RESPONSES: {"type": "function", "name": "add"},
    }[path]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["add", None])
def test_it_is_a_request_that_the_route_takes(path: str, name: str | None) -> None:
    body = asked(path, Fault((0, -1), name, "", WRONG.verdict))
    parsed = parse(orjson.dumps(body), ROUTES[path])
    assert not hasattr(parsed, "reason"), parsed
    tools = tools_of(body, path)
    assert tools is not None and tools.demanded and tools.named == name
    assert not tools.allows_parallel


def test_a_grammar_that_the_client_switched_off_is_on_for_this_tool() -> None:
    body = body_of(CHAT)
    for tool in body["tools"]:
        tool["function"]["strict"] = False
    tools = tools_of(body, CHAT)
    assert tools is not None
    first, second = repair_body(body, CHAT, tools, WRONG)["tools"]
    assert "strict" not in first["function"] and second["function"]["strict"] is False
    assert body["tools"][0]["function"]["strict"] is False


@pytest.mark.parametrize("path", PATHS)
def test_after_an_empty_answer_the_model_may_speak_or_call(path: str) -> None:
    body = asked(path, Fault((0, -1), None, "", EMPTY))
    tools = tools_of(body, path)
    assert tools is not None and not tools.demanded


@pytest.mark.parametrize("path", PATHS)
def test_only_a_valid_call_is_taken(path: str) -> None:
    body = body_of(path)
    tools, form = tools_of(body, path), form_of(path)
    assert tools is not None and form is not None
    wrong = whole(path, Answer([], [BAD[CallOutcome.SCHEMA], BAD[CallOutcome.UNKNOWN_TOOL]]))
    gate = Gate(form, tools, Schemas(), holds=True)
    assert gate.made_again(wrong, WRONG) == []
    right = whole(path, Answer([], [BAD[CallOutcome.SCHEMA], GOOD]))
    (call,) = gate.made_again(right, WRONG)
    assert orjson.loads(call.arguments) == {"a": 1}


@pytest.mark.parametrize("path", PATHS)
def test_in_place_of_several_calls_all_are_taken_or_none(path: str) -> None:
    body = body_of(path)
    tools, form = tools_of(body, path), form_of(path)
    assert tools is not None and form is not None
    gate = Gate(form, tools, Schemas(), holds=True)
    many = Fault((0, -1), None, "", IN_TEXT, may_be_many=True)
    again = repair_body(body, path, tools, many)
    asked_again = tools_of(again, path)
    assert asked_again is not None and asked_again.demanded and asked_again.allows_parallel
    assert len(gate.made_again(whole(path, Answer([], [GOOD, GOOD])), many)) == 2
    partly = whole(path, Answer([], [GOOD, BAD[CallOutcome.SCHEMA]]))
    assert gate.made_again(partly, many) == []


def test_a_namespace_keeps_its_shape() -> None:
    inner = [{"type": "function", "name": "add", "parameters": SCHEMAS["add"]}]
    body = {"input": "Add.", "tools": [{"type": "namespace", "name": "math", "tools": inner}]}
    tools = tools_of(body, RESPONSES)
    assert tools is not None and set(tools.schemas) == {"add", "math__add"}
    assert repair_body(body, RESPONSES, tools, WRONG)["tools"] == body["tools"]


@pytest.mark.parametrize("fault", [WRONG, Fault((0, -1), None, "", EMPTY)])
def test_the_scripted_engine_knows_the_note_for_what_it_is(fault: Fault) -> None:
    """Its script goes on where it was: no new turn begins."""
    assert asked(CHAT, fault)["messages"][-1]["content"].startswith(CORRECTIONS)
