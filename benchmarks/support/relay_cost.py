"""CPU time of a request and of its tokens in the pipeline: a stream from memory, no sockets."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from benchmarks.support.agent_delivery import FLEET, TENANTS
from classifier import DEFAULT_ARTIFACT, load_artifact
from serve_app.bodies.routes import ROUTES
from serve_app.config.fleet import FleetConfig
from serve_app.config.tenants import TenantsConfig
from serve_app.metrics import Metrics
from serve_app.pipeline.pipeline import Pipeline
from serve_app.pipeline.state import IngressState
from serve_app.placement.lanes import Replica
from serve_app.routing.policies import build_policies


class Chunks:
    """An engine's stream of so many tokens, each in a chunk of its own."""

    status, content_type = 200, "text/event-stream"

    def __init__(self, tokens: int) -> None:
        delta = {"index": 0, "delta": {"content": " word"}, "finish_reason": None}
        chunk = {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [delta]}
        one = b"data: " + json.dumps(chunk).encode() + b"\n\n"
        self._parts = iter([*[one] * tokens, b"data: [DONE]\n\n"])
        self.headers = {"content-type": self.content_type}

    async def readany(self) -> bytes:
        return next(self._parts, b"")

    def read_nowait(self) -> bytes:
        return next(self._parts, b"")

    async def deliver_to(self, step: Callable[[bytes], bool], _: object = None) -> bool:
        return any(not step(part) for part in self._parts)

    def expect_tokens(self) -> None:
        """Nothing is watched."""

    def close(self) -> None:
        """Nothing is open."""


async def handled_ms(tokens: int, rounds: int) -> float:
    """CPU time of one request with an answer of so many tokens, the best of so many."""
    fleet, tenants = FleetConfig.model_validate(FLEET), TenantsConfig.model_validate(TENANTS)
    artifact = load_artifact(DEFAULT_ARTIFACT)
    policies = build_policies(fleet, tenants, artifact.scorer(), artifact.threshold_for_share)
    state = IngressState(policies, "bench")

    async def choose(lane: str, *_: Any) -> Replica:
        return Replica("r1", f"http://{lane}")

    async def answer(*_: Any) -> Chunks:
        return Chunks(tokens)

    lanes: Any = SimpleNamespace(choose=choose, open=answer, names=lambda: ["chat", "quality"])
    pipeline = Pipeline(state, lanes, Metrics())
    tenant = policies.auth.local_admin
    body = json.dumps({"stream": True, "messages": [{"role": "user", "content": "Go on."}]})

    async def send(_: Any) -> None:
        """Take it."""

    best = float("inf")
    for _ in range(rounds):
        call = pipeline.call(ROUTES["/v1/chat/completions"], {}, tenant)
        begun = time.process_time()
        await pipeline.run(call, body.encode(), send)
        best = min(best, time.process_time() - begun)
    return best * 1000
