"""How far Serve is with each deployment, asked inside of it: what starts, what failed and why."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from serve_app.machine.start_progress import cause_of

logger = logging.getLogger("ray.serve")

EVERY_S = 3.0
WITHIN_S = 2.0

States = dict[str, dict[str, Any]]
"""By deployment: `status`, replicas by `states`, `message` of what failed, `for_s` so far."""


class Deployments:
    """Asks Serve's controller now and then, on a thread, one question at a time.

    Args:
        look: asks, and may take its time.

    """

    def __init__(
        self, look: Callable[[], States], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look = look
        self._clock = clock
        self._asking: asyncio.Future[States] | None = None
        self._known: States = {}
        self._since: dict[str, tuple[str, float]] = {}
        self._next = float("-inf")

    async def states(self) -> States:
        """Return what is known now: of a moment ago where the controller does not answer."""
        if self._asking is None and self._clock() >= self._next:
            self._next = self._clock() + EVERY_S
            self._asking = asyncio.ensure_future(asyncio.to_thread(self._look))
        asking = self._asking
        if asking is not None:
            await asyncio.wait([asking], timeout=WITHIN_S)
            # Of several that wait for one answer, the first takes it.
            if asking.done() and self._asking is asking:
                self._take(asking)
                self._asking = None
        return self._known

    def _take(self, asked: asyncio.Future[States]) -> None:
        if asked.cancelled() or asked.exception() is not None:
            logger.debug("console: Serve's controller did not say how its deployments are")
            return
        now, found = self._clock(), asked.result()
        for name, row in found.items():
            state = repr((row["status"], row["states"]))
            before = self._since.get(name)
            if before is None or before[0] != state:
                self._since[name] = before = (state, now)
            row["for_s"] = round(now - before[1], 1)
        self._since = {k: v for k, v in self._since.items() if k in found}
        self._known = found


def serve_states() -> States:
    """Ask Serve's controller; for a thread. Outside of a deployment there is nothing to ask."""
    import ray
    from ray import serve

    if not ray.is_initialized():
        return {}
    return {
        name: {
            "status": str(getattr(state.status, "value", state.status)),
            "states": {str(k): int(v) for k, v in state.replica_states.items()},
            "message": cause_of(state.message) if "fail" in state.message else "",
        }
        for app in serve.status().applications.values()
        for name, state in app.deployments.items()
    }
