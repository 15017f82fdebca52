"""Waiting for room in a lane: at most as many requests as `evals.replay.spare` allows."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from evals.replay.spare import LaneUse, Room, room_in

LOOK_PERIOD_S = 2.0
"""Between two looks at `/status`, which asks every replica."""

Look = Callable[[], Awaitable[Mapping[str, Any] | None]]


class SpareRoom:
    """The replay's places in lanes.

    Args:
        look: reads `/status`; None: it shows no lanes, or nobody answered.
        most: requests at a time in a lane, whatever is free.
        told: is called with the reason whenever the replay begins to wait for another one.

    """

    def __init__(
        self,
        look: Look,
        most: int,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._look, self._most, self._clock, self._sleep = look, most, clock, sleep
        self._told, self._why = told, ""
        self._own: Counter[str] = Counter()
        self._own_then: Counter[str] = Counter()
        self._seen: Mapping[str, Any] | None = None
        self._looked_at: float | None = None
        self._looking = asyncio.Lock()
        self.waits = 0

    @asynccontextmanager
    async def place(self, lane: str) -> AsyncIterator[None]:
        """A place in a lane, as soon as there is one."""
        while self._own[lane] >= (room := await self._room(lane)).requests:
            if not self._own[lane]:
                self._note(f"{lane}: {room.why}")
            await self._sleep(LOOK_PERIOD_S)
        self._own[lane] += 1
        try:
            yield
        finally:
            self._own[lane] -= 1

    def _note(self, why: str) -> None:
        self.waits += 1
        if why != self._why:
            self._why = why
            self._told(why)

    async def _room(self, lane: str) -> Room:
        async with self._looking:
            now = self._clock()
            if self._looked_at is None or now - self._looked_at >= LOOK_PERIOD_S:
                self._looked_at, self._own_then = now, self._own.copy()
                self._seen = await self._look()
        if self._seen is None:
            return Room(0, "/status does not answer")
        use = use_of(self._seen, lane)
        return room_in(use, self._own_then[lane], self._most)


def use_of(status: Mapping[str, Any], lane: str) -> LaneUse:
    """Read a lane's part of `/status`; what a tenant's key sees has no lanes."""
    row = (status.get("lanes") or {}).get(lane)
    if row is None:
        return LaneUse(0, 0, None)
    desks = [x.get("admission", {}).get(lane) for x in status.get("ingress") or ()]
    desks = [x for x in desks if x is not None]
    slots = [x["slots"] for x in desks]
    return LaneUse(
        running=max(float(row["running"]), sum(x["used"] for x in desks)),
        waiting=float(row["queue"]) + sum(sum(x["waiting"].values()) for x in desks),
        slots=None if not slots or None in slots else sum(slots),
        kv=float(row["kv_utilization"]),
        is_burning=any(
            x["lane"] == lane and x["verdict"] == "burning" for x in status.get("slo") or ()
        ),
    )
