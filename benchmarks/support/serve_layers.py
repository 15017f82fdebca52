"""What stands between a client and our application in an ingress replica, in one process.

On the own listener that is its protocol. Of what comes through HAProxy: uvicorn's protocol reads
bytes from a transport that is a list; Serve's replica is its own class with what a request touches
of it. So each layer's cost is a difference between two ways in.
"""

# ruff: noqa: SLF001 - what Serve sets in a constructor that needs a cluster
from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import uvicorn
from ray.serve._private import replica as replicas
from ray.serve._private.common import DeploymentID
from ray.serve._private.config import DeploymentConfig
from ray.serve._private.http_util import ASGIAppReplicaWrapper, RequestIdMiddleware
from ray.serve._private.logging_utils import log_access_log_filter
from ray.serve._private.rolling_window import RollingWindowAccumulator, RollingWindowMax
from ray.serve._private.utils import Semaphore
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from serve_app.front.doorway import Doorway
from serve_app.front.listener.wire import Wire


def served(app: ASGIApp) -> ASGIApp:
    """The application as a replica of Serve calls it, of a request that came through HAProxy."""
    made: Any = replicas.Replica.__new__(replicas.Replica)
    made._user_callable_initialized = True
    made._route_prefix, made._ingress, made._quiescing = "/", True, False
    made._deployment_id = DeploymentID("ingress", "pointsman")
    made._deployment_config = DeploymentConfig(max_ongoing_requests=10_000)
    made._user_callable_asgi_app = app
    made._http_options = SimpleNamespace(request_timeout_s=None)
    made._event_loop = asyncio.get_running_loop()
    made._num_queued_requests, made._reserved_slots = 0, set()
    made._semaphore = Semaphore(lambda: 10_000)
    made._access_log_context = {"serve_access_log": True}
    made._metrics_manager = _metrics()
    wrapper = replicas.UserCallableWrapper(
        ASGIAppReplicaWrapper,
        (app,),
        {},
        deployment_id=made._deployment_id,
        run_sync_methods_in_threadpool=False,
        run_user_code_in_separate_thread=False,
        local_testing_mode=False,
        deployment_config=made._deployment_config,
        actor_id="a",
    )
    wrapper._callable = _Late(None)
    wrapper._callable._asgi_app = app
    made._user_callable_wrapper = wrapper
    handled: ASGIApp = made._direct_ingress_asgi
    return handled


class _Late(ASGIAppReplicaWrapper):
    """Without a lifespan, whose end Serve's own awaits."""

    def __del__(self) -> None:  # type: ignore[override]
        pass


def _metrics() -> Any:
    manager: Any = replicas.ReplicaMetricsManager.__new__(replicas.ReplicaMetricsManager)
    manager._num_ongoing_requests, manager._ingress, manager._ingress_metrics = 0, True, {}
    manager._cached_metrics_enabled = True
    manager._user_code_time_accumulator = RollingWindowAccumulator(
        window_duration_s=600.0, num_buckets=60
    )
    manager._max_processing_latency_trackers = defaultdict(
        lambda: RollingWindowMax(window_duration_s=600.0, num_buckets=60)
    )
    manager._cached_latencies = defaultdict(lambda: deque(maxlen=1000))
    manager._cached_request_counter = defaultdict(int)
    return manager


def quiet_access_log() -> None:
    """Have the access log dropped where the deployment drops it: at its handler."""
    logger = logging.getLogger("ray.serve")
    logger.handlers.clear()
    logger.propagate, logger.level = False, logging.INFO
    handler = logging.NullHandler()
    handler.addFilter(log_access_log_filter)
    logger.addHandler(handler)


class Pipe(asyncio.Transport):
    """A connection whose other end is this process: keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"sockname": ("127.0.0.1", 8000), "peername": ("127.0.0.1", 1)})
        self.told: list[bytes] = []
        self.answered: Callable[[], None] = lambda: None

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.told.append(bytes(data))

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """There is no more than one request."""

    def resume_reading(self) -> None:
        """There is no more than one request."""

    def close(self) -> None:
        """It is not kept open anyway."""


class Connection:
    """One keep-alive connection to a protocol around an application."""

    def __init__(
        self, app: ASGIApp, protocol: type[HttpToolsProtocol | Wire] = HttpToolsProtocol
    ) -> None:
        self._done = asyncio.Event()

        async def noted(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await app(scope, receive, send)
            finally:
                self._done.set()

        config = uvicorn.Config(
            noted, lifespan="off", access_log=False, log_level=None, log_config=None
        )
        config.load()
        self._pipe = Pipe()
        self._protocol = protocol(config, ServerState(), {})
        self._protocol.connection_made(self._pipe)

    async def ask(self, request: bytes) -> bytes:
        """Send a request's bytes; the answer's."""
        self._done.clear()
        self._pipe.told.clear()
        self._protocol.data_received(request)
        await self._done.wait()
        # The protocol closes the cycle in the task's last step.
        await asyncio.sleep(0)
        return b"".join(self._pipe.told)


async def empty(_: Scope, receive: Receive, send: Send) -> None:
    """An application that reads a request and answers what is as long as a short answer."""
    await receive()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"300")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"x" * 300})


def ways(app: ASGIApp) -> dict[str, ASGIApp]:
    """Ways in by name, each with one layer more than the one before it."""
    return {
        "uvicorn": app,
        "and Serve's replica": served(app),
        "and its middleware": RequestIdMiddleware(served(app)),
        "and ours": Doorway(RequestIdMiddleware(served(app))),
    }
