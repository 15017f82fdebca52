"""How many tool calls reach the client wrong, or not at all, where an engine errs."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any
from unittest.mock import Mock

import httpx
import orjson
import uvicorn

from benchmarks.support.agent_calls import (
    PATHS,
    RESPONSES,
    Data,
    Exchange,
    Heard,
    Judge,
    exchanges,
    heard,
)
from benchmarks.support.agent_tally import Tally
from benchmarks.support.scripted_lanes import WINDOW_TOKENS, ScriptedEngine, ScriptedLanes, ask_app
from benchmarks.support.ways import ENGINE_PORT, MODEL, litellm_before
from benchmarks.support.ways import Way as LiteLlmWay
from classifier import DEFAULT_ARTIFACT, load_artifact
from serve_app.config.fleet import FleetConfig
from serve_app.config.tenants import TenantsConfig
from serve_app.front.gateway import Gateway
from serve_app.metrics import Metrics
from serve_app.pipeline.pipeline import Pipeline
from serve_app.pipeline.state import IngressState
from serve_app.records.feedback import FeedbackDesk
from serve_app.routing.policies import build_policies
from simulator.script.model import Fault, Script

CORRUPT = 0.1
BYTES_PER_TOKEN = 4

TENANTS = {
    "tiers": {"bench": {"max_n": 8, "agents": {"turn_depth": None, "task_depth": None}}},
    "tenants": {"bench": {"tier": "bench"}},
    "local_tenant": "bench",
}
FLEET = {
    "name": "bench",
    "lanes": {
        name: {"model_id": name, "model_source": "x", "max_model_len": WINDOW_TOKENS}
        for name in ("chat", "quality")
    },
    "routing": {"default": "chat", "complex": "quality"},
    "limits": {"max_body_bytes": 2**24},
}
Ask = Callable[[str, Data], Awaitable[tuple[int, bytes]]]


@dataclass
class Way:
    """A way to the scripted engine.

    Attributes:
        ask: sends a body, returns status and answer.
        say: has the engine answer from a script.
        steps: the repairs that were made, by step and outcome.
        repair_tokens: prompt tokens that were new, and completion tokens, of each repair.
        stays_empty: whether every answer of the engines to the last request was empty.

    """

    name: str
    ask: Ask
    say: Callable[[Script], None]
    steps: Counter[str] = field(default_factory=Counter)
    repair_tokens: list[tuple[int, int]] = field(default_factory=list)
    stays_empty: Callable[[], bool] = lambda: False


def bare() -> Way:
    """The engine alone."""
    engine = ScriptedEngine("chat")

    async def ask(path: str, body: Data) -> tuple[int, bytes]:
        status, _, raw = await ask_app(engine, path, orjson.dumps({**body, "model": "chat"}))
        return status, raw

    def say(script: Script) -> None:
        engine.script = script

    return Way("bare engine", ask, say)


@contextlib.contextmanager
def pointsman(name: str = "pointsman") -> Iterator[Way]:
    """An ingress replica's gateway and pipeline before the engines, without sockets."""
    fleet, tenants = FleetConfig.model_validate(FLEET), TenantsConfig.model_validate(TENANTS)
    artifact = load_artifact(DEFAULT_ARTIFACT)
    policies = build_policies(fleet, tenants, artifact.scorer(), artifact.threshold_for_share)
    lanes, metrics = ScriptedLanes(), Metrics()
    state = IngressState(policies, "bench")
    pipeline = Pipeline(state, lanes, metrics)  # type: ignore[arg-type]
    gateway = Gateway(state, pipeline, Mock(), FeedbackDesk(Mock()))

    async def ask(path: str, body: Data) -> tuple[int, bytes]:
        status, _, raw = await ask_app(gateway, path, orjson.dumps(body))
        if len(lanes.asked) > 1:
            way.repair_tokens += _repair_tokens(lanes.asked)
        return status, raw

    def stays_empty() -> bool:
        made = [
            usage.get("completion_tokens", usage.get("output_tokens"))
            for _, usage in lanes.asked[1:]
        ]
        return bool(made) and all(count == 1 for count in made)

    way = Way(name, ask, lanes.say, stays_empty=stays_empty)
    yield way
    for metric in metrics.registry.collect():
        if metric.name == "pointsman_tool_repairs":
            for sample in metric.samples:
                if sample.name.endswith("_total") and sample.value:
                    label = f"{sample.labels['step']} {sample.labels['outcome']}"
                    way.steps[label] += int(sample.value)


def _repair_tokens(asked: list[tuple[Data, Data]]) -> Iterator[tuple[int, int]]:
    """Of each repair: tokens behind the conversation that the lane had read, and its answer's."""
    said = len(orjson.dumps(_conversation(asked[0][0])))
    for body, usage in asked[1:]:
        prompt = (len(orjson.dumps(_conversation(body))) - said) // BYTES_PER_TOKEN
        made = usage.get("completion_tokens", usage.get("output_tokens", 0))
        if made:
            yield prompt, made


@contextlib.asynccontextmanager
async def litellm() -> AsyncIterator[Way]:
    """LiteLLM's proxy before the engine on a port; it says if it is not installed."""
    engine = ScriptedEngine(MODEL)
    config = uvicorn.Config(engine, port=ENGINE_PORT, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    behind = LiteLlmWay("direct", f"http://127.0.0.1:{ENGINE_PORT}")
    stack = contextlib.ExitStack()
    try:
        before = await asyncio.to_thread(stack.enter_context, litellm_before(behind))
        async with httpx.AsyncClient(
            base_url=before.url, headers=before.headers, timeout=60
        ) as client:

            async def ask(path: str, body: Data) -> tuple[int, bytes]:
                answer = await client.post(path, json={**body, "model": MODEL})
                return answer.status_code, answer.content

            def say(script: Script) -> None:
                engine.script = script

            yield Way("LiteLLM", ask, say)
    finally:
        await asyncio.to_thread(stack.close)
        server.should_exit = True
        await serving


def _conversation(body: Data) -> Any:
    return body.get("messages", body.get("input"))


def script_of(asked: Exchange, path: str, number: int, *, stubborn: bool) -> Script | None:
    """What the engine says to one request; None for what a script cannot say.

    /v1/responses does not say that an answer ends because of calls, so none can be missing.
    """
    faults = [fault for fault in Fault if path != RESPONSES or fault is not Fault.NO_CALL]
    step: Data = {"calls": [{name: given} for name, given in asked.calls]}
    if number % 3 == 0:
        step["text"] = "Let me look at that. "
    elif number % 3 == 1:
        step["reasoning"] = "The user wants something done, and there is a tool for it."
    turns = [{"steps": [step]}]
    try:
        return Script.model_validate(
            {
                "turns": turns,
                "corrupt": CORRUPT,
                "faults": faults,
                "stubborn": stubborn,
                "seed": number,
            }
        )
    except ValueError:
        return None


def asks(talks: list[Data], judge: Judge) -> Iterator[tuple[Exchange, str, bool]]:
    """Requests, each on which route and whether streamed.

    Each prompt of one turn goes all six ways, each step of several turns one of them.
    """
    number = 0
    for talk in talks:
        for asked in exchanges(talk):
            if not asked.calls or not judge.is_right(asked):
                continue
            ways = [(path, stream) for path in PATHS for stream in (False, True)]
            if talk["category"].startswith("multi_turn"):
                number += 1
                ways = [ways[number % len(ways)]]
            for path, stream in ways:
                yield asked, path, stream


async def deliver(
    way: Way, wanted: list[tuple[Exchange, str, bool]], *, stubborn: bool = False
) -> Tally:
    """Send all requests one after another, and judge what comes back."""
    judge, tally = Judge(), Tally()
    for number, (asked, path, stream) in enumerate(wanted):
        script = script_of(asked, path, number, stubborn=stubborn)
        if script is None:
            continue
        way.say(script)
        status, raw = await way.ask(path, asked.body(path, stream=stream))
        what = f"{path} {'streamed' if stream else 'whole'} seed {number}"
        try:
            found = heard(path, status, raw)
        except (KeyError, ValueError, TypeError, IndexError) as error:
            found = Heard(odd=[f"{error!r} in {raw[-300:]!r}"])
        tally.add(asked, found, judge, what, is_empty=way.stays_empty())
    return tally


def sample(wanted: list[tuple[Exchange, str, bool]], size: int) -> list[tuple[Exchange, str, bool]]:
    """Some of the requests, the same each time."""
    return wanted if len(wanted) <= size else Random(7).sample(wanted, size)
