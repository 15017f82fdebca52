"""What every lane replica does around its engine, and the simulated lane.

A lane replica opens the endpoint that the ingress relays from, counts as ready
when a dummy turn has run, and lets streams finish before it goes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import aiohttp
import ray
from ray import serve
from ray.util.metrics import Gauge

from serve_app.endpoint import SECRET_HEADER, EndpointServer
from serve_app.engine_stats import engine_load
from simulator.http.app import EngineSpec, SimulatedEngineApp

logger = logging.getLogger("ray.serve")

WARM_UP_TIMEOUT_S = 180.0
GAUGE_PERIOD_S = 2.0


class LaneEndpoint:
    """What both kinds of lane replica do with their endpoint."""

    _lane: str
    _endpoint: EndpointServer
    _secret: str
    _http: aiohttp.ClientSession
    _gauge_task: asyncio.Task[None]

    async def _open(self, app: Any, *, lane: str, model_id: str, secret: str, host: str) -> None:
        self._lane, self._secret = lane, secret
        self._endpoint = EndpointServer(app, secret=secret, host=_published_host(host))
        await self._endpoint.start()
        self._http = aiohttp.ClientSession(
            base_url=self._endpoint.url, headers={SECRET_HEADER.decode(): secret}
        )
        await self._warm_up(model_id)
        self._gauge_task = asyncio.create_task(self._report_running(), name="lane-gauge")

    async def _warm_up(self, model_id: str) -> None:
        """Run one dummy turn: the first inference compiles and allocates.

        (8 to 12 s of CUDA graph work on a 4090, 3 s on a CPU.) Serve sends
        traffic only after the constructor has returned.
        """
        started = time.monotonic()
        body = {
            "model": model_id,
            "messages": [{"role": "user", "content": "Say hello."}],
            "max_tokens": 4,
            "stream": True,
        }
        timeout = aiohttp.ClientTimeout(total=WARM_UP_TIMEOUT_S)
        async with self._http.post("/v1/chat/completions", json=body, timeout=timeout) as response:
            text = await response.text()
        if response.status != 200 or "data:" not in text:
            raise RuntimeError(f"lane '{self._lane}': warm-up turn failed ({response.status})")
        logger.info("lane '%s' warmed in %.1f s", self._lane, time.monotonic() - started)

    async def _report_running(self) -> None:
        """Show this replica's open requests in Ray's own metrics and dashboard."""
        gauge = Gauge(
            "pointsman_lane_requests_in_flight",
            description="Requests that a lane replica is serving.",
            tag_keys=("lane", "replica"),
        )
        tags = {"lane": self._lane, "replica": replica_id()}
        while True:
            gauge.set(self._endpoint.guard.in_flight, tags)
            await asyncio.sleep(GAUGE_PERIOD_S)

    def record_replica_metadata(self) -> dict[str, Any]:
        """Published by Serve to every handle: where the ingress finds the engine."""
        return {"url": self._endpoint.url}

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Streams do not pass through Serve, so it cannot count them itself."""
        return {"requests_in_flight": float(self._endpoint.guard.in_flight)}

    async def engine_metrics(self) -> dict[str, Any]:
        """This replica's Prometheus text and the load read from it."""
        async with self._http.get("/metrics/") as response:
            text = await response.text()
        return {
            "replica": replica_id(),
            "in_flight": self._endpoint.guard.in_flight,
            "text": text,
            **engine_load(text),
        }

    async def _close(self) -> None:
        """Drain, then close. Serve's graceful_shutdown_timeout_s bounds the wait."""
        if not hasattr(self, "_gauge_task"):
            return
        await self._endpoint.drain()
        self._gauge_task.cancel()
        await self._http.close()
        await self._endpoint.stop()


class SimulatedLaneServer(LaneEndpoint):
    """A simulated engine and its endpoint. Nothing it says comes from a model."""

    async def __init__(  # type: ignore[misc]
        self, spec: EngineSpec, *, lane: str, secret: str, host: str
    ) -> None:
        app = SimulatedEngineApp(spec)
        await self._open(app, lane=lane, model_id=spec.model_id, secret=secret, host=host)

    async def check_health(self) -> None:
        """Healthy for as long as it answers."""

    async def __del__(self) -> None:
        await self._close()


def replica_id() -> str:
    """This replica's short id, as Serve's handles name it."""
    return serve.get_replica_context().replica_id.unique_id


def _published_host(host: str) -> str:
    """Loopback stays loopback; `0.0.0.0` becomes this node's own address."""
    return ray.util.get_node_ip_address() if host == "0.0.0.0" else host  # noqa: S104
