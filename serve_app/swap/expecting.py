"""What the arbiter expects of the lanes of a pool: their forecasts, where all of them have one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from router.scaling.forecast import Forecast
from router.swap.terms import Expected
from serve_app.scaling.forecasts import READ_EVERY_S, Foretold, published

logger = logging.getLogger("ray.serve")


class KnownForecasts:
    """The forecasts of some lanes, read on a thread: Ray's store may hang, the arbiter may not."""

    def __init__(self, lanes: Iterable[str]) -> None:
        self._lanes = tuple(lanes)
        self._known: dict[str, Forecast | None] = {}

    def read(self, lane: str) -> Forecast | None:
        return self._known.get(lane)

    def _read_all(self) -> dict[str, Forecast | None]:
        return {lane: published(lane) for lane in self._lanes}

    async def keep(self) -> None:
        """Read them anew every minute, for ever."""
        while True:
            try:
                self._known = await asyncio.to_thread(
                    lambda: {x: published(x) for x in self._lanes}
                )
            except Exception as error:  # noqa: BLE001  # Ray's, of any kind; old ones become none
                logger.debug("swap: no forecasts: %s", error)
            await asyncio.sleep(READ_EVERY_S)


def expected_of(
    pools: Iterable[Iterable[str]],
    read: Callable[[str], Forecast | None],
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,  # noqa: TID251  # forecasts are of times of day
) -> Expected:
    """Return what is expected of a lane, in requests a second.

    A lane without a forecast is not one that nobody will ask for: where a lane of its pool has
    none, nothing is expected of any, and lanes wake for requests alone.
    """
    neighbours = {lane: tuple(pool) for pool in map(tuple, pools) for lane in pool}
    foretold = {lane: Foretold(lane, 1, read) for lane in neighbours}

    def expected(lane: str, at: float) -> float:
        ahead_s, now = at - clock(), wall()
        told = {x: foretold[x].worth(ahead_s, now) for x in neighbours[lane]}
        return 0.0 if None in told.values() else told[lane] or 0.0

    return expected
