"""What keeping a request costs: CPU on the event loop, CPU of the writer's thread, bytes on disk.

    make bench-traces

CPU time of one thread, without engines or HTTP: of each shape so many requests are answered
through the `send` that keeps what passes, noted, completed, redacted and written. Texts are
random English words, as often as Zipf's law has them, with an e-mail address and a phone number
each; they compress less well than conversations, whose turns repeat.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.support import report
from classifier import DEFAULT_ARTIFACT, load_artifact
from classifier.features.words import common_words
from evals.traces.folder import parts_by_day
from evals.traces.joining import contents, join_days_before
from evals.traces.redaction import Redactor
from router.types import LaneDecision, Reason
from serve_app.bodies.parsed_request import ParsedRequest, parse
from serve_app.bodies.routes import ROUTES
from serve_app.config.records import TracesConfig
from serve_app.config.settings import fleet_path, tenants_path
from serve_app.pipeline.trace_keeping import TraceKeeping
from serve_app.records.request_record import record_of
from serve_app.request.call import Call
from serve_app.routing.policies import Policies
from serve_app.routing.reload import load_policies
from serve_app.tenancy.auth import Tenant
from serve_app.traces.features import OwnFeatures
from serve_app.traces.kept import Completing

REQUESTS, AGAIN = 300, 50
ROUTE = ROUTES["/v1/chat/completions"]


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of request.

    Attributes:
        turns: messages of the conversation; `words` of each.
        tools: offered, of some 600 bytes each; with any, the answer is a call.
        tokens: of the answer.

    """

    name: str
    turns: int
    words: int
    tokens: int
    tools: int = 0
    stream: bool = True


SHAPES = (
    Shape("chat, whole", turns=3, words=60, tokens=150, stream=False),
    Shape("chat, stream", turns=3, words=60, tokens=150),
    Shape("agent, stream", turns=24, words=120, tokens=150, tools=12),
)


class Texts:
    """Random words."""

    def __init__(self) -> None:
        vocabulary = json.loads(load_artifact(DEFAULT_ARTIFACT).tokenizer)["model"]["vocab"]
        words = [word.decode() for word in common_words(vocabulary) if len(word) > 2][:8000]
        self._words, self._weights = words, [1 / rank for rank in range(10, len(words) + 10)]
        self._random = Random(7)

    def of(self, count: int) -> list[str]:
        return self._random.choices(self._words, self._weights, k=count)

    def body(self, shape: Shape) -> bytes:
        roles = ("user", "assistant")
        messages = [
            {"role": roles[at % 2], "content": " ".join(self.of(shape.words))}
            for at in range(shape.turns)
        ]
        messages[-1] = {"role": "user", "content": self._personal(shape.words)}
        body: dict[str, Any] = {"messages": messages, "stream": shape.stream}
        if shape.tools:
            body["tools"] = [self._tool(at) for at in range(shape.tools)]
        return json.dumps(body).encode()

    def _personal(self, words: int) -> str:
        number = self._random.randrange(10**6)
        return " ".join([*self.of(words), f"mail me{number}@example.com or +49 30 5{number:06d}"])

    def _tool(self, at: int) -> dict[str, Any]:
        names = self.of(4)
        properties = {
            name: {"type": "string", "description": " ".join(self.of(12))} for name in names
        }
        function = {
            "name": f"tool_{at}",
            "description": " ".join(self.of(20)),
            "parameters": {"type": "object", "properties": properties},
        }
        return {"type": "function", "function": function}

    def answer(self, shape: Shape) -> list[bytes]:
        """Chunks as a client gets them: a token each, or the whole answer."""
        pieces = [f"{word} " for word in self.of(shape.tokens)]
        if not shape.stream:
            message = {"role": "assistant", "content": "".join(pieces)}
            return [json.dumps({"choices": [_choice("message", message, "stop")]}).encode()]
        head: dict[str, Any] = {
            "id": "chatcmpl-0123456789abcdef",
            "object": "chat.completion.chunk",
        }
        head |= {"created": 1764500000, "model": "qwen2.5-14b-instruct"}
        deltas: list[dict[str, Any]] = [{"content": piece} for piece in pieces]
        if shape.tools:
            begin: dict[str, Any] = {"index": 0, "id": "call_1"}
            begin["function"] = {"name": "tool_1", "arguments": ""}
            said = [json.dumps({"text": "".join(pieces)})]
            parts = [{"index": 0, "function": {"arguments": x}} for x in said[0].split(" ")]
            deltas = [{"tool_calls": [x]} for x in (begin, *parts)]
        chunks = [{**head, "choices": [_choice("delta", x, None)]} for x in deltas]
        chunks.append({**head, "choices": [_choice("delta", {}, "stop")]})
        return [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks]


def _choice(kind: str, said: dict[str, Any], reason: str | None) -> dict[str, Any]:
    return {"index": 0, kind: said, "logprobs": None, "finish_reason": reason}


class Bench:
    """Requests of one shape, answered and noted."""

    def __init__(self, folder: Path, policies: Policies, tenant: Tenant, shape: Shape) -> None:
        self.folder, self._policies, self._tenant = folder, policies, tenant
        self.lost = 0
        self.keeping = TraceKeeping(TracesConfig(), folder, "i1", self._lose)
        # What waits for the thread is taken by hand, so that both sides are timed apart.
        self.kept: list[Any] = []
        self.keeping.start = lambda: None  # type: ignore[method-assign]
        self.keeping._begin = lambda: None  # type: ignore[method-assign] # noqa: SLF001
        self.keeping.writer.put = self._put  # type: ignore[method-assign]
        self.features = OwnFeatures()
        self.keeping.sink._complete = Completing(Redactor(), self.features)  # noqa: SLF001
        texts = Texts()
        self.bodies = [texts.body(shape) for _ in range(REQUESTS)]
        self.parsed = [_parsed(body) for body in self.bodies]
        self.answers = [texts.answer(shape) for _ in range(REQUESTS)]

    def _lose(self, count: int) -> None:
        self.lost += count

    def _put(self, item: Any) -> bool:
        self.kept.append(item)
        self.keeping.sink.taken_bytes += item.size
        return True

    def calls(self) -> list[Call]:
        lane = self._policies.routing.lanes[self._policies.routing.default]
        found = []
        for number, parsed in enumerate(self.parsed):
            call = Call(ROUTE, {}, f"r{number}", self._tenant, self._policies, 0.0)
            call.parsed, call.session_id = parsed, f"s{number}"
            call.decision = LaneDecision(lane, Reason.DEFAULT, score=0.2, threshold=0.5)
            found.append(call)
        return found

    async def answer(self, calls: list[Call], *, keeps: bool) -> float:
        """Send all answers; return CPU seconds."""

        async def send(_message: Any) -> None:
            pass

        kind = b"text/event-stream" if len(self.answers[0]) > 1 else b"application/json"
        start = {"type": "http.response.start", "status": 200}
        head: Any = {**start, "headers": [(b"content-type", kind)]}
        before = time.process_time()
        for call, chunks in zip(calls, self.answers, strict=True):
            to = self.keeping.watch(call, send) if keeps else send
            await to(head)
            for chunk in chunks:
                await to({"type": "http.response.body", "body": chunk, "more_body": True})
        return time.process_time() - before

    def note(self, calls: list[Call]) -> float:
        records = [record_of(call, 1.0) for call in calls]
        before = time.process_time()
        for record, call in zip(records, calls, strict=True):
            self.keeping.note(record, call)
        return time.process_time() - before

    def complete(self) -> tuple[float, float]:
        """Return CPU seconds of completing and redacting, and of writing files."""
        before = time.process_time()
        self.keeping.sink.write(self.kept)
        between = time.process_time()
        self.keeping.sink.flush()
        return between - before, time.process_time() - between


def _parsed(body: bytes) -> ParsedRequest:
    found = parse(body, ROUTE)
    assert isinstance(found, ParsedRequest)
    return found


def measure(policies: Policies, tenant: Tenant, shape: Shape) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), policies, tenant, shape)
        off = min(_timed(bench, keeps=False) for _ in range(3))
        on = min(_timed(bench, keeps=True) for _ in range(3))
        calls = bench.calls()
        asyncio.run(bench.answer(calls, keeps=True))
        # The thread's own classifier is loaded with the first.
        bench.features(policies, bench.parsed[0])
        noted = bench.note(calls)
        completed, written = bench.complete()
        bench.kept = bench.kept[-AGAIN:]
        again, _ = bench.complete()
        (day, _), *_ = parts_by_day(bench.folder)
        join_days_before(bench.folder, day + timedelta(days=1))
        (content,) = contents(bench.folder)
        assert bench.lost == 0
        assert content.rows == REQUESTS + AGAIN
    each = 1e6 / REQUESTS
    return {
        "shape": shape.name,
        "body_bytes": sum(map(len, bench.bodies)) // REQUESTS,
        "answer_bytes": sum(len(x) for answer in bench.answers for x in answer) // REQUESTS,
        "loop_chunks_us": round((on - off) * each, 1),
        "loop_note_us": round(noted * each, 1),
        "thread_complete_us": round(completed * each, 1),
        "thread_again_us": round(again * 1e6 / AGAIN, 1),
        "thread_write_us": round(written * each, 1),
        "disk_bytes": content.bytes // content.rows,
    }


def _timed(bench: Bench, *, keeps: bool) -> float:
    calls = bench.calls()
    return asyncio.run(bench.answer(calls, keeps=keeps))


def main() -> None:
    policies = load_policies(fleet_path("local"), tenants_path())
    tenant = policies.auth.tenant("local")
    assert tenant is not None
    rows = [measure(policies, replace(tenant, keep_traces_days=30), x) for x in SHAPES]
    report.write(
        "traces",
        rows,
        title="What keeping a request costs",
        notes=(
            "CPU time in microseconds a kept request. On the event loop: passing the answer's "
            "chunks through the `send` that keeps them (over one that does not), and noting the "
            "request at its end. On the thread: reading the answer, features, redacting (`again`: "
            "a conversation whose texts were seen before), and writing Parquet. `disk_bytes`: of "
            "a trace in a joined file. A request of a tenant without `keep_traces_days` costs one "
            "comparison where it begins and one where it ends."
        ),
    )


if __name__ == "__main__":
    main()
