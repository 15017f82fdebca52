"""How each route writes an answer, whole and event by event."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from typing import Any, Protocol

import orjson

from simulator.http.answers import Choice
from simulator.http.asks import Ask

SIMULATED = "simulated"
_DONE = b"data: [DONE]\n\n"


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


class _Base:
    def __init__(self, ask: Ask, model_id: str, random: Random) -> None:
        self.ask = ask
        self.model_id = model_id
        self.random = random
        self.cached = 0


class OpenAIForm(_Base):
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
        return {
            "content": [
                {"token": text.decode("utf-8", "replace"), "logprob": 0.0,
                 "bytes": list(text), "top_logprobs": []}
                for _, text in choice.tokens[first:last]
            ]
        }  # fmt: skip

    def end(self, choices: list[Choice]) -> bytes:
        """Usage when it was asked for, and the end mark."""
        if not self.ask.include_usage:
            return _DONE
        usage = usage_of(self.ask, choices, self.cached)
        return event(self._envelope(self.chunk_kind) | {"choices": [], "usage": usage}) + _DONE

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


class MessageForm(_Base):
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


class ResponseForm(_Base):
    """POST /v1/responses: numbered events of the Responses form."""

    def __init__(self, ask: Ask, model_id: str, random: Random) -> None:
        super().__init__(ask, model_id, random)
        self.id = identifier("resp_", random)
        self.item_id = identifier("msg_" if ask.tool is None else "fc_", random)
        self.created = int(datetime.now(UTC).timestamp())
        self._number = -1

    def _event(self, kind: str, **members: Any) -> bytes:
        self._number += 1
        return event({"type": kind, "sequence_number": self._number, **members}, kind)

    def _response(self, status: str, output: list[Any], usage: Any = None) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "model": self.model_id,
            "output": output,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "incomplete_details": {"reason": "max_output_tokens"}
            if status == "incomplete"
            else None,
            "usage": usage,
        }

    def _item(self, text: str, status: str) -> dict[str, Any]:
        if self.ask.tool is not None:
            return {"id": self.item_id, "type": "function_call", "call_id": f"call_{self.item_id}",
                    "name": self.ask.tool, "arguments": text, "status": status}  # fmt: skip
        part = {"type": "output_text", "text": text, "annotations": []}
        return {"id": self.item_id, "type": "message", "role": "assistant", "status": status,
                "content": [part] if text else []}  # fmt: skip

    def _place(self) -> dict[str, Any]:
        place: dict[str, Any] = {"item_id": self.item_id, "output_index": 0}
        return place if self.ask.tool is not None else place | {"content_index": 0}

    def begin(self, choice: Choice, first: int, last: int) -> bytes:
        """created, in_progress, and the start of the output item."""
        started = self._response("in_progress", [])
        out = self._event("response.created", response=started)
        out += self._event("response.in_progress", response=started)
        item = self._item("", "in_progress")
        out += self._event("response.output_item.added", output_index=0, item=item)
        if self.ask.tool is None:
            part = {"type": "output_text", "text": "", "annotations": []}
            out += self._event("response.content_part.added", **self._place(), part=part)
        return out + self.delta(choice, first, last)

    def delta(self, choice: Choice, first: int, last: int) -> bytes:
        """One piece of text or arguments."""
        text = choice.text(first, last)
        if self.ask.tool is not None:
            return self._event(
                "response.function_call_arguments.delta", **self._place(), delta=text
            )
        return self._event("response.output_text.delta", **self._place(), delta=text, logprobs=[])

    def end(self, choices: list[Choice]) -> bytes:
        """The done events and the whole response."""
        text, place = choices[0].text(), self._place()
        if self.ask.tool is not None:
            out = self._event("response.function_call_arguments.done", **place, arguments=text)
        else:
            part = {"type": "output_text", "text": text, "annotations": []}
            out = self._event("response.output_text.done", **place, text=text, logprobs=[])
            out += self._event("response.content_part.done", **place, part=part)
        item = self._item(text, "completed")
        out += self._event("response.output_item.done", output_index=0, item=item)
        response = self.whole(choices)
        # As vLLM: this event, whatever the status in it.
        return out + self._event("response.completed", response=response)

    def whole(self, choices: list[Choice]) -> dict[str, Any]:
        choice = choices[0]
        prompt, output = len(self.ask.prompts[0]), len(choice.tokens)
        usage = {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": self.cached},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + output,
        }
        status = "incomplete" if choice.finish == "length" else "completed"
        return self._response(status, [self._item(choice.text(), status)], usage)
