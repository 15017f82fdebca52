"""Scripted chat completions."""

from __future__ import annotations

from random import Random
from typing import Any

from simulator.http.asks import Ask
from simulator.http.forms.base import DONE, SIMULATED, event
from simulator.http.scripted import ScriptedChoice
from simulator.http.scripted_forms.base import ScriptedForm
from simulator.script.deltas import Message


class ScriptedChat(ScriptedForm):
    """POST /v1/chat/completions."""

    def __init__(self, ask: Ask, model_id: str, random: Random) -> None:
        super().__init__(ask, model_id, random)
        self.id = self._id("chatcmpl-")

    def begin(self, choice: ScriptedChoice, first: int, last: int) -> bytes:
        """The role, and the first tokens."""
        ids = list(self.ask.prompts[0]) if self.ask.return_token_ids else None
        delta = {"role": "assistant", "content": ""}
        head = {"index": choice.index, "delta": delta, "logprobs": None, "finish_reason": None}
        role = self._chunk([head], prompt_token_ids=ids, prompt_text=None)
        return role + self.delta(choice, first, last)

    def delta(self, choice: ScriptedChoice, first: int, last: int) -> bytes:
        """What the tokens [first, last) add; nothing for markup alone."""
        message = choice.message(first, last)
        is_last = last >= len(choice.tokens)
        ids = choice.ids(first, last) if self.ask.return_token_ids else None
        if not (message or is_last or ids):
            return b""
        shown: dict[str, Any] = {
            "index": choice.index,
            "delta": self._delta(message),
            "logprobs": None,
            "finish_reason": choice.finish_reason(streamed=True) if is_last else None,
        }
        if is_last:
            shown["stop_reason"] = choice.stop_reason
        more = {"system_fingerprint": SIMULATED} if is_last and not self.ask.include_usage else {}
        return self._chunk([shown | {"token_ids": ids}], **more)

    def end(self, choices: list[ScriptedChoice]) -> bytes:
        """Usage when it was asked for, and the end mark."""
        if not self.ask.include_usage:
            return DONE
        usage = self._usage(choices)
        return self._chunk([], usage=usage, system_fingerprint=SIMULATED) + DONE

    def whole(self, choices: list[ScriptedChoice]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model_id,
            "choices": [self._whole_choice(choice) for choice in choices],
            "service_tier": None,
            "system_fingerprint": SIMULATED,
            "usage": self._usage(choices),
            "prompt_logprobs": None,
            "prompt_token_ids": list(self.ask.prompts[0]) if self.ask.return_token_ids else None,
            "prompt_text": None,
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "metrics": None,
        }

    def _whole_choice(self, choice: ScriptedChoice) -> dict[str, Any]:
        reasoning, content, calls = choice.whole()
        if content is None and (choice.demanded or not calls):
            content = ""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": content,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            "reasoning": reasoning,
        }
        if calls:
            message["tool_calls"] = [
                {
                    "id": self._id("chatcmpl-tool-"),
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in calls
            ]
        return {
            "index": choice.index,
            "message": message,
            "logprobs": None,
            "finish_reason": choice.finish_reason(streamed=False),
            "stop_reason": choice.stop_reason,
            "token_ids": choice.ids() if self.ask.return_token_ids else None,
            "routed_experts": None,
        }

    def _delta(self, message: Message) -> dict[str, Any]:
        delta: dict[str, Any] = {}
        if message.content is not None or message.calls:
            delta["content"] = message.content
        if message.reasoning is not None:
            delta["reasoning"] = message.reasoning
        if message.calls:
            delta["tool_calls"] = [self._call(*entry) for entry in message.calls]
        return delta

    def _call(self, index: int, name: str | None, arguments: str | None) -> dict[str, Any]:
        if name is None:
            return {"index": index, "function": {"arguments": arguments}}
        return {
            "id": self._id("chatcmpl-tool-"),
            "type": "function",
            "index": index,
            "function": {"name": name},
        }

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return event(
            {
                "id": self.id,
                "object": "chat.completion.chunk",
                "created": self.created,
                "model": self.model_id,
                "choices": choices,
            }
            | more
        )
