"""The raw model outputs of the parser suite, written from templates.

Every parser gets the same conversations in its own model's form (`shared_cases`), then outputs
that only its form can have (`own_cases`), and last an answer with two calls that is cut at ever
later places.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from serve_app.engine.parsers.forms import STRING, TOOLS, Call, Case, Part, written
from serve_app.engine.parsers.own_cases import OWN
from serve_app.engine.parsers.shared_cases import COMMON, JSON_ONLY, ROME, SUM

PER_PARSER = 112


def cases_of(parser: str) -> list[Case]:
    """Write a parser's cases."""
    given = COMMON if parser == "qwen3_coder" else COMMON | JSON_ONLY
    cases = [
        Case(name, written(parser, parts), tuple(_meant(parser, parts)))
        for name, parts in given.items()
    ]
    cases = (cases + list(OWN[parser]))[:PER_PARSER]
    return cases + list(_cuts(parser, PER_PARSER - len(cases)))


def _meant(parser: str, parts: tuple[Part, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    for part in parts:
        if isinstance(part, Call):
            is_text = parser == "qwen3_coder"
            yield part.name, _as_texts(part) if is_text else part.arguments


def _as_texts(call: Call) -> dict[str, Any]:
    """Read arguments as Qwen's form means them: what the schema does not say otherwise is text."""
    typed = next((x for x in TOOLS if x["function"]["name"] == call.name), None)
    known = typed["function"]["parameters"]["properties"] if typed else {}
    return {
        name: value
        if isinstance(value, str) or known.get(name, STRING) != STRING
        else json.dumps(value, ensure_ascii=False)
        for name, value in call.arguments.items()
    }


def _cuts(parser: str, number: int) -> Iterator[Case]:
    """An answer of two calls, cut; meant are those that are whole."""
    parts = ("" if parser == "llama3_json" else "Let me look.\n", ROME, SUM)
    text, first = written(parser, parts), written(parser, parts[:2])
    # What closes after the arguments may be missing.
    ends = len(first.removesuffix("]").removesuffix("\n</tool_call>").removesuffix("}"))
    for at in range(1, number + 1):
        part = text[: len(text) * at // (number + 1)]
        meant = _meant(parser, (ROME,)) if len(part) >= ends else ()
        yield Case(f"cut off, {at} of {number}", part, tuple(meant), is_cut=True)
