"""Reads bodies as the pinned vLLM does, up to the messages that its chat template gets.

Run as a script, by `test_agent_notes.py`: importing vLLM warns, and takes seconds. Reads
a JSON list of [path, body] from standard input, writes a list of messages and tools.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from vllm.entrypoints.anthropic.protocol import AnthropicMessagesRequest
from vllm.entrypoints.anthropic.serving import AnthropicServingMessages
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.entrypoints.openai.responses.utils import construct_input_messages


def read(path: str, body: dict[str, Any]) -> dict[str, Any]:
    if path == "/v1/chat/completions":
        chat = ChatCompletionRequest.model_validate(body)
        return {"messages": chat.messages, "tools": len(chat.tools or [])}
    if path == "/v1/responses":
        response = ResponsesRequest.model_validate(body)
        messages = construct_input_messages(request_input=response.input)
        return {"messages": messages, "tools": len(response.tools)}
    request = AnthropicMessagesRequest.model_validate(body)
    made: list[dict[str, Any]] = []
    # As for a lane without a chat template of its own.
    AnthropicServingMessages._convert_system_message(request, made, merge_inline_system=True)
    AnthropicServingMessages._convert_messages(request.messages, made, merge_inline_system=True)
    return {"messages": made, "tools": len(request.tools or [])}


if __name__ == "__main__":
    answers = [read(path, body) for path, body in json.load(sys.stdin)]
    print("\n" + json.dumps(answers, default=lambda x: x.model_dump()))
