"""The sockets of one ingress replica, and its dealings with replicas that resume its chats."""

from __future__ import annotations

from typing import Any

from serve_app.metrics import Metrics
from serve_app.pipeline.pipeline import Pipeline
from serve_app.pipeline.state import IngressState
from serve_app.transport.broadcast import Broadcast
from serve_app.transport.endpoint import EndpointServer
from serve_app.websocket.finder import Finder
from serve_app.websocket.hub import Hub
from serve_app.websocket.owner import ASKS as OWNER_ASKS
from serve_app.websocket.owner import Owner
from serve_app.websocket.peers import Peers
from serve_app.websocket.sockets import Sockets


class SocketService:
    """Builds them, runs them, and ends them in order.

    `host`: where the other replicas reach this one's endpoint.
    """

    def __init__(
        self,
        state: IngressState,
        pipeline: Pipeline,
        metrics: Metrics,
        broadcast: Broadcast,
        *,
        replica: str,
        secret: str,
        host: str,
    ) -> None:
        self._hub = Hub(state, pipeline, metrics, replica)
        self.peers = Peers(replica, secret, broadcast)
        self.sockets = Sockets(state, self._hub, Finder(self._hub, self.peers))
        self._endpoint = EndpointServer(
            Owner(self._hub), secret=secret, host=host, listed=OWNER_ASKS
        )

    async def run(self) -> None:
        """Open the endpoint, and keep in touch with the other replicas."""
        await self._endpoint.start()
        self.peers.open_at(self._endpoint.url)
        await self.peers.run()

    def status(self) -> dict[str, Any]:
        return {"sockets": self.sockets.count, **self._hub.snapshot()}

    async def drain(self) -> None:
        """Wait for the chats that still run: other replicas read them through the endpoint."""
        await self._hub.drain()
        await self._endpoint.drain(settle_s=0.2)

    async def close(self) -> None:
        self._hub.close()
        await self._endpoint.stop()
        await self.peers.close()
