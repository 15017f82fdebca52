"""The background task that tells `Admission` how full the engines are.

Nothing in the hot path waits for it. When a lane does not answer, its level falls by
itself and free work is let in again: the queue's order and the slots do not depend on it.
"""

from __future__ import annotations

import asyncio
import logging

from serve_app.admission.admission import Admission
from serve_app.placement.lanes import Lanes

logger = logging.getLogger("ray.serve")

PERIOD_S = 1.0


class SaturationWatch:
    """Feeds the load of busy lanes to one ingress replica's `Admission`."""

    def __init__(self, admission: Admission, lanes: Lanes) -> None:
        self._admission = admission
        self._lanes = lanes

    async def run(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_S)
            try:
                await self.observe()
            except Exception:
                # It must outlive whatever a lane answers.
                logger.exception("admission: a round of observing failed")

    async def observe(self) -> None:
        lanes = self._admission.busy_lanes()
        loads = await asyncio.gather(*(self._lanes.engine_load(lane) for lane in lanes))
        for lane, replicas in zip(lanes, loads, strict=True):
            self._admission.observe(lane, replicas)
