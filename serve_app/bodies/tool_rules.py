"""Messages, input items and tools: what the engine can read of them, and what it would run.

The pinned vLLM runs no tool of its own and drops the ones it does not know, so requests
that need others than functions, which the client runs, are not taken. Some others may
stand beside functions, and are left out (`server_tools`). Input items that it
has no message for end its request at 500.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from serve_app.bodies.server_tools import is_dated_server_tool, is_searching

NOT_HERE = "an array of functions: {} is not supported here"
MAX_NAME_CHARS = 64
"""Of a type that is repeated to the client."""

CLIENT_TOOLS = (None, "custom")
"""Types of a tool on `/v1/messages` that the client runs; the others have a date in them."""

_PARTS = {"summary": "summary_text", "content": "reasoning_text"}
"""Lists of a reasoning item, and the type of what is in them."""


def are_messages(value: Any) -> str | None:
    """Check for messages with a role each."""
    if not isinstance(value, list) or not value:
        return "a non-empty array"
    if all(isinstance(item, dict) and isinstance(item.get("role"), str) for item in value):
        return None
    return "an array of objects with a 'role'"


def are_named_functions(tools: list[Any]) -> str | None:
    """Check for functions in the form of `/v1/chat/completions`."""
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            return "an array of functions: objects with a 'function' that has a 'name'"
    return None


def are_responses_tools(value: Any) -> str | None:
    """Functions, alone or in namespaces, in the form of `/v1/responses`.

    Tools of the type `custom` are the client's own, and the engine leaves them out: beside
    functions, which can do the work, they may stand, and so may a web search; what else there
    is would not be done.
    """
    if not isinstance(value, list):
        return "an array"
    kinds = list(_kinds(value))
    known = ["function", "namespace"]
    if "function" in kinds:
        known += ["custom", *(tool["type"] for tool in value if is_searching(_kind(tool)))]
    return next((_not_here(kind) for kind in kinds if kind not in known), None)


def _kinds(tools: list[Any]) -> Iterator[Any]:
    """Yield the types of tools, of those in namespaces too."""
    waiting = list(reversed(tools))
    while waiting:
        tool = waiting.pop()
        kind = _kind(tool)
        yield kind
        if kind == "namespace" and isinstance(tool.get("tools"), list):
            waiting += reversed(tool["tools"])


def _kind(tool: Any) -> Any:
    return tool.get("type") if isinstance(tool, dict) else None


def _not_here(kind: Any) -> str:
    is_name = isinstance(kind, str) and kind.isidentifier() and len(kind) <= MAX_NAME_CHARS
    return NOT_HERE.format(f"'{kind}'" if is_name else "one of them")


def is_responses_tool_choice(value: Any) -> str | None:
    """Check for a word or a function. The engine checks the name."""
    if isinstance(value, str) or (isinstance(value, dict) and value.get("type") == "function"):
        return None
    return "a string or a function: nothing else is supported here"


def are_messages_tools(value: Any) -> str | None:
    """Check for functions in the form of `/v1/messages`, and what may stand beside them."""
    if not isinstance(value, list):
        return "an array"
    kinds = [tool.get("type") if isinstance(tool, dict) else False for tool in value]
    has_functions = any(kind in CLIENT_TOOLS for kind in kinds)
    for kind in kinds:
        if kind not in CLIENT_TOOLS and not (has_functions and is_dated_server_tool(kind)):
            return _not_here(kind)
    return None


def are_input_items(value: Any) -> str | None:
    """Check for a text, or items that the engine has a message for."""
    if isinstance(value, str):
        return None
    if not isinstance(value, list):
        return "a string or an array"
    faults = (_item_fault(item) for item in value if isinstance(item, dict))
    return next((fault for fault in faults if fault is not None), None)


def _item_fault(item: dict[str, Any]) -> str | None:
    kind = item.get("type")
    if kind == "reasoning":
        return _reasoning_fault(item)
    if kind in ("function_call", "function_call_output"):
        return None
    if not isinstance(item.get("role"), str):
        is_name = isinstance(kind, str) and 0 < len(kind) <= MAX_NAME_CHARS
        what = f"items of type '{kind}' are not supported here" if is_name else "one has no 'role'"
        return f"an array of messages, function calls and their outputs: {what}"
    if kind == "message" and item["role"] == "assistant" and not _begins_with_text(item):
        return "an array in which an assistant's message begins with text"
    return None


def _reasoning_fault(item: dict[str, Any]) -> str | None:
    for name, kind in _PARTS.items():
        parts = item.get(name)
        if parts is not None and not (
            isinstance(parts, list) and all(_is_part(part, kind) for part in parts)
        ):
            return f"an array whose reasoning items have a '{name}' of '{kind}' parts"
    return None


def _is_part(part: Any, kind: str) -> bool:
    return isinstance(part, dict) and part.get("type") == kind and isinstance(part.get("text"), str)


def _begins_with_text(item: dict[str, Any]) -> bool:
    content = item.get("content")
    if not isinstance(content, list):
        return True
    first = content[0] if content else None
    return isinstance(first, dict) and isinstance(first.get("text"), str)
