"""Whole answers that were to match a JSON schema: counted by how they do, and never changed.

The engine holds such an answer to the schema by a grammar, as far as the grammar knows the
schema's keywords (`serve_app.agents.grammar_notes`); this counts what it did not. Streams are
not judged: their text is gone when its end is known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from serve_app.agents.forms.form import Form
from serve_app.agents.schemas import Schemas
from serve_app.agents.verdict import CallOutcome

MAX_JUDGED_CHARS = 65_536
"""Of a longer answer nothing is said: this takes half a millisecond."""

_FIELDS = frozenset({"output_config", "text", "response_format"})


def schema_asked(body: Mapping[str, Any]) -> Any:
    """Return the schema that the answer has to match, in any of the three dialects."""
    if body.keys().isdisjoint(_FIELDS):
        return None
    for outer, inner in (("output_config", "format"), ("text", "format")):
        holder = body.get(outer)
        if isinstance(holder, dict) and isinstance(holder.get(inner), dict):
            return holder[inner].get("schema")
    given = body.get("response_format")
    wrapped = given.get("json_schema") if isinstance(given, dict) else None
    return wrapped.get("schema") if isinstance(wrapped, dict) else None


def judge_answers(
    form: Form, answer: dict[str, Any], schema: Any, schemas: Schemas
) -> Iterator[CallOutcome]:
    """Yield how each of an answer's texts stands to the schema; nothing of those with calls."""
    validator = schemas.validator(schema)
    called = {call.key[0] for call in form.whole_calls(answer)}
    cut = {number for number, _, is_cut in form.whole_finish(answer) if is_cut}
    for number, text in form.whole_texts(answer):
        if isinstance(text, str) and number not in called and len(text) <= MAX_JUDGED_CHARS:
            yield _judged(text, validator, is_cut=number in cut)


def _judged(text: str, validator: Any, *, is_cut: bool) -> CallOutcome:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return CallOutcome.CUT_SHORT if is_cut else CallOutcome.NOT_JSON
    if validator is None or validator.is_valid(value):
        return CallOutcome.VALID
    return CallOutcome.SCHEMA
