"""The turns of a conversation: which are the user's, and what text they have."""

from __future__ import annotations

from typing import Any, NamedTuple

SYSTEM_ROLES = ("system", "developer")
RESULT_ROLES = ("tool", "function")


class Turns(NamedTuple):
    """The user turns of a conversation, and the system messages that its newest one knew.

    `is_step`: a tool's result has come since the newest user turn.
    """

    users: list[str]
    systems: list[str]
    is_step: bool


def read_turns(items: list[Any]) -> Turns:
    """Tell the user's turns from what clients send under the same role.

    On `/v1/messages` tool results are the user's, and so are the reminders beside them; a
    picture that a tool made comes as the user's, too, after its result.
    """
    users: list[str] = []
    systems: list[str] = []
    is_step, known = False, None
    for item in items:
        role = item.get("role") if isinstance(item, dict) else None
        if role == "user":
            content = item.get("content")
            if type(content) is str:
                text = content
            elif _has_result(content):
                is_step = True
                continue
            else:
                text = text_of(content)
                if is_step and not text:
                    continue
            users.append(text)
            is_step, known = False, None
        elif role in SYSTEM_ROLES:
            systems.append(text_of(item.get("content")))
            continue
        elif role in RESULT_ROLES or (role is None and _is_output(item)):
            is_step = True
        if known is None and role != "user":
            known = len(systems)
    # What was said to a later step is not what the turn is judged by.
    return Turns(users, systems[:known] if is_step else systems, is_step)


def _has_result(content: Any) -> bool:
    if not isinstance(content, list):
        return False
    return any(isinstance(part, dict) and part.get("type") == "tool_result" for part in content)


def _is_output(item: Any) -> bool:
    """Whether it is an item of `/v1/responses` with a tool's result."""
    kind = item.get("type") if isinstance(item, dict) else None
    return isinstance(kind, str) and kind.endswith("_output")


# Token ids, of which there may be a hundred thousand.
_NUMBERS = {int}


def text_of(content: Any) -> str:
    """Return the text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or set(map(type, content)) == _NUMBERS:
        return ""
    parts = (part.get("text") if isinstance(part, dict) else part for part in content)
    return "\n".join(part for part in parts if isinstance(part, str))
