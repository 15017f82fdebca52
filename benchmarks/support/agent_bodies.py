"""Conversations with tool calls as bodies of three dialects."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Turns = list[list[list[Any]]]
"""For each turn, its calls, one a step: name, arguments, result."""

_NAME = "any"


def chat(turns: Turns) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    for number, turn in enumerate(turns):
        messages.append({"role": "user", "content": f"Task {number}"})
        for index, (name, arguments, result) in enumerate(turn):
            call_id = f"call_{number}_{index}"
            function = {"name": name, "arguments": json.dumps(arguments)}
            call = {"id": call_id, "type": "function", "function": function}
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
            messages.append({"role": "tool", "tool_call_id": call_id, "content": result})
    tools = [{"type": "function", "function": {"name": _NAME}}]
    return {"messages": messages, "tools": tools}


def messages(turns: Turns) -> dict[str, Any]:
    said: list[dict[str, Any]] = []
    for number, turn in enumerate(turns):
        said.append({"role": "user", "content": [{"type": "text", "text": f"Task {number}"}]})
        for index, (name, arguments, result) in enumerate(turn):
            call_id = f"toolu_{number}_{index}"
            call = {"type": "tool_use", "id": call_id, "name": name, "input": arguments}
            block = {"type": "tool_result", "tool_use_id": call_id, "content": result}
            said.append({"role": "assistant", "content": [call]})
            said.append({"role": "user", "content": [block]})
    tools = [{"name": _NAME, "input_schema": {"type": "object"}}]
    return {"messages": said, "tools": tools, "max_tokens": 100}


def responses(turns: Turns) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    for number, turn in enumerate(turns):
        items.append({"role": "user", "content": f"Task {number}"})
        for index, (name, arguments, result) in enumerate(turn):
            call_id = f"call_{number}_{index}"
            call = {"name": name, "arguments": json.dumps(arguments)}
            items.append({"type": "function_call", "call_id": call_id, **call})
            items.append({"type": "function_call_output", "call_id": call_id, "output": result})
    tools = [{"type": "function", "name": _NAME, "parameters": {"type": "object"}}]
    return {"input": items, "tools": tools}


DIALECTS: dict[str, Callable[[Turns], dict[str, Any]]] = {
    "/v1/chat/completions": chat,
    "/v1/messages": messages,
    "/v1/responses": responses,
}
