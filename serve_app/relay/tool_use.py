"""Why an answer on `/v1/messages` ended, when it calls a tool.

vLLM reads it off OpenAI's `finish_reason`, which is `stop` for a tool that `tool_choice`
names; Anthropic says `tool_use` of every answer that ends with such a block, and a client
that waits for that runs no tool without it. Other reasons (`max_tokens`, `stop_sequence`)
stay what they are.
"""

from __future__ import annotations

import json

from serve_app.relay.engine_stream import FirstStream

# Inside a JSON string the quotes would be escaped: these are members.
_BLOCK = b'"type":"tool_use"'
_END_TURN = b'"stop_reason":"end_turn"'
_TOOL_USE = b'"stop_reason":"tool_use"'


def with_reason(body: bytes) -> bytes:
    """A whole answer of the engine's with the right `stop_reason`."""
    if _END_TURN not in body or _BLOCK not in body:
        return body
    # The arguments may hold the same members. Numbers in them stay, of any size: vLLM
    # has written this with the same module.
    answer = json.loads(body)
    if answer.get("stop_reason") != "end_turn":
        return body
    answer["stop_reason"] = "tool_use"
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


class Messages(FirstStream):
    """A stream of `/v1/messages` that may call tools, with the right `stop_reason`."""

    _has_block = False

    def feed(self, chunk: bytes) -> bytes:
        out = super().feed(chunk)
        if self._has_block or out.find(_BLOCK) >= 0:
            self._has_block = True
            # Arguments come as text, so only the closing event has this member.
            return out.replace(_END_TURN, _TOOL_USE)
        return out

    def end(self) -> bytes:
        rest = super().end()
        return rest.replace(_END_TURN, _TOOL_USE) if _BLOCK in rest else rest
