"""The smallest value that a JSON schema allows, for simulated structured output."""

from __future__ import annotations

from typing import Any

MAX_DEPTH = 16


def instance_of(schema: Any, root: Any = None, depth: int = 0) -> Any:
    """A value for a JSON schema; strings say `simulated` where they may.

    Covers type, enum, const, default, required, properties, items, minItems,
    minLength, minimum, anyOf/oneOf/allOf and local $ref. Patterns and formats
    are not looked at.
    """
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return {}
    root = root if root is not None else schema
    if "$ref" in schema:
        return instance_of(_resolve(str(schema["$ref"]), root), root, depth + 1)
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    if schema.get("enum"):
        return schema["enum"][0]
    for word in ("anyOf", "oneOf", "allOf"):
        if schema.get(word):
            return instance_of(schema[word][0], root, depth + 1)
    return _typed(schema, root, depth)


def _typed(schema: dict[str, Any], root: Any, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0] if kind else "null"
    if kind == "object":
        properties = schema.get("properties", {})
        names = schema.get("required", list(properties))
        return {name: instance_of(properties.get(name, {}), root, depth + 1) for name in names}
    if kind == "array":
        count = max(1, int(schema.get("minItems", 1)))
        return [instance_of(schema.get("items", {}), root, depth + 1) for _ in range(count)]
    if kind == "string":
        text = "simulated".ljust(int(schema.get("minLength", 0)), ".")
        return text[: int(schema.get("maxLength", len(text)))]
    if kind in ("integer", "number"):
        return schema.get("minimum", 0)
    return False if kind == "boolean" else None


def _resolve(reference: str, root: Any) -> Any:
    found = root
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part, {}) if isinstance(found, dict) else {}
    return found
