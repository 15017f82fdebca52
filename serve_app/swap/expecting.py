"""What the arbiter expects of the lanes of a pool: their forecasts, where all of them have one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from router.scaling.forecast import Forecast
from router.swap.terms import Expected
from serve_app.scaling.forecasts import Foretold, published


def expected_of(
    pools: Iterable[Iterable[str]],
    read: Callable[[str], Forecast | None] = published,
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
