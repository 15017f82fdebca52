"""Bounds on what an answer may be forced into: a grammar that kills the engine is no grammar.

The engine's process reads a schema before any answer begins and recurses into it: from
some 180 levels on it overflows its stack and dies, and `"minItems": 1000000000` makes it
write out a rule of so many parts (18 GB, then the kernel ends it), with all that others
have in it. Of 3,000 optional properties it makes rules for minutes, in which no other
grammar begins. What is within the bounds it serves, or refuses itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from router.errors import Rejected, RejectReason
from serve_app.body_checks import is_whole

MAX_LEVELS = 64
MAX_PARTS = 100_000
MAX_PROPERTIES = 1_000
MAX_CHARACTERS = 2**31 - 1
MAX_VALUES = 50_000
"""Of a whole grammar: looking at so many takes 0.2 s of everybody's event loop at most."""

MAX_REFERRED_LEVELS = 4_000
"""References times levels: a chain of `$ref` is read by recursion, too. Of 200 definitions
with 50 levels each, one after the other, the engine dies."""

COUNTS = {
    **dict.fromkeys(("minItems", "maxItems", "minProperties", "maxProperties"), MAX_PARTS),
    **dict.fromkeys(("minContains", "maxContains", "minLength"), MAX_PARTS),
    "maxLength": MAX_CHARACTERS,
}
"""Keywords of a schema that the engine makes so many parts of a rule of, and their bounds."""

REPEATED = {"min": MAX_PARTS, "max": MAX_PARTS}
"""The same of a structural tag of the type `repeat`."""

FREE = (None, "auto", "none")
"""Choices of a tool that force no call."""


def constraints_fault(body: dict[str, Any]) -> Rejected | None:
    """The first constraint of an answer that the engine must not see."""
    for name, grammar in _grammars(body):
        wrong = _fault(grammar)
        if wrong is not None:
            return Rejected(RejectReason.INVALID_REQUEST, f"'{name}' {wrong}.", param=name)
    return None


def _grammars(body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Fields that constrain an answer, on any route."""
    for name in ("structured_outputs", "response_format", "text", "output_config"):
        if body.get(name) is not None:
            yield name, body[name]
    tools = body.get("tools")
    if tools and (not _is_free(body.get("tool_choice")) or any(map(_is_strict, tools))):
        yield "tools", tools


def _is_free(choice: Any) -> bool:
    kind = choice.get("type") if isinstance(choice, dict) else choice
    return isinstance(kind, str | None) and kind in FREE


def _is_strict(tool: Any) -> bool:
    """Whether a call that the model makes of its own accord has to fit the schema."""
    if not isinstance(tool, dict):
        return False
    function = tool.get("function")
    return (function if isinstance(function, dict) else tool).get("strict") is True


def _fault(grammar: Any) -> str | None:
    """What of a grammar is out of bounds: looked at level by level, never recursing."""
    level, seen, references = [grammar], 0, 0
    for number in range(1, MAX_LEVELS + 1):
        inner: list[Any] = []
        for value in level:
            seen += len(value) if isinstance(value, (dict, list)) else 0
            if seen > MAX_VALUES:
                return f"holds more than {MAX_VALUES} values"
            wrong = _text_fault(value) if isinstance(value, str) else None
            if isinstance(value, dict):
                references += "$ref" in value
                wrong = _count_fault(value) or _unfit(value)
                inner += map(_unpacked, value.values())
            elif isinstance(value, list):
                inner += value
            if wrong is not None:
                return wrong
        if references * number > MAX_REFERRED_LEVELS:
            return "holds too many references for its levels"
        if not inner:
            return None
        level = inner
    return f"is nested deeper than {MAX_LEVELS} levels"


def _text_fault(text: str) -> str | None:
    return "holds a NUL character" if "\0" in text else None


def _count_fault(schema: dict[str, Any]) -> str | None:
    bounds = REPEATED if schema.get("type") == "repeat" else COUNTS
    for name in bounds.keys() & schema:
        if is_whole(schema[name]) and not 0 <= schema[name] <= bounds[name]:
            return f"has a '{name}' that is not between 0 and {bounds[name]}"
    properties = schema.get("properties")
    if isinstance(properties, dict) and len(properties) > MAX_PROPERTIES:
        return f"has an object of more than {MAX_PROPERTIES} properties"
    return None


def _unfit(schema: dict[str, Any]) -> str | None:
    """What the engine takes at first and then has no rule for."""
    properties, items = schema.get("properties"), schema.get("prefixItems")
    within = [*(properties.values() if isinstance(properties, dict) else ())]
    within += items if isinstance(items, list) else []
    if any(value is False for value in within):
        return "has a part that is false: nothing fits it"
    if schema.get("structural_tag") == "":
        return "has an empty tag"
    choices = schema.get("choice")
    if isinstance(choices, list) and any(isinstance(x, str) and _breaks(x) for x in choices):
        return "has a choice with a line break in it"
    return None


def _breaks(text: str) -> bool:
    return "\n" in text or "\r" in text


def _unpacked(value: Any) -> Any:
    """Schemas and tags may be given as JSON in a string."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return None
    except RecursionError:
        return _TOO_DEEP


def _nested(levels: int) -> list[Any]:
    return [_nested(levels - 1)] if levels else []


_TOO_DEEP = _nested(MAX_LEVELS)
