"""Taking one lane replica out of service: no new turns, and if wanted its end.

Serve (2.60) has no call that drains one replica: `serve.delete` and `serve deploy` act on whole
deployments, and what its controller drains it has chosen itself. So the replica says in the load
that it publishes that it drains, and the ingress replicas place nothing there
(`router.placement`). It stays listed, healthy and counted. One that is to end does so as one
whose engine is lost: Serve starts another in its place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from serve_app.transport.endpoint import EndpointServer
from serve_app.watchdog.heartbeat import end_process

logger = logging.getLogger("ray.serve")

SETTLE_S = 5.0
"""An ingress that has not heard of the drain may place a turn for as long as that."""


class Drain:
    """Whether a lane replica drains, and what follows.

    Args:
        name: the replica's, for the log.
        endpoint: counts the requests that are open.
        end: ends this process.

    """

    def __init__(
        self, name: str, endpoint: EndpointServer, end: Callable[[], None] = end_process
    ) -> None:
        self.is_on = False
        self._name = name
        self._endpoint = endpoint
        self._end = end
        self._ending: asyncio.Task[None] | None = None

    def begin(self, end_within_s: float | None) -> dict[str, Any]:
        """Drain from now on; said again, the last word counts.

        `end_within_s`: end when nothing has been open for `SETTLE_S`, at the latest after so many
        seconds, whatever is open then; None: stay.
        """
        self._keep()
        self.is_on = True
        if end_within_s is not None:
            self._ending = asyncio.get_running_loop().create_task(self._run(end_within_s))
        logger.warning("replica %s: an admin drains it", self._name)
        return self.status()

    def stop(self) -> dict[str, Any]:
        """Take turns again."""
        self._keep()
        self.is_on = False
        logger.warning("replica %s: it is drained no more", self._name)
        return self.status()

    def status(self) -> dict[str, Any]:
        return {
            "draining": self.is_on,
            "ends": self._ending is not None,
            "in_flight": self._endpoint.guard.in_flight,
        }

    def _keep(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None

    async def _run(self, within_s: float) -> None:
        left = await self._endpoint.drain(settle_s=SETTLE_S, within_s=within_s)
        logger.warning(
            "replica %s: drained, with %d requests left; it ends, Serve starts another",
            self._name,
            left,
        )
        self._end()
