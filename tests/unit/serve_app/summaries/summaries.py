"""Ingress replicas over a lane that writes summaries, no two of them alike."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.support.agent_bodies import DIALECTS
from serve_app.config.summaries import SummaryStoreConfig
from serve_app.metrics import Metrics
from serve_app.pipeline.state import IngressState
from serve_app.placement.lanes import NoReplica
from serve_app.summaries.keeping.shelf import Shelf, build_shelf
from tests.unit.serve_app.agents.answers import Answer, whole
from tests.unit.serve_app.conftest import FakeLanes, FakeResponse, World, with_tier

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
every_dialect = pytest.mark.parametrize("path", sorted(DIALECTS))

RESULTS = {"max_tokens": 300, "mode": "summarise", "summary": {"max_tokens": 100}}
UNBOUND = {"turn_depth": None, "task_depth": None, "loops": None}
AGENTS = {**UNBOUND, "tool_results": RESULTS}
HISTORY = {"high_tokens": 600, "low_tokens": 250, "mode": "summarise"}

USAGE = {"prompt_tokens": 900, "completion_tokens": 40, "total_tokens": 940}


def long(name: str) -> str:
    """A tool's result that is over the limit."""
    return "".join(f"{name}, line {n}: something was found\n" for n in range(60))


def written(text: str | None, status: int = 200) -> FakeResponse:
    """A lane's answer to the request for a summary."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}}
    body = {"object": "chat.completion", "choices": [choice], "usage": USAGE}
    return FakeResponse(json.dumps(body).encode(), status=status)


class WritingLanes(FakeLanes):
    """Answers requests for summaries by number, and all others as they want.

    `writes`: what a request for a summary meets instead: a response, a fault, or an event that
    it waits for first. `was_asked` is set when there were `awaited` of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked_for: list[SimpleNamespace] = []
        self.sent: list[dict[str, Any]] = []
        self.writes: Callable[[int], Any] = lambda number: written(f"Summary number {number}.")
        self.tried: list[frozenset[str]] = []
        self.was_asked = asyncio.Event()
        self.awaited = 1
        self.is_down = False

    async def choose(self, lane, turn, avoid=frozenset()):
        if getattr(turn, "session", "").startswith("summary:"):
            self.tried.append(avoid)
            if self.is_down:
                raise NoReplica(lane)
            return SimpleNamespace(id=f"r{len(avoid) + 1}", url=f"http://{lane}", lane=lane)
        return await super().choose(lane, turn, avoid)

    async def open(self, replica, path, body, headers):
        read = json.loads(body)
        if "\n=== " not in json.dumps(read).replace("\\n", "\n"):
            self.sent.append(read)
            return FakeResponse(json.dumps(whole(path, Answer(["Done."]))).encode())
        asked = SimpleNamespace(url=replica.url, path=path, body=read, headers=headers)
        self.asked_for.append(asked)
        if len(self.asked_for) >= self.awaited:
            self.was_asked.set()
        answer = self.writes(len(self.asked_for))
        if asyncio.iscoroutine(answer):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def asked_text(self) -> str:
        """What the newest request for a summary says."""
        return self.asked_for[-1].body["messages"][0]["content"]


class Replicas:
    """A world whose tenant `acme` wants summaries, one ingress replica of several at a time."""

    def __init__(self, world: World, store: dict[str, Any] | None = None, **tier: Any) -> None:
        self.world = world
        self.lanes = WritingLanes()
        self.shelves: list[Shelf] = []
        self.config = SummaryStoreConfig.model_validate(store or {})
        with_tier(world, **(tier or {"agents": AGENTS}))
        self.next()

    def next(self) -> IngressState:
        """Another ingress replica, or the same after a restart: only the disk is shared."""
        shelf = build_shelf(self.config, self.world.folder)
        self.shelves.append(shelf)
        return self.back(shelf, IngressState(self.world.state.policies, "s3"))

    def back(self, shelf: Shelf, state: IngressState) -> IngressState:
        self.world.metrics = Metrics()
        self.world.use(self.lanes, state=state, shelf=shelf)
        return state

    async def ask(self, path: str, turns: Any, **more: Any) -> Any:
        """Send a conversation; its response."""
        return await self.send(path, DIALECTS[path](turns), **more)

    async def send(self, path: str, body: dict[str, Any], key: str = "acme", **more: Any) -> Any:
        response = await self.world.post(path, body, key=key, **more)
        assert response.status_code == 200, response.text
        return response

    @property
    def prompt(self) -> list[Any]:
        """The messages or items that the engine read last."""
        read = self.lanes.sent[-1]
        return read.get("messages") or read["input"]

    def outcomes(self, kind: str = "tool_result") -> dict[str, float]:
        names = ("made", "found", "full", "late", "over_limit", "failed", "too_many")
        found = {
            x: self.world.count("pointsman_summaries_total", tier="paid", kind=kind, outcome=x)
            for x in names
        }
        return {name: count for name, count in found.items() if count}

    def close(self) -> None:
        for shelf in self.shelves:
            shelf.close()
