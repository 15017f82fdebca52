"""How each parser's models write a call, and what a case of the parser suite is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


def _tool(name: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": required}
    function = {"name": name, "description": f"Runs {name}.", "parameters": schema}
    return {"type": "function", "function": function}


STRING, _NUMBER = {"type": "string"}, {"type": "number"}
TOOLS = [
    _tool("weather", {"city": STRING, "days": {"type": "integer"}, "wet": STRING}, ["city"]),
    _tool("add", {"a": _NUMBER, "b": _NUMBER}, ["a", "b"]),
    _tool("now", {}, []),
    _tool("write-file", {"path": STRING, "content": STRING}, ["path", "content"]),
    _tool(
        "search",
        {
            "query": STRING,
            "filter": {"type": "object"},
            "tags": {"type": "array", "items": STRING},
            "exact": {"type": "boolean"},
            "after": {"type": ["string", "null"]},
        },
        ["query"],
    ),
]
"""What every case's request offers."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that a model means to make. `raw` stands in place of its arguments."""

    name: str
    arguments: dict[str, Any]
    raw: str | None = None

    @property
    def json(self) -> str:
        if self.raw is not None:
            return self.raw
        return json.dumps(self.arguments, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Case:
    """One raw output.

    Attributes:
        meant: the calls that a reader of the output sees in it, name and arguments.
        is_cut: whether the answer ended at its limit of tokens.
        reasoning: the reasoning parser that runs before the tool parser.

    """

    name: str
    text: str
    meant: tuple[tuple[str, dict[str, Any]], ...] = ()
    is_cut: bool = False
    reasoning: str | None = None


Part = str | Call


def _hermes(call: Call) -> str:
    return f'<tool_call>\n{{"name": "{call.name}", "arguments": {call.json}}}\n</tool_call>'


def _llama(call: Call) -> str:
    return f'{{"name": "{call.name}", "parameters": {call.json}}}'


def _mistral(call: Call) -> str:
    return f'{{"name": "{call.name}", "arguments": {call.json}}}'


def _qwen(call: Call) -> str:
    def value(given: Any) -> str:
        return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)

    lines = [
        f"<parameter={name}>\n{value(given)}\n</parameter>"
        for name, given in call.arguments.items()
    ]
    inner = "\n".join([f"<function={call.name}>", *lines, "</function>"])
    return f"<tool_call>\n{inner}\n</tool_call>"


_WRITERS = {"hermes": _hermes, "llama3_json": _llama, "mistral": _mistral, "qwen3_coder": _qwen}
PARSERS = tuple(_WRITERS)
_BETWEEN = {"hermes": "\n", "llama3_json": "; ", "mistral": ", ", "qwen3_coder": "\n"}


def written(parser: str, parts: tuple[Part, ...]) -> str:
    """Write parts of an answer as the parser's models do."""
    text, run = "", list[str]()
    for part in parts:
        if isinstance(part, Call):
            run.append(_WRITERS[parser](part))
        else:
            text, run = text + _joined(parser, run) + part, []
    return text + _joined(parser, run)


def _joined(parser: str, calls: list[str]) -> str:
    inner = _BETWEEN[parser].join(calls)
    return f"[TOOL_CALLS] [{inner}]" if calls and parser == "mistral" else inner
