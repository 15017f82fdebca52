"""CPU time of spans, in microseconds: what requests take for them, and what the sender does.

    python -m benchmarks.tracing

Printed alone. CPU time of one process, the best of nine rounds, so a busy machine is no matter.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from opentelemetry.sdk.trace.export import SpanExportResult

from router.errors import Rejected
from serve_app.bodies.parsed_request import parse
from serve_app.bodies.routes import ROUTES
from serve_app.config.tracing import TracingConfig
from serve_app.protocol.sse import Usage
from serve_app.request.call import Call
from serve_app.request.stages import Stage, Stages
from serve_app.tracing.otlp import SpanSender
from serve_app.tracing.span import Span
from serve_app.tracing.tracer import Tracer

ROUNDS, REQUESTS = 9, 300
STEPS, CALLS_A_STEP = 20, 3
ROUTE = ROUTES["/v1/chat/completions"]
CLIENT = {b"traceparent": b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
STAGES = Stages(0.0)
STAGES.update(dict.fromkeys(Stage, 0.01))

Data = dict[str, Any]


def question() -> list[Data]:
    return [{"role": "user", "content": "What is it?"}]


def long_turn() -> list[Data]:
    """A turn after `STEPS` answers that called tools: the newest results are news."""
    messages = question()
    for step in range(STEPS):
        ids = [f"call_{step}_{number}" for number in range(CALLS_A_STEP)]
        function = {"name": "look", "arguments": "{}"}
        calls = [{"id": x, "type": "function", "function": function} for x in ids]
        messages.append({"role": "assistant", "tool_calls": calls})
        messages += [{"role": "tool", "tool_call_id": x, "content": "found"} for x in ids]
    return messages


def calls_of(messages: list[Data], headers: dict[bytes, bytes]) -> list[Call]:
    """Requests of as many tasks, answered."""
    parsed = parse(json.dumps({"messages": messages}).encode(), ROUTE)
    if isinstance(parsed, Rejected):
        raise TypeError(parsed.message)
    tenant: Any = SimpleNamespace(name="acme", tier_name="paid")
    policies: Any = None
    made = []
    for number in range(REQUESTS):
        call = Call(ROUTE, headers, "r-1", tenant, policies, time.perf_counter())
        call.session_id = f"s{number}"
        call.parsed = parsed
        call.served.usage, call.stages = Usage(1000, 100), STAGES
        made.append(call)
    return made


def cpu_us(make: Callable[[], Callable[[], None]], each: int) -> float:
    """CPU time of what `make` returns, of each of so many."""
    best = float("inf")
    for _ in range(ROUNDS):
        work = make()
        begun = time.process_time()
        work()
        best = min(best, time.process_time() - begun)
    return best / each * 1e6


def of_requests(
    messages: list[Data], ratio: float = 1.0, headers: dict[bytes, bytes] | None = None
) -> tuple[float, list[Span]]:
    """Return the time of a request's spans on the event loop, and the spans of a round."""
    spans: list[Span] = []

    def make() -> Callable[[], None]:
        spans.clear()
        tracer = Tracer(TracingConfig(sample_ratio=ratio), "secret", spans.append)
        calls = calls_of(messages, headers or {})

        def work() -> None:
            for call in calls:
                tracer.begin(call)
                tracer.end(call)

        return work

    return cpu_us(make, REQUESTS), spans


class Encoder:
    """An exporter that does all but send."""

    def export(self, spans: Any) -> SpanExportResult:
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

        encode_spans(spans).SerializeToString()
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing is open."""


def main() -> None:
    """Print the table."""
    plain, spans = of_requests(question())
    exporter: Any = Encoder()
    sender = SpanSender(exporter, "i1", lambda _: None)
    rows = [
        ("a request of one question", plain),
        (f"one that brings {CALLS_A_STEP} results", of_requests(long_turn())[0]),
        ("one whose client names its span", of_requests(question(), headers=CLIENT)[0]),
        ("one whose trace is not kept", of_requests(long_turn(), ratio=0.0)[0]),
        ("a span, on the sender's thread", cpu_us(lambda: lambda: sender.send(spans), len(spans))),
    ]
    for what, took_us in rows:
        print(f"{took_us:6.0f} us  {what}")


if __name__ == "__main__":
    main()
