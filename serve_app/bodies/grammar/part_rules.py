"""What no part of a schema or structural tag may be, whatever is around it."""

from __future__ import annotations

import json
from typing import Any

from serve_app.bodies.body_checks import is_whole

MAX_PARTS = 100_000
MAX_LEAST = 10_000
MAX_CHARACTERS = 2**31 - 1

COUNTS = {
    **dict.fromkeys(("minItems", "maxItems", "minProperties", "maxProperties"), MAX_PARTS),
    **dict.fromkeys(("minContains", "maxContains"), MAX_PARTS),
    "minLength": MAX_LEAST,
    "maxLength": MAX_CHARACTERS,
}
"""Keywords of a schema that the engine makes so many parts of a rule of, and their bounds."""

REPEATED = {"min": MAX_PARTS, "max": MAX_PARTS}
"""The same of a structural tag of the type `repeat`."""

REPEATING = frozenset(("repeat", "star", "plus", "optional", "tags_with_separator", "dispatch"))
OPEN_ENDED = frozenset((*REPEATING, "any_text", "any_tokens", "regex", "grammar"))
"""Parts of structural tags without an end of their own. Repeated, they could end anywhere."""


def part_fault(part: dict[str, Any], *, is_repeated: bool) -> str | None:
    """Say what of a part the engine must not see."""
    return _count_fault(part) or _unfit(part) or _tag_fault(part, is_repeated=is_repeated)


def repeats(part: dict[str, Any], *, was: bool) -> bool:
    """Return whether what is in a part is repeated without a mark where it ends."""
    kind = part.get("type")
    if not isinstance(kind, str):
        return was
    return kind in REPEATING or (was and kind != "tag")


def _tag_fault(part: dict[str, Any], *, is_repeated: bool) -> str | None:
    kind = part.get("type")
    if is_repeated and isinstance(kind, str) and kind in OPEN_ENDED:
        return f"repeats a part of the type '{kind}', which has no end of its own"
    return None


def _count_fault(schema: dict[str, Any]) -> str | None:
    bounds = REPEATED if schema.get("type") == "repeat" else COUNTS
    for name in bounds.keys() & schema:
        if is_whole(schema[name]) and not 0 <= schema[name] <= bounds[name]:
            return f"has a '{name}' that is not between 0 and {bounds[name]}"
    return None


def _unfit(schema: dict[str, Any]) -> str | None:
    """Say what of a part the engine takes at first and then has no rule for."""
    properties, items = schema.get("properties"), schema.get("prefixItems")
    within = [*(properties.values() if isinstance(properties, dict) else ())]
    within += items if isinstance(items, list) else []
    if any(value is False for value in within):
        return "has a part that is false: nothing fits it"
    if schema.get("structural_tag") == "":
        return "has an empty tag"
    choices = schema.get("choice")
    texts = [x for x in choices if isinstance(x, str)] if isinstance(choices, list) else []
    if any("\n" in text or "\r" in text for text in texts):
        return "has a choice with a line break in it"
    return None


def unpacked(value: Any) -> Any:
    """Read what is given as JSON in a string, as schemas and tags may be."""
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


_TOO_DEEP = _nested(64)
