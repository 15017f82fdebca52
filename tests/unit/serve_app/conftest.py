"""Fakes of what lies below and beside the gateway: engines, lanes, classifier."""

import asyncio
import contextlib
import json
import sqlite3
import warnings
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import SimpleNamespace

import httpx
import pytest
import pytest_asyncio

with warnings.catch_warnings():
    # Ray's own modules warn of deprecated pydantic calls while they are imported.
    warnings.simplefilter("ignore")
    import ray.serve  # noqa: F401

from serve_app.config.fleet import FleetConfig
from serve_app.config.tenants import TenantsConfig
from serve_app.front.control import Control
from serve_app.front.gateway import Gateway
from serve_app.metrics import Metrics
from serve_app.pipeline.pipeline import Pipeline
from serve_app.pipeline.state import IngressState
from serve_app.placement.lanes import NoReplica, Replica
from serve_app.protocol.asgi import WRITE
from serve_app.records.feedback import FeedbackDesk
from serve_app.records.feedback_store import FeedbackStore
from serve_app.records.recorder import build_recorder
from serve_app.relay.fault_book import FaultBook
from serve_app.request.metering import Metering
from serve_app.responses.desk import StoredResponses
from serve_app.responses.metrics import ResponseMetrics
from serve_app.routing.policies import build_policies
from serve_app.tenancy.auth import make_key
from serve_app.tenancy.keys import KeyBook
from serve_app.tenancy.meter import UsageMeter
from serve_app.tenancy.sqlite_store import SqliteStore

FLEET = {
    "name": "test",
    "lanes": {
        "chat": {"model_id": "small", "model_source": "x", "max_model_len": 4096},
        "quality": {
            "model_id": "large",
            "model_source": "x",
            "max_model_len": 4096,
            "engine_args": {"scheduling_policy": "priority"},
        },
    },
    "routing": {"default": "chat", "complex": "quality"},
    "limits": {"max_body_bytes": 65536, "body_timeout_s": 0.05},
}
TIERS = {
    "paid": {"priority": 0, "ceilings": {"tokens_per_minute": 100_000}},
    "free": {
        "priority": 10,
        "max_n": 1,
        "lanes": ["chat"],
        "ceilings": {"tokens_per_minute": 1_000, "requests_per_minute": 2},
    },
    "paced": {"priority": 5, "ceilings": {"tokens_per_second": 500}},
    "local": {"max_n": 8},
}


class FakeScorer:
    """Scores 0.9 where the newest turn says `hard`, else 0.1."""

    version = "fake"

    def score(self, conversation) -> float:
        return 0.9 if "hard" in conversation.last_user else 0.1

    def features(self, conversation) -> dict[str, float]:
        return {"is_hard": float("hard" in conversation.last_user)}


class FakeResponse:
    """An engine's answer as the upstream client hands it out: chunks, waits, faults."""

    def __init__(self, *parts, status=200, content_type="application/json") -> None:
        self.status = status
        self.content_type = content_type
        self.headers = {"content-type": content_type}
        self.waits = asyncio.Event()
        self.is_closed = False
        self.parts = list(parts)

    async def readany(self) -> bytes:
        while self.parts:
            part = self.parts.pop(0)
            if isinstance(part, Exception):
                raise part
            if isinstance(part, asyncio.Event):
                self.waits.set()
                await part.wait()
                continue
            return part
        return b""

    async def deliver_to(self, step, push=None) -> bool:
        while part := await self.readany():
            if not step(part):
                return True
        return False

    def read_nowait(self) -> bytes:
        if self.parts and isinstance(self.parts[0], bytes):
            return self.parts.pop(0)
        return b""

    async def read(self) -> bytes:
        parts = []
        while part := await self.readany():
            parts.append(part)
        return b"".join(parts)

    def expect_tokens(self) -> None:
        """A real connection is watched more closely from now on."""

    def close(self) -> None:
        self.is_closed = True


@dataclass
class FakeLanes:
    """Lanes of three replicas each; `answers` says what each attempt meets.

    `lives`: what a replica says when it is asked whether its engine lives; else that it does.
    """

    answers: list = field(default_factory=list)
    opened: list = field(default_factory=list)
    lives: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)
    ready: bool = True
    empty: bool = False

    def names(self) -> list[str]:
        return ["chat", "quality"]

    async def choose(self, lane, session_key, avoid=frozenset()) -> Replica:
        if self.empty:
            raise NoReplica(lane)
        # As the lanes do: those to avoid come last, and where no other is left, they come.
        return Replica(min(("r1", "r2", "r3"), key=lambda x: x in avoid), f"http://{lane}")

    async def open(self, replica, path, body, headers):
        sent = SimpleNamespace(
            replica=replica.id, url=replica.url, path=path, body=json.loads(body), headers=headers
        )
        self.opened.append(sent)
        answer = self.answers.pop(0)
        if isinstance(answer, type):
            raise answer(replica.id)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def is_alive(self, replica) -> bool | None:
        self.asked.append(replica.id)
        return self.lives.get(replica.id, True)

    async def is_ready(self, lane) -> bool:
        return self.ready

    async def engine_metrics(self, lane) -> list[dict]:
        text = f'# TYPE vllm:x gauge\nvllm:x{{lane="{lane}",replica="r1",engine="0"}} {len(lane)}\n'
        load = {"waiting": 1.0, "running": 2.0, "kv_utilization": 0.5}
        return [{"replica": "r1", "in_flight": 0, "text": text, **load}]


class Written:
    """An application on the own listener: what its `write` is given goes where `send`'s does.

    Attributes:
        written: by it alone.

    """

    def __init__(self, app) -> None:
        self.app = app
        self.written: list[bytes] = []

    async def __call__(self, scope, receive, send) -> None:
        def write(data):
            self.written.append(data)
            sending = send({"type": "http.response.body", "body": data, "more_body": True})
            with pytest.raises(StopIteration):
                sending.send(None)

        await self.app({**scope, "extensions": {WRITE: write}}, receive, send)


class World:
    """A gateway over fakes, and the keys that open it.

    Its recorder is not started: a test that reads what is recorded does that.
    """

    def __init__(self, folder) -> None:
        self.keys, tenants = {}, {}
        for name, tier in (("acme", "paid"), ("guest", "free"), ("slow", "paced")):
            self.keys[name], entry = make_key()
            tenants[name] = {"tier": tier, "keys": [entry.model_dump()]}
        tenants["acme"]["keep_prompts_days"] = 3
        self.keys["root"], entry = make_key(admin=True)
        self.keys["old"], expired = make_key(expires=datetime(2020, 1, 1, tzinfo=UTC))
        tenants["ops"] = {"tier": "paid", "keys": [entry.model_dump(), expired.model_dump()]}
        tenants["local"] = {"tier": "local"}
        self.tenants = TenantsConfig.model_validate(
            {"tiers": TIERS, "tenants": tenants, "local_tenant": "local"}
        )
        fleet = FleetConfig.model_validate({**FLEET, "request_log": {"path": "log"}})
        self.tenancy_path = folder / "tenancy.db"
        self.tenancy = SqliteStore(self.tenancy_path)
        self.book = KeyBook(self.tenancy)
        self.state = IngressState(
            build_policies(fleet, self.tenants, FakeScorer(), lambda _: 0.5, book=self.book), "s3"
        )
        self.lanes = FakeLanes()
        self.metrics = Metrics("i1")
        self.reloads: list = [{"ok": True}]
        self.folder = folder
        self.store_path = folder / "feedback.db"
        self.store = FeedbackStore(self.store_path, fleet.feedback)
        self.recorder = build_recorder(self.store, fleet.request_log, folder, "i1", self.metrics)
        self.tracer = None
        self.traces = None
        # On the own listener: bodies that go on are written.
        self.writes = False
        self.usage_folder = folder / "tenancy.db.usage"
        # Not started: a test flushes it.
        self.meter = UsageMeter(self.tenancy, self.usage_folder)
        self.responses_path = folder / "tenancy.db.responses"
        self.responses = StoredResponses(
            self.responses_path, ResponseMetrics(self.metrics.registry)
        )
        self.use(self.lanes)

    def use(self, lanes, *, state=None, broadcast=None, shelf=None, **gateway) -> None:
        """A gateway over these lanes from now on, with what else is said of it."""
        self.state = state or self.state
        reloader = SimpleNamespace(last_error="", store_error="")
        self.control = Control(
            self.state, self.lanes, self.metrics, reloader, broadcast or self._broadcast
        )
        self.pipeline = Pipeline(
            self.state,
            lanes,
            self.metrics,
            self.recorder,
            Metering(self.meter),
            self.responses,
            self.tracer,
            shelf,
            self.traces,
        )
        desk = FeedbackDesk(self.store, within_s=0.0)
        gateway = {"responses": self.responses, **gateway}
        self.gateway = Gateway(self.state, self.pipeline, self.control, desk, **gateway)

    async def _broadcast(self, method, within_s=3.0):
        if method == "metrics_text":
            return [{"replica": "i1", "text": self.metrics.render()}]
        if method == "snapshot":
            return [{"active_sessions": {"chat": 2}, "tenants_near_limit": []}]
        return self.reloads

    def client(self, host="127.0.0.1", key=None) -> httpx.AsyncClient:
        app = Written(self.gateway) if self.writes else self.gateway
        transport = httpx.ASGITransport(app, client=(host, 1))
        headers = {} if key is None else {"authorization": f"Bearer {self.keys.get(key, key)}"}
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)

    async def post(self, path, body, key=None, **kwargs) -> httpx.Response:
        async with self.client(key=key) as client:
            return await client.post(path, json=body, **kwargs)

    def kept_feedback(self) -> list[tuple]:
        query = "SELECT tenant, request_id, thumb, preferred_over FROM feedback ORDER BY id"
        with contextlib.closing(sqlite3.connect(self.store_path)) as db:
            return db.execute(query).fetchall()

    @property
    def fault_book(self) -> FaultBook:
        """What the pipeline remembers of faults."""
        return self.pipeline.book

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    @property
    def in_flight(self) -> float:
        return self.metrics.registry.get_sample_value("pointsman_requests_in_flight")

    def count(self, name, **labels) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def reserved(self) -> int:
        return self.state.reserved_tokens()


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.recorder.close()
    made.store.close()
    made.meter.close()
    made.responses.close()
    made.tenancy.close()


@pytest.fixture(params=["send", "write"])
def both_ways(request, world):
    """The same test with ASGI's `send` alone, and with the own listener's `write`."""
    world.writes = request.param == "write"


@pytest.fixture
def patient(world):
    """The world in which only a test ends the wait for a body."""
    from tests.unit.serve_app.uploads import with_limits

    with_limits(world, body_timeout_s=60, body_silence_s=60)
    return world


@pytest.fixture
def engine():
    """Makes an engine's whole JSON answer."""

    def make(body=None, status=200) -> FakeResponse:
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        answer = {"id": "1", "object": "x", "choices": [], "usage": usage}
        return FakeResponse(json.dumps(body or answer).encode(), status=status)

    return make


@pytest.fixture
def stream():
    """Makes an engine's stream of the given bytes, faults and waits."""

    def make(*parts) -> FakeResponse:
        return FakeResponse(*parts, content_type="text/event-stream")

    return make


@pytest.fixture
def call_raw():
    """Drives an ASGI app by hand: for requests that httpx cannot make or leave."""

    async def call(app, messages, **scope):
        sent, queue = [], list(messages)

        async def receive():
            if queue:
                return queue.pop(0)
            await asyncio.Event().wait()
            return None

        async def send(message):
            sent.append(message)

        base = {"type": "http", "method": "POST", "headers": [], "client": ("127.0.0.1", 1)}
        with contextlib.suppress(asyncio.CancelledError):
            await app({**base, **scope}, receive, send)
        return sent

    return call


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser():
    """Chromium, one for all tests of pages: its start takes as long as some of them."""
    from tests.unit.serve_app.console.browser import launched, needed

    needed()
    async with launched() as made:
        yield made


@pytest.fixture
async def socket_world():
    """Two ingress replicas with sockets over two fast simulated engines."""
    from tests.unit.serve_app.socket_world import SocketWorld

    async with SocketWorld() as made:
        yield made


@pytest.fixture
async def slow_world():
    """The same with 10 ms a token: time to act while a chat runs."""
    from tests.unit.serve_app.socket_world import SocketWorld

    async with SocketWorld(itl_s=0.01) as made:
        yield made


def with_tier(world, **tier) -> None:
    """The world in which `acme` has such a tier."""
    tenants = world.tenants.model_dump(exclude_unset=True)
    config = TenantsConfig.model_validate({**tenants, "tiers": {**TIERS, "paid": tier}})
    auth = type(world.state.policies.auth)(config, "quality", None)
    world.state.apply(replace(world.state.policies, auth=auth))


def with_ceilings(world, **ceilings) -> None:
    """The same, of a tier with nothing but ceilings."""
    with_tier(world, ceilings=ceilings)
