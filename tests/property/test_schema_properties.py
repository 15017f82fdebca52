"""Whatever stands where a schema may: it is judged, in bounded work, and never a fault."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import Rejected
from serve_app.bodies.grammar.grammar_rules import PIECE, constraints_fault
from serve_app.bodies.grammar.regex_rules import Unreadable, read_regex
from serve_app.bodies.steps import at_once
from serve_app.config.fleet import SchemaConfig

BOUNDS = SchemaConfig()

KEYWORDS = (
    *("type", "properties", "items", "required", "anyOf", "oneOf", "allOf", "$ref", "$defs"),
    *("pattern", "patternProperties", "minLength", "maxLength", "minItems", "maxProperties"),
    *("enum", "const", "format", "minimum", "maximum", "default", "prefixItems", "structures"),
    *("elements", "content", "begin", "grammar", "regex", "choice", "json", "structural_tag"),
)
TEXTS = st.sampled_from(
    ("string", "object", "#/$defs/a", "#", "star", "repeat", "tag", "any_text", "or", "^a+$", "(")
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS | st.text()
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(st.sampled_from(KEYWORDS) | st.text(max_size=3), inner, max_size=6)
        | inner.map(json.dumps)
    ),
    max_leaves=60,
)
PIECES = st.sampled_from(
    ("a", "[a-z]", ".", r"\w", "|", "(", ")", "*", "+", "?", "{2,9}", "{3}", "-")
)
PATTERNS = st.lists(PIECES, max_size=24).map("".join) | st.text(max_size=40)


@given(value=VALUES, name=st.sampled_from(("structured_outputs", "response_format", "tools")))
def test_any_value_is_judged(value: Any, name: str) -> None:
    """A refusal names the field and repeats nothing that was sent."""
    body = {name: value, "tool_choice": "required"}
    refused = at_once(constraints_fault(body, BOUNDS))

    assert refused is None or (refused.param == name and len(refused.message) < 250)


@given(width=st.integers(1, 4000), value=VALUES)
@settings(max_examples=50, deadline=None)
def test_the_work_is_linear_in_what_is_looked_at(width: int, value: Any) -> None:
    """One piece for so many values, and none beyond the bounds."""
    steps = constraints_fault({"structured_outputs": {"json": [value] * width}}, BOUNDS)
    pieces = sum(1 for _ in steps)

    assert pieces <= BOUNDS.values / PIECE + BOUNDS.levels


@given(levels=st.integers(1, 400), wraps=st.lists(st.sampled_from("la"), min_size=1, max_size=4))
def test_a_deeper_schema_is_never_taken_where_a_shallower_is_not(
    levels: int, wraps: list[str]
) -> None:
    """However lists and objects alternate."""

    def is_taken(depth: int) -> bool:
        schema: Any = "x"
        for i in range(depth):
            schema = [schema] if wraps[i % len(wraps)] == "l" else {"a": schema}
        body = {"structured_outputs": {"json": schema}}
        return not isinstance(at_once(constraints_fault(body, BOUNDS)), Rejected)

    assert is_taken(levels) == (levels + 2 <= BOUNDS.levels)


@given(pattern=PATTERNS)
def test_any_expression_is_read_or_is_unreadable(pattern: str) -> None:
    """And what is read has so many positions at most."""
    try:
        expression = read_regex(pattern)
    except Unreadable:
        return
    assert len(expression.sets) <= 400 and expression.choices >= 0 and expression.borders >= 0


@given(
    pattern=st.sampled_from((r"[a-z]+-", r"(ab|[0-9]){2}x", r"\d{1,3}\.")), times=st.integers(1, 9)
)
def test_what_says_where_it_ends_may_be_repeated(pattern: str, times: int) -> None:
    """Any number of times, and in a repeated part of its own."""
    expression = read_regex(f"(({pattern}){{1,{times}}};)*")

    assert not expression.is_endless and expression.borders == 0


@given(part=st.sampled_from(("a", "[a-z]", r"\w", ".")), sign=st.sampled_from("+*"))
def test_what_does_not_may_not(part: str, sign: str) -> None:
    """Be repeated."""
    assert read_regex(f"({part}{sign})*").is_endless
    assert read_regex(f"({part}{{1,7}}){{0,20}}").is_endless
    assert read_regex(f"(x?({part}{sign}))+").is_endless
