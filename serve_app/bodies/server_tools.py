"""Tools that only the servers of an API's maker run, such as web search.

Coding agents offer them beside functions of their own, and do without them where they are
not to be had. An engine runs none: vLLM leaves them out on `/v1/responses`, and refuses
them on `/v1/messages` for having no schema. Beside functions they are left out here, and
a response header names them; alone they are refused, because nothing would be done.
"""

from __future__ import annotations

import re
from typing import Any

_SEARCH = re.compile(r"web_search(?:_[a-z0-9_]{1,40})?")
_DATED = re.compile(r"(?:web_search|web_fetch|code_execution)_[0-9]{8}")
MAX_TOLD = 8

_TYPES = {"/v1/responses": _SEARCH, "/v1/messages": _DATED, "/v1/messages/count_tokens": _DATED}


def is_searching(kind: Any) -> bool:
    """Return whether a tool's type on `/v1/responses` is a web search's."""
    return isinstance(kind, str) and _SEARCH.fullmatch(kind) is not None


def is_dated_server_tool(kind: Any) -> bool:
    """Return whether a tool's type on `/v1/messages` is one that Anthropic's servers run."""
    return isinstance(kind, str) and _DATED.fullmatch(kind) is not None


def server_tools(body: dict[str, Any], path: str) -> list[dict[str, Any]]:
    """Return the tools of a checked body that nothing here runs."""
    kinds, tools = _TYPES.get(path), body.get("tools")
    if kinds is None or not isinstance(tools, list):
        return []
    return [tool for tool in tools if kinds.fullmatch(tool.get("type") or "")]


def without_server_tools(body: dict[str, Any], gone: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a body without these of its tools."""
    return {**body, "tools": [tool for tool in body["tools"] if tool not in gone]}


def types_of(gone: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return what they are called in `x-pointsman-tools-dropped`, which has room for a few."""
    return tuple(dict.fromkeys(tool["type"] for tool in gone))[:MAX_TOLD]


def is_choice_of_server_tool(body: dict[str, Any], path: str) -> bool:
    """Return whether `tool_choice` asks for one of them by its name."""
    choice = body.get("tool_choice")
    name = choice.get("name") if isinstance(choice, dict) else None
    return name is not None and any(x.get("name") == name for x in server_tools(body, path))
