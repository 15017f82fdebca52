"""Requests that call tools, and what a client finds in their answers.

The answers are read and judged here without Pointsman's own modules for that: with the
client's eyes, by the validator alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jsonschema_rs

Data = dict[str, Any]
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
PATHS = (CHAT, MESSAGES, RESPONSES)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request, and the calls that are the right answer.

    Attributes:
        before: earlier calls, each with its result: name, arguments, result.
        calls: name and arguments.

    """

    id: str
    category: str
    tools: list[Data]
    users: list[str]
    before: list[list[list[Any]]]
    calls: list[tuple[str, Data]]
    is_parallel: bool

    def body(self, path: str, *, stream: bool) -> Data:
        """The request in a route's form."""
        made = _BODIES[path](self)
        return {"model": "auto", **made, "stream": stream}

    @property
    def expected(self) -> int:
        """Calls of the right answer."""
        return len(self.calls) if self.is_parallel else min(1, len(self.calls))


def exchanges(talk: Data) -> Iterator[Exchange]:
    """The requests of a conversation of BFCL's.

    Of one turn the calls are made at once; of several, one after another.
    """
    users = [turn["user"] for turn in talk["turns"]]
    turns = [turn["calls"] for turn in talk["turns"]]
    common = {"id": talk["id"], "category": talk["category"], "tools": talk["tools"]}
    if len(turns) == 1:
        calls = [(name, given) for name, given, _ in turns[0]]
        is_parallel = talk["category"].startswith("parallel")
        yield Exchange(**common, users=users, before=[[]], calls=calls, is_parallel=is_parallel)
        return
    for number, turn in enumerate(turns):
        for step, (name, given, _) in enumerate(turn):
            before = [*turns[:number], turn[:step]]
            yield Exchange(
                **common,
                users=users[: number + 1],
                before=before,
                calls=[(name, given)],
                is_parallel=True,
            )


def _chat(asked: Exchange) -> Data:
    said: list[Data] = []
    for number, (user, calls) in enumerate(zip(asked.users, asked.before, strict=True)):
        said.append({"role": "user", "content": user})
        for step, (name, given, result) in enumerate(calls):
            function = {"name": name, "arguments": json.dumps(given)}
            call = {"id": f"call_{number}_{step}", "type": "function", "function": function}
            said.append({"role": "assistant", "content": None, "tool_calls": [call]})
            said.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    tools = [{"type": "function", "function": tool} for tool in asked.tools]
    made: Data = {"messages": said, "tools": tools}
    return made if asked.is_parallel else {**made, "parallel_tool_calls": False}


def _messages(asked: Exchange) -> Data:
    said: list[Data] = []
    for number, (user, calls) in enumerate(zip(asked.users, asked.before, strict=True)):
        said.append({"role": "user", "content": user})
        for step, (name, given, result) in enumerate(calls):
            call = {"type": "tool_use", "id": f"toolu_{number}_{step}", "name": name}
            block = {"type": "tool_result", "tool_use_id": call["id"], "content": result}
            said.append({"role": "assistant", "content": [{**call, "input": given}]})
            said.append({"role": "user", "content": [block]})
    tools = [
        {"name": x["name"], "description": x["description"], "input_schema": x["parameters"]}
        for x in asked.tools
    ]
    made: Data = {"messages": said, "tools": tools, "max_tokens": 4000}
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    return made if asked.is_parallel else {**made, "tool_choice": choice}


def _responses(asked: Exchange) -> Data:
    items: list[Data] = []
    for number, (user, calls) in enumerate(zip(asked.users, asked.before, strict=True)):
        items.append({"role": "user", "content": user})
        for step, (name, given, result) in enumerate(calls):
            ids = {"call_id": f"call_{number}_{step}"}
            call = {"name": name, "arguments": json.dumps(given)}
            items.append({"type": "function_call", **ids, **call})
            items.append({"type": "function_call_output", **ids, "output": result})
    tools = [{"type": "function", "strict": False, **tool} for tool in asked.tools]
    made: Data = {"input": items, "tools": tools}
    return made if asked.is_parallel else {**made, "parallel_tool_calls": False}


_BODIES = {CHAT: _chat, MESSAGES: _messages, RESPONSES: _responses}


@dataclass(slots=True)
class Heard:
    """What a client found in an answer.

    Attributes:
        error: what it was told instead, or at its end; empty: nothing.
        calls: id, name and arguments, in order.
        odd: what a client of this route would stumble over.

    """

    error: str = ""
    text: str = ""
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    finish: str = ""
    odd: list[str] = field(default_factory=list)


def heard(path: str, status: int, raw: bytes) -> Heard:
    """Read an answer, streamed or whole."""
    found = Heard()
    if status >= 400:
        found.error = raw[:300].decode(errors="replace")
    elif raw.lstrip().startswith(b"{"):
        _WHOLE[path](found, json.loads(raw))
    else:
        events = list(_events(raw))
        broken = [event for event in events if event.get("type") == "error" or "error" in event]
        found.error = json.dumps(broken[0])[:300] if broken and broken[0].get("error") else ""
        _STREAMED[path](found, events)
    ids = [call[0] for call in found.calls]
    if len(set(ids)) < len(ids) or "" in ids:
        found.odd.append(f"ids {ids}")
    return found


def _events(raw: bytes) -> Iterator[Data]:
    for block in raw.split(b"\n\n"):
        for line in block.split(b"\n"):
            if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
                yield json.loads(line[5:])


def _whole_chat(found: Heard, answer: Data) -> None:
    (choice,) = answer["choices"]
    message = choice["message"]
    found.text, found.finish = message.get("content") or "", choice["finish_reason"]
    for call in message.get("tool_calls") or ():
        function = call["function"]
        found.calls.append((call["id"], function["name"], function["arguments"]))
    _check_finish(found, "tool_calls")


def _streamed_chat(found: Heard, events: list[Data]) -> None:
    ids: dict[int, str] = {}
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    for event in events:
        for choice in event.get("choices") or ():
            delta = choice.get("delta") or {}
            found.text += delta.get("content") or ""
            for call in delta.get("tool_calls") or ():
                at, function = call["index"], call.get("function") or {}
                if call.get("id"):
                    ids[at] = call["id"]
                if function.get("name"):
                    names[at] = names.get(at, "") + function["name"]
                arguments[at] = arguments.get(at, "") + (function.get("arguments") or "")
            found.finish = choice.get("finish_reason") or found.finish
    if sorted(arguments) != list(range(len(arguments))):
        found.odd.append(f"indexes {sorted(arguments)}")
    found.calls += [(ids.get(x, ""), names.get(x, ""), arguments[x]) for x in sorted(arguments)]
    _check_finish(found, "tool_calls")


def _whole_messages(found: Heard, answer: Data) -> None:
    found.finish = answer.get("stop_reason") or ""
    for block in answer["content"]:
        if block["type"] == "text":
            found.text += block["text"]
        elif block["type"] == "tool_use":
            found.calls.append((block["id"], block["name"], json.dumps(block["input"])))
    _check_finish(found, "tool_use")


def _streamed_messages(found: Heard, events: list[Data]) -> None:
    blocks: dict[int, Data] = {}
    for event in events:
        kind = event.get("type")
        if kind == "content_block_start":
            if event["index"] != len(blocks):
                found.odd.append(f"block {event['index']} after {len(blocks)}")
            blocks[event["index"]] = {**event["content_block"], "said": "", "is_open": True}
        elif kind == "content_block_delta":
            block, delta = blocks[event["index"]], event["delta"]
            block["said"] += delta.get("text") or delta.get("partial_json") or ""
        elif kind == "content_block_stop":
            blocks[event["index"]]["is_open"] = False
        elif kind == "message_delta":
            found.finish = event["delta"].get("stop_reason") or ""
    for block in blocks.values():
        _take_block(found, block)
    _check_finish(found, "tool_use")


def _take_block(found: Heard, block: Data) -> None:
    if block["type"] == "text":
        found.text += block["said"]
    elif block["type"] == "tool_use":
        found.calls.append((block["id"], block["name"], block["said"] or "{}"))
    if block["is_open"] and not found.error:
        found.odd.append("a block that does not end")


def _whole_responses(found: Heard, answer: Data) -> None:
    found.finish = answer.get("status") or ""
    for item in answer["output"]:
        if item["type"] == "function_call":
            found.calls.append((item["call_id"], item["name"], item["arguments"]))
        elif item["type"] == "message":
            found.text += "".join(part.get("text") or "" for part in item["content"])


def _streamed_responses(found: Heard, events: list[Data]) -> None:
    deltas: dict[int, str] = {}
    closed = Heard()
    for event in events:
        kind = event.get("type") or ""
        if kind == "response.output_text.delta":
            found.text += event["delta"]
        elif kind == "response.function_call_arguments.delta":
            at = event["output_index"]
            deltas[at] = deltas.get(at, "") + event["delta"]
        elif kind == "response.output_item.done" and event["item"]["type"] == "function_call":
            item = event["item"]
            found.calls.append((item["call_id"], item["name"], item["arguments"]))
            said = deltas.get(event["output_index"], "")
            if (said or "{}") != (item["arguments"] or "{}"):
                found.odd.append(f"deltas {said!r}, item {item['arguments']!r}")
        elif kind in ("response.completed", "response.incomplete"):
            _whole_responses(closed, event["response"])
            found.finish = closed.finish
    if found.finish and [x[1:] for x in closed.calls] != [x[1:] for x in found.calls]:
        found.odd.append(f"items {found.calls}, at the end {closed.calls}")


def _check_finish(found: Heard, with_calls: str) -> None:
    if found.calls and found.finish != with_calls and not found.error:
        found.odd.append(f"ends with {found.finish!r} after calls")


_WHOLE = {CHAT: _whole_chat, MESSAGES: _whole_messages, RESPONSES: _whole_responses}
_STREAMED = {CHAT: _streamed_chat, MESSAGES: _streamed_messages, RESPONSES: _streamed_responses}


class Judge:
    """Says what is wrong with an answer, as the client has it."""

    def __init__(self) -> None:
        self._validators: dict[str, Any] = {}

    def faults(self, asked: Exchange, found: Heard) -> list[str]:
        """What is invalid in an answer's calls; `silent` where there should be one."""
        if found.error:
            return []
        faults = [fault for call in found.calls if (fault := self._fault(asked, *call[1:]))]
        if not asked.is_parallel and len(found.calls) > 1:
            faults.append("too many")
        if not found.calls:
            faults.append("silent")
        return faults

    def is_right(self, asked: Exchange) -> bool:
        """Whether the right answer is valid by the schemas itself."""
        return not any(self._fault(asked, name, json.dumps(given)) for name, given in asked.calls)

    def _fault(self, asked: Exchange, name: str, arguments: str) -> str:
        schemas = {tool["name"]: tool["parameters"] for tool in asked.tools}
        if name not in schemas:
            return "unknown tool"
        try:
            given = json.loads(arguments or "{}")
        except json.JSONDecodeError:
            return "not JSON"
        if not isinstance(given, dict):
            return "not an object"
        key = json.dumps(schemas[name])
        if key not in self._validators:
            self._validators[key] = jsonschema_rs.validator_for(schemas[name])
        return "" if self._validators[key].is_valid(given) else "not by the schema"
