"""The ingress's own listener: clients reach it without HAProxy and without Serve's layers.

It shares the frontend's address with HAProxy, which goes on answering where no ingress replica
listens: before the first one is there, while none lives, and on nodes that have none. The
replicas of one machine share one socket there (`sharing`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource

import orjson
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.config.addresses import Frontend
from serve_app.front.doorway import readable
from serve_app.front.listener.shared_port import SharedPort
from serve_app.front.listener.sharing import NobodyAnswers, Offer, Shared, share
from serve_app.front.listener.wire import Wire
from serve_app.machine.port_owner import listeners
from serve_app.protocol.asgi import respond
from serve_app.transport.beat import beat
from serve_app.transport.replica_server import ReplicaServer

logger = logging.getLogger("ray.serve")

LOOK_EVERY_S = 1.0
"""Between two looks at every connection, and at the port while HAProxy is not there yet."""

ASKED_FOR = 30
"""How often who has the socket is asked for it: whoever hangs is killed before."""

LAST_ANSWER = (b"connection", b"close")

MAX_FILES = 16_384
"""Open files that the process may have: two connections a stream, and what else there is."""


class Listener:
    """Listens for one ingress replica.

    Args:
        app: what answers.
        name: of Serve's application, for `/-/routes`.

    """

    def __init__(self, app: ASGIApp, place: Frontend, *, name: str) -> None:
        self._app, self._place, self._name = app, place, name
        self._config = uvicorn.Config(
            self._answer,
            # Serve's log is set up by Serve.
            log_config=None,
            log_level="error",
            access_log=False,
            lifespan="off",
            interface="asgi3",
            loop="none",
            http=Wire,
            # Whoever is at this machine could otherwise name any address as its own.
            proxy_headers=False,
            timeout_keep_alive=place.keep_alive_s,  # type: ignore[arg-type]
        )
        self._config.load()
        self._server = ReplicaServer(self._config)
        self._serving: asyncio.Task[None] | None = None
        self._port: SharedPort | None = None

    def row(self) -> dict[str, object] | None:
        """What `/status` says of it; None: it does not listen."""
        if self._port is None:
            return None
        state = self._server.server_state
        return {
            "address": f"{self._place.host}:{self._place.port}",
            "connections": len(state.connections),
            "requests": len(state.tasks),
            "served": state.total_requests,
        }

    async def run(self) -> None:
        """Listen as soon as HAProxy does, then look after the connections, for ever."""
        place = self._place
        # Its socket has to be the first of the port. Nobody tells when it is.
        while not _is_held(place.port):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_EVERY_S)
        try:
            shared, offer = await self._share()
        except OSError as error:
            logger.warning(
                "port %d is not shared (%s): requests come through HAProxy", place.port, error
            )
            return
        if self._server.should_exit:
            offer.close()
            shared.close()
            return
        _raise_file_limit()
        state = self._server.server_state
        self._serving = asyncio.create_task(self._server.serve([]), name="own-listener")
        self._port = held = SharedPort(
            shared, offer, lambda: len(state.connections), self._protocol
        )
        while not self._serving.done():
            await beat(LOOK_EVERY_S)
            self._look()
            held.look()

    async def _share(self) -> tuple[Shared, Offer]:
        place = self._place
        for _ in range(ASKED_FOR):
            with contextlib.suppress(NobodyAnswers):
                return await asyncio.to_thread(share, place.host, place.port)
            await asyncio.sleep(LOOK_EVERY_S)
        return await asyncio.to_thread(share, place.host, place.port, is_patient=False)

    def _protocol(self) -> asyncio.Protocol:
        state = self._server.server_state
        return Wire(config=self._config, server_state=state, app_state={})

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        for connection in list(self._server.server_state.connections):
            if isinstance(connection, Wire):
                connection.look(now)

    async def stop(self) -> None:
        """Take no more connections, and wait for the requests that are open.

        Connections that are kept hear with their next answer that they end: one that is closed on
        a request which is just coming is reset.
        """
        held, self._port = self._port, None
        if held is not None:
            self._config.encoded_headers.append(LAST_ANSWER)
            self._server.server_state.default_headers.append(LAST_ANSWER)
            await held.leave()
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/-/"):
            await self._answer_as_serve(scope["path"], send)
            return
        if scope["type"] == "websocket":
            # Sockets are another protocol's of uvicorn: `Wire` has not read their headers.
            scope["headers"] = readable(scope["headers"])
        await self._app(scope, receive, send)

    async def _answer_as_serve(self, path: str, send: Send) -> None:
        """Answer what HAProxy answers by itself, for Serve."""
        if path == "/-/healthz":
            await respond(send, 200, b"success", [(b"content-type", b"text/plain")])
        elif path == "/-/routes":
            routes = orjson.dumps({"/": self._name})
            await respond(send, 200, routes, [(b"content-type", b"application/json")])
        else:
            await respond(send, 404, b"Not found", [(b"content-type", b"text/plain")])


def _is_held(port: int) -> bool:
    return any(x.port == port and x.uid == os.geteuid() for x in listeners())


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
