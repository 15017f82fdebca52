"""Tools come in one order, so that clients which shuffle them keep their prefix."""

import orjson
import pytest

from serve_app.agents.tool_order import in_order

SCHEMA = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"enum": ["z", "y"]}},
          "required": ["b", "a"]}  # fmt: skip
FORMS = {
    "chat": lambda name: {"type": "function", "function": {"name": name, "parameters": SCHEMA}},
    "messages": lambda name: {"name": name, "input_schema": SCHEMA},
    "responses": lambda name: {"type": "function", "name": name, "parameters": SCHEMA},
}


def shuffled(value):
    """The same with the keys of its objects the other way round."""
    if isinstance(value, list):
        return [shuffled(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {key: shuffled(value[key]) for key in reversed(value)}


@pytest.mark.parametrize("form", FORMS)
def test_tools_are_in_the_order_of_their_names(form):
    tools = [FORMS[form](name) for name in ("write", "list", "Read")]

    ordered = in_order(tools)

    assert ordered == [tools[2], tools[1], tools[0]]
    assert orjson.dumps(in_order(shuffled(tools[::-1]))) == orjson.dumps(ordered)


def test_arrays_in_a_tool_stay_as_they_are():
    (tool,) = in_order([FORMS["messages"]("f")])

    assert tool["input_schema"]["required"] == ["b", "a"]
    assert tool["input_schema"]["properties"]["a"]["enum"] == ["z", "y"]


def test_tools_of_one_name_stay_in_their_order():
    tools = [{"name": "f", "description": text} for text in "zya"]

    assert in_order(tools) == tools


def test_tools_of_a_namespace_are_in_order_too():
    space = {"type": "namespace", "name": "n", "tools": [{"name": "b"}, {"name": "a"}]}

    (ordered,) = in_order([space])

    assert ordered["tools"] == [{"name": "a"}, {"name": "b"}]
    assert in_order([{"type": "namespace", "tools": 5}]) == [{"type": "namespace", "tools": 5}]


def test_what_has_no_name_comes_first():
    tools = [{"name": "f"}, None, {"name": 5}, 7, {"function": "x"}]

    assert in_order(tools) == [None, {"name": 5}, 7, {"function": "x"}, {"name": "f"}]
