"""One published version of a tool set, in the form of each route.

What the engine reads is made here, once, and in one way: tools by name, their members by
key, examples as lines at the end of a description. The chat template writes the tools in
front of the conversation, so every request with this version begins with the same tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from serve_app.agents.schemas import Schemas
from serve_app.agents.tool_order import in_order
from serve_app.config.errors import ConfigError
from serve_app.config.tools import ToolConfig, ToolExampleConfig, ToolSetConfig

MAX_BYTES = 128 * 1024
"""Of a set as the engine reads it, some 35,000 tokens: with a system prompt it must stay under
what a replica reads before it takes traffic (`MAX_PREFIX_BYTES` of `bodies.prefixes`)."""

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"

Tool = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Form:
    """The tools of a set as a body of one route has them, and the bytes of their JSON.

    They are shared by all requests: nobody may change them.
    """

    tools: list[Tool]
    bytes: int


@dataclass(frozen=True, slots=True)
class ToolSet:
    """One version.

    Attributes:
        digest: SHA-256 of `content`, in hexadecimal.
        content: canonical JSON of what was published.
        names: of the tools, in order.
        forms: by the route's path.

    """

    name: str
    version: int
    digest: str
    content: str
    names: tuple[str, ...]
    forms: Mapping[str, Form]

    @property
    def label(self) -> str:
        """The name of exactly this version: `crm@7`."""
        return label(self.name, self.version)


def label(name: str, version: int) -> str:
    return f"{name}@{version}"


def build_tool_set(config: ToolSetConfig) -> ToolSet:
    """The version that a file describes. Raises ConfigError."""
    for tool in config.tools:
        _check(tool)
    made = _made(config)
    size = max(form.bytes for form in made.forms.values())
    if size > MAX_BYTES:
        raise ConfigError(f"{made.label} has {size} bytes, a set may have {MAX_BYTES} at most")
    return made


def published(content: str) -> ToolSet:
    """The version with this canonical content, which was checked when it was published."""
    return _made(ToolSetConfig.model_validate(orjson.loads(content)))


def _made(config: ToolSetConfig) -> ToolSet:
    ordered = config.model_copy(update={"tools": sorted(config.tools, key=lambda x: x.name)})
    # Without defaults: a key that a later release adds changes no digest.
    given = ordered.model_dump(mode="json", exclude={"note"}, exclude_defaults=True)
    content = orjson.dumps(given, option=orjson.OPT_SORT_KEYS)
    return ToolSet(
        name=config.name,
        version=config.version,
        digest=hashlib.sha256(content).hexdigest(),
        content=content.decode(),
        names=tuple(tool.name for tool in ordered.tools),
        forms={path: _form(ordered.tools, path) for path in (CHAT, RESPONSES, MESSAGES)},
    )


def _check(tool: ToolConfig) -> None:
    """Refuse what no call could be checked against, and examples that are wrong themselves."""
    validator = Schemas(max_kept=1).validator(tool.parameters)
    if validator is None:
        raise ConfigError(
            f"tool '{tool.name}': 'parameters' is no JSON schema that calls can be checked "
            "against (a reference to another document is not followed)"
        )
    for number, example in enumerate(tool.examples):
        fault = next(iter(validator.iter_errors(example.arguments)), None)
        if fault is not None:
            raise ConfigError(
                f"tool '{tool.name}': examples.{number} does not fit its schema: {fault.message}"
            )


def _form(tools: list[ToolConfig], path: str) -> Form:
    rendered = in_order([_rendered(tool, path) for tool in tools])
    return Form(rendered, len(orjson.dumps(rendered)))


def _rendered(tool: ToolConfig, path: str) -> Tool:
    function: Tool = {"name": tool.name, "description": _described(tool)}
    function["input_schema" if path == MESSAGES else "parameters"] = tool.parameters
    if tool.strict:
        function["strict"] = True
    if path == MESSAGES:
        return function
    if path == RESPONSES:
        return {"type": "function", **function}
    return {"type": "function", "function": function}


def _described(tool: ToolConfig) -> str:
    lines = [tool.description.strip()] if tool.description.strip() else []
    return "\n".join([*lines, *(_example(tool.name, example) for example in tool.examples)])


def _example(name: str, example: ToolExampleConfig) -> str:
    """One line of a description, in no model's own notation for calls."""
    arguments = orjson.dumps(example.arguments, option=orjson.OPT_SORT_KEYS).decode()
    asked = " ".join(example.asked.split())
    return f"Example: {asked} -> {name}({arguments})" if asked else f"Example: {name}({arguments})"
