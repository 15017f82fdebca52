"""A gateway whose tenants' responses are stored, over simulated engines with a script."""

import contextlib

import httpx
import openai

from serve_app.responses.desk import StoredResponses
from serve_app.responses.metrics import ResponseMetrics
from simulator.http.app import SimulatedEngineApp
from simulator.http.spec import EngineSpec
from simulator.script.model import Script
from tests.unit.serve_app.conftest import with_tier
from tests.unit.serve_app.simulated_lanes import AT_ONCE, SimulatedLanes

RESPONSES = "/v1/responses"
TOOL = {
    "type": "function",
    "name": "read",
    "description": "Reads a file.",
    "parameters": {
        "type": "object",
        "properties": {"path": {"type": "string"}},
        "required": ["path"],
    },
    "strict": False,
}
TURNS = [
    {
        "when": {"user": "read"},
        "steps": [
            {"reasoning": "Hm.", "text": "I look.", "calls": [{"read": {"path": "/a"}}]},
            {"text": "It says A."},
        ],
    },
    {"when": {"user": "thanks"}, "steps": [{"text": "You are welcome."}]},
    {"steps": [{"text": "Hello."}]},
]
BOUNDS = {"keep_days": 30, "max_responses": 100, "max_bytes": 1_000_000}


class ScriptedLanes(SimulatedLanes):
    """The same engines, each with a script."""

    def __post_init__(self) -> None:
        super().__post_init__()
        script = Script.model_validate({"turns": TURNS})
        for (lane, name), engine in self.engines.items():
            spec = EngineSpec(engine.spec.model_id, 4096, AT_ONCE, script=script)
            self.engines[lane, name] = SimulatedEngineApp(spec)

    @property
    def inputs(self) -> list:
        """What each request's engine read."""
        return [body["input"] for _, path, body in self.opened if path == RESPONSES]


def store_responses(world, *, tier=None, **bounds) -> ScriptedLanes:
    """Turn storing on for `acme`, over scripted engines."""
    with_tier(world, responses={**BOUNDS, **bounds}, **(tier or {}))
    lanes = ScriptedLanes()
    world.use(lanes)
    return lanes


def another_ingress(world, lanes) -> StoredResponses:
    """What a second ingress replica has of its own; its gateway is the world's from now on."""
    from serve_app.metrics import Metrics

    world.responses = made = StoredResponses(
        world.responses_path, ResponseMetrics(Metrics().registry)
    )
    world.use(lanes)
    return made


def sdk(world, key="acme") -> openai.AsyncOpenAI:
    """The stock client."""
    transport = httpx.ASGITransport(world.gateway, client=("127.0.0.1", 1))
    http = httpx.AsyncClient(transport=transport)
    return openai.AsyncOpenAI(
        base_url="http://localhost/v1",
        api_key=world.keys.get(key, key),
        http_client=http,
        max_retries=0,
    )


async def ask(client, *, streams, **asked):
    """A response, whole or as a stream's last event has it."""
    asked = {"model": "chat", **asked}
    if not streams:
        return await client.responses.create(**asked)
    async with client.responses.stream(**asked) as events:
        async for _ in events:
            pass
        return await events.get_final_response()


@contextlib.contextmanager
def locked(path):
    """Another process writes, and does not end."""
    import sqlite3

    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        db.rollback()
        db.close()
