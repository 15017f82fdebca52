"""Ingress replicas with sockets over real endpoints of simulated engines, in one process."""

import asyncio
import contextlib
import itertools
import json
from unittest.mock import Mock

from serve_app.config.fleet import FleetConfig
from serve_app.config.tenants import TenantsConfig
from serve_app.engine.lane_endpoint import ENGINE_ASKS
from serve_app.front.gateway import Gateway
from serve_app.metrics import Metrics
from serve_app.pipeline.pipeline import Pipeline
from serve_app.pipeline.state import IngressState
from serve_app.placement.lanes import Lanes, NoReplica, Replica
from serve_app.routing.policies import build_policies
from serve_app.tenancy.auth import make_key
from serve_app.transport.endpoint import EndpointServer
from serve_app.websocket.finder import Finder
from serve_app.websocket.hub import Hub
from serve_app.websocket.owner import ASKS as OWNER_ASKS
from serve_app.websocket.owner import Owner
from serve_app.websocket.peers import Peers
from serve_app.websocket.sockets import Sockets
from simulator.http.app import SimulatedEngineApp
from simulator.http.spec import EngineSpec
from simulator.model.profile import FixedTiming
from tests.unit.serve_app.conftest import FLEET, TIERS, FakeScorer

SECRET = "s3cret"
WAIT_S = 30.0


class LocalLanes(Lanes):
    """Lanes whose replicas are endpoints in this process."""

    def __init__(self, replicas, timeouts) -> None:
        super().__init__({}, SECRET, timeouts, {})
        self.replicas = replicas
        self.gate = asyncio.Event()
        self.gate.set()

    async def choose(self, lane, session_key, avoid=frozenset()):
        await self.gate.wait()
        for name, endpoint in self.replicas.items():
            if name not in avoid:
                return Replica(name, endpoint.url)
        raise NoReplica(lane)


class SocketIngress:
    """One ingress replica."""

    def __init__(self, name, fleet, tenants, replicas, broadcast) -> None:
        self.name = name
        self.metrics = Metrics()
        policies = build_policies(fleet, tenants, FakeScorer(), lambda _: 0.5)
        self.state = IngressState(policies, SECRET)
        self.lanes = LocalLanes(replicas, fleet.timeouts)
        self.pipeline = Pipeline(self.state, self.lanes, self.metrics)
        self.hub = Hub(self.state, self.pipeline, self.metrics, name)
        self.peers = Peers(name, SECRET, broadcast)
        sockets = Sockets(self.state, self.hub, Finder(self.hub, self.peers))
        self.gateway = Gateway(self.state, self.pipeline, Mock(), Mock(), sockets=sockets)
        self.sockets = sockets
        self.owner = Owner(self.hub)
        self.endpoint = EndpointServer(
            self.owner, secret=SECRET, host="127.0.0.1", listed=OWNER_ASKS
        )

    async def start(self) -> None:
        await self.endpoint.start()
        self.peers.open_at(self.endpoint.url)

    async def die(self) -> None:
        """As SIGKILL would: nothing listens any more and every connection is reset."""
        for connection in list(self.endpoint._server.server_state.connections):
            connection.transport.abort()
        await self.endpoint.stop()

    async def stop(self) -> None:
        self.hub.close()
        await self.endpoint.stop()
        await self.peers.close()
        await self.lanes.close()

    def count(self, name, **labels) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    @property
    def open_work(self) -> tuple:
        """Everything that must be 0 when nothing is open."""
        return (
            self.count("pointsman_requests_in_flight"),
            self.state.reserved_tokens(),
            self.count("pointsman_websockets"),
            self.count("pointsman_websocket_chats"),
        )


class SocketWorld:
    """Two ingress replicas, two engine replicas of one lane, and tenants with keys."""

    def __init__(self, *, ttft_s=0.001, itl_s=0.001, websocket=None, limits=None) -> None:
        self.keys, tenants = {}, {}
        users = (("acme", "paid"), ("other", "paid"), ("guest", "free"), ("proxy", "paid"))
        for name, tier in users:
            self.keys[name], entry = make_key(proxy=name == "proxy")
            tenants[name] = {"tier": tier, "keys": [entry.model_dump()]}
        tenants["local"] = {"tier": "local"}
        config = {"tiers": TIERS, "tenants": tenants, "local_tenant": "local"}
        self.tenants = TenantsConfig.model_validate(config)
        fleet = {**FLEET, "timeouts": {"connect_s": 1, "choose_s": 1, "read_s": 5}}
        fleet |= {"websocket": websocket or {}, "limits": limits or FLEET["limits"]}
        self.fleet = FleetConfig.model_validate(fleet)
        spec = EngineSpec("small", 4096, FixedTiming(ttft_s=ttft_s, itl_s=itl_s), seed=1)
        self.engines = {name: SimulatedEngineApp(spec) for name in ("r1", "r2")}
        self.endpoints = {}
        self.ingresses = []
        self.clients = []

    async def __aenter__(self):
        for name, engine in self.engines.items():
            self.endpoints[name] = EndpointServer(
                engine, secret=SECRET, host="127.0.0.1", listed=ENGINE_ASKS
            )
            await self.endpoints[name].start()
        for name in ("i1", "i2"):
            made = SocketIngress(name, self.fleet, self.tenants, self.endpoints, self.broadcast)
            await made.start()
            self.ingresses.append(made)
        return self

    async def __aexit__(self, *_) -> None:
        for client in self.clients:
            await client.leave()
        stopping = (*self.ingresses, *self.endpoints.values())
        await asyncio.gather(*(each.stop() for each in stopping))

    async def broadcast(self, method):
        peers = [ingress.peers for ingress in self.ingresses]
        if method == "silent_socket_peers":
            return [x.export_silent() for x in peers]
        assert method == "socket_peers"
        return [x.export() for x in peers]

    async def connect(self, at=0, **scope) -> "Client":
        """A socket that has been accepted."""
        client = Client(self.ingresses[at].gateway, **scope)
        self.clients.append(client)
        await client.open()
        return client

    def engine_tokens(self) -> int:
        """Tokens that the engines say they have generated."""
        text = b"\n".join(engine.exposition.render() for engine in self.engines.values())
        lines = text.decode().splitlines()
        return sum(
            int(float(line.split()[-1]))
            for line in lines
            if line.startswith("vllm:generation_tokens_total")
        )

    def engine_requests(self) -> int:
        """Requests that the engines have had, and open ones."""
        text = b"\n".join(engine.exposition.render() for engine in self.engines.values())
        lines = text.decode().splitlines()
        ended = sum(
            int(float(line.split()[-1]))
            for line in lines
            if line.startswith("vllm:request_success_total")
        )
        return ended + self.running

    @property
    def running(self) -> int:
        return sum(engine.engine.running for engine in self.engines.values())

    @property
    def is_idle(self) -> bool:
        work = [figure for ingress in self.ingresses for figure in ingress.open_work]
        in_flight = sum(endpoint.guard.in_flight for endpoint in self.endpoints.values())
        return not any(work) and not self.running and not in_flight

    async def idle(self) -> None:
        """Wait until every counter is back at 0."""
        await until(lambda: self.is_idle)
        for ingress in self.ingresses:
            check_hub(ingress.hub)


class Client:
    """The client's end of a socket, as the ASGI server and Serve present it."""

    def __init__(self, app, **scope) -> None:
        self.scope = {
            "type": "websocket",
            "path": "/v1/chat/ws",
            "headers": [],
            "client": ("127.0.0.1", 1),
            "subprotocols": [],
            "extensions": {"websocket.http.response": {}},
            **scope,
        }
        self._app = app
        self.inbox: asyncio.Queue = asyncio.Queue()
        self.sent: asyncio.Queue = asyncio.Queue()
        self.reads = asyncio.Event()
        self.reads.set()
        self.task = None
        self.accepted = {}

    async def open(self) -> None:
        await self.ask()
        assert self.accepted["type"] == "websocket.accept", self.accepted

    async def ask(self) -> None:
        """Send the upgrade request and wait for its answer."""
        self.inbox.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.create_task(self._app(self.scope, self.inbox.get, self._send))
        self.accepted = await self.message()

    async def _send(self, message) -> None:
        await self.reads.wait()
        self.sent.put_nowait(message)

    async def message(self) -> dict:
        async with asyncio.timeout(WAIT_S):
            return await self.sent.get()

    def say(self, frame) -> None:
        text = frame if isinstance(frame, str) else json.dumps(frame)
        self.inbox.put_nowait({"type": "websocket.receive", "text": text})

    def chat(self, chat_id, text="Hello", tokens=5, **more) -> None:
        body = {"messages": [{"role": "user", "content": text}], "max_tokens": tokens}
        extra = more.pop("frame", {})
        self.say({"id": chat_id, "type": "chat", "body": {**body, **more}, **extra})

    async def frame(self) -> dict:
        message = await self.message()
        assert message["type"] == "websocket.send", message
        return json.loads(message["text"])

    async def frames(self, count) -> list[dict]:
        return [await self.frame() for _ in range(count)]

    async def until_end(self, chat_id) -> list[dict]:
        """Frames of a chat up to its last; those of others are left out."""
        found = []
        while True:
            frame = await self.frame()
            if frame["id"] == chat_id:
                found.append(frame)
                if frame["type"] != "chunk":
                    return found

    async def leave(self) -> None:
        """Go away as Serve tells it: a message, and the request's task is cancelled."""
        if self.task is None:
            return
        self.inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        self.task = None


async def until(check) -> None:
    """Wait for a condition; fails after WAIT_S."""
    async with asyncio.timeout(WAIT_S):
        for wait in itertools.chain([0.0, 0.001], itertools.repeat(0.005)):
            if check():
                return
            await asyncio.sleep(wait)


def check_chat(chat) -> None:
    """The counts match the frames."""
    assert chat.first + len(chat.kept) - 1 == chat.last
    assert chat.first - 1 <= chat.read <= chat.last
    assert chat.kept_bytes == sum(map(len, chat.kept))
    unread = list(chat.kept)[chat.read - chat.first + 1 :]
    assert chat.unread_bytes == sum(map(len, unread))


def check_hub(hub) -> None:
    """Counts and indexes match the chats."""
    for chat in hub.chats.values():
        check_chat(chat)
    assert hub.kept_bytes == sum(chat.kept_bytes for chat in hub.chats.values())
    names = {(chat.tenant, chat.id) for chat in hub.chats.values()}
    assert sum(len(hub.matches(*name)) for name in names) == len(hub.chats)
    assert set(hub._ended) <= set(hub.chats)


def text_of(frames) -> str:
    """The text of a chat's chunks."""
    chunks = [frame["data"] for frame in frames if frame["type"] == "chunk"]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def seqs_of(frames) -> list[int]:
    return [frame["seq"] for frame in frames if "seq" in frame]
