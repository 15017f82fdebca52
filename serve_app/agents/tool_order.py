"""Tools in one order, whatever order a client sends them in.

The chat template writes tools in front of the conversation, so a client that shuffles them,
or the keys in them, finds nothing in the prefix cache. Arrays within a tool keep their
order, which may mean something.

Sorted keys reach the model: where arguments are generated under a grammar, properties
come in this order.
"""

from __future__ import annotations

from typing import Any


def in_order(tools: list[Any]) -> list[Any]:
    """Tools by name and their members by key. Tools of one name stay in their order.

    What has no name comes first.
    """
    return sorted((_sorted(tool) for tool in tools), key=_name_of)


def _name_of(tool: Any) -> str:
    """The name of a tool in any dialect; empty for what has none."""
    if not isinstance(tool, dict):
        return ""
    function = tool.get("function")
    name = (function if isinstance(function, dict) else tool).get("name")
    return name if isinstance(name, str) else ""


def _sorted(value: Any) -> Any:
    if isinstance(value, list):
        return [_sorted(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    members = {key: _sorted(value[key]) for key in sorted(value)}
    if members.get("type") == "namespace" and isinstance(members.get("tools"), list):
        members["tools"] = sorted(members["tools"], key=_name_of)
    return members
