"""The background task that keeps `Escalation` in step with the lanes and its peers.

Nothing in the hot path waits for it. When it fails, shares go on from what this
replica sees alone, and a lane that yields takes its share back slowly.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from serve_app.metrics import Metrics
from serve_app.placement.lanes import Lanes
from serve_app.routing.escalation import Escalation

logger = logging.getLogger("ray.serve")

OBSERVE_PERIOD_S = 2.0
# Peers see samples of the same traffic, so what they add is precision, not news.
EXCHANGE_EVERY = 3

Broadcast = Callable[[str], Awaitable[list[Any]]]


class EscalationSync:
    """Feeds loads and peers' exports to one replica's `Escalation`.

    Args:
        broadcast: calls a method on every ingress replica, this one included.
        has_peers: whether there are other ingress replicas.

    """

    def __init__(
        self,
        escalation: Escalation,
        lanes: Lanes,
        metrics: Metrics,
        broadcast: Broadcast,
        *,
        has_peers: bool,
    ) -> None:
        self._escalation = escalation
        self._lanes = lanes
        self._metrics = metrics
        self._broadcast = broadcast
        self._has_peers = has_peers

    async def run(self) -> None:
        turn = 0
        while True:
            await asyncio.sleep(OBSERVE_PERIOD_S)
            turn += 1
            try:
                await self.observe()
                if self._has_peers and turn % EXCHANGE_EVERY == 0:
                    await self.exchange()
            except Exception:
                # It must outlive whatever a lane or a peer answers.
                logger.exception("escalation: a round of observing failed")

    async def observe(self) -> None:
        for lane in self._escalation.busy_lanes():
            fraction = self._escalation.observe(lane, await self._lanes.engine_load(lane))
            self._metrics.escalation_yield.labels(lane).set(fraction)

    async def exchange(self) -> None:
        for exported in await self._broadcast("escalation_export"):
            if isinstance(exported, dict):
                self._escalation.merge(exported)
