"""The fields of a body that hold an answer to a schema or a grammar, on any route."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

FREE = (None, "auto", "none")
"""Choices of a tool that force no call."""


def constrained_fields(body: dict[str, Any]) -> Iterator[tuple[str, Any, bool]]:
    """Yield each field with its value, and whether it binds in this request."""
    for name in ("structured_outputs", "response_format", "text", "output_config"):
        if body.get(name) is not None:
            yield name, body[name], True
    tools = body.get("tools")
    # Where a route knows no tools, they may be anything.
    if isinstance(tools, list) and tools:
        is_forced = not _is_free(body.get("tool_choice"))
        yield "tools", tools, is_forced or any(map(_is_strict, tools))


def _is_free(choice: Any) -> bool:
    kind = choice.get("type") if isinstance(choice, dict) else choice
    return isinstance(kind, str | None) and kind in FREE


def _is_strict(tool: Any) -> bool:
    """Return whether a call that the model makes of its own accord has to fit the schema."""
    if not isinstance(tool, dict):
        return False
    if isinstance(tool.get("tools"), list):
        return any(x.get("strict") is True for x in tool["tools"] if isinstance(x, dict))
    function = tool.get("function")
    return (function if isinstance(function, dict) else tool).get("strict") is True
