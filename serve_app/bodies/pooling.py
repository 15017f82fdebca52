"""Texts to embed, or to compare: what `/v1/embeddings`, `/v1/score` and `/v1/rerank` are sent.

The pinned vLLM (0.29) takes scores in four spellings (`entrypoints/pooling/scoring`), and
content parts beside texts. Texts alone are read here, of one spelling at a time: what is
counted must be what the engine reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from router.types import Task
from serve_app.bodies.json_body import dump
from serve_app.bodies.routes import Route

SPELLINGS = (
    ("queries", "documents"),
    ("queries", "items"),
    ("data_1", "data_2"),
    ("text_1", "text_2"),
)
_NAMES = frozenset(name for pair in SPELLINGS for name in pair)
_WITH_EACH = ("instruction", "chat_template_kwargs")
"""Of scores: what the template puts before each pair."""

ARE_TEXTS = "a string or an array of strings, none of them empty"
ARE_INPUTS = f"{ARE_TEXTS}, or an array of token ids or of such arrays"


@dataclass(frozen=True, slots=True)
class Inputs:
    """The sizes of what an engine reads.

    Attributes:
        count: texts, or pairs of texts.
        added_bytes: what is read beyond the body, since it stands there once and is read often.
        longest: share of all that the longest text or pair is.

    """

    count: int
    added_bytes: int
    longest: float


def inputs_fault(body: dict[str, Any], route: Route) -> tuple[str, str] | None:
    """Return the first field whose texts are none, and what it must be."""
    for name in _names(body, route):
        check = are_inputs if route.task is Task.EMBED else are_texts
        if name == "query":
            check = is_query
        wrong = check(body.get(name))
        if wrong is not None:
            return name, wrong
    given = _NAMES.intersection(x for x in body if body[x] is not None)
    if route.path != "/v1/score" or any(given == set(pair) for pair in SPELLINGS):
        return None
    return "queries", "given with 'documents' alone, or 'text_1' with 'text_2' in their place"


def inputs_of(body: dict[str, Any], route: Route) -> Inputs:
    """Measure a body without fault."""
    first, *second = (_sizes(body[name]) for name in _names(body, route))
    if not second:
        return _inputs(first, 0)
    count = max(len(first), len(second[0]))
    left, right = (x * count if len(x) == 1 else x for x in (first, second[0]))
    with_each = sum(len(dump(body[x])) for x in _WITH_EACH if body.get(x) is not None)
    # Of unlike lengths, which the engine refuses, as many as have a partner.
    pairs = [a + b + with_each for a, b in zip(left, right, strict=False)]
    return _inputs(pairs, sum(pairs) - sum(first) - sum(second[0]) - with_each, count)


def are_texts(value: Any) -> str | None:
    texts = value if isinstance(value, list) else [value]
    return None if texts and all(map(_is_text, texts)) else ARE_TEXTS


def is_query(value: Any) -> str | None:
    return None if _is_text(value) else "a string that is not empty"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def are_inputs(value: Any) -> str | None:
    if are_texts(value) is None:
        return None
    lists = value if isinstance(value, list) else []
    is_one = bool(lists) and _are_ids(lists)
    are_many = bool(lists) and all(isinstance(x, list) and x and _are_ids(x) for x in lists)
    return None if is_one or are_many else ARE_INPUTS


def _are_ids(value: list[Any]) -> bool:
    # A flag is an integer to Python.
    return set(map(type, value)) == {int}


def _names(body: dict[str, Any], route: Route) -> tuple[str, ...]:
    if route.task is Task.EMBED:
        return ("input",)
    if route.path != "/v1/score":
        return ("query", "documents")
    given = (pair for pair in SPELLINGS if all(body.get(name) is not None for name in pair))
    return next(given, SPELLINGS[0])


def _sizes(value: Any) -> list[int]:
    """Return bytes of texts, about, or numbers of token ids; of each its own."""
    if isinstance(value, list) and not isinstance(value[0], int):
        return [len(x.encode()) if isinstance(x, str) else len(x) for x in value]
    return [len(value)]


def _inputs(sizes: list[int], added: int, count: int | None = None) -> Inputs:
    longest = max(sizes) / max(1, sum(sizes))
    return Inputs(len(sizes) if count is None else count, max(0, added), longest)
