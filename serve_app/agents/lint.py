"""What could be better about the tools of a request. Only told, never changed.

A tool's description and schema stand in every prompt, and models choose worse among long
and vague ones: the agent guide wants each under 200 tokens.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from router.tokens import START_BYTES_PER_TOKEN
from serve_app.agents.grammar_notes import refused, unheld
from serve_app.bodies.grammar.grammar_rules import Look
from serve_app.bodies.steps import Steps
from serve_app.config.serving import SchemaConfig

logger = logging.getLogger("ray.serve")

MAX_TOKENS = 200
MAX_TOOLS = 128
"""Tools that are looked at in detail; the others only count."""

MAX_SETS = 256
"""Sets of tools that one process writes into its log."""

_EXAMPLES = ("example", "examples", "input_examples")
_WORDS = ("example", "e.g.")


@dataclass(frozen=True, slots=True)
class ToolNotes:
    """What was found about one tool.

    Attributes:
        bytes: of its JSON, as it stands in prompts.
        findings: pairs of a word and what is said about it.

    """

    name: str
    bytes: int
    tokens: int
    has_examples: bool
    findings: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SetNotes:
    """What was found about a request's tools.

    Attributes:
        count, bytes, tokens: of all; `tools` has at most MAX_TOOLS of them.
        colliding: names that differ in case, '-', '_' and '.' alone, which models mix up.

    """

    count: int
    bytes: int
    tokens: int
    tools: tuple[ToolNotes, ...]
    colliding: tuple[tuple[str, ...], ...]

    def explained(self) -> dict[str, Any]:
        """Return the notes as `/v1/route` shows them."""
        return {
            "count": self.count,
            "bytes": self.bytes,
            "tokens_estimate": self.tokens,
            "with_examples": sum(tool.has_examples for tool in self.tools),
            "colliding": [list(names) for names in self.colliding],
            "tools": [
                {
                    "name": tool.name,
                    "bytes": tool.bytes,
                    "tokens_estimate": tool.tokens,
                    "findings": [{"finding": x, "detail": why} for x, why in tool.findings],
                }
                for tool in self.tools
            ],
        }

    def logged(self) -> str:
        """Count the findings, without a word of the client's."""
        counts: dict[str, int] = defaultdict(int)
        for tool in self.tools:
            for finding, _ in tool.findings:
                counts[finding] += 1
        found = " ".join(f"{name}={number}" for name, number in sorted(counts.items()))
        return (
            f"tools={self.count} bytes={self.bytes} tokens={self.tokens} "
            f"colliding={len(self.colliding)} {found}"
        ).rstrip()


class LintLog:
    """Writes what was found about a tenant's tools into the log, once for each set."""

    def __init__(self, max_sets: int = MAX_SETS) -> None:
        self._max_sets = max_sets
        self._seen: set[int] = set()

    def noting(self, tools: Any, tenant: str, bounds: SchemaConfig) -> Steps[None]:
        """Look at tools of a set that was not seen yet. The names make the set."""
        if not isinstance(tools, list) or not tools or len(self._seen) >= self._max_sets:
            return
        key = hash((tenant, frozenset(map(name_of, tools))))
        if key in self._seen:
            return
        self._seen.add(key)
        notes = yield from linting(tools, bounds)
        if notes.colliding or any(tool.findings for tool in notes.tools):
            logger.info("tool notes: tenant=%s %s", tenant, notes.logged())


def linting(
    tools: list[Any], bounds: SchemaConfig, bytes_per_token: float = START_BYTES_PER_TOKEN
) -> Steps[SetNotes]:
    """Look at a request's tools, one after the other, in any route's form."""
    found: list[ToolNotes] = []
    size = 0
    by_name: dict[str, dict[str, None]] = defaultdict(dict)
    flat = list(_flat(tools))
    for tool in flat:
        yield
        written = _written_bytes(tool)
        size += written
        name = name_of(tool)
        by_name[_canonical(name)][name] = None
        if len(found) < MAX_TOOLS:
            found.append((yield from _looking(tool, name, written, bounds, bytes_per_token)))
    colliding = tuple(tuple(names) for names in by_name.values() if len(names) > 1)
    tokens = int(size / bytes_per_token)
    return SetNotes(len(flat), size, tokens, tuple(found), colliding)


def _flat(tools: list[Any]) -> Iterator[Any]:
    """The tools, with those of namespaces in the namespace's place."""
    for tool in tools:
        inner = tool.get("tools") if isinstance(tool, dict) else None
        if isinstance(inner, list):
            yield from inner
        else:
            yield tool


def _written_bytes(tool: Any) -> int:
    try:
        return len(orjson.dumps(tool))
    except TypeError:
        # An integer of more than 64 bits, or half a surrogate pair.
        return len(json.dumps(tool))


def name_of(tool: Any) -> str:
    """The name of a tool; empty for what has none."""
    name = _function(tool).get("name")
    return name if isinstance(name, str) else ""


def _function(tool: Any) -> dict[str, Any]:
    inner = tool.get("function") if isinstance(tool, dict) else None
    found = inner if isinstance(inner, dict) else tool
    return found if isinstance(found, dict) else {}


def _canonical(name: str) -> str:
    return name.casefold().translate({ord(mark): None for mark in "-_. "})


def _looking(
    tool: Any, name: str, size: int, bounds: SchemaConfig, bytes_per_token: float
) -> Steps[ToolNotes]:
    function = _function(tool)
    schema = function.get("parameters", function.get("input_schema"))
    tokens = int(size / bytes_per_token)
    findings: list[tuple[str, str]] = []
    if tokens > MAX_TOKENS:
        findings.append(("long", f"about {tokens} tokens, over {MAX_TOKENS}"))
    said = function.get("description")
    if not isinstance(said, str) or not said.strip():
        findings.append(("no_description", "the tool has no description"))
    unsaid = _undescribed(schema)
    if unsaid:
        findings.append(("undescribed_parameters", ", ".join(unsaid)))
    if (why := refused(schema)) is not None:
        findings.append(("grammar_refuses", f"not with strict: {why}"))
    if names := unheld(schema):
        findings.append(("grammar_ignores", f"not held by a grammar: {', '.join(names)}"))
    wrong = yield from Look(bounds).fault(schema) if isinstance(schema, dict) else _nothing()
    if wrong is not None:
        findings.append(("over_bounds", f"not with strict or forced: {wrong}"))
    has_examples = _has_examples(function, schema)
    return ToolNotes(name, size, tokens, has_examples, tuple(findings))


def _nothing() -> Steps[None]:
    yield


def _undescribed(schema: Any) -> list[str]:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return []
    bare = [
        name
        for name, given in properties.items()
        if not isinstance(given, dict) or not given.get("description")
    ]
    return bare[:10]


def _has_examples(function: dict[str, Any], schema: Any) -> bool:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    inner = properties.values() if isinstance(properties, dict) else ()
    parts = [part for part in (function, schema, *inner) if isinstance(part, dict)]
    if any(part.get(name) for part in parts for name in _EXAMPLES):
        return True
    said = str(function.get("description", "")).casefold()
    return any(word in said for word in _WORDS)
