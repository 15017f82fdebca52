"""What one ingress replica tells the others, and itself, when it is asked by broadcast."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from serve_app.admin.desk import AdminDesk
from serve_app.admission.shed_order_watch import ShedOrderWatch
from serve_app.console.log_ring import LogRing
from serve_app.engine.warm_up import Exported
from serve_app.experiments.keeping import ExperimentKeeper
from serve_app.front.control import Control
from serve_app.front.listener.listener import Listener
from serve_app.metrics import Metrics
from serve_app.pipeline.pipeline import Pipeline
from serve_app.pipeline.records import Records
from serve_app.pipeline.state import IngressState
from serve_app.placement.lanes import Lanes
from serve_app.records.streams import Counts
from serve_app.relay.pump import choice
from serve_app.routing.reload import Reloader
from serve_app.websocket.service import SocketService


class PeerAnswers:
    """The methods that read, of the deployment `ingress`, which owns the objects.

    They are coroutines: Serve runs plain methods on threads, and what they read changes on the
    event loop.
    """

    _id: str
    _metrics: Metrics
    _state: IngressState
    _records: Records
    _lanes: Lanes
    _reloader: Reloader
    _control: Control
    _pipeline: Pipeline
    _websockets: SocketService
    _admin: AdminDesk
    _log_ring: LogRing
    _shed_order: ShedOrderWatch
    _experiments: ExperimentKeeper
    _listener: Listener | None

    async def snapshot(self) -> dict[str, Any]:
        return {
            "replica": self._id,
            "pid": os.getpid(),
            "requests_in_flight": int(self._metrics.in_flight._value.get()),  # noqa: SLF001
            "listener": None if self._listener is None else self._listener.row(),
            "data_plane": choice.row(),
            "uploads": self._state.uploads.count,
            "reserved_tokens": self._state.reserved_tokens(),
            "sessions": len(self._state.sessions),
            "websocket": self._websockets.status(),
            "active_sessions": self._state.presence.active(),
            "recent_sessions": self._state.sessions.recent(now=time.monotonic()),
            "ejected": self._pipeline.book.ejected(),
            "tenants_near_limit": self._state.tenants_near_limit(),
            "files": self._reloader.status(),
            "admission": self._state.admission.status(),
            "shed_order": self._shed_order.status(),
            "ledger": self._state.ledger_status(),
            "proxy_seen": self._state.proxies.seen,
            "stored_responses": self._records.responses.status(),
            "tools_refused": list(self._records.tools.refused),
            "slo": self._state.slo.export(self._state.policies.slo),
        }

    async def metrics_text(self) -> dict[str, Any]:
        self._control.refresh_gauges()
        text = await asyncio.to_thread(self._metrics.render)
        return {
            "replica": self._id,
            "text": text,
            "slo": self._state.slo.export(self._state.policies.slo),
        }

    async def recent(self) -> dict[str, Any]:
        faults, log = self._pipeline.book.log.export(), self._log_ring.rows()
        own = self._pipeline.recent.export()
        return {"replica": self._id, **own, "faults": faults, "log": log}

    async def escalation_export(self) -> dict[str, Any]:
        return self._state.escalation.export()

    async def traffic_export(self) -> dict[str, Any]:
        return self._state.traffic.export()

    async def experiments_export(self) -> dict[str, Any]:
        return self._experiments.export()

    async def streams_taken(self) -> Counts:
        return self._state.traffic.streams.take()

    async def shed_order_export(self) -> dict[str, Any]:
        return self._shed_order.export()

    async def hot_prefixes(self, lane: str, count: int) -> list[Exported]:
        return self._state.hot_prefixes(lane, count)

    async def tool_prefixes(self, name: str, version: int) -> dict[str, list[Exported]]:
        return {x: self._state.tool_prefixes(x, name, version) for x in self._lanes.names()}

    async def sessions_of_tools(self, name: str) -> dict[bytes, int]:
        return self._state.tool_sessions.of(name, time.monotonic())

    async def socket_peers(self) -> dict[str, tuple[str, float]]:
        return self._websockets.peers.export()

    async def silent_socket_peers(self) -> dict[str, tuple[str, float]]:
        return self._websockets.peers.export_silent()

    async def admin(self, what: str, *args: Any) -> dict[str, Any]:
        return await self._admin.peer.answer(what, *args)
