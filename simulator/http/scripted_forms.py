"""How each route writes a scripted answer: as the pinned vLLM does, with what is odd about it."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from typing import Any

import orjson

from simulator.http.asks import Ask
from simulator.http.forms import SIMULATED, event, identifier, usage_of
from simulator.http.scripted import ScriptedChoice
from simulator.script.deltas import Message

_DONE = b"data: [DONE]\n\n"
_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class UnreadableCall(ValueError):
    """Arguments that vLLM itself cannot read where it writes a whole Anthropic message."""


class _ScriptedForm:
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


class ScriptedChat(_ScriptedForm):
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
            return _DONE
        usage = self._usage(choices)
        return self._chunk([], usage=usage, system_fingerprint=SIMULATED) + _DONE

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


class ScriptedMessages(_ScriptedForm):
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


class ScriptedResponses(_ScriptedForm):
    """POST /v1/responses: items, one after the other.

    The items of the last event are made anew: their ids and the calls' ids are others than
    those of the events before it.
    """

    def __init__(self, ask: Ask, model_id: str, random: Random) -> None:
        super().__init__(ask, model_id, random)
        self.id = self._id("resp_")
        self._number = -1
        self._output = 0
        self._open: tuple[str, int] = ("", 0)
        self._item: dict[str, Any] = {}
        self._text = ""

    def begin(self, choice: ScriptedChoice, first: int, last: int) -> bytes:
        """created, in_progress, and the first tokens."""
        started = self._response("in_progress", [], None)
        out = self._event("response.created", response=started)
        out += self._event("response.in_progress", response=started)
        return out + self.delta(choice, first, last)

    def delta(self, choice: ScriptedChoice, first: int, last: int) -> bytes:
        message = choice.message(first, last)
        out = b""
        if message.reasoning is not None:
            out += self._in_item("reasoning") + self._piece(message.reasoning)
        if message.content:
            out += self._in_item("message") + self._piece(message.content)
        for number, name, arguments in message.calls:
            if name is not None:
                out += self._in_item("function_call", number, name)
            if arguments:
                out += self._piece(arguments)
        return out

    def end(self, choices: list[ScriptedChoice]) -> bytes:
        """The open item's end, and the whole response, whatever its status."""
        response = self.whole(choices)
        return self._close() + self._event("response.completed", response=response)

    def whole(self, choices: list[ScriptedChoice]) -> dict[str, Any]:
        choice = choices[0]
        reasoning, text, calls = choice.whole()
        output: list[dict[str, Any]] = []
        if reasoning:
            part = {"text": reasoning, "type": "reasoning_text"}
            output.append(_reasoning(self._id("rs_"), None, [part]))
        if text:
            output.append(_message(self._id("msg_"), "completed", [_text_part(text, None)]))
        for call in calls:
            output.append(self._call(call.name, self._id("fc_"), self._id("chatcmpl-tool-")))
            output[-1] |= {"arguments": call.arguments, "status": "completed"}
        usage = self._usage([choice])
        status = "incomplete" if choice.finish == "length" else "completed"
        shown = {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": {
                "cached_tokens": self.cached,
                "input_tokens_per_turn": [],
                "cached_tokens_per_turn": [],
            },
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {
                "reasoning_tokens": choice.reasoning_tokens,
                "tool_output_tokens": 0,
                "output_tokens_per_turn": [],
                "tool_output_tokens_per_turn": [],
            },
            "total_tokens": usage["total_tokens"],
        }
        return self._response(status, output, shown)

    def _in_item(self, kind: str, number: int = 0, name: str = "") -> bytes:
        if self._open == (kind, number):
            return b""
        out = self._close()
        self._open, self._text = (kind, number), ""
        item_id = self._id()
        place = {"output_index": self._output}
        if kind == "function_call":
            self._item = self._call(name, item_id, self._id("call_"))
            return out + self._event("response.output_item.added", **place, item=self._item)
        if kind == "reasoning":
            self._item = _reasoning(item_id, "in_progress", None)
            part, added = {"text": "", "type": "reasoning_text"}, "response.reasoning_part.added"
        else:
            self._item = _message(item_id, "in_progress", [])
            part, added = _text_part("", []), "response.content_part.added"
        out += self._event("response.output_item.added", **place, item=self._item)
        return out + self._event(added, **self._place(), part=part)

    def _piece(self, text: str) -> bytes:
        self._text += text
        match self._open[0]:
            case "function_call":
                kind = "response.function_call_arguments.delta"
                place = self._place()
                del place["content_index"]
                return self._event(kind, **place, delta=text)
            case "reasoning":
                return self._event("response.reasoning_text.delta", **self._place(), delta=text)
        return self._event("response.output_text.delta", **self._place(), delta=text, logprobs=[])

    def _close(self) -> bytes:
        kind, item, text, place = self._open[0], self._item, self._text, self._place()
        if not kind:
            return b""
        out = b""
        if kind == "function_call":
            item |= {"arguments": text}
            del place["content_index"]
            if text:
                done = "response.function_call_arguments.done"
                out += self._event(done, **place, arguments=text, name=item["name"])
        elif kind == "reasoning":
            part = {"text": text, "type": "reasoning_text"}
            item |= {"content": [part]}
            out += self._event("response.reasoning_text.done", **place, text=text)
            out += self._event("response.reasoning_part.done", **place, part=part)
        else:
            part = _text_part(text, None)
            item |= {"content": [part], "summary": []}
            out += self._event("response.output_text.done", **place, text=text, logprobs=[])
            out += self._event("response.content_part.done", **place, part=part)
        item = item | {"status": "completed"}
        out += self._event("response.output_item.done", output_index=self._output, item=item)
        self._open, self._output = ("", 0), self._output + 1
        return out

    def _place(self) -> dict[str, Any]:
        return {
            "item_id": self._item.get("id"),
            "output_index": self._output,
            "content_index": 0,
        }

    def _call(self, flat: str, item_id: str, call_id: str) -> dict[str, Any]:
        namespace, name = self.ask.namespaces.get(flat, (None, flat))
        return {
            "arguments": "",
            "call_id": call_id,
            "name": name,
            "type": "function_call",
            "id": item_id,
            "async": None,
            "caller": None,
            "namespace": namespace,
            "status": "in_progress",
        }

    def _event(self, kind: str, **members: Any) -> bytes:
        self._number += 1
        return event({**members, "sequence_number": self._number, "type": kind}, kind)

    def _response(self, status: str, output: list[Any], usage: Any) -> dict[str, Any]:
        cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
        given = {k: v for k, v in self.ask.echoed.items() if k in _ECHOED and v is not None}
        return {
            **_ECHOED,
            "max_output_tokens": self.ask.max_tokens,
            **given,
            "id": self.id,
            "created_at": self.created,
            "incomplete_details": cut,
            "model": self.model_id,
            "object": "response",
            "output": output,
            "status": status,
            "usage": usage,
        }


_ECHOED: dict[str, Any] = {
    "instructions": None,
    "metadata": None,
    "parallel_tool_calls": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "background": False,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "previous_response_id": None,
    "prompt": None,
    "reasoning": None,
    "service_tier": "auto",
    "text": None,
    "top_logprobs": None,
    "truncation": "disabled",
    "user": None,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "kv_transfer_params": None,
    "ec_transfer_params": None,
    "input_messages": None,
    "output_messages": None,
}
"""Fields of a response that repeat the request's, and what they are without."""


def _message(item_id: str, status: str, content: list[Any]) -> dict[str, Any]:
    return {
        "id": item_id,
        "content": content,
        "role": "assistant",
        "status": status,
        "type": "message",
        "phase": None,
    }


def _reasoning(item_id: str, status: str | None, content: list[Any] | None) -> dict[str, Any]:
    return {
        "id": item_id,
        "summary": [],
        "type": "reasoning",
        "content": content,
        "encrypted_content": None,
        "status": status,
    }


def _text_part(text: str, logprobs: list[Any] | None) -> dict[str, Any]:
    return {"annotations": [], "text": text, "type": "output_text", "logprobs": logprobs}


SCRIPTED_FORMS = {
    "/v1/chat/completions": ScriptedChat,
    "/v1/messages": ScriptedMessages,
    "/v1/responses": ScriptedResponses,
}
