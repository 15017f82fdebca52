"""What the pinned xgrammar makes of a schema: what it refuses, and what it does not hold.

Read from the schema alone, because xgrammar itself imports torch. The tests compare this
with the installed one. A tool that is `strict` and refused ends its request at 400; a
keyword that is not held leaves calls that a validator refuses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

MAX_SCHEMAS = 2_000
"""Schemas within one that are looked at; what is beyond is not read."""

TYPES = frozenset(("string", "number", "integer", "boolean", "null", "array", "object"))
_ONE = ("items", "additionalProperties", "contains", "not", "if", "then", "else", "propertyNames")
_SEVERAL = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")

_UNHELD = frozenset(
    ("contains", "propertyNames", "dependentRequired", "dependentSchemas", "if", "not")
) | {"unevaluatedProperties", "unevaluatedItems", "multipleOf", "uniqueItems"}
_UNREADABLE = re.compile(r"\\[1-9]|\\[bB](?![^\[]*\])|\\[pP]\{")
_LOOKS = ("(?=", "(?!", "(?<=", "(?<!")


def refused(schema: Any) -> str | None:
    """Say why xgrammar takes no such schema; None where it does, as far as can be read."""
    if schema is None:
        return None
    if not isinstance(schema, dict):
        return None if schema is True else "it is no object"
    return next((why for part in _schemas(schema) if (why := _fault(part, schema))), None)


def unheld(schema: Any) -> list[str]:
    """Return the keywords that calls are not held to by the grammar, in order."""
    found: set[str] = set()
    for part in _schemas(schema):
        if isinstance(part, dict):
            found |= {name for name in _UNHELD & part.keys() if part[name] not in (False, None)}
            found |= _unheld_together(part)
    return sorted(found)


def _schemas(schema: Any) -> Iterator[Any]:
    """The schema and those within it."""
    waiting, number = [schema], 0
    while waiting and number < MAX_SCHEMAS:
        number += 1
        part = waiting.pop()
        yield part
        if isinstance(part, dict):
            waiting += [part[name] for name in _ONE if isinstance(part.get(name), dict)]
            for name in _SEVERAL:
                waiting += part[name] if isinstance(part.get(name), list) else []
            for name in _NAMED:
                waiting += part[name].values() if isinstance(part.get(name), dict) else []


def _fault(part: Any, root: dict[str, Any]) -> str | None:
    if not isinstance(part, dict):
        return "a part is false" if part is False else None
    kind = part.get("type")
    if isinstance(kind, str) and kind not in TYPES:
        return f"'{kind[:40]}' is no type"
    if part.get("enum") == []:
        return "an 'enum' is empty"
    forms: dict[str, tuple[type, ...]] = {
        "properties": (dict,),
        "required": (list,),
        "items": (dict, bool),
    }
    for name, form in forms.items():
        if name in part and not isinstance(part[name], form):
            return f"'{name}' has another form"
    low, high = part.get("minimum"), part.get("maximum")
    if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
        return "'minimum' is over 'maximum'"
    return _pattern_fault(part.get("pattern")) or _reference_fault(part.get("$ref"), root)


def _pattern_fault(pattern: Any) -> str | None:
    if not isinstance(pattern, str):
        return None
    if _UNREADABLE.search(pattern):
        return "a 'pattern' has a back reference, a word boundary or a Unicode class"
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return "a 'pattern' is no regular expression"
    return None


def _reference_fault(reference: Any, root: dict[str, Any]) -> str | None:
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return None
    at: Any = root
    for step in reference[2:].split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(at, dict) or name not in at:
            return "a '$ref' leads nowhere"
        at = at[name]
    return None


def _unheld_together(part: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    if isinstance(part.get("allOf"), list) and len(part["allOf"]) > 1:
        found.add("allOf")
    if ("pattern" in part or "format" in part) and ("minLength" in part or "maxLength" in part):
        found.add("maxLength" if "maxLength" in part else "minLength")
    pattern, reference = part.get("pattern"), part.get("$ref")
    if isinstance(pattern, str) and any(look in pattern for look in _LOOKS):
        found.add("pattern")
    if isinstance(reference, str) and reference != "#" and not reference.startswith("#/"):
        found.add("$ref")
    return found
