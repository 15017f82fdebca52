"""Schemas and grammars that are dear to read or to follow, each kind in any size."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import reduce
from typing import Any

from serve_app.bodies.grammar.grammar_rules import constraints_fault
from serve_app.bodies.steps import at_once
from serve_app.config.fleet import SchemaConfig

FORMATS = ("uri", "email", "date-time", "ipv6")
TEXT: dict[str, Any] = {"type": "string"}
LARGEST = 2**15
"""No larger one is tried."""

Constraint = dict[str, Any]


def _object(properties: dict[str, Any], **more: Any) -> Constraint:
    return {"json": {"type": "object", "properties": properties, **more}}


def _all_of(count: int, part: Callable[[int], Any], *, needed: bool = True) -> Constraint:
    properties = {f"p{i}": part(i) for i in range(count)}
    return _object(properties, required=[*properties] if needed else [])


def _wrapped(inner: Any, levels: int, wrap: Callable[[Any], Any]) -> Constraint:
    return {"json": reduce(lambda within, _: wrap(within), range(levels), inner)}


def _array(inner: Any) -> Any:
    return {"type": "array", "items": inner}


def _holder(inner: Any) -> Any:
    return {"type": "object", "properties": {"a": inner}, "required": ["a"]}


def _wide(count: int) -> Any:
    return _all_of(count, lambda _: TEXT)["json"]


def _defined(count: int, link: Callable[[int], Any]) -> Constraint:
    definitions = {f"d{i}": link(i) for i in range(count)}
    return {"json": {"$defs": {**definitions, f"d{count}": TEXT}, "$ref": "#/$defs/d0"}}


def _next(i: int) -> Any:
    return {"$ref": f"#/$defs/d{i + 1}"}


def _any(count: int, part: Callable[[int], Any]) -> Constraint:
    return {"json": {"anyOf": [part(i) for i in range(count)]}}


def _tag(form: Any) -> Constraint:
    return {"structural_tag": json.dumps({"type": "structural_tag", "format": form})}


def _structures(count: int) -> Constraint:
    tags = [{"begin": f"<t{i}>", "schema": _holder(TEXT), "end": "</t>"} for i in range(count)]
    triggers = [tag["begin"] for tag in tags]
    return {"structural_tag": json.dumps({"structures": tags, "triggers": triggers})}


def _tree(depth: int) -> Any:
    if depth == 0:
        return TEXT
    return {"anyOf": [_array(_tree(depth - 1)), _holder(_tree(depth - 1))]}


FAMILIES: dict[str, Callable[[int], Constraint]] = {
    "arrays in arrays": lambda n: _wrapped({"type": "integer"}, n, _array),
    "objects in objects": lambda n: _wrapped({"type": "integer"}, n, _holder),
    "arrays around a wide object": lambda n: _wrapped(_wide(n), 30, _array),
    "required properties": lambda n: _all_of(n, lambda _: TEXT),
    "optional properties": lambda n: _all_of(n, lambda _: TEXT, needed=False),
    "a number of properties": lambda n: _object(
        {f"p{i}": TEXT for i in range(n)}, minProperties=n // 3, maxProperties=n // 2 + 1
    ),
    "an enum": lambda n: {"json": {"enum": [f"value number {i}" for i in range(n)]}},
    "an enum of prefixes": lambda n: {"json": {"enum": ["a" * i for i in range(1, n + 1)]}},
    "a long constant": lambda n: {"json": {"const": "c" * n}},
    "limits of numbers": lambda n: _all_of(
        n, lambda i: {"type": "number", "minimum": -1234567.25 + i, "maximum": 98765432.5 - i}
    ),
    "formats": lambda n: _all_of(n, lambda i: {"type": "string", "format": FORMATS[i % 4]}),
    "patterns": lambda n: _all_of(
        n, lambda i: {"type": "string", "pattern": f"^[a-z]{{1,20}}-[0-9]{{1,20}}x{i}$"}
    ),
    "a nested pattern": lambda n: {
        "json": {"type": "string", "pattern": f"^([a-z]{{1,{n}}}-){{1,{n}}}$"}
    },
    "pattern properties": lambda n: {
        "json": {"patternProperties": {f"^k{i}[a-z]+$": TEXT for i in range(n)}}
    },
    "maps in maps": lambda n: _wrapped(
        TEXT, n, lambda x: {"type": "object", "additionalProperties": x}
    ),
    "a counted array": lambda n: {"json": {**_array(_wide(2)), "minItems": n, "maxItems": n}},
    "a long text": lambda n: {"json": {**TEXT, "minLength": n}},
    "a bounded text": lambda n: {"json": {**TEXT, "maxLength": n}},
    "a tuple": lambda n: {"json": {"type": "array", "prefixItems": [TEXT] * n}},
    "alternative objects": lambda n: _any(n, lambda i: _holder({"const": i})),
    "alternative texts": lambda n: _any(n, lambda i: {**TEXT, "maxLength": i + 1}),
    "alternative long texts": lambda n: _any(
        n, lambda i: {**TEXT, "minLength": i + 10, "maxLength": i + 1000}
    ),
    "alternative arrays": lambda n: _any(n, lambda i: {**_array(TEXT), "maxItems": i + 1}),
    "a tree of alternatives": lambda n: {"json": _tree(min(n, 12))},
    "references in a circle": lambda n: _defined(
        n, lambda i: _object({"l": _next(i), "r": {"$ref": f"#/$defs/d{i * 7 % n}"}})["json"]
    ),
    "doubled references": lambda n: _defined(
        n, lambda i: _object({"a": _next(i), "b": _next(i)})["json"]
    ),
    "doubled allOf": lambda n: _defined(n, lambda i: {"allOf": [_next(i), _next(i)]}),
    "doubled anyOf": lambda n: _defined(n, lambda i: {"anyOf": [_next(i), _next(i)]}),
    "allOf": lambda n: {"json": {"allOf": [_holder(TEXT) for _ in range(n)]}},
    "a counted class": lambda n: {"regex": f"[a-z]{{1,{n}}}"},
    "counts in counts": lambda n: {"regex": f"([a-z0-9]{{1,{n}}}-){{1,{n}}}"},
    "fixed counts in fixed counts": lambda n: {"regex": f"([a-z]{{{n}}}){{{n}}}"},
    "counts without ends": lambda n: {"regex": f"(a{{1,{n}}}){{1,{n}}}"},
    "words in a row": lambda n: {"regex": r"(\w+\s?)" * n},
    "stars in stars": lambda n: {"regex": "(" * n + "[a-z]*" + ")*" * n},
    "optional classes": lambda n: {"regex": "[a-z]?" * n},
    "optional groups": lambda n: {"regex": "(abc|[d-f]+)?" * n},
    "optional letters": lambda n: {"regex": "(ab|[a-z])?" * n},
    "anything and a letter": lambda n: {"regex": "(.*x)" * n},
    "a letter far from the end": lambda n: {"regex": f"(a|b)*a(a|b){{{n}}}"},
    "alternative words": lambda n: {"regex": "|".join(f"w{i}x+y" for i in range(n))},
    "choices": lambda n: {"choice": [f"choice number {i}" for i in range(n)]},
    "two long choices": lambda n: {"choice": ["x" * n + "a", "x" * n + "b"]},
    "long choices": lambda n: {"choice": [f"{i} " * 200 for i in range(n)]},
    "rules in a row": lambda n: {
        "grammar": "root ::= r0\n"
        + "".join(f'r{i} ::= "a{i}" r{i + 1} | [a-z]\n' for i in range(n))
        + f'r{n} ::= "x"'
    },
    "a counted rule": lambda n: {"grammar": f'root ::= ("ab" [c-z]){{1,{n}}}'},
    "rules of themselves": lambda n: {"grammar": "root ::= " + "root " * n + '| "a"'},
    "parentheses": lambda n: {"grammar": "root ::= " + "(" * n + '"a"' + ")" * n},
    "tags": _structures,
    "a sequence of tags": lambda n: _tag(
        {
            "type": "sequence",
            "elements": [{"type": "json_schema", "json_schema": _wide(2)} for _ in range(n)],
        }
    ),
    "alternative tags": lambda n: _tag(
        {
            "type": "or",
            "elements": [{"type": "const_string", "value": f"v{i}"} for i in range(n)],
        }
    ),
    "a repeated tag": lambda n: _tag(
        {
            "type": "repeat",
            "min": n,
            "max": n,
            "content": {"type": "json_schema", "json_schema": TEXT},
        }
    ),
}


def is_allowed(constraint: Constraint, bounds: SchemaConfig) -> bool:
    """Whether it reaches an engine."""
    return at_once(constraints_fault({"structured_outputs": constraint}, bounds)) is None


def largest(family: str, bounds: SchemaConfig) -> int:
    """Size of the largest of a family that is allowed, within 2 %; 0: none is."""
    make = FAMILIES[family]
    allowed, refused = 0, 1
    while refused <= LARGEST and is_allowed(make(refused), bounds):
        allowed, refused = refused, 2 * refused
    while refused - allowed > max(1, allowed // 50) and refused <= LARGEST:
        middle = (allowed + refused) // 2
        if is_allowed(make(middle), bounds):
            allowed = middle
        else:
            refused = middle
    return allowed
