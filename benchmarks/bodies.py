"""How long one request body holds an ingress replica's event loop in one piece.

Bodies of `limits.max_body_bytes`, each as dear to read as its kind can be, through the
whole of an ingress but its sockets: gateway, pipeline, an engine that answers at once.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import Mock

import orjson

from benchmarks.support import report
from classifier import DEFAULT_ARTIFACT, load_artifact
from serve_app.bodies.parsed_request import ParsedRequest, parse
from serve_app.bodies.routes import ROUTES
from serve_app.config.fleet import FleetConfig
from serve_app.config.serving import LimitsConfig
from serve_app.config.tenants import TenantsConfig
from serve_app.front.gateway import Gateway
from serve_app.metrics import Metrics
from serve_app.pipeline.pipeline import Pipeline
from serve_app.pipeline.state import IngressState
from serve_app.placement.lanes import Replica
from serve_app.records.feedback import FeedbackDesk
from serve_app.routing.policies import build_policies

RUNS = 2
BAD_REQUEST = 400
WINDOW = 2**20
CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
MESSAGES, DRY_RUN = "/v1/messages", "/v1/route"

TENANTS = {
    "tiers": {"bench": {"max_n": 8, "history": {"high_tokens": 2000}}},
    "tenants": {"bench": {"tier": "bench"}},
    "local_tenant": "bench",
}
FLEET = {
    "name": "bench",
    "lanes": {
        name: {"model_id": name, "model_source": "x", "max_model_len": WINDOW}
        for name in ("chat", "quality")
    },
    "routing": {"default": "chat", "complex": "quality"},
}


class Answer:
    """An engine's whole answer."""

    status, content_type = 200, "application/json"

    def __init__(self) -> None:
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        self._rest = orjson.dumps({"id": "1", "choices": [], "usage": usage})
        self.headers = {"content-type": self.content_type}

    async def readany(self) -> bytes:
        """All of it, then nothing."""
        rest, self._rest = self._rest, b""
        return rest

    async def read(self) -> bytes:
        return await self.readany()

    def close(self) -> None:
        """Nothing is open."""


class Engines:
    """One replica of each lane, which answers at once."""

    def names(self) -> list[str]:
        return ["chat", "quality"]

    async def choose(self, lane: str, *_: Any) -> Replica:
        """Always the same."""
        return Replica("r1", f"http://{lane}")

    async def open(self, *_: Any) -> Answer:
        return Answer()

    async def is_alive(self, _: Replica) -> bool:
        """Always."""
        return True


def build() -> Gateway:
    """An ingress replica's gateway over fake engines."""
    fleet, tenants = FleetConfig.model_validate(FLEET), TenantsConfig.model_validate(TENANTS)
    artifact = load_artifact(DEFAULT_ARTIFACT)
    policies = build_policies(fleet, tenants, artifact.scorer(), artifact.threshold_for_share)
    state, engines = IngressState(policies, "bench"), Engines()
    pipeline = Pipeline(state, engines, Metrics())  # type: ignore[arg-type]
    control = Mock()
    control.explain.return_value = {}
    return Gateway(state, pipeline, control, FeedbackDesk(Mock()))


# -- bodies --------------------------------------------------------------------------------


def filled(size: int, head: str, unit: str, tail: str) -> bytes:
    """As many of `unit`, a comma between two, as `size` bytes hold."""
    count = (size - len(head.encode()) - len(tail.encode())) // (len(unit.encode()) + 1)
    return (head + ",".join([unit] * max(1, count)) + tail).encode()


def said(size: int, unit: str) -> bytes:
    """A message of one text, of as many of `unit` as fit."""
    head, tail = '{"messages":[{"role":"user","content":"', '"}]}'
    count = (size - len(head) - len(tail)) // len(unit.encode())
    return (head + unit * count + tail).encode("utf-8", "surrogatepass")


def keyed(size: int) -> bytes:
    """An object of as many names as fit."""
    names, length, number = [], 0, 0
    while length < size - 80:
        names.append(f'"{number:x}":0')
        length += len(names[-1]) + 1
        number += 1
    turn = '"messages":[{"role":"user","content":"hi"}]'
    return f'{{{turn},"metadata":{{{",".join(names)}}}}}'.encode()


CHAT_HEAD = '{"messages":['
HI = '"messages":[{"role":"user","content":"hi"}]'
TURN = '{"role":"user","content":"a"},{"role":"assistant","content":"b"}'
PART = '{"type":"text","text":"a"}'
TOOL = '{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}'
LINE = "On Sunday, 29 November 2026 at 10:04 we had 5 files open. "
IMAGE = '{"type":"image_url","image_url":{"url":"data:image/png;base64,%s"}}'

Make = Callable[[int], bytes]
CASES: list[tuple[str, str, Make]] = [
    (CHAT, "one long text", lambda n: said(n, "word ")),
    (CHAT, "a text of dates", lambda n: said(n, LINE)),
    (CHAT, "a text of lines", lambda n: said(n, "a 1\\n")),
    (CHAT, "line breaks", lambda n: said(n, "\\n")),
    (CHAT, "escaped quotes", lambda n: said(n, '\\"')),
    (CHAT, "backslashes", lambda n: said(n, "\\\\")),
    (CHAT, "escaped letters", lambda n: said(n, "\\u00e9")),
    (CHAT, "escaped pairs", lambda n: said(n, "\\ud83d\\ude00")),
    (CHAT, "half pairs", lambda n: said(n, "\\ud83d")),
    (CHAT, "four-byte characters", lambda n: said(n, "a\U0001f600")),
    (CHAT, "a log in JSON, pasted", lambda n: said(n, '{\\"a\\":[1,2,{}]},')),
    (CHAT, "UTF-16", lambda n: said(n // 2, "word ").decode().encode("utf-16")),
    (CHAT, "tags", lambda n: said(n, "<env></env><git_status>")),
    (CHAT, "git states", lambda n: said(n, "git status:\\n")),
    (
        CHAT,
        "system prompt of dates",
        lambda n: said(n - 50, LINE).replace(b'"user"', b'"system"').replace(
            b"}]", b'},{"role":"user","content":"hi"}]'
        ),
    ),
    (
        CHAT,
        "system prompt of lines",
        lambda n: said(n - 50, "a 1\\n").replace(b'"user"', b'"system"'),
    ),
    (
        CHAT,
        "system prompt of git states",
        lambda n: said(n - 50, "git status:\\n M a\\n").replace(b'"user"', b'"system"'),
    ),
    (CHAT, "turns of tags", lambda n: filled(
        n, CHAT_HEAD, '{"role":"user","content":"<env>1</env>"}', "]}"
    )),
    (CHAT, "calls and results", lambda n: filled(
        n // 2, CHAT_HEAD + '{"role":"assistant","tool_calls":[', '{"id":"a"}',
        "]}," + filled(
            n // 2, "", '{"role":"tool","tool_call_id":"a","content":"b"}', "]}"
        ).decode(),
    )),
    (CHAT, "small messages", lambda n: filled(n, CHAT_HEAD, TURN, "]}")),
    (
        CHAT,
        "messages of 400 bytes",
        lambda n: filled(n, CHAT_HEAD, TURN.replace('"a"', f'"{"word " * 80}"'), "]}"),
    ),
    (
        CHAT,
        "small parts",
        lambda n: filled(n, CHAT_HEAD + '{"role":"user","content":[', PART, "]}]}"),
    ),
    (CHAT, "tools", lambda n: filled(n, '{"tools":[', TOOL, f"],{HI}}}")),
    (CHAT, "an image", lambda n: filled(
        n, CHAT_HEAD + '{"role":"user","content":[', IMAGE % ("iVBO" * (n // 4 - 60)), "]}]}"
    )),
    (CHAT, "arrays", lambda n: filled(n, f'{{{HI},"a":[', "[]", "]}")),
    (CHAT, "objects", lambda n: filled(n, f'{{{HI},"a":[', "{}", "]}")),
    (CHAT, "nested 200 deep", lambda n: filled(n, f'{{{HI},"a":[', "[" * 200 + "]" * 200, "]}")),
    (CHAT, "nested 2,000 deep", lambda n: filled(
        n, f'{{{HI},"a":[', "[" * 2000 + "]" * 2000, "]}"
    )),
    (CHAT, "names", keyed),
    (CHAT, "one name", lambda n: filled(n, f"{{{HI},", '"a":0', "}")),
    (CHAT, "short texts", lambda n: filled(n, f'{{{HI},"a":[', '"ab"', "]}")),
    (CHAT, "floats", lambda n: filled(n, f'{{{HI},"a":[', "1.5e7", "]}")),
    (CHAT, "integers of 30 digits", lambda n: filled(n, f'{{{HI},"a":[', "1" * 30, "]}")),
    (CHAT, "an integer of 4 MB", lambda n: f'{{{HI},"a":{"1" * (n - 80)}}}'.encode()),
    (CHAT, "one number past a double", lambda n: said(n - 20, "word ")[:-1] + b',"a":1e400}'),
    (CHAT, "one NaN", lambda n: said(n - 20, "word ")[:-1] + b',"a":NaN}'),
    (COMPLETIONS, "one long text", lambda n: json.dumps(
        {"prompt": "word " * (n // 5 - 9)}
    ).encode()),
    (COMPLETIONS, "token ids", lambda n: filled(n, '{"prompt":[', "12345", "]}")),
    (COMPLETIONS, "131,072 token ids", lambda n: filled(
        min(n, 6 * 131_072), '{"prompt":[', "12345", "]}"
    )),
    (COMPLETIONS, "128 prompts", lambda n: filled(
        n, '{"prompt":[', f'"{"word " * (n // 5 // 130)}"', "]}"
    )),
    (COMPLETIONS, "small prompts", lambda n: filled(n, '{"prompt":[', '"a"', "]}")),
    (RESPONSES, "small items", lambda n: filled(n, '{"input":[', TURN, "]}")),
    (RESPONSES, "instructions of dates", lambda n: json.dumps(
        {"instructions": LINE * (n // 60), "input": "hi"}
    ).encode()),
    (MESSAGES, "small messages", lambda n: filled(n, '{"max_tokens":5,"messages":[', TURN, "]}")),
    (
        MESSAGES,
        "tool inputs",
        lambda n: filled(
            n,
            '{"max_tokens":5,"messages":[{"role":"assistant","content":[',
            '{"type":"tool_use","id":"a","name":"f","input":{"a":[1]}}',
            "]}]}",
        ),
    ),
    (MESSAGES, "system prompt of tags", lambda n: json.dumps(
        {"max_tokens": 5, "system": "<env>" * (n // 5 - 30),
         "messages": [{"role": "user", "content": "hi"}]}
    ).encode()),
    (DRY_RUN, "one long text", lambda n: said(n, "word ")),
]  # fmt: skip


# -- measuring -----------------------------------------------------------------------------


@contextmanager
def holds() -> Iterator[list[float]]:
    """Seconds of each piece of work that the event loop does, of this thread's own time."""
    spans: list[float] = []
    run = asyncio.Handle._run  # noqa: SLF001

    def timed(handle: asyncio.Handle) -> None:
        begun = time.thread_time()
        run(handle)
        spans.append(time.thread_time() - begun)

    asyncio.Handle._run = timed  # type: ignore[method-assign,assignment]  # noqa: SLF001
    try:
        yield spans
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]  # noqa: SLF001


async def post(gateway: Gateway, path: str, raw: bytes) -> int:
    """Answer one request; its status."""
    statuses = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": raw}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers,
             "http_version": "1.1", "client": ("127.0.0.1", 1)}  # fmt: skip
    await gateway(scope, receive, send)
    return int(statuses[0])


def measure(path: str, kind: str, raw: bytes) -> dict[str, Any]:
    """The longest hold, and all of the work."""
    longest, work = [], []
    for _ in range(RUNS):
        gateway = build()
        gc.collect()
        with holds() as spans:
            status = asyncio.run(post(gateway, path, raw))
        longest.append(max(spans))
        work.append(sum(spans))
    return {
        "route": path,
        "body": kind,
        "bytes": len(raw),
        "status": status,
        "longest_hold_ms": 1e3 * min(longest),
        "all_work_ms": 1e3 * min(work),
    }


def largest_allowed(path: str, make: Make, most: int) -> int:
    """Size of the largest body of a kind that is read; 0: none is."""
    least, over = 0, most
    while over - least > most // 500:
        size = (least + over) // 2
        read = parse(make(size), ROUTES[CHAT if path == DRY_RUN else path])
        least, over = (size, over) if isinstance(read, ParsedRequest) else (least, size)
    return least


def rows_of(path: str, kind: str, make: Make, most: int) -> Iterator[dict[str, Any]]:
    """A body of the largest size, and where that is refused, of the largest that is not."""
    row = measure(path, kind, make(most))
    yield row
    size = largest_allowed(path, make, most) if row["status"] == BAD_REQUEST else 0
    if size:
        yield measure(path, kind, make(size))


def main() -> None:
    # As an ingress replica does once it is up.
    gc.collect()
    gc.freeze()
    most, only = LimitsConfig().max_body_bytes, sys.argv[1:]
    rows: list[dict[str, Any]] = []
    for path, kind, make in CASES:
        if not only or kind in only:
            rows += rows_of(path, kind, make, most)
            print(report.table(rows[-1:]).splitlines()[-1], flush=True)
    if not only:
        notes = (
            "Adversarial bodies of `limits.max_body_bytes` (4 MiB); of a kind that is refused "
            "at that size, the largest that is read, too. `longest_hold_ms`: the longest piece "
            f"of work of the event loop until the answer is sent, of its thread's own time, the "
            f"least of {RUNS} runs (others ran on the machine); `all_work_ms`: all pieces. "
            "400: refused by a bound. Command: `make bench-bodies`."
        )
        report.write("bodies", rows, title="How long a body holds the event loop", notes=notes)


if __name__ == "__main__":
    main()
