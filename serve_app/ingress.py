"""The ingress deployment: one process that answers HTTP and decides."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from serve_app.control import Control
from serve_app.gateway import Gateway, is_loopback
from serve_app.lanes import Lanes
from serve_app.metrics import Metrics
from serve_app.pipeline import Pipeline
from serve_app.reload import Reloader, load_policies
from serve_app.state import IngressState, Policies

BROADCAST_TIMEOUT_S = 3.0


@serve.ingress()
class Ingress:
    """Builds every object of one ingress replica and owns its background task."""

    def __init__(
        self,
        handles: dict[str, DeploymentHandle[Any]],
        *,
        fleet_file: str,
        tenants_file: str,
        secret: str,
        listen: str,
    ) -> None:
        files = (Path(fleet_file), Path(tenants_file))
        policies = load_policies(*files)
        self._metrics = Metrics()
        self._state = IngressState(policies, secret)
        self._lanes = Lanes(handles, secret, policies.fleet.timeouts)
        self._reloader = Reloader(*files, policies.fleet, self._apply)
        self._control = Control(
            self._state, self._lanes, self._metrics, self._reloader, self._broadcast
        )
        pipeline = Pipeline(self._state, self._lanes, self._metrics)
        trusts_local = is_loopback(listen) and is_loopback(_frontend_host())
        self._gateway = Gateway(self._state, pipeline, self._control, trusts_local=trusts_local)
        self._watch: asyncio.Task[None] | None = None

    def __serve_build_asgi_app__(self) -> Gateway:
        """Called by Serve once, on the replica's event loop."""
        self._watch = asyncio.get_running_loop().create_task(self._reloader.watch())
        return self._gateway

    def _apply(self, policies: Policies) -> None:
        self._state.policies = policies
        self._lanes.apply(policies.fleet.timeouts)

    async def _broadcast(self, method: str) -> list[Any]:
        context = serve.get_replica_context()
        me = serve.get_deployment_handle(context.deployment, context.app_name)
        try:
            async with asyncio.timeout(BROADCAST_TIMEOUT_S):
                return list(await me.broadcast(method).results_async(return_exceptions=True))
        except TimeoutError:
            return [getattr(self, method)()]

    # Called on every ingress replica, by broadcast.

    def snapshot(self) -> dict[str, Any]:
        """This replica's part of `/status`."""
        return {
            "replica": serve.get_replica_context().replica_id.unique_id,
            "requests_in_flight": int(self._metrics.in_flight._value.get()),  # noqa: SLF001
            "reserved_tokens": self._state.reserved_tokens(),
            "sessions": len(self._state.sessions),
            "active_sessions": self._state.sessions.active(),
            "scored_total": self._state.scored_total,
            "escalated_total": self._state.escalated_total,
            "tenants_near_limit": self._state.tenants_near_limit(),
        }

    def metrics_text(self) -> dict[str, str]:
        """This replica's id and its Prometheus text."""
        self._control.refresh_gauges()
        replica = serve.get_replica_context().replica_id.unique_id
        return {"replica": replica, "text": self._metrics.render()}

    def reload(self) -> dict[str, Any]:
        """Read the files again."""
        return self._reloader.reload()

    async def __del__(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        await self._lanes.close()


def _frontend_host() -> str:
    """Where Serve's frontend really listens.

    Serve takes `http_options` once, when it starts; a later file may say otherwise.
    """
    from ray.serve.context import _get_global_client

    return str(_get_global_client().http_config.host)
