"""The HTTP endpoint that an engine replica opens for the ingress.

Tokens never travel through Serve handles: the ingress picks a replica through
Serve, then talks HTTP to the address the replica published. This module is the
replica's side: the guard that demands the deployment's secret and lets only listed paths
through, the count of requests in flight, and a drain that lets them finish.
"""

from __future__ import annotations

import asyncio
import hmac
import socket

import ray
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.transport.replica_server import ReplicaServer

Listed = frozenset[tuple[str, str]]

SECRET_HEADER = b"x-pointsman-endpoint"
# Asked by Pointsman itself, every second: no work, and nothing that a drain waits for.
OBSERVED_PATHS = frozenset({"/health", "/metrics", "/metrics/"})


class Guard:
    """ASGI middleware: the secret first, then listed paths only, and a count of open requests.

    An engine has more routes than are asked here: it loads adapters, renders prompts,
    tells its configuration. `OBSERVED_PATHS` are not counted.

    Args:
        listed: methods and paths that lead to the app.

    """

    def __init__(self, app: ASGIApp, secret: str, listed: Listed) -> None:
        if not secret:
            raise ValueError("an endpoint needs a secret")
        self._app = app
        self._secret = secret.encode()
        self._listed = listed
        self.in_flight = 0
        self.served_total = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if not self._is_allowed(scope):
            await _refuse(scope, send, _UNAUTHORIZED)
            return
        if (scope["method"], scope["path"]) not in self._listed:
            await _refuse(scope, send, _NOT_FOUND)
            return
        if scope["path"] in OBSERVED_PATHS:
            await self._app(scope, receive, send)
            return
        self.in_flight += 1
        self.served_total += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.in_flight -= 1

    def _is_allowed(self, scope: Scope) -> bool:
        given = next((value for name, value in scope["headers"] if name == SECRET_HEADER), b"")
        return scope["type"] == "http" and hmac.compare_digest(given, self._secret)


_UNAUTHORIZED = 401, b'{"error":{"message":"Unauthorized","code":"401"}}'
_NOT_FOUND = 404, b'{"error":{"message":"Not found","code":"404"}}'


async def _refuse(scope: Scope, send: Send, answer: tuple[int, bytes]) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    status, body = answer
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class EndpointServer:
    """A uvicorn server for one guarded app, on a port the kernel chooses."""

    def __init__(self, app: ASGIApp, *, secret: str, host: str, listed: Listed) -> None:
        self.guard = Guard(app, secret, listed)
        self._socket = socket.socket()
        self._socket.bind((host, 0))
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        # No access log: it would cost a line per request and name no more than
        # the ingress's metrics do. Timeouts belong to the ingress.
        self._server = ReplicaServer(
            uvicorn.Config(
                self.guard,
                # Its own configuration would close the handlers of Serve's log for good.
                log_config=None,
                log_level="warning",
                access_log=False,
                lifespan="off",
                loop="none",
                http="httptools",
                timeout_keep_alive=3600,
                server_header=False,
                date_header=False,
            )
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Base URL, as published to the ingress."""
        return f"http://{self.host}:{self.port}"

    async def start(self) -> None:
        self._task = asyncio.create_task(self._server.serve([self._socket]), name="endpoint")
        while not self._server.started:
            if self._task.done():
                self._task.result()
            await asyncio.sleep(0.01)

    async def drain(self, *, settle_s: float = 2.0, within_s: float = float("inf")) -> int:
        """Wait until nothing is in flight and nothing has come for `settle_s`.

        New requests are still accepted: an ingress that chose this replica just
        before Serve withdrew it must not be refused.

        Returns:
            Requests that are still open after `within_s`; 0 when all have ended.

        """
        clock = asyncio.get_running_loop().time
        begun = quiet_since = clock()
        served = self.guard.served_total
        while clock() - begun < within_s:
            now = clock()
            if self.guard.in_flight or self.guard.served_total != served:
                served, quiet_since = self.guard.served_total, now
            elif now - quiet_since >= settle_s:
                return 0
            await asyncio.sleep(0.05)
        return self.guard.in_flight

    async def stop(self) -> None:
        """Close the listener and every connection.

        A stream that is open breaks off after what has been written: its reader gets
        every token there is, and no end.
        """
        self._server.should_exit = True
        self._server.force_exit = True
        if self._task is not None:
            await asyncio.wait([self._task], timeout=5)
        # Uvicorn leaves connections with an answer under way to themselves.
        for connection in list(self._server.server_state.connections):
            connection.transport.close()


def published_host(host: str) -> str:
    """Return the address that others reach: `0.0.0.0` becomes this node's own."""
    return ray.util.get_node_ip_address() if host == "0.0.0.0" else host  # noqa: S104
