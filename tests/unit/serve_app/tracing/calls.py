"""Calls as the pipeline hands them to the tracer, and what it makes of them."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from serve_app.agents.verdict import CallOutcome, JudgedCall
from serve_app.bodies.parsed_request import parse
from serve_app.bodies.routes import ROUTES
from serve_app.config.tracing import TracingConfig
from serve_app.protocol.sse import Usage
from serve_app.request.call import Call, Outcome
from serve_app.tracing.span import Span
from serve_app.tracing.tracer import Tracer

CHAT = "/v1/chat/completions"
SECRET = "s3"
SECOND = 10**9
NOON_NS = 1_790_000_000 * SECOND


class Clock:
    """The wall clock of a test, in nanoseconds."""

    def __init__(self, now_ns: int = NOON_NS) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns

    def pass_s(self, seconds: float) -> None:
        self.now_ns += round(seconds * SECOND)


def make_tracer(
    emit: Callable[[Span], None], clock: Callable[[], int], seed: int = 1, **config: Any
) -> Tracer:
    return Tracer(TracingConfig(**config), SECRET, emit, rng=random.Random(seed), clock_ns=clock)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def called(*ids: str, name: str = "look") -> dict[str, Any]:
    function = {"name": name, "arguments": '{"secret": "argument"}'}
    calls = [{"id": x, "type": "function", "function": function} for x in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "secret result"}


def make_call(
    messages: list[dict[str, Any]],
    *,
    tenant: str = "acme",
    task: str = "t",
    path: str = CHAT,
    headers: dict[bytes, bytes] | None = None,
    is_named: bool = True,
    **body: Any,
) -> Call:
    """A call that has been planned; it has no tools to be judged."""
    route = ROUTES[path]
    parsed = parse(json.dumps({route.prompt: messages, **body}).encode(), route)
    session = task if is_named else f"derived-{task}"
    return Call(
        route=route,
        headers=headers or {},
        request_id="r-1",
        tenant=SimpleNamespace(name=tenant, tier_name="paid"),
        policies=None,
        started=time.perf_counter(),
        session_id=session,
        parsed=parsed,
    )


def answer(call: Call, *ids: str, outcome: Outcome = Outcome.ANSWERED) -> None:
    """Let an engine have answered with these tool calls, or none."""
    call.outcome = outcome
    call.served.usage = Usage(10, 5, 2)
    judged = [JudgedCall(x, "look", CallOutcome.VALID) for x in ids]
    call.reply.gate = SimpleNamespace(delivered=judged)
    call.reply.verdicts = [x.outcome for x in judged]


def by_name(spans: list[Span], name: str) -> list[Span]:
    return [span for span in spans if span.name.split()[0] == name]
