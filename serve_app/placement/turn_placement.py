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
from serve_app.config.fleet import FleetConfig, LaneConfig, SessionConfig
from simulator.model.profile import load_profile

TURN_HEADER = "x-pointsman-turn"

# Sequences that vLLM runs at once where the lane does not say (its default for servers
# on anything but the largest cards).
DEFAULT_SEATS = 256


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
    """A lane's placement, usable from two threads.

    Args:
        me: this ingress replica's id.
        slots: sequences that one engine of the lane runs at once.

    """

    def __init__(self, config: SessionConfig, me: str, slots: int) -> None:
        self._me = me or "ingress"
        self._slots = slots
        self._lock = threading.Lock()
        affinity = config.affinity
        self._lane = LanePlacement(
            affinity.policy(), self._me, notes=affinity.notes, warm_s=affinity.warm_s
        )

    def apply(self, config: SessionConfig, slots: int) -> None:
        """Use new bounds from now on; what is open and who is a guest stays."""
        with self._lock:
            self._slots = slots
            self._lane.config = config.affinity.policy()

    def place(
        self, visit: TurnFacts, stats: Mapping[str, Mapping[str, Any]], avoid: frozenset[str]
    ) -> Placed:
        """Place one turn; see `LanePlacement.choose`."""
        with self._lock:
            chosen = self._lane.choose(visit, stats, self._slots, avoid, now=time.monotonic())
        words = (self._me, visit.group, *map(str, chosen.guest or ()))
        return Placed(chosen.order, chosen.outcome is Outcome.SPILLED, " ".join(words))

    def begin(self, replica: str) -> None:
        """A placed request is being opened."""
        with self._lock:
            self._lane.begin(replica)

    def end(self, replica: str) -> None:
        """An opened request has ended."""
        with self._lock:
            self._lane.end(replica)


def build_placements(fleet: FleetConfig, me: str) -> dict[str, TurnPlacement]:
    """One for each lane that runs; `me` is this ingress replica's id."""
    lanes = fleet.enabled_lanes.items()
    return {name: TurnPlacement(fleet.sessions, me, max_num_seqs_of(lane)) for name, lane in lanes}


def max_num_seqs_of(lane: LaneConfig) -> int:
    """Sequences that one engine of the lane runs at once."""
    if lane.max_num_seqs is not None:
        return lane.max_num_seqs
    profile = lane.simulated.profile if lane.engine == "simulated" else None
    return DEFAULT_SEATS if profile is None else load_profile(profile).scheduling.max_num_seqs
