"""Bounds on expressions, grammars and alternatives."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from benchmarks.support.schema_families import FAMILIES, largest
from serve_app.config.serving import SchemaConfig
from tests.unit.serve_app.bodies.grammar.test_schema_bounds import (
    CHAT,
    TEXT,
    fault,
    read,
)
from tests.wrong_bodies import SMALLEST

pytestmark = pytest.mark.security


@pytest.mark.parametrize(
    "pattern",
    ["[a-z]?" * 16, "(abc|[d-f]+)?" * 16, r"(\w+\s?)" * 16, "a?" * 50 + "a" * 50, ".*" * 16],
)
def test_a_row_of_parts_that_pass_into_one_another_is_refused(pattern):
    """Each costs the engine tens of milliseconds a token, or more."""
    assert "regular expression" in fault({"regex": pattern})


@pytest.mark.parametrize("pattern", [r"(a)\1", "(", "a**", "[b-a]", "(" * 5000])
def test_an_expression_that_cannot_be_judged_is_refused(pattern):
    """Whatever is wrong with it, it is no fault."""
    assert "regular expression" in fault({"regex": pattern})


@pytest.mark.parametrize(
    "grammar",
    [
        'root ::= root root | "a"',
        "root ::= s\ns ::= (s [a-z] s)?",
        'root ::= [a-z] root | ""',
        "root ::= " + "([a-z]* )" * 3 + "([a-z]+)*",
        "root ::= a0\n"
        + "".join(f"a{i} ::= a{i + 1} a{i + 1}\n" for i in range(40))
        + 'a40 ::= "x"',
        "root ::= a0\n"
        + "".join(f"a{i} ::= a{i + 1} a{i + 1}\n" for i in range(40))
        + 'a40 ::= ""',
        "root ::= a{20}\na ::= b{20}\nb ::= [a-z]*",
        'root ::= "a" (',
        'root ::= "a" )',
        "root ::= missing",
        'start: "a" | start "b"',
        'root ::= "a" $',
        "root ::= " + "(" * 5000,
        'root ::= "a"\nroot ::= "b"',
        'root ::= ("a" | "b"',
        "root ::= [b-a]",
    ],
)
def test_a_grammar_without_bounds_is_refused(grammar):
    """Recursive ones, and those that cannot be read."""
    assert "grammar" in fault({"grammar": grammar})
    assert fault({"grammar": grammar}, any_grammar=True) == ""


@pytest.mark.parametrize(
    "grammar",
    [
        'root ::= "yes" | "no"',
        'root ::= item+\nitem ::= "- " [^\\n]{1,80} "\\n" # a line',
        'root ::= (digit{2} ":"){2} digit{2}\ndigit ::= [0-9]',
        'root ::= "\\x41" | "\\"" | [A-Z]{2,} "" | ( "b" )?',
        'root ::= ("a"? "b"){0,}',
    ],
)
def test_an_ordinary_grammar_is_taken(grammar):
    """Lists, clocks, choices."""
    assert fault({"grammar": grammar}) == ""


def a_tag(form: dict[str, Any]) -> dict[str, Any]:
    return {"structural_tag": json.dumps({"type": "structural_tag", "format": form})}


@pytest.mark.parametrize("kind", ["star", "any_text", "regex"])
def test_what_has_no_end_is_not_repeated_in_a_tag(kind):
    """Between marks it may be."""
    inner = {"type": kind, "pattern": "a+", "content": {"type": "const_string", "value": "x"}}
    marked = {"type": "tag", "begin": "<a>", "content": inner, "end": "</a>"}

    assert "end of its own" in fault(a_tag({"type": "star", "content": inner}))
    sequence = {"type": "sequence", "elements": [inner]}
    assert "end of its own" in fault(a_tag({"type": "plus", "content": sequence}))
    assert fault(a_tag({"type": "star", "content": marked})) == ""


def alternatives(part: Callable[[int], Any]) -> dict[str, Any]:
    return {"json": {"anyOf": [part(i) for i in range(9)]}}


@pytest.mark.parametrize(
    "part",
    [
        lambda i: {"type": "string", "maxLength": i + 1},
        lambda i: {"type": "array", "items": {"type": "string", "maxLength": i + 1}},
        lambda i: {"type": "array", "items": TEXT, "maxItems": i + 1},
        lambda i: {"type": "object", "properties": {"a": {"type": "string", "minLength": i}}},
        lambda i: {"oneOf": [{"type": "string", "pattern": f"^.*x{i}$"}]},
    ],
)
def test_alternatives_in_one_place_are_counted(part):
    """The engine follows them all at once."""
    assert "limits.schemas.texts" in fault(alternatives(part))


@pytest.mark.parametrize("where", ["#/$defs/d{}", "#/properties/p{}"])
def test_alternatives_behind_references_are_counted(where):
    """However they are referred to."""
    texts = [{"type": "string", "maxLength": i + 1} for i in range(9)]
    schema = {
        "$defs": {f"d{i}": text for i, text in enumerate(texts)},
        "properties": {f"p{i}": text for i, text in enumerate(texts)},
        "anyOf": [{"$ref": where.format(i)} for i in range(9)],
    }

    assert "limits.schemas.texts" in fault({"json": schema})


def test_texts_in_places_of_their_own_are_not():
    """Optional fields, as pydantic writes them."""
    maybe = {
        f"p{i}": {"anyOf": [{**TEXT, "maxLength": i + 1}, {"type": "null"}]} for i in range(40)
    }

    assert fault({"json": {"type": "object", "properties": maybe}}) == ""


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_ends_somewhere(family):
    """Larger ones are refused, by a bound that is named or in words."""
    size = largest(family, SchemaConfig())
    counted = {"a bounded text"}

    assert size < 2**15 or family in counted | {"a counted array", "a repeated tag"}
    if size < 2**15:
        assert fault(FAMILIES[family](2 * size + 3))


@pytest.mark.parametrize("family", FAMILIES)
def test_looking_at_a_schema_is_bounded_work(family):
    """However large it is: counted in calls of functions, of which 40,000 take some 20 ms."""
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    constraint = FAMILIES[family](max(1, largest(family, SchemaConfig())))
    body = {**SMALLEST[CHAT], "structured_outputs": constraint}
    sys.setprofile(count)
    try:
        read(CHAT, body)
    finally:
        sys.setprofile(None)

    assert calls < 150_000


def test_bounds_beyond_what_an_engine_survives_are_refused():
    """In the fleet file."""
    with pytest.raises(ValidationError):
        SchemaConfig(levels=100)
