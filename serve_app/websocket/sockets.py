"""Taking sockets in: the upgrade request, who may have one, and how many."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable

from starlette.types import Receive, Scope, Send

from router.errors import Rejected, RejectReason
from serve_app.pipeline.state import IngressState
from serve_app.protocol.errors import Dialect, error_body, error_headers, status_of
from serve_app.tenancy.auth import Tenant
from serve_app.websocket.connection import POLICY_VIOLATION, Connection
from serve_app.websocket.finder import Finder
from serve_app.websocket.hub import Hub

logger = logging.getLogger("ray.serve")

SUBPROTOCOL = "pointsman.v1"

INTERNAL_ERROR = 1011
CLOSE_S = 1.0

Identify = Callable[[], Tenant | Rejected]


class Sockets:
    """Serves `/v1/chat/ws` of one ingress replica."""

    def __init__(self, state: IngressState, hub: Hub, finder: Finder) -> None:
        self._state = state
        self._hub = hub
        self._finder = finder
        self._open: Counter[str] = Counter()

    async def serve(
        self,
        scope: Scope,
        headers: dict[bytes, bytes],
        identify: Identify,
        receive: Receive,
        send: Send,
    ) -> None:
        await receive()
        tenant = self._with_room(identify())
        if isinstance(tenant, Rejected):
            await refuse_upgrade(scope, send, tenant)
            return
        self._open[tenant.name] += 1
        self._hub.metrics.websockets.inc()
        try:
            await send(self._acceptance(scope, headers))
            await self._run(headers, identify, receive, send)
        finally:
            self._hub.metrics.websockets.dec()
            self._open[tenant.name] -= 1
            if not self._open[tenant.name]:
                del self._open[tenant.name]

    async def _run(
        self, headers: dict[bytes, bytes], identify: Identify, receive: Receive, send: Send
    ) -> None:
        # The subprotocols may hold the key; no call needs them.
        kept = {k: v for k, v in headers.items() if k != b"sec-websocket-protocol"}
        connection = Connection(self._state, self._hub, self._finder, identify, kept)
        try:
            has_left = await connection.run(receive, send)
        except Exception:
            logger.exception("a socket failed")
            await _close(send, INTERNAL_ERROR)
            return
        if not has_left:
            await _close(send, POLICY_VIOLATION)

    def _with_room(self, tenant: Tenant | Rejected) -> Tenant | Rejected:
        if isinstance(tenant, Rejected):
            return tenant
        config = self._state.policies.fleet.websocket
        if self._open[tenant.name] >= config.max_sockets_per_tenant:
            message = "Too many sockets are open; chats can share one."
            return Rejected(RejectReason.TENANT_CONCURRENCY, message)
        if self._open.total() >= config.max_sockets:
            return Rejected(RejectReason.NO_REPLICA, "No socket is free; try again.")
        return tenant

    def _acceptance(self, scope: Scope, headers: dict[bytes, bytes]) -> dict[str, object]:
        """The answer that opens the socket.

        The key is never sent back: what is echoed is `pointsman.v1`, if it was offered.
        """
        ours = []
        if headers.get(b"x-pointsman-debug") == b"1":
            ours.append((b"x-pointsman-ingress", self._hub.replica.encode()))
        offered = scope.get("subprotocols", ())
        return {
            "type": "websocket.accept",
            "subprotocol": SUBPROTOCOL if SUBPROTOCOL in offered else None,
            "headers": ours,
        }

    @property
    def count(self) -> int:
        return self._open.total()


async def refuse_upgrade(
    scope: Scope, send: Send, rejected: Rejected, status: int | None = None
) -> None:
    """Answer an upgrade request as any HTTP request would be refused."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        # Becomes a 403 without a body.
        await send({"type": "websocket.close", "code": POLICY_VIOLATION})
        return
    body = error_body(rejected, Dialect.OPENAI)
    await send(
        {
            "type": "websocket.http.response.start",
            "status": status or status_of(rejected.reason),
            "headers": [
                (b"content-type", b"application/json"),
                *error_headers(rejected),
                (b"content-length", str(len(body)).encode()),
            ],
        }
    )
    await send({"type": "websocket.http.response.body", "body": body})


async def _close(send: Send, code: int) -> None:
    """Say good-bye, for as long as the client may take to hear it."""
    try:
        async with asyncio.timeout(CLOSE_S):
            await send({"type": "websocket.close", "code": code})
    except (OSError, RuntimeError):
        # It has left (uvicorn's OSError), or does not read (TimeoutError).
        return
