"""Keeping scores and shares in step with the lanes' load and with the other ingress replicas.

Nothing in the hot path waits for it: when it fails, shares go on from what this replica sees
alone, and a lane that yields takes its share back slowly.
"""

from __future__ import annotations

import logging

from serve_app.metrics import Metrics
from serve_app.placement.lanes import Lanes
from serve_app.routing.escalation import Escalation
from serve_app.transport.beat import beat
from serve_app.transport.broadcast import Broadcast

logger = logging.getLogger("ray.serve")

OBSERVE_PERIOD_S = 2.0
# Peers see samples of the same traffic, so what they add is precision, not news.
EXCHANGE_EVERY = 3


async def keep_in_step(
    escalation: Escalation, lanes: Lanes, metrics: Metrics, broadcast: Broadcast, *, has_peers: bool
) -> None:
    """Feed the lanes' loads and the peers' exports to an `Escalation`, for ever."""
    turn = 0
    while True:
        await beat(OBSERVE_PERIOD_S)
        turn += 1
        try:
            await observe_lanes(escalation, lanes, metrics)
            if has_peers and turn % EXCHANGE_EVERY == 0:
                await exchange(escalation, broadcast)
        except Exception:
            # It must outlive whatever a lane or a peer answers.
            logger.exception("escalation: a round of observing failed")


async def observe_lanes(escalation: Escalation, lanes: Lanes, metrics: Metrics) -> None:
    """Ask the stronger lanes for their load, if anything went there lately."""
    for lane in escalation.busy_lanes():
        fraction = escalation.observe(lane, await lanes.engine_load(lane))
        metrics.escalation_yield.labels(lane).set(fraction)


async def exchange(escalation: Escalation, broadcast: Broadcast) -> None:
    """Take in what the other ingress replicas saw."""
    for exported in await broadcast("escalation_export"):
        if isinstance(exported, dict):
            escalation.merge(exported)
