"""Tool calls and results in the messages and items of three dialects.

It reads what clients send, so it takes anything: what is neither is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def objects(value: Any) -> list[dict[str, Any]]:
    return [x for x in value if isinstance(x, dict)] if isinstance(value, list) else []


def is_result(part: dict[str, Any]) -> bool:
    """Return whether it is a block of `/v1/messages` with a result."""
    return part.get("type") == "tool_result"


def result_blocks(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the results in a message of `/v1/messages`."""
    content = item.get("content")
    if isinstance(content, list):
        for part in content:
            if isinstance(part, dict) and is_result(part):
                yield part


def calls_of(item: dict[str, Any]) -> Iterator[tuple[Any, Any, Any]]:
    """Yield id, name and arguments of each call in a message or item, whatever they are."""
    yield from _with_ids(item)
    legacy = item.get("function_call")
    if isinstance(legacy, dict):
        yield legacy.get("name"), legacy.get("name"), legacy.get("arguments")


def call_ids_of(item: dict[str, Any]) -> list[Any]:
    """Return the ids of the calls that have one, whatever they are."""
    return [call_id for call_id, _, _ in _with_ids(item)]


def _with_ids(item: dict[str, Any]) -> Iterator[tuple[Any, Any, Any]]:
    kind = item.get("type")
    if isinstance(kind, str) and kind.endswith("_call"):
        # Calls of one answer are items of their own in `/v1/responses`.
        yield item.get("call_id"), item.get("name"), _arguments_of(item)
        return
    for call in objects(item.get("tool_calls")):
        function = call.get("function", call.get("custom"))
        given = function if isinstance(function, dict) else {}
        yield call.get("id"), given.get("name"), _arguments_of(given)
    for part in objects(item.get("content")):
        if part.get("type") == "tool_use":
            yield part.get("id"), part.get("name"), part.get("input")


def _arguments_of(call: dict[str, Any]) -> Any:
    """Return those of a function, or the text that a custom tool gets."""
    return call.get("arguments", call.get("input"))
