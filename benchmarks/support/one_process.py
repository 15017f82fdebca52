"""A deployment in one process, without Ray: an ingress replica, its ledger, one replica a lane.

Every object is the one that a deployment has. What stands in for Serve is its context, its
calls to replicas, and its list of those that live.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import aiohttp
from ray import serve
from starlette.types import ASGIApp

from router.types import Task
from serve_app import ingress
from serve_app.app import _engine_spec
from serve_app.config.fleet import FleetConfig
from serve_app.config.serving import AffinityConfig
from serve_app.config.settings import load_fleet
from serve_app.engine.lane_endpoint import ENGINE_ASKS, LaneEndpoint
from serve_app.engine.load_tracker import LoadTracker
from serve_app.engine.sleeping.simulated import SimulatedSleeper
from serve_app.engine.sleeping.switch import EngineSwitch
from serve_app.front.doorway import Doorway
from serve_app.leases.ledger import LedgerServer
from serve_app.swap.service import SwapServer
from serve_app.transport.endpoint import SECRET_HEADER, EndpointServer
from simulator.http.app import SimulatedEngineApp
from simulator.http.spec import EngineSpec

SECRET = "of-one-process"
HOST = "127.0.0.1"


class Lane(LaneEndpoint):
    """A lane replica's endpoint, load and metrics, without watchdog and warm-up."""

    async def start(self, name: str, spec: EngineSpec, pool: str | None) -> None:
        app: ASGIApp = SimulatedEngineApp(spec)
        if pool is not None:
            engine = SimulatedSleeper(spec, lambda: self.warm_engine(spec.model_id, Task.GENERATE))
            app = self._switch = EngineSwitch(
                engine,
                lane=name,
                pool=pool,
                in_flight=lambda: self._endpoint.guard.in_flight,
                load_within_s=60.0,
            )
        self._visits = LoadTracker(app, AffinityConfig())
        self._endpoint = EndpointServer(self._visits, secret=SECRET, host=HOST, listed=ENGINE_ASKS)
        await self._endpoint.start()
        headers = {SECRET_HEADER.decode(): SECRET}
        self._http = aiohttp.ClientSession(self._endpoint.url, headers=headers)
        self._signals = self._read_signals(name, stalled_after_s=30.0)

    async def stop(self) -> None:
        if self._switch is not None:
            self._switch.close()
        await self._http.close()
        await self._endpoint.stop()


class Handle:
    """Serve's handle of a deployment with one replica, which is here."""

    def __init__(self, replica: Any) -> None:
        self._replica = replica

    def broadcast(self, method: str, *args: Any) -> Any:
        answer = SimpleNamespace(get_async=lambda: getattr(self._replica, method)(*args))

        async def replicas() -> list[Any]:
            return [answer]

        return SimpleNamespace(_fetch_replica_results_async=replicas)

    @contextlib.asynccontextmanager
    async def choose_replica(
        self, *, rank_by: Callable[..., list[str]], on_ranker: Callable[..., None], _reserve: bool
    ) -> AsyncIterator[Any]:
        stats = await self._replica.record_routing_stats()
        listed = SimpleNamespace(
            replica_id=SimpleNamespace(unique_id="r1"),
            replica_metadata=self._replica.record_replica_metadata(),
        )

        def rank(rank_by: Callable[..., list[str]]) -> list[Any]:
            rank_by({"r1": stats})
            return [listed]

        rank(rank_by)
        on_ranker(rank)
        yield SimpleNamespace(replica_id="r1", replica_metadata=listed.replica_metadata)


_WITHOUT_SERVE: Any = inspect.getmro(ingress.Ingress)[1]
"""What Serve's decorator has wrapped."""


class Ingress(_WITHOUT_SERVE):  # type: ignore[misc]
    """An ingress replica that is told to stop; Serve awaits its destructor."""

    async def stop(self) -> None:
        await super().__del__()

    def __del__(self) -> None:
        pass


@dataclass
class OneProcess:
    """`app` is what Serve is given, `ingress` the replica behind it."""

    app: ASGIApp
    ingress: Any


@contextlib.asynccontextmanager
async def one_process(fleet: Path, tenants: Path, state: Path) -> AsyncIterator[OneProcess]:
    """Start it over a fleet of simulated engines; what it keeps goes into the folder `state`."""
    config = load_fleet(fleet)
    context = SimpleNamespace(
        replica_id=SimpleNamespace(unique_id="i1"), deployment="ingress", app_name="pointsman"
    )
    patches = (
        mock.patch.dict(os.environ, {"POINTSMAN_STATE": str(state)}),
        mock.patch.object(serve, "get_replica_context", return_value=context),
        mock.patch.object(ingress, "frontend_host", return_value=HOST),
        # A real one makes this process the leader of a group, and may end it.
        mock.patch.object(ingress, "Heartbeat", mock.Mock(return_value=mock.AsyncMock())),
    )
    async with contextlib.AsyncExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        handles = await _lanes(config, stack)
        served = Ingress(
            handles,
            fleet_file=str(fleet),
            tenants_file=str(tenants),
            secret=SECRET,
            listen=HOST,
            ledger=_ledger(config, tenants),
            swap=_swap(config, fleet, handles, stack),
        )
        handle = Handle(served)
        stack.enter_context(mock.patch.object(serve, "get_deployment_handle", return_value=handle))
        gateway = served.__serve_build_asgi_app__()
        stack.push_async_callback(served.stop)
        stack.callback(gc.unfreeze)
        if (leases := served._state.leases) is not None:  # noqa: SLF001
            while not served._state.ledger_status()["has_session"]:  # noqa: SLF001
                await leases.beat()
        yield OneProcess(Doorway(gateway), served)


async def _lanes(config: FleetConfig, stack: contextlib.AsyncExitStack) -> dict[str, Handle]:
    handles = {}
    for name, lane in config.enabled_lanes.items():
        replica = Lane()
        await replica.start(name, _engine_spec(lane), lane.cards)
        stack.push_async_callback(replica.stop)
        handles[name] = Handle(replica)
    return handles


def _swap(
    config: FleetConfig, fleet: Path, handles: dict[str, Handle], stack: contextlib.AsyncExitStack
) -> Any:
    if not config.pools:
        return None
    pooled = {x: handles[x] for x, lane in config.enabled_lanes.items() if lane.cards is not None}
    server = SwapServer(pooled, fleet_file=str(fleet), simulated=False)  # type: ignore[arg-type]
    stack.callback(server.stop)
    return SimpleNamespace(exchange=SimpleNamespace(remote=server.exchange))


def _ledger(config: FleetConfig, tenants: Path) -> Any:
    if config.ingress.replicas == 1:
        return None
    terms = asdict(config.ledger.terms(config.ingress.replicas))
    ledger = LedgerServer(terms, tenants_file=str(tenants))
    return SimpleNamespace(exchange=SimpleNamespace(remote=ledger.exchange))
