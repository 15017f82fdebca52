"""A conversation as text that a model can read: who said what, and what tools answered.

The text of a message depends on what was said in it alone. What clients change from turn to
turn is left out: ids, `cache_control`, reasoning. So it serves as the message's identity, too.
"""

from __future__ import annotations

from typing import Any

from serve_app.agents.history import result_field
from serve_app.bodies.json_body import dump
from serve_app.bodies.tool_parts import calls_of, result_blocks
from serve_app.bodies.turns import SYSTEM_ROLES, text_of

_TEXTS = frozenset({"text", "input_text", "output_text", "refusal"})
_UNSAID = frozenset({"thinking", "redacted_thinking", "reasoning", "tool_use", "tool_result"})


def said(item: Any) -> str:
    """What a message or an item says, a line for each part; empty where it says nothing.

    System messages say nothing here: they stay in every prompt.
    """
    if not isinstance(item, dict) or item.get("role") in SYSTEM_ROLES:
        return ""
    field = result_field(item)
    if field is not None:
        return _line("Tool result", item.get(field))
    lines = [_line("Tool result", block.get("content")) for block in result_blocks(item)]
    role = item.get("role")
    if isinstance(role, str):
        lines.append(_line("User" if role == "user" else "Assistant", item.get("content")))
    for _, name, arguments in calls_of(item):
        lines.append(
            f"Assistant calls {name if isinstance(name, str) else '?'}: {_text(arguments)}"
        )
    return "\n".join(line for line in lines if line)


def _line(who: str, content: Any) -> str:
    told = [text_of(content), *_media(content)]
    text = "\n".join(part for part in told if part)
    return f"{who}: {text}" if text else ""


def _media(content: Any) -> list[str]:
    """A mark for each picture or file: a text can only say that it was there."""
    if not isinstance(content, list):
        return []
    kinds = [part.get("type") for part in content if isinstance(part, dict)]
    return [
        f"[{kind}]"
        for kind in kinds
        if isinstance(kind, str) and kind not in _TEXTS and kind not in _UNSAID
    ]


def _text(arguments: Any) -> str:
    if arguments is None or isinstance(arguments, str):
        return arguments or ""
    return dump(arguments).decode()
