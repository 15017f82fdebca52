"""What the ways of writing a scripted answer share."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from typing import Any

from simulator.http.asks import Ask
from simulator.http.forms.base import identifier, usage_of
from simulator.http.scripted import ScriptedChoice


class ScriptedForm:
    """What a scripted answer is written from."""

    def __init__(self, ask: Ask, model_id: str, random: Random) -> None:
        self.ask = ask
        self.model_id = model_id
        self.random = random
        self.cached = 0
        self.created = int(datetime.now(UTC).timestamp())

    def _usage(self, choices: list[ScriptedChoice]) -> dict[str, Any]:
        """Usage as OpenAI counts it, or as the script says."""
        counted = usage_of(self.ask, list(choices), self.cached)
        claimed = choices[0].answer.usage
        for name in ("prompt_tokens", "completion_tokens"):
            value = getattr(claimed, name)
            if value is not None:
                counted[name] = value
        counted["total_tokens"] = counted["prompt_tokens"] + counted["completion_tokens"]
        thought = sum(choice.reasoning_tokens for choice in choices)
        return counted | {"completion_tokens_details": {"reasoning_tokens": thought}}

    def _id(self, prefix: str = "") -> str:
        return identifier(prefix, self.random)
