"""Forecasts of lanes that share cards, made from a history as a deployment makes them.

There an ingress replica takes the points of five minutes and makes the forecasts
(`serve_app.scaling.forecasts`), and the arbiter reads them (`router.scaling.foretold`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from fleet.simulation.pools.pool import SimulatedPool
from fleet.simulation.world import World
from router.scaling.forecast import DAY_S, STEP_S, Forecast, foretell
from router.scaling.foretold import EVERY_S, HISTORY_S, expected_of
from router.swap.terms import Expected

BEGUN_AT_S = 18.0 * DAY_S
"""When a run begins, in seconds since 1970: on a Monday at midnight, a whole history after it."""

History = Mapping[str, Sequence[float]]
"""By lane, the requests a second of each five minutes before the run, the newest last."""


class Foreseen:
    """The history of the lanes of pools, and the forecasts made of it.

    Args:
        before: the history at the beginning; a lane that it has not has none.

    Attributes:
        forecasts: by lane, the newest.

    """

    def __init__(self, world: World, before: History) -> None:
        self._world = world
        self._points = {lane: _dated(rates) for lane, rates in before.items()}
        self._pools: list[SimulatedPool] = []
        self._due = 0.0
        self.forecasts: dict[str, Forecast | None] = {}

    def expected(self, lanes: Iterable[str]) -> Expected:
        """Return what the arbiter of the pool of these lanes expects of them."""
        return expected_of([lanes], self.forecasts.get, self._world.time, self._wall)

    def watch(self, pools: Iterable[SimulatedPool]) -> None:
        """Take points of these pools' lanes from now on, and make the first forecasts."""
        self._pools = list(pools)
        if self._pools:
            self._tell(self._world.now)
            self._world.every(STEP_S, self._take)

    def _wall(self) -> float:
        return BEGUN_AT_S + self._world.now

    def _take(self, now: float) -> None:
        for pool in self._pools:
            for lane in pool.arbiter.pool.lanes:
                begun = sum(gate.begun.pop(lane, 0) for gate in pool.gates)
                points = self._points.setdefault(lane, _dated(()))
                points.append((self._wall(), begun / STEP_S))
        self._tell(now)

    def _tell(self, now: float) -> None:
        if now < self._due:
            return
        self._due = now + EVERY_S
        for lane, points in self._points.items():
            self.forecasts[lane] = foretell(points)


def _dated(rates: Sequence[float]) -> deque[tuple[float, float]]:
    """Give each of the rates before the run the time at which its five minutes ended."""
    newest = len(rates) - 1
    points = ((BEGUN_AT_S - STEP_S * (newest - n), rate) for n, rate in enumerate(rates))
    return deque(points, maxlen=HISTORY_S // STEP_S)
