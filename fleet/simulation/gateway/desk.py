"""One lane at one ingress replica: its queue, its slots, its view of the replicas."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from fleet.simulation.engines.lane import LaneEngines
from fleet.simulation.pools.gate import Gate
from fleet.simulation.spec import FleetSpec
from fleet.simulation.world import World
from router.admission.lane_queue import LaneQueue
from router.admission.saturation import Level, Saturation
from router.admission.slots import ReplicaSlots, share_of
from router.placement.placement import LanePlacement
from router.recovery.breaker import Breakers
from router.scaling.demand import LaneDemand

if TYPE_CHECKING:
    from fleet.simulation.gateway.request import Request

OBSERVE_PERIOD_S = 1.0
LONGEST_TIMER_S = 0.25


class Desk:
    """What one ingress replica, `me`, keeps of one lane.

    Attributes:
        stranded: requests that found no replica, each until when it waits for one.
        gate: of a lane that shares its cards; a request waits there for `wait_bound_s` at most.

    """

    def __init__(
        self,
        engines: LaneEngines,
        fleet: FleetSpec,
        me: str,
        world: World,
        peers: Callable[[], int],
        elsewhere: Callable[[], int],
    ) -> None:
        self.engines, self.name = engines, engines.name
        self.queue = LaneQueue(fleet.queue, None, peers, elsewhere)
        self.saturation = Saturation(fleet.saturation)
        terms = engines.spec.scaling
        self.placement = LanePlacement(
            fleet.affinity,
            me,
            tracked=fleet.tracked_sessions,
            warm_s=fleet.warm_s,
            standby=0 if terms is None else terms.standby,
        )
        self.demand = LaneDemand()
        engines.demands.append(self.demand)
        self.breakers = Breakers(fleet.breaker)
        self.told_used = 0
        self.stranded: dict[Request, float] = {}
        self.gate: Gate | None = None
        self.wait_bound_s = math.inf
        self._slots, self._ingresses = engines.spec.slots, fleet.ingresses
        of_replica = None if self._slots is None else share_of(self._slots, 1, self._ingresses)
        self.slots = ReplicaSlots(of_replica)
        self._world = world
        self._is_armed = False
        self.resize(engines.spec.replicas, 0.0)
        world.every(OBSERVE_PERIOD_S, self._observe)

    def resize(self, replicas: int, now: float) -> None:
        """Take our part of the slots of so many replicas."""
        if self._slots is not None:
            capacity = share_of(self._slots, replicas, self._ingresses)
            lane = self._slots * replicas if self._ingresses > 1 else None
            self.queue.set_capacity(capacity, now, lane)

    def arm(self) -> None:
        """See that the queue is looked at again when it asks for it."""
        now = self._world.now
        if self._is_armed or (at := self.queue.next_at(now)) is None:
            return
        self._is_armed = True
        self._world.at(now + min(LONGEST_TIMER_S, max(0.001, at - now)), self._poll)

    def _poll(self, now: float) -> None:
        self._is_armed = False
        self.queue.poll(now)
        self.arm()

    @property
    def in_flight(self) -> int:
        """Requests that run or wait."""
        return self.queue.slots.used + self.queue.in_line

    @property
    def is_busy(self) -> bool:
        """Return whether it is worth asking the engines how they are."""
        slots, queue = self.queue.slots, self.queue
        least = 1 if slots.capacity is None else max(1, slots.capacity // 2)
        return slots.used >= least or queue.level > Level.NORMAL or queue.is_waiting

    def _observe(self, now: float) -> None:
        if not self.is_busy:
            return
        engines = self.engines
        if engines.stats:
            level = self.saturation.observe(engines.waiting, engines.kv_utilization, now=now)
            self.resize(len(engines.stats), now)
        else:
            level = self.saturation.level(now=now)
        self.queue.set_level(level, now)
        self.arm()
