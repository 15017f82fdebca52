"""Anthropic messages."""

from __future__ import annotations

from random import Random
from typing import Any

import orjson

from simulator.http.answers import Choice
from simulator.http.asks import Ask
from simulator.http.forms.base import Base, event, identifier


class MessageForm(Base):
    """POST /v1/messages: events of the Anthropic form."""

    def __init__(self, ask: Ask, model_id: str, random: Random) -> None:
        super().__init__(ask, model_id, random)
        self.id = identifier("msg_", random)
        self.tool_id = identifier("toolu_", random)

    def _envelope(self, usage: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model_id,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }

    def _usage(self, output: int) -> dict[str, Any]:
        return {
            "input_tokens": len(self.ask.prompts[0]) - self.cached,
            "cache_read_input_tokens": self.cached,
            "output_tokens": output,
        }

    def begin(self, choice: Choice, first: int, last: int) -> bytes:
        """message_start and the block's start."""
        block: dict[str, Any] = {"type": "text", "text": ""}
        if self.ask.tool is not None:
            block = {"type": "tool_use", "id": self.tool_id, "name": self.ask.tool, "input": {}}
        message = self._envelope(self._usage(0))
        start = {"type": "content_block_start", "index": 0, "content_block": block}
        return (
            event({"type": "message_start", "message": message}, "message_start")
            + event(start, "content_block_start")
            + self.delta(choice, first, last)
        )

    def delta(self, choice: Choice, first: int, last: int) -> bytes:
        """One content_block_delta."""
        text = choice.text(first, last)
        delta = {"type": "text_delta", "text": text}
        if self.ask.tool is not None:
            delta = {"type": "input_json_delta", "partial_json": text}
        data = {"type": "content_block_delta", "index": 0, "delta": delta}
        return event(data, "content_block_delta")

    def end(self, choices: list[Choice]) -> bytes:
        """The block's end, the stop reason and usage, message_stop."""
        choice = choices[0]
        delta = {"stop_reason": _stop_reason(choice), "stop_sequence": choice.stop_reason}
        usage = self._usage(len(choice.tokens))
        data = {"type": "message_delta", "delta": delta, "usage": usage}
        return (
            event({"type": "content_block_stop", "index": 0}, "content_block_stop")
            + event(data, "message_delta")
            + event({"type": "message_stop"}, "message_stop")
        )

    def whole(self, choices: list[Choice]) -> dict[str, Any]:
        choice = choices[0]
        block: dict[str, Any] = {"type": "text", "text": choice.text()}
        if self.ask.tool is not None:
            given = orjson.loads(choice.text()) if choice.finish == "tool_calls" else {}
            block = {"type": "tool_use", "id": self.tool_id, "name": self.ask.tool, "input": given}
        return self._envelope(self._usage(len(choice.tokens))) | {
            "content": [block],
            "stop_reason": _stop_reason(choice),
            "stop_sequence": choice.stop_reason,
        }


def _stop_reason(choice: Choice) -> str:
    if choice.stop_reason is not None:
        return "stop_sequence"
    return {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}[choice.finish]
