"""Long tool results in the bodies of three dialects: shortened, or summarised.

Only text is changed: pictures stay. A result in several texts becomes one text, its parts
joined by line breaks as the engine joins them, where its first text was.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from router.agents.cut_text import utf8_bytes
from router.agents.shorten import ResultLimit, shorten
from serve_app.agents.history import result_blocks, result_field
from serve_app.bodies.routes import CONVERSATIONS
from serve_app.bodies.steps import Steps

AT_ONCE = 1000
"""Messages that are looked at in one piece while nothing is cut."""


class ResultSummaries(Protocol):
    """Where the summaries of long results come from."""

    def of_result(self, text: str, max_bytes: int, item: int) -> str | None:
        """What stands for a result in `max_bytes` at most; None: it is shortened.

        `item` is the index of its message.
        """


class ShortenedResults(NamedTuple):
    """How many results were shortened or summarised, and about how many tokens are gone."""

    results: int = 0
    tokens: int = 0
    summarised: int = 0
    summarised_tokens: int = 0

    @property
    def header(self) -> bytes:
        """Value of `x-pointsman-tool-results`."""
        told = []
        if self.summarised:
            told.append(b"summarised; results=%d; tokens=%d" % self[2:])
        if self.results:
            told.append(b"shortened; results=%d; tokens=%d" % self[:2])
        return b", ".join(told)


class _Cutter:
    """What becomes of each long text, and how many bytes are gone of how many."""

    def __init__(self, limit: ResultLimit, summaries: ResultSummaries | None) -> None:
        self._limit, self._summaries = limit, summaries
        self.item = 0
        self.shortened = self.summarised = 0
        self.bytes_cut = self.bytes_summarised = 0

    def __call__(self, text: str) -> str:
        most = self._limit.max_bytes
        if fits(text, most):
            return text
        if self._summaries is not None:
            summary = self._summaries.of_result(text, most, self.item)
            if summary is not None:
                self.summarised += 1
                self.bytes_summarised += utf8_bytes(text) - utf8_bytes(summary)
                return summary
        short = shorten(text, most)
        self.shortened += 1
        self.bytes_cut += utf8_bytes(text) - utf8_bytes(short)
        return short

    @property
    def count(self) -> int:
        return self.shortened + self.summarised

    @property
    def gone(self) -> int:
        return self.bytes_cut + self.bytes_summarised

    def told(self) -> ShortenedResults:
        tokens = self._limit.tokens
        return ShortenedResults(
            self.shortened,
            tokens(self.bytes_cut),
            self.summarised,
            tokens(self.bytes_summarised),
        )


def fits(text: str, max_bytes: int) -> bool:
    # A character has a byte at least, and four at most.
    return 4 * len(text) <= max_bytes or utf8_bytes(text) <= max_bytes


def shortening(
    body: dict[str, Any],
    path: str,
    limit: ResultLimit,
    summaries: ResultSummaries | None = None,
) -> Steps[tuple[dict[str, Any], int, ShortenedResults] | None]:
    """The body with its long results cut, in pieces; None when none is long.

    Returns:
        The body, the UTF-8 bytes that are gone, and what is told of it.

    """
    field = CONVERSATIONS.get(path, "")
    items = body.get(field)
    if not isinstance(items, list):
        return None
    cutter, kept = _Cutter(limit, summaries), list(items)
    for index, item in enumerate(items):
        cutter.item = index
        kept[index] = changed = _changed(item, cutter)
        if changed is not item or index % AT_ONCE == 0:
            yield
    if not cutter.count:
        return None
    return {**body, field: kept}, cutter.gone, cutter.told()


def measuring(items: list[Any], limit: ResultLimit) -> Steps[list[Any]]:
    """The items with text of the limit's size in place of each long result, in pieces.

    A summary has a size of its own, which another one may not have. What depends on sizes,
    as the cut of a long conversation does, must not move with it.
    """
    filler, filled = _filler(limit.max_bytes), []
    for index, item in enumerate(items):
        filled.append(_changed(item, lambda text: text if fits(text, limit.max_bytes) else filler))
        if index % AT_ONCE == 0:
            yield
    return filled


@lru_cache(maxsize=16)
def _filler(size: int) -> str:
    return "." * size


def _changed(item: Any, change: Callable[[str], str]) -> Any:
    """A message, an item or a block whose results' texts are changed; itself if none is."""
    if not isinstance(item, dict):
        return item
    field = result_field(item)
    if field is not None:
        before = item.get(field)
        content = _changed_content(before, change)
        return item if content is before else {**item, field: content}
    if next(result_blocks(item), None) is None:
        return item
    blocks = [
        _changed(block, change)
        if isinstance(block, dict) and result_field(block) is not None
        else block
        for block in item["content"]
    ]
    same = all(new is old for new, old in zip(blocks, item["content"], strict=True))
    return item if same else {**item, "content": blocks}


def _changed_content(content: Any, change: Callable[[str], str]) -> Any:
    if isinstance(content, str):
        return change(content)
    if not isinstance(content, list):
        return content
    whole = "\n".join(part["text"] for part in content if _is_text(part))
    text = change(whole)
    if text is whole:
        return content
    first = next(index for index, part in enumerate(content) if _is_text(part))
    return [
        {**part, "text": text} if index == first else part
        for index, part in enumerate(content)
        if index == first or not _is_text(part)
    ]


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)
