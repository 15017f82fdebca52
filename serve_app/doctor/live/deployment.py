"""A running deployment as the doctor asks it: over HTTP, with the operator's key."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

Labels = Mapping[str, str]
Samples = Mapping[str, list[tuple[Labels, float]]]
"""Samples of each metric by its whole name."""


class NoAnswer(Exception):
    """The deployment did not answer, or answered with an error; the text says which."""


Ask = Callable[[str, str, Any], bytes]
"""Method, path and JSON body of a request; raises NoAnswer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One chat's answer.

    Attributes:
        tokens: of the answer, by the engine's count.
        cached_tokens: of the prompt, found in the prefix cache; None: the engine does not tell.
        wall_s: seconds from the request to the whole answer.

    """

    text: str
    tokens: int
    cached_tokens: int | None
    wall_s: float


class Deployment:
    """Asks a deployment.

    Args:
        ask: sends one request.
        clock: seconds that only go forward.

    """

    def __init__(self, ask: Ask, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask, self._clock = ask, clock

    def json(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Read a path; with a body, post it there."""
        try:
            return json.loads(self._ask("GET" if body is None else "POST", path, body))
        except ValueError:
            raise NoAnswer(f"{path} answers something else than JSON") from None

    def metrics(self) -> Samples:
        """Read `/metrics`, which covers every ingress replica and every engine."""
        text = self._ask("GET", "/metrics", None).decode(errors="replace")
        found: dict[str, list[tuple[Labels, float]]] = {}
        try:
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    found.setdefault(sample.name, []).append((sample.labels, sample.value))
        except ValueError as error:
            raise NoAnswer(f"/metrics does not parse: {error}") from None
        return found

    def chat(self, lane: str, prompt: str, *, tokens: int, to_the_end: bool = False) -> Answer:
        """Have a lane answer one prompt.

        Args:
            lane: pinned by its name.
            prompt: the user's only message.
            tokens: longest answer.
            to_the_end: exactly so many tokens, whatever the model would rather say.

        """
        body = {
            "model": lane,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": tokens,
            "temperature": 0.2,
            **({"ignore_eos": True} if to_the_end else {}),
        }
        begun = self._clock()
        raw = self._ask("POST", "/v1/chat/completions", body)
        wall_s = self._clock() - begun
        try:
            told = json.loads(raw)
            usage = told["usage"]
            return Answer(
                text=told["choices"][0]["message"].get("content") or "",
                tokens=int(usage["completion_tokens"]),
                cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens"),
                wall_s=wall_s,
            )
        except (ValueError, LookupError, TypeError):
            raise NoAnswer("the answer is no chat completion") from None


def of_lane(samples: Samples, name: str, lane: str) -> list[tuple[Labels, float]]:
    """The samples of one metric that a lane's replicas gave."""
    return [
        (labels, value) for labels, value in samples.get(name, ()) if labels.get("lane") == lane
    ]
