"""The ingress's side of the lanes: which replica, and a connection to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from serve_app.endpoint import SECRET_HEADER
from serve_app.fleet_config import TimeoutConfig
from serve_app.upstream import Response, SilentConnection, Upstream


class NoReplica(Exception):
    """No replica of the lane can be had now."""


class UpstreamFault(Exception):
    """A replica failed or fell silent; nothing is wrong with the request."""


class UpstreamTimeout(UpstreamFault):
    """The engine took longer than the configured time."""


@dataclass(frozen=True, slots=True)
class Replica:
    """A chosen replica: its id in Serve and the base URL it published."""

    id: str
    url: str


class Lanes:
    """Chooses replicas through Serve's handles and opens requests to them."""

    def __init__(
        self, handles: dict[str, DeploymentHandle[Any]], secret: str, timeouts: TimeoutConfig
    ) -> None:
        self._handles = handles
        self._upstream = Upstream(
            {SECRET_HEADER.decode(): secret, "content-type": "application/json"},
            timeouts.connect_s,
            timeouts.read_s,
        )
        self.timeouts = timeouts

    def apply(self, timeouts: TimeoutConfig) -> None:
        """Use new time-outs from now on."""
        self.timeouts = timeouts
        self._upstream.connect_s, self._upstream.read_s = timeouts.connect_s, timeouts.read_s

    def names(self) -> list[str]:
        """The lanes that have a deployment."""
        return list(self._handles)

    async def choose(
        self, lane: str, session_key: str, avoid: frozenset[str] = frozenset()
    ) -> Replica:
        """The replica that keeps this session, or NoReplica after `choose_s`.

        `_reserve=False` skips Serve's slot reservation: a 4 ms call whose slot
        leaks when the ingress is killed. See docs/adr/0002-data-plane.md.
        """
        try:
            async with (
                asyncio.timeout(self.timeouts.choose_s),
                self._handles[lane].choose_replica(
                    session_key=session_key, avoid=avoid, _reserve=False
                ) as selection,
            ):
                return Replica(selection.replica_id, selection.replica_metadata["url"])
        except (TimeoutError, DeploymentUnavailableError, KeyError) as error:
            raise NoReplica(lane) from error

    async def is_ready(self, lane: str, *, within_s: float = 0.25) -> bool:
        """Whether the lane has a replica (Serve lists only warmed ones)."""
        try:
            async with asyncio.timeout(within_s):
                await self.choose(lane, "readiness")
        except (TimeoutError, NoReplica):
            return False
        return True

    async def open(
        self, replica: Replica, path: str, body: bytes, headers: dict[str, str]
    ) -> Response:
        """Send a request and wait for the response's head.

        Raises UpstreamFault when the replica cannot be reached or breaks off,
        UpstreamTimeout when nothing comes back in `read_s`.
        """
        try:
            return await self._upstream.post(replica.url, path, body, headers)
        except SilentConnection as error:
            raise UpstreamTimeout(replica.id) from error
        except OSError as error:
            # TimeoutError of connecting is one, too.
            raise UpstreamFault(replica.id) from error

    async def engine_metrics(self, lane: str, *, within_s: float = 2.0) -> list[dict[str, Any]]:
        """Load and Prometheus text of every replica of a lane that answers in time."""
        try:
            async with asyncio.timeout(within_s):
                results = (
                    await self._handles[lane]
                    .broadcast("engine_metrics")
                    .results_async(return_exceptions=True)
                )
        except (TimeoutError, DeploymentUnavailableError):
            return []
        return [result for result in results if isinstance(result, dict)]

    async def close(self) -> None:
        """Close every connection."""
        await self._upstream.close()
