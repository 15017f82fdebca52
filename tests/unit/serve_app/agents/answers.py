"""Answers with text and tool calls as the pinned vLLM streams them, and what a client reads.

The shapes follow vllm/entrypoints/openai/chat_completion, .../responses and
vllm/entrypoints/anthropic: which events, in which order, with which members.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from serve_app.agents.forms.form import event_of

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
PATHS = (CHAT, MESSAGES, RESPONSES)
DONE = b"data: [DONE]\n\n"


@dataclass
class Answer:
    """What a model said: pieces of text, and calls as (name, pieces of the arguments)."""

    text: list[str] = field(default_factory=list)
    calls: list[tuple[str, list[str]]] = field(default_factory=list)
    is_short: bool = False
    says_calls: bool | None = None

    @property
    def ends_in_calls(self) -> bool:
        return bool(self.calls) if self.says_calls is None else self.says_calls


def offered(path: str, schemas: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A request that offers these tools."""
    if path == CHAT:
        tools = [
            {"type": "function", "function": {"name": name, "parameters": schema}}
            for name, schema in schemas.items()
        ]
    else:
        member = "input_schema" if path == MESSAGES else "parameters"
        kind = {} if path == MESSAGES else {"type": "function"}
        tools = [{**kind, "name": name, member: schema} for name, schema in schemas.items()]
    return {"tools": tools, **more}


def stream(path: str, answer: Answer) -> list[bytes]:
    """Its events."""
    return list({CHAT: _chat, MESSAGES: _messages, RESPONSES: _responses}[path](answer))


def _chat(answer: Answer) -> Iterable[bytes]:
    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return event_of({"id": "chatcmpl-1", "model": "m", "choices": [choice]})

    yield chunk({"role": "assistant", "content": ""})
    for text in answer.text:
        yield chunk({"content": text})
    for number, (name, pieces) in enumerate(answer.calls):
        function = {"name": name, "arguments": ""}
        head = {"index": number, "id": f"call_{number}", "type": "function", "function": function}
        yield chunk({"tool_calls": [head]})
        for piece in pieces:
            yield chunk({"tool_calls": [{"index": number, "function": {"arguments": piece}}]})
    reason = "length" if answer.is_short else "tool_calls" if answer.ends_in_calls else "stop"
    yield chunk({}, reason)
    yield event_of({"id": "chatcmpl-1", "choices": [], "usage": dict(_CHAT_USAGE)})
    yield DONE


_CHAT_USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def _messages(answer: Answer) -> Iterable[bytes]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}
    yield event_of({"type": "message_start", "message": {**message, "usage": {"input_tokens": 10}}})
    index = 0
    if answer.text:
        block: dict[str, Any] = {"type": "text", "text": ""}
        yield event_of({"type": "content_block_start", "index": 0, "content_block": block})
        for text in answer.text:
            delta = {"type": "text_delta", "text": text}
            yield event_of({"type": "content_block_delta", "index": 0, "delta": delta})
        yield event_of({"type": "content_block_stop", "index": 0})
        index = 1
    for number, (name, pieces) in enumerate(answer.calls):
        block = {"type": "tool_use", "id": f"call_{number}", "name": name, "input": {}}
        yield event_of({"type": "content_block_start", "index": index, "content_block": block})
        for piece in pieces:
            delta = {"type": "input_json_delta", "partial_json": piece}
            yield event_of({"type": "content_block_delta", "index": index, "delta": delta})
        yield event_of({"type": "content_block_stop", "index": index})
        index += 1
    reason = "max_tokens" if answer.is_short else "tool_use" if answer.ends_in_calls else "end_turn"
    usage = {"input_tokens": 10, "output_tokens": 5}
    yield event_of({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage})
    yield event_of({"type": "message_stop"})


def _responses(answer: Answer) -> Iterable[bytes]:
    number = 0

    def event(kind: str, **more: Any) -> bytes:
        nonlocal number
        number += 1
        return event_of({"type": f"response.{kind}", "sequence_number": number - 1, **more})

    output: list[dict[str, Any]] = []
    yield event("created", response={"id": "resp_1", "status": "in_progress", "output": []})
    if answer.text:
        at = {"output_index": 0, "content_index": 0, "item_id": "msg_1"}
        item = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}
        yield event("output_item.added", output_index=0, item=item)
        yield event("content_part.added", **at, part={"type": "output_text", "text": ""})
        for text in answer.text:
            yield event("output_text.delta", **at, delta=text)
        whole = "".join(answer.text)
        part = {"type": "output_text", "text": whole}
        item = {**item, "content": [part]}
        yield event("output_text.done", **at, text=whole)
        yield event("content_part.done", **at, part=part)
        yield event("output_item.done", output_index=0, item=item)
        output.append(item)
    for call, (name, pieces) in enumerate(answer.calls):
        index = len(output)
        item = {"id": f"fc_{call}", "type": "function_call", "name": name, "arguments": ""}
        item["call_id"] = f"call_{call}"
        yield event("output_item.added", output_index=index, item=item)
        for piece in pieces:
            kind = "function_call_arguments.delta"
            yield event(kind, output_index=index, item_id=item["id"], delta=piece)
        item = {**item, "arguments": "".join(pieces), "status": "completed"}
        if pieces:
            kind = "function_call_arguments.done"
            more = {"arguments": item["arguments"], "name": name}
            yield event(kind, output_index=index, item_id=item["id"], **more)
        yield event("output_item.done", output_index=index, item=item)
        output.append(item)
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    status = "incomplete" if answer.is_short else "completed"
    response = {"id": "resp_1", "status": status, "output": output, "usage": usage}
    yield event(status, response=response)


def whole(path: str, answer: Answer) -> dict[str, Any]:
    """The same, not streamed."""
    text, calls = "".join(answer.text), answer.calls
    if path == CHAT:
        message: dict[str, Any] = {"role": "assistant", "content": text or None}
        message["tool_calls"] = [
            {
                "id": f"call_{number}",
                "type": "function",
                "function": {"name": name, "arguments": "".join(pieces)},
            }
            for number, (name, pieces) in enumerate(calls)
        ]
        reason = "length" if answer.is_short else "tool_calls" if answer.ends_in_calls else "stop"
        choice = {"index": 0, "message": message, "finish_reason": reason}
        return {"id": "chatcmpl-1", "choices": [choice], "usage": dict(_CHAT_USAGE)}
    if path == MESSAGES:
        content: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
        for number, (name, pieces) in enumerate(calls):
            given = orjson.loads("".join(pieces) or "{}")
            block = {"type": "tool_use", "id": f"call_{number}", "name": name, "input": given}
            content.append(block)
        reason = "tool_use" if answer.ends_in_calls else "end_turn"
        reason = "max_tokens" if answer.is_short else reason
        usage = {"input_tokens": 10, "output_tokens": 5}
        content = content or [{"type": "text", "text": ""}]
        return {"id": "msg_1", "content": content, "stop_reason": reason, "usage": usage}
    last = _responses(answer)
    *_, closing = last
    return orjson.loads(closing.split(b"data: ", 1)[1])["response"]


@dataclass
class Heard:
    """What a client has of a stream once it is over."""

    text: str = ""
    calls: dict[int, list[str]] = field(default_factory=dict)
    ids: dict[int, str] = field(default_factory=dict)
    reason: str = ""
    final: dict[str, Any] = field(default_factory=dict)
    usage: dict[str, Any] = field(default_factory=dict)

    @property
    def made(self) -> list[tuple[str, str]]:
        """Name and arguments of each call, in the order of their indices."""
        return [(name, "".join(rest)) for _, (name, *rest) in sorted(self.calls.items())]


def heard(path: str, events: bytes) -> Heard:
    """Read a stream as a client does."""
    found = Heard()
    for event in events.split(b"\n\n"):
        line = event.partition(b"data: ")[2]
        if line and line != b"[DONE]":
            {CHAT: _hear_chat, MESSAGES: _hear_messages, RESPONSES: _hear_responses}[path](
                found, orjson.loads(line)
            )
    return found


def _hear_chat(found: Heard, data: dict[str, Any]) -> None:
    found.usage = data.get("usage") or found.usage
    for choice in data["choices"]:
        delta = choice["delta"]
        found.text += delta.get("content") or ""
        for call in delta.get("tool_calls") or []:
            function = call["function"]
            if "name" in function:
                assert call["index"] not in found.calls
                found.calls[call["index"]] = [function["name"]]
                found.ids[call["index"]] = call["id"]
            found.calls[call["index"]].append(function.get("arguments") or "")
        found.reason = choice["finish_reason"] or found.reason


def _hear_messages(found: Heard, data: dict[str, Any]) -> None:
    kind, index = data["type"], data.get("index", -1)
    if kind == "content_block_start" and data["content_block"]["type"] == "tool_use":
        assert index not in found.calls
        found.calls[index] = [data["content_block"]["name"]]
        found.ids[index] = data["content_block"]["id"]
    elif kind == "content_block_delta":
        found.text += data["delta"].get("text", "")
        if "partial_json" in data["delta"]:
            found.calls[index].append(data["delta"]["partial_json"])
    elif kind == "message_delta":
        found.reason, found.usage = data["delta"]["stop_reason"], data["usage"]


def _hear_responses(found: Heard, data: dict[str, Any]) -> None:
    kind, index = data["type"].removeprefix("response."), data.get("output_index", -1)
    item = data.get("item") or {}
    if kind == "output_item.added" and item["type"] == "function_call":
        assert index not in found.calls
        found.calls[index] = [item["name"]]
        found.ids[index] = item["call_id"]
    elif kind == "function_call_arguments.delta":
        found.calls[index].append(data["delta"])
    elif kind == "output_item.done" and item["type"] == "function_call":
        assert item["arguments"] == "".join(found.calls[index][1:])
    elif kind == "output_text.delta":
        found.text += data["delta"]
    elif kind == "output_text.done":
        assert data["text"] == found.text
    elif kind in ("completed", "incomplete"):
        found.reason, found.final = kind, data["response"]
        found.usage = data["response"]["usage"]
        calls = [x for x in found.final["output"] if x["type"] == "function_call"]
        assert [(x["name"], x["arguments"]) for x in calls] == found.made
