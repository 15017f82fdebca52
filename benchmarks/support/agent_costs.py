"""What judging tool calls costs an ingress replica."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from serve_app.agents.forms import form_of
from serve_app.agents.gate import Gate
from serve_app.agents.schemas import Schemas
from serve_app.agents.tools import Tools, tools_of
from serve_app.agents.verdict import judge
from serve_app.bodies.json_body import dump
from serve_app.protocol.errors import Dialect
from serve_app.protocol.sse import EventReader
from serve_app.relay.engine_stream import EngineStream, FirstStream
from serve_app.relay.gated_stream import GatedStream
from simulator.virtual_time.report import quantile

SCHEMA_BYTES, ARGUMENT_BYTES = 4000, 2000
BAR_US = 300
CALLS = 2000
TOKENS = 2000
ROUNDS = 15
WORDS = (" word", " the", "\n", ' "so"', " né", " list[", "x", " of", " a", ".")
"""Tokens; one in ten has a bracket, with which a call may begin."""

CHAT = "/v1/chat/completions"

Data = dict[str, Any]


def schema_of(size: int) -> Data:
    """A schema of nested records with enums, bounds and patterns, of about so many bytes."""
    properties: Data = {}
    while len(json.dumps(_object(properties))) < size:
        number = len(properties)
        item = {
            "path": {"type": "string", "minLength": 1, "description": "Where, from the root on."},
            "kind": {"enum": ["file", "folder", "link"]},
            "line": {"type": "integer", "minimum": 1},
        }
        record = {**_object(item), "required": [*item]}
        properties[f"edits_{number}"] = {"type": "array", "items": record, "maxItems": 50}
        properties[f"reason_{number}"] = {"type": "string", "pattern": "^[A-Z].*"}
    return _object(properties)


def _object(properties: Data) -> Data:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def arguments_of(schema: Data, size: int) -> str:
    """Arguments that match, of about so many bytes."""
    lists = [name for name in schema["properties"] if name.startswith("edits")]
    given: Data = {name: [] for name in lists} | {
        name: "Because it is so." for name in schema["properties"] if name.startswith("reason")
    }
    number = 0
    while len(json.dumps(given)) < size:
        edit = {"path": f"src/module_{number}.py", "kind": "file", "line": number + 1}
        given[lists[number % len(lists)]].append(edit)
        number += 1
    return json.dumps(given)


def validation() -> Iterator[Data]:
    """Microseconds a call, and of the schema's first use."""
    schema = schema_of(SCHEMA_BYTES)
    right = arguments_of(schema, ARGUMENT_BYTES)
    wrong = right.replace('"file"', '"door"', 1)
    for what, arguments in (("valid", right), ("one value wrong", wrong)):
        tools, schemas = Tools({"edit": schema}), Schemas()
        begun = time.perf_counter_ns()
        judge("edit", arguments, tools, schemas)
        first_us = (time.perf_counter_ns() - begun) / 1000
        times = []
        for _ in range(CALLS):
            begun = time.perf_counter_ns()
            judge("edit", arguments, tools, schemas)
            times.append((time.perf_counter_ns() - begun) / 1000)
        yield {
            "what": f"a call, {what}",
            "schema bytes": len(json.dumps(schema)),
            "argument bytes": len(arguments),
            "µs p50": median(times),
            "µs p99": quantile(times, 0.99),
            "first µs (compiles)": first_us,
            "bar µs": BAR_US,
        }


def _events(deltas: list[Data]) -> list[bytes]:
    made = []
    for delta in deltas:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1,
                 "model": "chat", "choices": [choice]}  # fmt: skip
        made.append(b"data: " + dump(chunk) + b"\n\n")
    return made


def _text(member: str = "content") -> list[bytes]:
    return _events([{member: WORDS[number % len(WORDS)]} for number in range(TOKENS)])


def _arguments() -> list[bytes]:
    head = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "edit"}}
    rest = [
        {"index": 0, "function": {"arguments": WORDS[number % len(WORDS)]}}
        for number in range(TOKENS - 1)
    ]
    return _events([{"tool_calls": [call]} for call in (head, *rest)])


def _us_a_token(make: Callable[[], EngineStream], events: list[bytes]) -> float:
    times = []
    for _ in range(ROUNDS):
        stream = make()
        gc.collect()
        begun = time.process_time_ns()
        for event in events:
            stream.feed(event)
        times.append((time.process_time_ns() - begun) / 1000 / len(events))
    return min(times)


def tokens() -> Iterator[Data]:
    """CPU microseconds that a streamed token takes from the engine's chunk to the client's."""
    schema = schema_of(SCHEMA_BYTES)
    function = {"name": "edit", "parameters": schema}
    body = {"tools": [{"type": "function", "function": function}]}
    tools, form = tools_of(body, CHAT), form_of(CHAT)
    assert tools is not None
    assert form is not None

    def plain() -> EngineStream:
        return FirstStream(EventReader(hide_usage=False), None, Dialect.OPENAI)

    def gated() -> EngineStream:
        return GatedStream(plain(), Gate(form, tools, Schemas(), holds=True))

    def counted() -> EngineStream:
        return GatedStream(plain(), Gate(form, tools, Schemas(), holds=False))

    without = _us_a_token(plain, _text())
    cases = (
        ("text, no tools (there is no gate)", plain, _text()),
        ("text, tools offered, held until valid", gated, _text()),
        ("text, tools offered, counted only", counted, _text()),
        ("reasoning, held until valid", gated, _text("reasoning")),
        ("arguments, held until valid", gated, _arguments()),
    )
    for what, make, events in cases:
        took = _us_a_token(make, events)
        yield {"what": f"a token: {what}", "CPU µs": took, "more than without": took - without}
