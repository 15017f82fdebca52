"""Arguments that are wrong on purpose."""

from __future__ import annotations

from typing import Any

import orjson

from simulator.script.model import Fault

_OTHERS = {
    "string": 17,
    "integer": "seventeen",
    "number": "seventeen",
    "boolean": "perhaps",
    "array": "one, two",
    "object": "none",
}
"""A value of another type, by the type that a schema wants."""


def damaged(fault: Fault, given: dict[str, Any], schema: dict[str, Any]) -> str | None:
    """The text of arguments with a fault; None where these cannot have it.

    Args:
        fault: one of those that concern arguments.
        given: the right arguments.
        schema: the tool's.

    """
    text = orjson.dumps(given).decode()
    match fault:
        case Fault.NOT_JSON:
            return text[:-1] + ", command: ls}"
        case Fault.TRUNCATED:
            return text[: max(1, len(text) // 2)] if given else None
        case Fault.NOT_OBJECT:
            return orjson.dumps(list(given.values())).decode()
    changed = _off_schema(fault, given, schema)
    return None if changed is None else orjson.dumps(changed).decode()


def _off_schema(
    fault: Fault, given: dict[str, Any], schema: dict[str, Any]
) -> dict[str, Any] | None:
    properties = schema.get("properties") or {}
    match fault:
        case Fault.MISSING:
            needed = [name for name in schema.get("required") or () if name in given]
            return {k: v for k, v in given.items() if k != needed[0]} if needed else None
        case Fault.WRONG_TYPE:
            for name in given:
                wanted = (properties.get(name) or {}).get("type")
                if isinstance(wanted, str) and wanted in _OTHERS:
                    return given | {name: _OTHERS[wanted]}
            return None
        case Fault.EXTRA:
            if schema.get("additionalProperties") is not False:
                return None
            name = "reason"
            while name in properties:
                name += "_"
            return given | {name: "because"}
    return None
