"""What an answer may be held to: bounds on schemas, regular expressions and grammars."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from router.errors import Rejected
from serve_app.bodies.parsed_request import ParsedRequest, reading
from serve_app.bodies.routes import ROUTES
from serve_app.bodies.steps import at_once
from serve_app.config.serving import LimitsConfig, SchemaConfig
from tests.real_schemas import REAL
from tests.valid_bodies import VALID
from tests.wrong_bodies import SMALLEST

pytestmark = pytest.mark.security

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
COMPLETIONS = "/v1/completions"
TEXT = {"type": "string"}


def read(path: str, fields: dict[str, Any], **bounds: Any) -> ParsedRequest | Rejected:
    raw = json.dumps({**SMALLEST[path], **fields}).encode()
    return at_once(reading(raw, ROUTES[path], LimitsConfig(schemas=SchemaConfig(**bounds))))


def fault(constraint: dict[str, Any], **bounds: Any) -> str:
    """What is said of a constraint; nothing: it is taken."""
    answer = read(CHAT, {"structured_outputs": constraint}, **bounds)
    return answer.message if isinstance(answer, Rejected) else ""


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def a_tool(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": schema, **more}}


def fields_with(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every place where a client can send a schema: route, field, body."""
    named = {"name": "a", "schema": schema}
    tag = {"structures": [{"begin": "<a>", "schema": schema, "end": "</a>"}], "triggers": ["<a"]}
    form = {"type": "structural_tag", "format": {"type": "json_schema", "json_schema": schema}}
    flat = {"type": "function", "name": "f", "parameters": schema}
    for path in (CHAT, COMPLETIONS, RESPONSES):
        yield path, "structured_outputs", {"json": schema}
        yield path, "structured_outputs", {"json": json.dumps(schema)}
        yield path, "structured_outputs", {"structural_tag": json.dumps(tag)}
        yield path, "structured_outputs", {"structural_tag": json.dumps(form)}
    for path in (CHAT, COMPLETIONS):
        yield path, "response_format", {"type": "json_schema", "json_schema": named}
        yield path, "response_format", {"type": "structural_tag", **tag}
        yield path, "response_format", form
    yield RESPONSES, "text", {"format": {"type": "json_schema", **named}}
    yield MESSAGES, "output_config", {"format": {"type": "json_schema", "schema": schema}}
    for choice in ("auto", "required", {"type": "function", "function": {"name": "f"}}):
        yield CHAT, "tools", {"": [a_tool(schema)], "tool_choice": choice}
    yield CHAT, "tools", {"": [a_tool(schema, strict=True)]}
    for more in ({}, {"strict": True}):
        yield RESPONSES, "tools", {"": [{**flat, **more}]}
        yield RESPONSES, "tools", {"": [{"type": "namespace", "name": "n", "tools": [flat | more]}]}
    yield MESSAGES, "tools", {"": [{"name": "f", "input_schema": schema}]}


def body_of(name: str, value: dict[str, Any]) -> dict[str, Any]:
    if "" not in value:
        return {name: value}
    return {name: value[""], **{key: x for key, x in value.items() if key}}


@pytest.mark.parametrize("levels", [64, 200, 800])
def test_a_deep_schema_is_refused_wherever_it_stands(levels):
    """The engine takes seconds for it, or dies; the 400 names field, bound and value."""
    for path, name, value in fields_with(nested(levels)):
        refused = read(path, body_of(name, value))

        assert isinstance(refused, Rejected), (path, name, value)
        assert refused.param == name
        assert "48 (limits.schemas.levels)" in refused.message


def test_an_ordinary_schema_is_taken_wherever_it_stands():
    """Ten objects within one another."""
    for path, name, value in fields_with(nested(20)):
        assert isinstance(read(path, body_of(name, value)), ParsedRequest), (path, name, value)


@pytest.mark.parametrize(
    ("name", "bound", "small", "large"),
    [
        ("levels", 10, nested(6), nested(9)),
        ("values", 20, {"enum": list(range(10))}, {"enum": list(range(20))}),
        ("characters", 1024, {"description": "x" * 900}, {"description": "x" * 1024}),
        ("work", 60, {"enum": list(range(9))}, {"enum": list(range(20))}),
        (
            "optional",
            2,
            {"type": "object", "properties": dict.fromkeys("abc", TEXT), "required": ["a"]},
            {"type": "object", "properties": dict.fromkeys("abc", TEXT)},
        ),
        ("fixed_characters", 20, {"enum": ["x" * 10] * 2}, {"enum": ["x" * 7] * 3}),
        ("longest_text", 9, {"const": "x" * 9}, {"const": "x" * 10}),
        ("longest_text", 9, {"pattern": "x" * 9}, {"pattern": "x" * 10}),
        (
            "texts",
            1,
            {"anyOf": [{"type": "string", "maxLength": 5}, TEXT, {"type": "null"}]},
            {"anyOf": [{"type": "string", "maxLength": x} for x in (5, 6)]},
        ),
        ("choices", 2, {"pattern": "a?a"}, {"pattern": "a?a?a?a"}),
        ("size", 50, {"pattern": "[a-z]{1,50}"}, {"pattern": "[a-z]{1,51}"}),
        ("borders", 0, {"pattern": "[a-z]+ [a-z]+"}, {"pattern": "[a-z]+[a-c]+"}),
    ],
)
def test_each_bound_is_a_setting_and_named_in_the_refusal(name, bound, small, large):
    """With its value."""
    assert fault({"json": small}, **{name: bound}) == ""
    assert f"{bound} (limits.schemas.{name})" in fault({"json": large}, **{name: bound})


def test_bounds_are_of_the_whole_request():
    """Two fields just within them are not."""
    schema = {"enum": list(range(3_000))}
    one = {"structured_outputs": {"json": schema}}
    other = {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}

    assert isinstance(read(CHAT, one, work=10**6), ParsedRequest)
    refused = read(CHAT, one | other, work=10**6)
    assert isinstance(refused, Rejected)
    assert refused.param == "response_format" and "limits.schemas.values" in refused.message


def test_tools_that_are_only_offered_are_only_measured_in_depth():
    """Nothing is compiled of them; forced, they are held to the bounds."""
    tools = [a_tool({"enum": list(range(12_000))})]

    assert isinstance(read(CHAT, {"tools": tools}), ParsedRequest)
    refused = read(CHAT, {"tools": tools, "tool_choice": "required"})
    assert isinstance(refused, Rejected) and refused.param == "tools"


@pytest.mark.parametrize("name", REAL)
def test_what_people_send_is_taken(name):
    """Forms, tools of coding agents, OpenAPI schemas, everyday regular expressions."""
    path, fields = REAL[name]
    answer = read(path, fields)

    assert isinstance(answer, ParsedRequest), answer


def test_nothing_that_sdks_send_is_refused():
    """The table of what is valid."""
    for path, body in VALID:
        assert isinstance(read(path, body), ParsedRequest), body


# -- regular expressions and grammars ------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    [
        "([a-z]+)*",
        "((a+)+)+",
        "([a-z]*)*b",
        "(a{1,100}){1,100}",
        "(.{0,10})*",
        r"(\w+\s?){5}",
        r"(\w+\s?){3,9}",
        "(a|aa)*",
        "(a?){50}",
        r"(([a-z]{0,4} ?){0,4},?){0,4}",
    ],
)
@pytest.mark.parametrize("key", ["regex", "pattern", "name", "tag"])
def test_a_part_whose_repetitions_have_no_end_is_refused(pattern, key):
    """As a constraint, in a schema, as a property's name and in a structural tag."""
    form = {"type": "structural_tag", "format": {"type": "regex", "pattern": pattern}}
    constraint = {
        "regex": {"regex": pattern},
        "pattern": {"json": {"type": "string", "pattern": f"^{pattern}$"}},
        "name": {"json": {"type": "object", "patternProperties": {pattern: TEXT}}},
        "tag": {"structural_tag": json.dumps(form)},
    }[key]

    assert "regular expression" in fault(constraint)


# -- structural tags -----------------------------------------------------------


# -- places --------------------------------------------------------------------


# -- families ------------------------------------------------------------------
