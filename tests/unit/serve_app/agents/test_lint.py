"""What is told about a request's tools."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from serve_app.agents.grammar_notes import refused, unheld
from serve_app.agents.lint import MAX_TOOLS, LintLog, linting
from serve_app.bodies.steps import at_once
from serve_app.config.serving import SchemaConfig

BOUNDS = SchemaConfig()
TEXT = {"type": "string", "description": "A city."}


def tool(name="weather", description="The weather of a city.", **schema):
    given = {"type": "object", "properties": {"city": TEXT}, **schema}
    function = {"name": name, "description": description, "parameters": given}
    return {"type": "function", "function": function}


def notes_of(*tools, **more):
    return at_once(linting(list(tools), BOUNDS, **more))


def findings(given):
    return dict(notes_of(given).tools[0].findings)


def test_a_good_tool_has_no_findings():
    notes = notes_of(tool())
    written = len(json.dumps(tool(), separators=(",", ":")))
    assert (notes.count, notes.bytes, notes.tokens) == (1, written, int(written / 3.5))
    assert notes.tools[0].findings == () and notes.colliding == ()


@pytest.mark.parametrize(
    ("given", "finding", "said"),
    [
        (tool(description=""), "no_description", "no description"),
        (tool(description=None), "no_description", "no description"),
        (tool(description="x" * 700), "long", "over 200"),
        (tool(properties={"a": {"type": "string"}, "b": TEXT}), "undescribed_parameters", "a"),
        (tool(properties={"a": {"type": "foo"}}), "grammar_refuses", "'foo' is no type"),
        (tool(properties={"a": TEXT | {"enum": []}}), "grammar_refuses", "'enum' is empty"),
        (tool(properties={"a": {"$ref": "#/$defs/x"}}), "grammar_refuses", "leads nowhere"),
        (tool(dependentRequired={"a": ["b"]}), "grammar_ignores", "dependentRequired"),
        (tool(properties={"a": TEXT | {"minLength": 99_999}}), "over_bounds", "'minLength'"),
    ],
)
def test_what_is_wrong_with_a_tool_is_named(given, finding, said):
    assert said in findings(given)[finding]


@pytest.mark.parametrize("given", [None, 7, {}, {"function": None}, tool(properties=[])])
def test_anything_may_stand_in_the_place_of_a_tool(given):
    assert notes_of(given).count == 1


def test_a_number_of_any_size_may_stand_in_a_schema():
    assert notes_of(tool(properties={"a": {"maximum": 10**30}})).count == 1


@pytest.mark.parametrize(
    "form",
    [
        tool(),
        {"name": "weather", "description": "Weather.", "input_schema": {"properties": {}}},
        {"type": "function", "name": "weather", "description": "x", "parameters": {}},
        {"type": "namespace", "name": "n", "tools": [tool()["function"]]},
    ],
)
def test_every_route_s_form_is_read(form):
    notes = notes_of(form)
    assert [found.name for found in notes.tools] == ["weather"]
    assert notes.tools[0].findings == ()


def test_names_collide_where_only_case_and_dashes_differ():
    names = ["get_user", "getUser", "get-user", "get_users", "x"]
    assert notes_of(*(tool(name) for name in names)).colliding == (tuple(names[:3]),)
    assert notes_of(tool("a"), tool("a")).colliding == ()


@pytest.mark.parametrize(
    "given",
    [
        tool(description="Weather. Example: {'city': 'Bern'}"),
        tool(examples=[{"city": "Bern"}]),
        tool(properties={"city": TEXT | {"examples": ["Bern"]}}),
    ],
)
def test_examples_are_counted(given):
    shown = notes_of(given, tool()).explained()
    assert shown["with_examples"] == 1


def test_tokens_are_of_the_lane_s_rate():
    assert notes_of(tool(), bytes_per_token=1.0).tokens == notes_of(tool()).bytes


def test_of_very_many_tools_the_rest_is_counted_only():
    shown = notes_of(*(tool(f"t{n}") for n in range(MAX_TOOLS + 5))).explained()
    assert shown["count"] == MAX_TOOLS + 5 and len(shown["tools"]) == MAX_TOOLS


def logged(caplog, log, tools, tenant="acme"):
    caplog.clear()
    with caplog.at_level(logging.INFO, "ray.serve"):
        at_once(log.noting(tools, tenant, BOUNDS))
    return [record.getMessage() for record in caplog.records]


def test_a_set_is_logged_once_for_each_tenant(caplog):
    log, tools = LintLog(), [tool("private_name", description=""), tool()]
    first = logged(caplog, log, tools)
    assert len(first) == 1 and "tenant=acme tools=2" in first[0]
    assert "no_description=1" in first[0] and "private_name" not in first[0]
    assert logged(caplog, log, tools[::-1]) == []
    assert len(logged(caplog, log, tools, "other")) == 1


def test_a_set_without_findings_is_not_logged(caplog):
    assert logged(caplog, LintLog(), [tool()]) == []


def test_the_log_is_bounded(caplog):
    log = LintLog(max_sets=2)
    lines = [logged(caplog, log, [tool(f"t{n}", description="")]) for n in range(4)]
    assert [len(line) for line in lines] == [1, 1, 0, 0]


REFUSED = [
    {"type": "foo"},
    {"enum": []},
    {"type": "array", "items": [{"type": "string"}]},
    {"type": "object", "properties": []},
    {"type": "object", "required": "a"},
    {"type": "object", "properties": {"a": False}},
    {"type": "object", "properties": {"a": {"$ref": "#/definitions/none"}}},
    {"type": "integer", "minimum": 1, "maximum": 0},
    {"type": "string", "pattern": "(a)\\1"},
    {"type": "string", "pattern": "\\bfoo"},
    {"type": "string", "pattern": "\\p{L}+"},
    {"type": "string", "pattern": "["},
]
TAKEN = [
    {},
    {"type": "object"},
    {"type": "string", "pattern": "^[a-z]+$"},
    {"type": "object", "properties": {"type": {"type": "string"}, "enum": {"type": "null"}}},
    {"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {}}},
    {"type": ["string", "null"]},
    {"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}, {"const": 1}]}}},
    {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
]
OBJECT = {"type": "object", "properties": {"a": {"type": "string"}}}
# What xgrammar makes the same grammar of with and without the keyword.
UNHELD = [
    ({"type": "array", "items": {"type": "string"}}, {"uniqueItems": True}),
    ({"type": "array", "items": {"type": "string"}}, {"contains": {"const": "a"}}),
    (OBJECT, {"propertyNames": {"pattern": "^a"}}),
    (OBJECT, {"dependentRequired": {"a": ["b"]}}),
    (OBJECT, {"if": {}, "then": {}}),
    (OBJECT, {"not": {"required": ["a"]}}),
]


def test_what_xgrammar_refuses_is_told():
    assert [schema for schema in REFUSED if refused(schema) is None] == []
    assert [(x, why) for x in TAKEN if (why := refused(x)) is not None] == []


def test_what_a_grammar_does_not_hold_is_told():
    for base, keyword in UNHELD:
        assert unheld(base | keyword) == [next(iter(keyword))]
        assert unheld(base) == []
    assert unheld({"type": "string", "pattern": "^(?=a)", "maxLength": 3}) == [
        "maxLength",
        "pattern",
    ]


COMPARE = """
import json, sys, xgrammar
def grammar(schema):
    try:
        return str(xgrammar.Grammar.from_json_schema(json.dumps(schema)))
    except Exception:
        return None
given = json.load(sys.stdin)
print(json.dumps({
    "refused": [grammar(x) is None for x in given["refused"]],
    "taken": [grammar(x) is not None for x in given["taken"]],
    "unheld": [grammar(base | more) == grammar(base) for base, more in given["unheld"]],
}))
"""


@pytest.mark.slow
def test_the_installed_xgrammar_does_so():
    given = json.dumps({"refused": REFUSED, "taken": TAKEN, "unheld": UNHELD})
    done = subprocess.run(
        [sys.executable, "-c", COMPARE], input=given, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert all(all(answers) for answers in found.values()), found
