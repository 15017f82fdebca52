"""A note to the model at the end of a conversation, and an answer without tools.

A note is added to the text of the newest tool result or user message. A system message of
its own there would be lost on some templates and on one route: Mistral's template refuses
a message between a result and its answer, others want the system prompt first, and the
pinned vLLM moves system messages of `/v1/messages` to the front, where they would change
the prefix of the whole conversation. What is at the end changes nothing before it.
"""

from __future__ import annotations

from typing import Any

from serve_app.agents.history import result_field
from serve_app.bodies.routes import CONVERSATIONS
from serve_app.bodies.tool_parts import is_result, result_blocks

_TEXT_TYPES = {"/v1/responses": "input_text"}

_TOOL_FIELDS = ("tools", "tool_choice", "parallel_tool_calls")


def with_note(body: dict[str, Any], path: str, note: str) -> dict[str, Any]:
    """The body with a note to the model at its end; the same body where it has no place.

    It has none after an answer of the model's own that is to be gone on with.
    """
    field = CONVERSATIONS.get(path, "")
    items = body.get(field)
    text = f"<system-note>{note}</system-note>"
    part = {"type": _TEXT_TYPES.get(path, "text"), "text": text}
    if isinstance(items, str):
        return {**body, field: f"{items}\n\n{text}"}
    if not isinstance(items, list) or not items or not isinstance(items[-1], dict):
        return body
    noted = _noted(items[-1], part)
    return body if noted is None else {**body, field: [*items[:-1], noted]}


def _noted(item: dict[str, Any], part: dict[str, Any]) -> dict[str, Any] | None:
    """A message, an item or a block with a part at the end of its text."""
    if next(result_blocks(item), None) is not None:
        blocks = list(item["content"])
        last = max(i for i, x in enumerate(blocks) if isinstance(x, dict) and is_result(x))
        blocks[last] = _noted(blocks[last], part)
        return {**item, "content": blocks}
    field = result_field(item) or ("content" if item.get("role") == "user" else None)
    if field is None:
        return None
    content = item.get(field)
    if isinstance(content, list):
        return {**item, field: [*content, part]}
    before = f"{content}\n\n" if isinstance(content, str) and content else ""
    return {**item, field: before + part["text"]}


def without_tools(body: dict[str, Any]) -> dict[str, Any]:
    """The body for an answer that can call no tool."""
    return {name: value for name, value in body.items() if name not in _TOOL_FIELDS}
