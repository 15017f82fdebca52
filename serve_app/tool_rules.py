"""Messages, input items and tools: what the engine can read of them, and what it would run.

The pinned vLLM runs no tool of its own and drops the ones it does not know, so only
functions, which the client runs, are taken. Input items that it has no message for end
its request at 500.
"""

from __future__ import annotations

from typing import Any

NOT_HERE = "an array of functions: '{}' is not supported here"
CLIENT_TOOLS = (None, "custom")
"""Types of a tool on `/v1/messages` that the client runs; the others have a date in them."""

_PARTS = {"summary": "summary_text", "content": "reasoning_text"}
"""Lists of a reasoning item, and the type of what is in them."""


def are_messages(value: Any) -> str | None:
    """Messages with a role each."""
    if not isinstance(value, list) or not value:
        return "a non-empty array"
    if all(isinstance(item, dict) and isinstance(item.get("role"), str) for item in value):
        return None
    return "an array of objects with a 'role'"


def are_named_functions(tools: list[Any]) -> str | None:
    """Functions, in the form of `/v1/chat/completions`."""
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            return "an array of functions: objects with a 'function' that has a 'name'"
    return None


def are_responses_tools(value: Any) -> str | None:
    """Functions, alone or in namespaces, in the form of `/v1/responses`."""
    if not isinstance(value, list):
        return "an array"
    for tool in value:
        kind = tool.get("type") if isinstance(tool, dict) else tool
        inner = tool.get("tools") if kind == "namespace" else None
        wrong = are_responses_tools(inner) if isinstance(inner, list) else None
        if wrong is not None:
            return wrong
        if kind not in ("function", "namespace"):
            return NOT_HERE.format(kind)
    return None


def is_responses_tool_choice(value: Any) -> str | None:
    """Whether and which function; the engine checks the name."""
    if isinstance(value, str) or (isinstance(value, dict) and value.get("type") == "function"):
        return None
    return "a string or a function: nothing else is supported here"


def are_messages_tools(value: Any) -> str | None:
    """Functions, in the form of `/v1/messages`."""
    if not isinstance(value, list):
        return "an array"
    for tool in value:
        kind = tool.get("type") if isinstance(tool, dict) else tool
        if not isinstance(tool, dict) or kind not in CLIENT_TOOLS:
            return NOT_HERE.format(kind)
    return None


def are_input_items(value: Any) -> str | None:
    """A text, or items that the engine has a message for."""
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
        what = f"items of type '{kind}' are not supported here" if kind else "one has no 'role'"
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
