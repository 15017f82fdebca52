"""What the ways of writing an answer share."""

from __future__ import annotations

from random import Random
from typing import Any, Protocol

import orjson

from simulator.http.answers import Choice
from simulator.http.asks import Ask

SIMULATED = "simulated"
DONE = b"data: [DONE]\n\n"


class Form(Protocol):
    """One route's way of writing. Bytes are ready to send.

    `cached` is how many prompt tokens the prefix cache held.
    """

    cached: int

    def begin(self, choice: Choice, first: int, last: int) -> bytes:
        """What comes before a choice's first token, and its tokens [first, last)."""

    def delta(self, choice: Choice, first: int, last: int) -> bytes:
        """The tokens [first, last) of a choice."""

    def end(self, choices: list[Choice]) -> bytes:
        """What comes after every choice's last token."""

    def whole(self, choices: list[Choice]) -> dict[str, Any]: ...


def usage_of(ask: Ask, choices: list[Choice], cached: int) -> dict[str, Any]:
    """Usage as OpenAI counts it."""
    prompt = sum(map(len, ask.prompts))
    completion = sum(len(choice.tokens) for choice in choices)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def identifier(prefix: str, random: Random) -> str:
    """An id that says where it comes from."""
    return f"{prefix}{SIMULATED}-{random.getrandbits(64):016x}"


def event(data: Any, name: str = "") -> bytes:
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + orjson.dumps(data) + b"\n\n"


class Base:
    """What an answer is written from."""

    def __init__(self, ask: Ask, model_id: str, random: Random) -> None:
        self.ask = ask
        self.model_id = model_id
        self.random = random
        self.cached = 0
