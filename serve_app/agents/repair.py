"""What a model is asked so that it makes a call that was not valid once more, and right.

The conversation stays as it is, so that the engine finds it in its prefix cache; behind it
come what the model said and what is wrong with that. The choice of the tool makes the
engine apply the schema as a grammar (vLLM does so for a named tool and for `required`, with
every parser), unless the client has switched that off with `strict: false`.
"""

from __future__ import annotations

from typing import Any

from serve_app.agents.forms.form import Data
from serve_app.agents.gate import Fault
from serve_app.agents.tools import Tools
from serve_app.agents.verdict import EMPTY
from serve_app.bodies.json_body import dump
from serve_app.bodies.routes import CONVERSATIONS

ADDED_TURNS = 2
"""Behind the conversation: what the model said, and what is wrong with it."""

MAX_SAID_CHARS = 2_000
MAX_SCHEMA_CHARS = 4_000

_LEFT_OUT = frozenset(
    {
        # What is about the answer's way to the client, or would stand against the grammar.
        "stream", "stream_options", "n", "response_format", "structured_outputs", "text",
        "logprobs", "top_logprobs", "prompt_logprobs", "return_token_ids", "echo", "include",
        "continue_final_message", "add_generation_prompt", "tool_choice", "parallel_tool_calls",
        "background", "store",
    }
)  # fmt: skip


def repair_body(body: Data, path: str, tools: Tools, fault: Fault) -> Data:
    """Return the request, not streamed, that asks for valid calls in a fault's place."""
    asked = {name: value for name, value in body.items() if name not in _LEFT_OUT}
    said = fault.said[:MAX_SAID_CHARS] or "(nothing)"
    turns = [
        {"role": "assistant", "content": said},
        {"role": "user", "content": _note(tools, fault)},
    ]
    field = CONVERSATIONS[path]
    before = body.get(field)
    if isinstance(before, str):
        before = [{"role": "user", "content": before}]
    asked[field] = [*(before or []), *turns]
    if fault.verdict is EMPTY:
        return asked
    asked["tool_choice"] = _choice(path, fault)
    if path != "/v1/messages":
        asked["parallel_tool_calls"] = fault.may_be_many
    if isinstance(body.get("tools"), list):
        asked["tools"] = [_enforced(tool, fault.name) for tool in body["tools"]]
    return asked


def _note(tools: Tools, fault: Fault) -> str:
    if fault.verdict is EMPTY:
        return "Your last answer was empty. Go on: call a tool, or say what you have found."
    what = "the tools" if fault.may_be_many else "one of the tools"
    if fault.name is not None:
        what = f"the tool '{fault.name}'"
    note = f"That is not valid: {fault.verdict.why}. Call {what} now, and nothing else."
    if fault.name is None:
        return note
    schema = dump(tools.schemas[fault.name]).decode()
    if len(schema) > MAX_SCHEMA_CHARS:
        return note
    return f"{note} Its arguments have to match this JSON schema: {schema}"


def _choice(path: str, fault: Fault) -> Any:
    name = fault.name
    if path == "/v1/messages":
        choice = {"type": "any"} if name is None else {"type": "tool", "name": name}
        return {**choice, "disable_parallel_tool_use": not fault.may_be_many}
    if name is None:
        return "required"
    if path == "/v1/responses":
        return {"type": "function", "name": name}
    return {"type": "function", "function": {"name": name}}


def _enforced(tool: Any, name: str | None) -> Any:
    """The tool, if it may be called, without a `strict: false`, which would lift the grammar."""
    if not isinstance(tool, dict):
        return tool
    function = tool.get("function")
    if isinstance(function, dict):
        return {**tool, "function": _enforced(function, name)}
    if name in (None, tool.get("name")) and tool.get("strict") is False:
        return {key: value for key, value in tool.items() if key != "strict"}
    return tool
