"""A summary in the place of the turns that the history budget leaves out.

It stands at the beginning of the first message that is kept, which is the user's: templates
that want user and model to take turns take it, system prompt and tools before it stay as they
were, and what it says has no more weight than a user's words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from router.agents.cut_text import utf8_bytes
from router.summaries.keys import chain_keys
from router.tokens import START_BYTES_PER_TOKEN
from serve_app.agents.transcript import said
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.bodies.routes import CONVERSATIONS
from serve_app.bodies.steps import Steps
from serve_app.config.summaries import SummaryConfig
from serve_app.routing.history import Trimmed
from serve_app.summaries.source import Chain, turns_note
from serve_app.summaries.view import SummaryView

AT_ONCE = 200
"""Messages that are read in one piece."""

_TEXT_TYPES = {"/v1/responses": "input_text"}


def summarising_turns(
    trimmed: Trimmed,
    given: ParsedRequest,
    shortened: ParsedRequest,
    config: SummaryConfig,
    view: SummaryView,
) -> Steps[Trimmed]:
    """The trimmed request with the summary of what was dropped, in pieces; without, as it came.

    The summary is known by the turns as their client sent them (`given`), and made from them
    with their results cut (`shortened`).
    """
    texts = yield from _saying(_items(given)[: trimmed.cuts[-1]])
    keys = chain_keys(texts, trimmed.cuts)
    yield
    read = _items(shortened)

    def text_from(number: int) -> Iterator[str]:
        first, end = trimmed.cuts[number] if number >= 0 else 0, trimmed.cuts[-1]
        for begin in range(first, end, AT_ONCE):
            lines = map(said, read[begin : min(begin + AT_ONCE, end)])
            yield "\n".join(line for line in lines if line)

    summary = view.of_turns(keys[-1], Chain(tuple(keys[:-1]), text_from), config)
    if summary is not None:
        return _with_summary(trimmed, turns_note(summary))
    # What is still to be written has its room in the lane's window, and in the tenant's minute.
    return _with_room(trimmed, config) if keys[-1] in view.wanted else trimmed


def _with_room(trimmed: Trimmed, config: SummaryConfig) -> Trimmed:
    most = utf8_bytes(turns_note("")) + int(config.max_tokens * START_BYTES_PER_TOKEN)
    return replace(trimmed, parsed=_grown(trimmed.parsed, most))


def _grown(parsed: ParsedRequest, more_bytes: int) -> ParsedRequest:
    prompt = replace(parsed.prompt, bytes=parsed.prompt.bytes + more_bytes)
    return replace(parsed, prompt=prompt)


def _items(parsed: ParsedRequest) -> list[Any]:
    items: list[Any] = parsed.body[CONVERSATIONS[parsed.route.path]]
    return items


def _saying(items: list[Any]) -> Steps[list[str]]:
    texts: list[str] = []
    for begin in range(0, len(items), AT_ONCE):
        texts += map(said, items[begin : begin + AT_ONCE])
        yield
    return texts


def _with_summary(trimmed: Trimmed, note: str) -> Trimmed:
    parsed = trimmed.parsed
    path = parsed.route.path
    field = CONVERSATIONS[path]
    items = list(parsed.body[field])
    first = items[trimmed.first]
    part = {"type": _TEXT_TYPES.get(path, "text"), "text": note}
    content = first.get("content")
    if isinstance(content, list):
        content = [part, *content]
    else:
        content = f"{note}\n\n{content}" if isinstance(content, str) and content else note
    items[trimmed.first] = {**first, "content": content}
    changed = replace(_grown(parsed, utf8_bytes(note)), body={**parsed.body, field: items})
    return replace(trimmed, parsed=changed, mode="summarise")
