"""Waiting for room in a lane: at most as many requests as `evals.replay.spare` allows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from evals.replay.spare import LaneUse, Room, rest_s, room_in

LOOK_PERIOD_S = 2.0
"""Between two looks at `/status`, which asks every replica."""

Look = Callable[[], Awaitable[Mapping[str, Any] | None]]


@dataclass
class _Lane:
    """The replay in one lane.

    Attributes:
        seen_at: when somebody else was last seen there; at first as if somebody were.
        own_then: own requests when `/status` was read.

    """

    seen_at: float
    own: int = 0
    own_then: int = 0
    rests_until: float = 0.0


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
        self._lanes: dict[str, _Lane] = {}
        self._seen: Mapping[str, Any] | None = None
        self._looked_at: float | None = None
        self._looking = asyncio.Lock()
        self.waits = 0

    @asynccontextmanager
    async def place(self, lane: str) -> AsyncIterator[None]:
        """A place in a lane, as soon as there is one; afterwards the replay rests there."""
        mine = self._lanes.setdefault(lane, _Lane(seen_at=self._clock()))
        # Own requests are counted after the look: others may have taken a place meanwhile.
        while (room := await self._room(lane, mine)).requests <= mine.own:
            if room.why:
                self._note(f"{lane}: {room.why}")
            await self._sleep(LOOK_PERIOD_S)
        mine.own += 1
        begun = self._clock()
        try:
            yield
        finally:
            now = self._clock()
            mine.own -= 1
            mine.rests_until = now + rest_s(now - begun, quiet_s=now - mine.seen_at)

    def _note(self, why: str) -> None:
        self.waits += 1
        if why != self._why:
            self._why = why
            self._told(why)

    async def _room(self, lane: str, mine: _Lane) -> Room:
        async with self._looking:
            now = self._clock()
            if self._looked_at is None or now - self._looked_at >= LOOK_PERIOD_S:
                self._looked_at = now
                own_then = {name: x.own for name, x in self._lanes.items()}
                self._seen = await self._look()
                self._meet_others(own_then)
        if self._seen is None:
            return Room(0, "/status does not answer")
        now = self._clock()
        if now < mine.rests_until:
            return Room(0)
        use = use_of(self._seen, lane)
        return room_in(use, mine.own_then, self._most, quiet_s=now - mine.seen_at)

    def _meet_others(self, own_then: Mapping[str, int]) -> None:
        """Note in which lanes somebody else is served; unseen lanes count as busy ones."""
        for name, lane in self._lanes.items():
            lane.own_then = own_then.get(name, 0)
            use = None if self._seen is None else use_of(self._seen, name)
            if use is None or use.slots is None or use.others(lane.own_then) or use.waiting:
                lane.seen_at = self._clock()


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
