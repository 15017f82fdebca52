"""A pool of lanes in virtual time: requests that come, stream and end, and what swapping costs.

Who is awake when is simulated as `pointsman simulate fleet` does it (`fleet.simulation.pools`).
Engines have room for every request here, so that a request takes as long as it takes, whoever
runs beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random

from fleet.simulation.pools.faults import WakeFault
from fleet.simulation.pools.gate import Gate, Passing
from fleet.simulation.pools.pool import SimulatedPool
from fleet.simulation.world import World as Clock
from router.swap.arbiter import Arbiter
from router.swap.pool import SwapPool
from router.swap.terms import Act, Expected, Order, PoolBounds, PooledLane, nothing_expected
from simulator.model.profile import SleepCosts


@dataclass(slots=True)
class Request:
    """One request; `started` is None until its lane takes it, and if it was refused."""

    lane: str
    at: float
    service_s: float
    priority: int = 0
    started: float | None = None

    @property
    def wait_s(self) -> float:
        return float("inf") if self.started is None else self.started - self.at


@dataclass(frozen=True, slots=True)
class SwapCosts:
    """Seconds, each drawn evenly from `jitter` around the figure."""

    wake_s: float
    rest_s: float
    load_s: float = 60.0
    jitter: float = 0.1


@dataclass
class World:
    """What happens to the requests under the policy of `router.swap`.

    Attributes:
        swaps: wakings from the first request on.
        most_awake: lanes that had a card at the same time, at most.
        broken: lanes that were told to rest while requests ran in them; must stay empty.

    """

    requests: Sequence[Request]
    bounds: PoolBounds
    lanes: Sequence[PooledLane]
    costs: SwapCosts
    seed: int = 1
    refuses: bool = True
    expected: Expected = nothing_expected
    host_gib: float = 1000.0
    holders: int = 1
    fails: Callable[[str, float], bool] = lambda _lane, _now: False
    swaps: int = 0
    most_awake: int = 0
    broken: list[str] = field(default_factory=list)
    slept: list[str] = field(default_factory=list)

    @property
    def arbiter(self) -> Arbiter:
        return self._pool.arbiter

    def run(self) -> World:
        """Play until every request has ended or was refused."""
        self._clock = clock = Clock()
        pool = SwapPool(self.bounds, self.lanes, host_gib=self.host_gib)
        for state in pool.lanes.values():
            state.cards, state.weights_gib = frozenset(), 1.0
        wake_s, rest_s, load_s = self.costs.wake_s, self.costs.rest_s, self.costs.load_s
        costs = SleepCosts(sleep_s=rest_s, wake_s=wake_s, load_s=load_s, unload_s=rest_s)
        self._pool = SimulatedPool(
            clock,
            pool,
            dict.fromkeys(pool.lanes, costs),
            [str(number) for number in range(self.holders)],
            told=self._note_order,
            expected=self.expected,
            random=Random(self.seed),
            jitter=self.costs.jitter,
            faults=lambda lane, now: WakeFault.FAILS if self.fails(lane, now) else None,
        )
        self._left = len(self.requests)
        for number, request in enumerate(self.requests):
            gate = self._pool.gates[number % self.holders]
            clock.at(request.at, partial(self._arrive, request, gate))
        self._pool.begin()
        while self._left and clock.step():
            pass
        self.swaps, self.most_awake = pool.swaps, self._pool.most_awake
        return self

    def _arrive(self, request: Request, gate: Gate, now: float) -> None:
        def begin(at: float) -> None:
            request.started = at
            self._clock.at(at + request.service_s, end)

        def end(at: float) -> None:
            gate.leave(passing, at)
            self._left -= 1

        def late(_at: float) -> None:
            self._left -= 1

        until = now + self.bounds.wait_bound_s if self.refuses else float("inf")
        passing = Passing(request.lane, request.priority, now, until, begin, late)
        gate.try_enter(passing, now)

    def _note_order(self, order: Order, _now: float) -> None:
        if order.act is Act.WAKE:
            return
        self.slept.append(order.lane)
        if any(+gate.running[order.lane] for gate in self._pool.gates):
            self.broken.append(order.lane)
