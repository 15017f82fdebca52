"""One pool: its arbiter, and engines that wake and rest as long as their costs say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from random import Random

from fleet.simulation.pools.faults import LOAD_WITHIN_S, Faults, no_faults, noted_after_s
from fleet.simulation.pools.gate import Gate
from fleet.simulation.world import World
from router.swap.arbiter import Arbiter
from router.swap.pool import SwapPool
from router.swap.terms import Act, Expected, Order, Phase, nothing_expected
from router.swap.waiting_room import WaitingRoom
from simulator.model.profile import SleepCosts

BEAT_S = 0.2
"""Between two reports of an ingress replica: `serve_app.swap.gates` has 0.1 s while requests wait
and 0.5 s else, and tells at once of the first one that waits, as is done here."""


class SimulatedPool:
    """Carries out what the arbiter orders.

    Args:
        pool: the policy, with the lanes' cards and weights known.
        costs: by lane, seconds of its swaps.
        holders: ingress replicas, by name.
        places: for requests of one ingress replica that wait; None: no bound.
        told: called with each order, when it is given.
        rested: called with a lane whose engine has left its card.
        failed: called with one that did not wake.
        expected: the arbiter's forecast.
        jitter: each duration is drawn evenly from so much around its figure.
        faults: which wakings come to nothing.
        load_within_s: by lane, the bound of a load that hangs.

    Attributes:
        gates: of the ingress replicas, in their order.
        most_awake: lanes that had a card at the same time, at most.

    """

    def __init__(
        self,
        world: World,
        pool: SwapPool,
        costs: Mapping[str, SleepCosts],
        holders: list[str],
        *,
        places: int | None = None,
        told: Callable[[Order, float], None] = lambda _order, _now: None,
        rested: Callable[[str, float], None] = lambda _lane, _now: None,
        failed: Callable[[str, float], None] = lambda _lane, _now: None,
        expected: Expected = nothing_expected,
        random: Random | None = None,
        jitter: float = 0.0,
        faults: Faults = no_faults,
        load_within_s: Mapping[str, float] | None = None,
    ) -> None:
        self.arbiter = Arbiter(pool, now=world.now)
        self.gates = [
            Gate(name, self.exchange, None if places is None else WaitingRoom(places))
            for name in holders
        ]
        self.most_awake = 0
        self._world, self._costs = world, costs
        self._told, self._rested, self._failed = told, rested, failed
        self._expected, self._random, self._jitter = expected, random, jitter
        self._faults, self._load_within_s = faults, load_within_s or {}

    def begin(self) -> None:
        """Have the first reports given now, and all others after them."""
        self._world.at(self._world.now, self._beat)

    def _beat(self, now: float) -> None:
        for gate in self.gates:
            self.exchange(gate, now)
        self._world.at(now + BEAT_S, self._beat)

    def exchange(self, gate: Gate, now: float) -> None:
        """Hear one ingress replica, tell it what is open, and do what is to be done."""
        gate.take(self.arbiter.hear(gate.report(now), now), now)
        for order in self.arbiter.step(now, self._expected):
            self._told(order, now)
            self._do(order, now)
        awake = sum(not x.is_resting for x in self.arbiter.pool.lanes.values())
        self.most_awake = max(self.most_awake, awake)

    def _do(self, order: Order, now: float) -> None:
        pool, lane, costs = self.arbiter.pool, order.lane, self._costs[order.lane]
        if order.act is Act.WAKE:
            self._wake(lane, pool.lanes[lane].origin, now)
            return
        took_s = self._drawn(costs.sleep_s if order.act is Act.SLEEP else costs.unload_s)
        self._world.at(now + took_s, lambda at: self._has_rested(order, at))

    def _wake(self, lane: str, origin: Phase, now: float) -> None:
        costs, fault = self._costs[lane], self._faults(lane, now)
        if fault is not None:
            bound_s = self._load_within_s.get(lane, LOAD_WITHIN_S)
            at = now + noted_after_s(fault, origin, costs, bound_s)
            self._world.at(at, partial(self._did_not_wake, lane))
            return
        took_s = self._drawn(costs.wake_s if origin is Phase.ASLEEP else costs.load_s)
        self._world.at(now + took_s, partial(self._woken, lane))

    def _did_not_wake(self, lane: str, now: float) -> None:
        self.arbiter.pool.failed(lane, now)
        self._failed(lane, now)

    def _woken(self, lane: str, now: float) -> None:
        self.arbiter.pool.woken(lane, now)

    def _has_rested(self, order: Order, now: float) -> None:
        self.arbiter.pool.rested(order.lane, order.act, now)
        self._rested(order.lane, now)

    def _drawn(self, seconds: float) -> float:
        if self._random is None:
            return seconds
        return seconds * (1 + self._jitter * (2 * self._random.random() - 1))
