"""Chat and text completions."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from typing import Any

import orjson

from simulator.http.answers import Choice
from simulator.http.asks import Ask
from simulator.http.forms.base import DONE, SIMULATED, Base, event, identifier, usage_of

SURE, UNSURE = -0.05, -2.5
"""Log-probabilities of tokens, in nats: no model is behind them."""


class OpenAIForm(Base):
    """What chat and completions share: choices in chunks."""

    prefix = ""
    kind = ""
    chunk_kind = ""

    def __init__(self, ask: Ask, model_id: str, random: Random) -> None:
        super().__init__(ask, model_id, random)
        self.id = identifier(self.prefix, random)
        self.created = int(datetime.now(UTC).timestamp())
        # The part of a chunk that never changes, written once.
        head = orjson.dumps(self._envelope(self.chunk_kind))
        self._head = b"data: " + head[:-1] + b',"choices":[{"index":'

    def _envelope(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model_id,
            "system_fingerprint": SIMULATED,
        }

    def _chunk(self, choice: Choice, payload: bytes, first: int, last: int) -> bytes:
        """A chunk around `payload`: the delta or the text, as JSON members."""
        extra = b""
        if self.ask.logprobs:
            extra = b',"logprobs":' + orjson.dumps(self._logprobs(choice, first, last))
        if last >= len(choice.tokens):
            extra += b',"finish_reason":' + orjson.dumps(choice.finish)
            extra += b',"stop_reason":' + orjson.dumps(choice.stop_reason)
        else:
            extra += b',"finish_reason":null'
        if self.ask.return_token_ids:
            extra += b',"token_ids":' + orjson.dumps(choice.ids(first, last))
        return self._head + str(choice.index).encode() + b"," + payload + extra + b"}]}\n\n"

    def _logprobs(self, choice: Choice, first: int, last: int | None) -> dict[str, Any]:
        logprob = UNSURE if self.ask.is_unsure else SURE
        return {
            "content": [
                {"token": text.decode("utf-8", "replace"), "logprob": logprob,
                 "bytes": list(text), "top_logprobs": []}
                for _, text in choice.tokens[first:last]
            ]
        }  # fmt: skip

    def end(self, choices: list[Choice]) -> bytes:
        """Usage when it was asked for, and the end mark."""
        if not self.ask.include_usage:
            return DONE
        usage = usage_of(self.ask, choices, self.cached)
        return event(self._envelope(self.chunk_kind) | {"choices": [], "usage": usage}) + DONE

    def whole(self, choices: list[Choice]) -> dict[str, Any]:
        answer = self._envelope(self.kind) | {
            "choices": [self._whole_choice(choice) for choice in choices],
            "usage": usage_of(self.ask, choices, self.cached),
        }
        if self.ask.return_token_ids and self.kind == "chat.completion":
            answer["prompt_token_ids"] = list(self.ask.prompts[0])
        return answer

    def _whole_choice(self, choice: Choice) -> dict[str, Any]:
        return {
            "index": choice.index,
            "logprobs": self._logprobs(choice, 0, None) if self.ask.logprobs else None,
            "finish_reason": choice.finish,
            "stop_reason": choice.stop_reason,
            "token_ids": choice.ids() if self.ask.return_token_ids else None,
        }


class ChatForm(OpenAIForm):
    """POST /v1/chat/completions."""

    prefix = "chatcmpl-"
    kind = "chat.completion"
    chunk_kind = "chat.completion.chunk"

    def begin(self, choice: Choice, first: int, last: int) -> bytes:
        """The role, and the name of a tool that is called."""
        envelope = self._envelope(self.chunk_kind)
        delta: dict[str, Any] = {"role": "assistant", "content": ""}
        head = {"index": choice.index, "delta": delta, "logprobs": None, "finish_reason": None}
        ids = list(self.ask.prompts[0]) if self.ask.return_token_ids else None
        role = event(envelope | {"choices": [head], "prompt_token_ids": ids})
        if self.ask.tool is not None:
            called = {"index": 0, "id": identifier("call_", self.random), "type": "function",
                      "function": {"name": self.ask.tool, "arguments": ""}}  # fmt: skip
            role += event(envelope | {"choices": [head | {"delta": {"tool_calls": [called]}}]})
        return role + self.delta(choice, first, last)

    def delta(self, choice: Choice, first: int, last: int) -> bytes:
        """Content, or arguments of the tool."""
        text = orjson.dumps(choice.text(first, last))
        if self.ask.tool is not None:
            body = b'{"tool_calls":[{"index":0,"function":{"arguments":' + text + b"}}]}"
        else:
            body = b'{"content":' + text + b"}"
        return self._chunk(choice, b'"delta":' + body, first, last)

    def _whole_choice(self, choice: Choice) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": choice.text(), "tool_calls": []}
        if self.ask.tool is not None:
            function = {"name": self.ask.tool, "arguments": choice.text()}
            called = {"id": identifier("call_", self.random), "type": "function"}
            message |= {"content": None, "tool_calls": [called | {"function": function}]}
        return super()._whole_choice(choice) | {"message": message}


class CompletionForm(OpenAIForm):
    """POST /v1/completions."""

    prefix = "cmpl-"
    kind = chunk_kind = "text_completion"

    def begin(self, choice: Choice, first: int, last: int) -> bytes:
        """Nothing comes before the text."""
        return self.delta(choice, first, last)

    def delta(self, choice: Choice, first: int, last: int) -> bytes:
        text = b'"text":' + orjson.dumps(choice.text(first, last))
        if self.ask.return_token_ids and first == 0:
            text += b',"prompt_token_ids":' + orjson.dumps(list(choice.prompt))
        return self._chunk(choice, text, first, last)

    def _whole_choice(self, choice: Choice) -> dict[str, Any]:
        ids = list(choice.prompt) if self.ask.return_token_ids else None
        return super()._whole_choice(choice) | {"text": choice.text(), "prompt_token_ids": ids}
