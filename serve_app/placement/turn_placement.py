"""Where turns go: the ingress's side of session affinity, and what it tells the replica.

Serve asks for an order of replicas on a thread of its own, while requests open and end
on the ingress's event loop; one lock a lane stands between the two. It is held for the
arithmetic of one placement (tens of microseconds).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from router.placement.affinity import Outcome, TurnFacts
from router.placement.placement import LanePlacement
from serve_app.config.fleet import FleetConfig
from serve_app.config.serving import SessionConfig

TURN_HEADER = "x-pointsman-turn"


@dataclass(frozen=True, slots=True)
class Placed:
    """What the policy said of one turn.

    Attributes:
        order: ids of the live replicas, the chosen one first.
        has_spilled: the load bound moved it.
        header: what the replica is to know; see `LoadTracker`.

    """

    order: list[str]
    has_spilled: bool
    header: str


class TurnPlacement:
    """A lane's placement, usable from two threads; `me` is this ingress replica's id.

    Each engine of the lane runs `slots` sequences at once. `lane` decides, under the lock.
    """

    def __init__(
        self,
        config: SessionConfig,
        me: str,
        slots: int,
        standby: int = 0,
        full_at: int | None = None,
    ) -> None:
        self.me = me or "ingress"
        self.slots = slots
        self._lock = threading.Lock()
        affinity = config.affinity
        self.lane = LanePlacement(
            affinity,
            self.me,
            tracked=affinity.tracked_sessions,
            warm_s=affinity.warm_s,
            standby=standby,
            full_at=full_at,
        )

    def apply(self, config: SessionConfig, slots: int) -> None:
        """Use new bounds from now on; what is open and what has spilled stays."""
        with self._lock:
            self.slots = slots
            self.lane.config = config.affinity

    def place(
        self, turn: TurnFacts, stats: Mapping[str, Mapping[str, Any]], avoid: frozenset[str]
    ) -> Placed:
        """Place one turn; see `LanePlacement.choose`."""
        with self._lock:
            chosen = self.lane.choose(turn, stats, self.slots, avoid, now=time.monotonic())
        words = (self.me, turn.group, *map(str, chosen.spilled or ()))
        return Placed(chosen.order, chosen.outcome is Outcome.SPILLED, " ".join(words))

    def withdraw(self, replica: str) -> None:
        """Place nothing on it from now on; see `LanePlacement.withdraw`."""
        with self._lock:
            self.lane.withdraw(replica)

    def restore(self, replica: str) -> None:
        with self._lock:
            self.lane.restore(replica)

    def begin(self, replica: str) -> None:
        with self._lock:
            self.lane.begin(replica)

    def end(self, replica: str) -> None:
        with self._lock:
            self.lane.end(replica)


def build_placements(fleet: FleetConfig, me: str) -> dict[str, TurnPlacement]:
    """One for each lane that runs; `me` is this ingress replica's id."""
    lanes = fleet.enabled_lanes.items()
    return {
        name: TurnPlacement(
            fleet.sessions,
            me,
            lane.assumed_slots,
            lane.replicas.standby,
            lane.replicas.full_at,
        )
        for name, lane in lanes
    }
