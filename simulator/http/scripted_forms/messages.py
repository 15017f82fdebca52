"""Scripted Anthropic messages."""

from __future__ import annotations

from random import Random
from typing import Any

import orjson

from simulator.http.asks import Ask
from simulator.http.forms.base import event
from simulator.http.scripted import ScriptedChoice
from simulator.http.scripted_forms.base import ScriptedForm

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class UnreadableCall(ValueError):
    """Arguments that vLLM itself cannot read where it writes a whole Anthropic message."""


class ScriptedMessages(ScriptedForm):
    """POST /v1/messages: blocks, one after the other.

    Text that comes while a call's block is open waits for that block's end.
    """

    def __init__(self, ask: Ask, model_id: str, random: Random) -> None:
        super().__init__(ask, model_id, random)
        self.id = self._id("chatcmpl-")
        self._index = -1
        self._open = ""
        self._waiting = ""

    def begin(self, choice: ScriptedChoice, first: int, last: int) -> bytes:
        """message_start, and the first tokens."""
        usage = {"input_tokens": len(self.ask.prompts[0]), "output_tokens": 0}
        start = {"type": "message_start", "message": self._envelope([], usage)}
        return event(start, "message_start") + self.delta(choice, first, last)

    def delta(self, choice: ScriptedChoice, first: int, last: int) -> bytes:
        message = choice.message(first, last)
        out = b""
        if message.reasoning:
            out += self._in_block("thinking", {"type": "thinking", "thinking": ""})
            out += self._delta(type="thinking_delta", thinking=message.reasoning)
        if message.content and self._open == "tool_use":
            self._waiting += message.content
        elif message.content:
            out += self._in_block("text", {"type": "text", "text": ""})
            out += self._delta(type="text_delta", text=message.content)
        for _, name, arguments in message.calls:
            if name is not None:
                block = {"type": "tool_use", "id": self._id("chatcmpl-tool-"), "name": name}
                out += self._flush() + self._start(block | {"input": {}})
            if arguments:
                out += self._delta(type="input_json_delta", partial_json=arguments)
        return out

    def end(self, choices: list[ScriptedChoice]) -> bytes:
        """The open block's end, why and with how many tokens it ended, message_stop."""
        reason = _STOP_REASONS[choices[0].finish_reason(streamed=True)]
        data = {
            "type": "message_delta",
            "delta": {"stop_reason": reason},
            "usage": self._anthropic_usage(choices),
        }
        stop = event({"type": "message_stop"}, "message_stop")
        return self._flush() + event(data, "message_delta") + stop

    def whole(self, choices: list[ScriptedChoice]) -> dict[str, Any]:
        """Raises UnreadableCall for arguments that are no JSON object."""
        reasoning, text, calls = choices[0].whole()
        content: list[dict[str, Any]] = []
        if reasoning:
            signature = f"{self.random.getrandbits(128):032x}"
            content.append({"type": "thinking", "thinking": reasoning, "signature": signature})
        if text:
            content.append({"type": "text", "text": text})
        for call in calls:
            try:
                given = orjson.loads(call.arguments)
            except orjson.JSONDecodeError as error:
                raise UnreadableCall(str(error)) from error
            if not isinstance(given, dict):
                message = "1 validation error for AnthropicContentBlock\ninput\n"
                raise UnreadableCall(f"{message}  Input should be a valid dictionary")
            block = {"type": "tool_use", "id": self._id("chatcmpl-tool-"), "name": call.name}
            content.append(block | {"input": given})
        made = self._envelope(content or [{"type": "text", "text": ""}], {})
        made["stop_reason"] = _STOP_REASONS[choices[0].finish_reason(streamed=False)]
        made["usage"] = self._anthropic_usage(choices)
        del made["stop_sequence"]
        return made

    def _anthropic_usage(self, choices: list[ScriptedChoice]) -> dict[str, Any]:
        usage = self._usage(choices)
        return {
            "input_tokens": usage["prompt_tokens"] - self.cached,
            "output_tokens": usage["completion_tokens"],
            "cache_read_input_tokens": self.cached,
        }

    def _envelope(self, content: list[Any], usage: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "content": content,
            "model": self.model_id,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }

    def _in_block(self, kind: str, block: dict[str, Any]) -> bytes:
        return b"" if self._open == kind else self._flush() + self._start(block)

    def _start(self, block: dict[str, Any]) -> bytes:
        self._open = block["type"]
        self._index += 1
        start = {"type": "content_block_start", "content_block": block, "index": self._index}
        return event(start, "content_block_start")

    def _delta(self, **delta: str) -> bytes:
        data = {"type": "content_block_delta", "delta": delta, "index": self._index}
        return event(data, "content_block_delta")

    def _flush(self) -> bytes:
        """The end of the open block, and a block of the text that waited for it."""
        out = self._stop()
        if self._waiting:
            text, self._waiting = self._waiting, ""
            out += self._start({"type": "text", "text": ""})
            out += self._delta(type="text_delta", text=text) + self._stop()
        return out

    def _stop(self) -> bytes:
        if not self._open:
            return b""
        signed = b""
        if self._open == "thinking":
            signature = f"{self.random.getrandbits(128):032x}"
            signed = self._delta(type="signature_delta", signature=signature)
        self._open = ""
        stop = {"type": "content_block_stop", "index": self._index}
        return signed + event(stop, "content_block_stop")
