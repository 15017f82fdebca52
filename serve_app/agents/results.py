"""Long tool results in the bodies of three dialects, cut to a limit.

Only text is cut: pictures stay. A result in several texts becomes one text, its parts
joined by line breaks as the engine joins them, where its first text was.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from router.agents.cut_text import utf8_bytes
from router.agents.shorten import ResultLimit, shorten
from serve_app.agents.history import result_field
from serve_app.bodies.routes import CONVERSATIONS
from serve_app.bodies.steps import Steps
from serve_app.bodies.tool_parts import result_blocks

AT_ONCE = 1000
"""Messages that are looked at in one piece while nothing is cut."""


class ShortenedResults(NamedTuple):
    """How many results were cut, and about how many tokens of them."""

    results: int
    tokens: int

    @property
    def header(self) -> bytes:
        """Value of `x-pointsman-tool-results`."""
        return b"shortened; results=%d; tokens=%d" % (self.results, self.tokens)


class _Cut(NamedTuple):
    """A body's part after its results were cut, with what is gone."""

    value: Any
    results: int
    bytes: int


def shortening(
    body: dict[str, Any], path: str, limit: ResultLimit
) -> Steps[tuple[dict[str, Any], int, ShortenedResults] | None]:
    """The body with its long results cut, in pieces; None when none is long.

    Returns:
        The body, the UTF-8 bytes that are gone, and what is told of it.

    """
    field = CONVERSATIONS.get(path, "")
    items = body.get(field)
    if not isinstance(items, list):
        return None
    kept, results, gone = list(items), 0, 0
    for index, item in enumerate(items):
        cut = _cut_item(item, limit.max_bytes) if isinstance(item, dict) else None
        if cut is not None:
            kept[index] = cut.value
            results += cut.results
            gone += cut.bytes
        if cut is not None or index % AT_ONCE == 0:
            yield
    if not results:
        return None
    return {**body, field: kept}, gone, ShortenedResults(results, limit.tokens(gone))


def _cut_item(item: dict[str, Any], max_bytes: int) -> _Cut | None:
    """A message, an item or a block whose results are cut; None: they are short."""
    field = result_field(item)
    if field is not None:
        content = _cut_content(item.get(field), max_bytes)
        return content and content._replace(value={**item, field: content.value})
    if next(result_blocks(item), None) is None:
        return None
    blocks, results, gone = list(item["content"]), 0, 0
    for index, block in enumerate(blocks):
        is_whole = isinstance(block, dict) and result_field(block) is not None
        cut = _cut_item(block, max_bytes) if is_whole else None
        if cut is not None:
            blocks[index] = cut.value
            results += 1
            gone += cut.bytes
    return _Cut({**item, "content": blocks}, results, gone) if results else None


def _cut_content(content: Any, max_bytes: int) -> _Cut | None:
    if isinstance(content, str):
        text = shorten(content, max_bytes)
        return None if text is content else _Cut(text, 1, utf8_bytes(content) - utf8_bytes(text))
    if not isinstance(content, list):
        return None
    texts = [part["text"] for part in content if _is_text(part)]
    whole = "\n".join(texts)
    text = shorten(whole, max_bytes)
    if text is whole:
        return None
    first = next(index for index, part in enumerate(content) if _is_text(part))
    parts = [
        {**part, "text": text} if index == first else part
        for index, part in enumerate(content)
        if index == first or not _is_text(part)
    ]
    return _Cut(parts, 1, utf8_bytes(whole) - utf8_bytes(text))


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)
