"""The tools that a request offers, and how its answer may use them.

Read from the body in each route's own form; the engine has checked nothing yet, so
whatever has another form is left out here and judged there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Tools:
    """What an answer may call.

    Attributes:
        schemas: JSON schema of the arguments by the tool's name; None: any object.
        demanded: whether the answer has to call one: by name, or any of them.
        named: the one it has to call.
        allows_parallel: whether one answer may make several calls.
        has_strict: whether any tool asks for arguments that match its schema.

    """

    schemas: dict[str, object]
    demanded: bool = False
    named: str | None = None
    allows_parallel: bool = True
    has_strict: bool = False


def tools_of(body: dict[str, Any], path: str) -> Tools | None:
    """Return the tools that a request offers, or None where its answer can call none."""
    given = body.get("tools")
    choice = body.get("tool_choice")
    if not isinstance(given, list) or choice == "none" or _type_of(choice) == "none":
        return None
    schemas: dict[str, object] = {}
    has_strict = False
    for name, schema, is_strict in _functions(given, path):
        schemas[name] = schema
        has_strict = has_strict or is_strict
    if not schemas:
        return None
    named = _named(choice)
    return Tools(
        schemas=schemas,
        demanded=choice == "required" or _type_of(choice) == "any" or named is not None,
        named=named,
        allows_parallel=_allows_parallel(body, choice),
        has_strict=has_strict,
    )


def _functions(given: list[Any], path: str) -> Iterator[tuple[str, object, bool]]:
    """Name, schema of the arguments, and whether it is strict, of each tool the client runs."""
    for tool in given:
        if not isinstance(tool, dict):
            continue
        function = tool.get("function") if path == "/v1/chat/completions" else tool
        if not isinstance(function, dict):
            continue
        name = function.get("name")
        if tool.get("type") == "namespace" and isinstance(tool.get("tools"), list):
            for inner, schema, is_strict in _functions(tool["tools"], path):
                # The engine's parsers are told both names; its answers have the first.
                yield inner, schema, is_strict
                yield f"{name}__{inner}", schema, is_strict
        elif isinstance(name, str):
            schema = function.get("input_schema" if path == "/v1/messages" else "parameters")
            yield name, schema, function.get("strict") is True


def _type_of(choice: object) -> object:
    return choice.get("type") if isinstance(choice, dict) else None


def _named(choice: object) -> str | None:
    if not isinstance(choice, dict) or choice.get("type") not in ("function", "tool"):
        return None
    function = choice.get("function")
    name = function.get("name") if isinstance(function, dict) else choice.get("name")
    return name if isinstance(name, str) else None


def _allows_parallel(body: dict[str, Any], choice: object) -> bool:
    if isinstance(choice, dict) and choice.get("disable_parallel_tool_use") is True:
        return False
    return body.get("parallel_tool_calls") is not False
