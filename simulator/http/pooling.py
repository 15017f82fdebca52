"""Embeddings and scores of the simulated engine, in the forms of vLLM's routes.

A vector is the sum of one for each word, drawn from the word's hash: texts that share words
are near each other, and nothing here knows what a word means.
"""

from __future__ import annotations

import asyncio
import base64
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from random import Random
from typing import Any

from simulator.http.exposition import Exposition
from simulator.model.engine import Sequence
from simulator.model.realtime import RealTimeEngine
from simulator.model.text import token_id, tokenize

DIMENSIONS = 64
_PAIRS = (
    ("queries", "documents"),
    ("queries", "items"),
    ("data_1", "data_2"),
    ("text_1", "text_2"),
)

Vector = list[float]


class BadInput(Exception):
    """What vLLM refuses, in about its words."""


@dataclass(frozen=True, slots=True)
class Pooled:
    """What was asked of an engine that writes nothing.

    Attributes:
        prompts: token ids of each text or pair.
        newest: text that faults may be asked for in.
        answer: the body of the answer, by the model's name.

    """

    prompts: list[array[int]]
    newest: str
    answer: Callable[[str], dict[str, Any]]


def read_embeddings(body: dict[str, Any]) -> Pooled:
    given = body["input"]
    texts = [given] if isinstance(given, str) or _are_ids(given) else list(given)
    if not texts:
        raise BadInput("You must pass at least one prompt")
    if body.get("dimensions") is not None:
        raise BadInput(
            "Model 'simulated' does not support Matryoshka embeddings; dimensions must be unset "
            f"(received dimensions={body['dimensions']})."
        )
    prompts = [_cut(_tokens(text), body) for text in texts]
    is_base64 = body.get("encoding_format") == "base64"

    def answer(model: str) -> dict[str, Any]:
        rows = [
            {"index": i, "object": "embedding", "embedding": _written(_vector(x), is_base64)}
            for i, x in enumerate(texts)
        ]
        return {"id": "embd-simulated", "object": "list", "created": 0, "model": model} | {
            "data": rows,
            "usage": _usage(prompts),
        }

    return Pooled(prompts, texts[0] if isinstance(texts[0], str) else "", answer)


def read_score(body: dict[str, Any]) -> Pooled:
    names = next((pair for pair in _PAIRS if pair[0] in body and pair[1] in body), None)
    if names is None:
        raise BadInput("Field required")
    left, right = (_texts(body[name]) for name in names)
    prompts, scores = _scored(left, right, body)

    def answer(model: str) -> dict[str, Any]:
        rows = [{"index": i, "object": "score", "score": x} for i, x in enumerate(scores)]
        return {"id": "score-simulated", "object": "list", "created": 0, "model": model} | {
            "data": rows,
            "usage": _usage(prompts),
        }

    return Pooled(prompts, right[-1], answer)


def read_rerank(body: dict[str, Any]) -> Pooled:
    documents = _texts(body["documents"])
    prompts, scores = _scored([body["query"]], documents, body)
    ranked = sorted(enumerate(scores), key=lambda row: -row[1])
    top = body.get("top_n") or len(documents)

    def answer(model: str) -> dict[str, Any]:
        usage = _usage(prompts)
        usage = {name: usage[name] for name in ("prompt_tokens", "total_tokens")}
        rows = [
            {
                "index": i,
                "document": {"text": documents[i], "multi_modal": None},
                "relevance_score": score,
            }
            for i, score in ranked[:top]
        ]
        return {"id": "rerank-simulated", "model": model, "usage": usage, "results": rows}

    return Pooled(prompts, documents[-1], answer)


POOLED: dict[str, Callable[[dict[str, Any]], Pooled]] = {
    "/v1/embeddings": read_embeddings,
    "/v1/score": read_score,
    "/score": read_score,
    "/v1/rerank": read_rerank,
    "/v2/rerank": read_rerank,
}


async def read_all(
    clock: RealTimeEngine, exposition: Exposition, prompts: list[array[int]]
) -> None:
    """Take the time that an engine takes to read them all: each is a sequence of one token."""
    now = asyncio.get_running_loop().time
    begun = now()
    streams = [clock.submit(Sequence(len(x), 1, lambda _: 0)) for x in prompts]
    try:
        for stream in streams:
            await stream.take()
    finally:
        for stream in streams:
            clock.abort(stream)
    took = now() - begun
    for prompt in prompts:
        exposition.first_token(took, 0.0, len(prompt), 0)
        exposition.ended("stop", took, took, 0)


def _scored(
    left: list[str], right: list[str], body: dict[str, Any]
) -> tuple[list[array[int]], Vector]:
    if len(left) == 1:
        left = left * len(right)
    if len(left) != len(right):
        raise BadInput("Input lengths must be either 1:1, 1:N or N:N")
    vectors = [(_vector(a), _vector(b)) for a, b in zip(left, right, strict=True)]
    prompts = [_cut(_tokens(a) + _tokens(b), body) for a, b in zip(left, right, strict=True)]
    return prompts, [sum(x * y for x, y in zip(a, b, strict=True)) for a, b in vectors]


def _are_ids(given: Any) -> bool:
    return bool(given) and isinstance(given[0], int)


def _texts(given: Any) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _tokens(text: str | list[int]) -> array[int]:
    return tokenize(text.lower().encode()) if isinstance(text, str) else array("I", text)


def _cut(tokens: array[int], body: dict[str, Any]) -> array[int]:
    most = body.get("truncate_prompt_tokens")
    return tokens if most is None or most < 0 else tokens[:most]


def _vector(text: str | list[int]) -> Vector:
    """Return a vector of length 1."""
    words = text.lower().encode().split() or [b""] if isinstance(text, str) else text
    ids = [token_id(word) if isinstance(word, bytes) else word for word in words]
    total = [sum(parts) for parts in zip(*map(_of_token, ids), strict=True)]
    length = sqrt(sum(x * x for x in total)) or 1.0
    return [x / length for x in total]


@lru_cache(maxsize=8192)
def _of_token(token: int) -> Vector:
    rng = Random(token)
    return [rng.gauss(0, 1) for _ in range(DIMENSIONS)]


def _written(vector: Vector, is_base64: bool) -> Vector | str:  # noqa: FBT001
    if is_base64:
        return base64.b64encode(array("f", vector).tobytes()).decode()
    return vector


def _usage(prompts: list[array[int]]) -> dict[str, Any]:
    tokens = sum(map(len, prompts))
    return {
        "prompt_tokens": tokens,
        "total_tokens": tokens,
        "completion_tokens": 0,
        "prompt_tokens_details": None,
    }
