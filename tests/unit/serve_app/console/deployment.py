"""A whole deployment in this process: an ingress, simulated engines behind endpoints, traffic.

`python -m tests.unit.serve_app.console.deployment` serves one with traffic, to look at the console.
"""

import argparse
import asyncio
import contextlib
import functools
import logging
import random
import socket
from types import SimpleNamespace

import httpx
import uvicorn

from benchmarks.support.agent_card import warm
from classifier import DEFAULT_ARTIFACT, load_artifact
from router.placement.replica import rank_replicas
from serve_app.admission.admission import watch_saturation
from serve_app.config.fleet import FleetConfig
from serve_app.config.tenants import TenantsConfig
from serve_app.console.console import Console
from serve_app.console.log_ring import keep_log
from serve_app.engine.engine_stats import engine_load
from serve_app.engine.lane_endpoint import ENGINE_ASKS
from serve_app.front.control import Control
from serve_app.front.gateway import Gateway
from serve_app.metrics import Metrics
from serve_app.metrics.expositions import label_exposition
from serve_app.pipeline.pipeline import Pipeline
from serve_app.pipeline.state import IngressState
from serve_app.placement.lanes import Lanes, NoReplica, Replica
from serve_app.routing.policies import build_policies
from serve_app.tenancy.auth import make_key
from serve_app.transport.endpoint import EndpointServer
from simulator.http.app import SimulatedEngineApp
from simulator.http.spec import EngineSpec
from simulator.model.profile import load_profile

SECRET = "s3cret"

FLEET = {
    "name": "simulated",
    "lanes": {
        "chat": {"model_id": "small", "model_source": "x", "max_model_len": 8192, "replicas": 3},
        "quality": {"model_id": "large", "model_source": "x", "max_model_len": 8192},
    },
    "routing": {
        "default": "chat",
        "complex": "quality",
        "escalation_share": 0.1,
        "escalation_alarm": 0.2,
    },
    "timeouts": {"connect_s": 1, "choose_s": 1, "read_s": 5},
    "admission": {"max_queued": 40},
}
SLOTS = {"chat": 8, "quality": 8}
TIERS = {
    "paid": {"priority": 0, "ceilings": {"tokens_per_minute": 400_000}},
    "free": {
        "priority": 10,
        "sheddable": True,
        "ceilings": {"tokens_per_minute": 6_000},
    },
    "trial": {"priority": 5, "ceilings": {"requests_per_minute": 10}},
    "local": {},
}
TENANTS = {
    "acme": "paid",
    "globex": "paid",
    "blog": "free",
    "scraper": "free",
    "visitor": "trial",
}

EASY = (
    "What time is it in Lisbon?",
    "Translate 'good morning' into Dutch.",
    "Thanks! And for two people?",
    "Give me a name for a small grey cat.",
    "Is the shop open on Sundays?",
)
HARD = (
    "Prove that the sum of two continuous functions is continuous, every step with its epsilon.",
    "Refactor this recursive descent parser so that it reports every error, and compare two ways.",
)


class LocalLanes(Lanes):
    """Lanes whose replicas are endpoints in this process; those in `killed` are gone."""

    def __init__(self, endpoints, timeouts) -> None:
        super().__init__({}, SECRET, timeouts, {})
        self.endpoints = endpoints
        self.killed = set()
        self.chosen = 0

    def names(self):
        return list(FLEET["lanes"])

    def _of(self, lane):
        return [name for found, name in self.endpoints if found == lane]

    async def choose(self, lane, session, avoid=frozenset()):
        # As Serve's list: one that has just died is still on it.
        self.chosen += 1
        ranked = rank_replicas(str(self.chosen), self._of(lane), avoid)
        if not ranked:
            raise NoReplica(lane)
        return Replica(ranked[0], self.endpoints[lane, ranked[0]].url, lane)

    async def is_ready(self, lane, *, within_s=0.25):
        return any((lane, name) not in self.killed for name in self._of(lane))

    async def engine_metrics(self, lane):
        found = []
        for name in self._of(lane):
            if (lane, name) in self.killed:
                continue
            endpoint = self.endpoints[lane, name]
            text = endpoint.engine.exposition.render().decode()
            load = engine_load(text)
            text = label_exposition(text, {"lane": lane, "replica": name})
            found.append(
                {"replica": name, "in_flight": endpoint.guard.in_flight, "text": text, **load}
            )
        return found

    async def engine_load(self, lane):
        return [
            {k: v for k, v in x.items() if k != "text"} for x in await self.engine_metrics(lane)
        ]


@functools.cache
def artifact():
    return load_artifact(DEFAULT_ARTIFACT)


class Deployment:
    """One ingress replica and its engines. Its clients are `traffic`'s."""

    def __init__(self, *, tenants=TENANTS, slots=SLOTS, most=16) -> None:
        self.keys, entries = {}, {}
        for name, tier in tenants.items():
            self.keys[name], entry = make_key()
            entries[name] = {"tier": tier, "keys": [entry.model_dump()]}
        self.keys["root"], entry = make_key(admin=True)
        entries["ops"] = {"tier": "paid", "keys": [entry.model_dump()]}
        entries["local"] = {"tier": "local"}
        config = TenantsConfig.model_validate(
            {"tiers": TIERS, "tenants": entries, "local_tenant": "local"}
        )
        lanes = {
            name: {**lane, "engine_args": {"max_num_seqs": slots[name]}}
            for name, lane in FLEET["lanes"].items()
        }
        self.fleet = FleetConfig.model_validate({**FLEET, "lanes": lanes})
        found = artifact()
        policies = build_policies(self.fleet, config, found.scorer(), found.threshold_for_share)
        self.metrics = Metrics()
        self.state = IngressState(policies, SECRET, "i1")
        self.endpoints, self._tasks, self._listeners = {}, [], []
        self.lanes = LocalLanes(self.endpoints, self.fleet.timeouts)
        reloader = SimpleNamespace(last_error="", store_error="")
        self.control = Control(self.state, self.lanes, self.metrics, reloader, self.broadcast)
        self.pipeline = Pipeline(self.state, self.lanes, self.metrics)
        self.console = Console(self.control, replica="i1", deployments=self.deployments, most=most)
        self.gateway = Gateway(
            self.state, self.pipeline, self.control, SimpleNamespace(), console=self.console
        )
        self.log = keep_log(logging.getLogger("ray.serve"))
        self.starting = {}

    async def __aenter__(self):
        profile = warm(load_profile("llama-3.1-8b-fp8-rtx4090"))
        for lane, config in self.fleet.enabled_lanes.items():
            for number in range(1, config.replicas.min + 1):
                app = SimulatedEngineApp(
                    EngineSpec(config.model_id, config.max_model_len, profile, seed=number)
                )
                endpoint = EndpointServer(app, secret=SECRET, host="127.0.0.1", listed=ENGINE_ASKS)
                endpoint.engine = app
                self.endpoints[lane, f"{lane[0]}{number}"] = endpoint
                await endpoint.start()
        self._tasks = [asyncio.create_task(watch_saturation(self.state.admission, self.lanes))]
        return self

    async def __aexit__(self, *_) -> None:
        logging.getLogger("ray.serve").removeHandler(self.log)
        self.console.close()
        for task in self._tasks:
            task.cancel()
        for endpoint in self.endpoints.values():
            await endpoint.stop()
        await self.lanes.close()

    async def kill(self, lane, name) -> None:
        """End a replica as SIGKILL would."""
        self.lanes.killed.add((lane, name))
        endpoint = self.endpoints[lane, name]
        for connection in list(endpoint._server.server_state.connections):
            connection.transport.abort()
        await endpoint.stop()
        self.starting[f"lane:{lane}"] = {
            "status": "UPDATING",
            "states": {"RUNNING": self.fleet.lanes[lane].replicas.min - 1, "STARTING": 1},
            "message": "",
            "for_s": 4.0,
        }

    async def deployments(self):
        return self.starting

    async def broadcast(self, method, within_s=3.0):
        if method == "metrics_text":
            self.control.refresh_gauges()
            return [{"replica": "i1", "text": self.metrics.render()}]
        if method == "recent":
            own = self.pipeline.recent.export()
            faults = self.pipeline.book.log.export()
            return [{"replica": "i1", **own, "faults": faults, "log": self.log.rows()}]
        assert method == "snapshot"
        return [
            {
                "replica": "i1",
                "active_sessions": self.state.presence.active(),
                "recent_sessions": {},
                "ejected": self.pipeline.book.ejected(),
                "tenants_near_limit": self.state.tenants_near_limit(),
                "admission": self.state.admission.status(),
            }
        ]

    @contextlib.asynccontextmanager
    async def listening(self, port=0):
        """The gateway on a port of this machine; yields its base URL."""
        at = socket.create_server(("127.0.0.1", port))
        config = uvicorn.Config(self.gateway, lifespan="off", log_config=None, access_log=False)
        server = uvicorn.Server(config)
        server.capture_signals = contextlib.nullcontext
        serving = asyncio.create_task(server.serve(sockets=[at]))
        self._listeners.append((server, serving))
        try:
            yield f"http://127.0.0.1:{at.getsockname()[1]}"
        finally:
            await self.hang_up()

    async def hang_up(self) -> None:
        """Close the listener and its connections, as the end of the process would."""
        while self._listeners:
            server, serving = self._listeners.pop()
            server.should_exit = server.force_exit = True
            await serving
            # Uvicorn leaves those with an answer under way to themselves.
            for connection in list(server.server_state.connections):
                connection.transport.abort()
        self.console.close()

    def client(self, key=None) -> httpx.AsyncClient:
        """A client without a connection: it asks the gateway itself."""
        headers = {} if key is None else {"authorization": f"Bearer {self.keys.get(key, key)}"}
        transport = httpx.ASGITransport(self.gateway, client=("127.0.0.1", 1))
        return httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=headers, timeout=60
        )

    async def ask(self, tenant, text, tokens=40, **body) -> int:
        """One streamed chat to its end; returns the status."""
        body = {"messages": [{"role": "user", "content": text}], "stream": True, **body}
        async with self.client(tenant) as client:
            answer = await client.post("/v1/chat/completions", json={**body, "max_tokens": tokens})
        return answer.status_code

    async def traffic(self, rates, *, rng=None, tokens=60, **body) -> None:
        """Requests of tenants at so many a second each, until it is cancelled."""
        rng, running = rng or random.Random(7), set()

        async def one(tenant, every_s):
            while True:
                await asyncio.sleep(rng.expovariate(1 / every_s))
                text = rng.choice(HARD if rng.random() < 0.2 else EASY)
                task = asyncio.create_task(self.ask(tenant, text, rng.randint(10, tokens), **body))
                running.add(task)
                task.add_done_callback(running.discard)

        try:
            await asyncio.gather(*(one(name, 1 / rate) for name, rate in rates.items()))
        finally:
            for task in running:
                task.cancel()


async def main(port: int) -> None:
    async with Deployment() as made, made.listening(port) as url:
        print(f"{url}/console", f"admin key {made.keys['root']}", sep="\n", flush=True)
        await made.traffic({"acme": 3, "globex": 1, "blog": 2, "scraper": 0.5})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8123)
    asyncio.run(main(parser.parse_args().port))
