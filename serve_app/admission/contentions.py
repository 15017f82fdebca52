"""Which lanes are contended, for ceilings with `enforce: contended`."""

from __future__ import annotations

import asyncio
import time

from router.limits.contention import Contention
from serve_app.admission.admission import Admission, LaneView, alone

PERIOD_S = 0.2


class Contentions:
    """One ingress replica's view of its lanes, one for each mark that is in use."""

    def __init__(self, admission: Admission, elsewhere: LaneView = alone) -> None:
        self._admission = admission
        self._elsewhere = elsewhere
        self._all: dict[tuple[str, int], Contention] = {}
        self._is_used = asyncio.Event()

    def of(self, lane: str, contended_from: int) -> Contention:
        """The lane's, with this mark; it is kept up to date by `run`."""
        found = self._all.get((lane, contended_from))
        if found is None:
            demand, is_saturated = self._load(lane)
            found = Contention(contended_from, None if is_saturated else demand)
            self._all[lane, contended_from] = found
            self._is_used.set()
        return found

    async def run(self) -> None:
        # Most fleets have no ceiling of the kind.
        await self._is_used.wait()
        while True:
            await asyncio.sleep(PERIOD_S)
            self.observe()

    def observe(self) -> None:
        now = time.monotonic()
        for (lane, _), contention in self._all.items():
            demand, is_saturated = self._load(lane)
            contention.observe(demand, is_saturated=is_saturated, now=now)

    def _load(self, lane: str) -> tuple[int | None, bool]:
        """What runs and waits over all ingress replicas, if known; whether it is saturated."""
        here, elsewhere = self._admission.load(lane), self._elsewhere(lane)
        if here is None or elsewhere is None:
            return None, True
        return here[0] + elsewhere, here[1]
