"""What a forecast of a lane says of the time that a decision is for.

A forecast is made once an hour and published; whoever decides reads it once a minute. One that is
old, or does not reach that far, is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from router.scaling.forecast import DAY_S, STEP_S, Forecast

HISTORY_S = 14 * DAY_S
"""The history's points of five minutes go back so far."""

EVERY_S = 3600.0
READ_EVERY_S = 60.0
OLD_S = 4 * EVERY_S

Read = Callable[[str], Forecast | None]
"""Returns what was published of a lane, whatever its age."""


class Foretold:
    """What is known of one lane's forecast.

    Args:
        lane: its name.
        slots: sequences that one replica runs at once.
        read: returns what was published.

    """

    def __init__(self, lane: str, slots: int, read: Read) -> None:
        self._lane, self._slots, self._read = lane, slots, read
        self._forecast: Forecast | None = None
        self._due = float("-inf")

    def worth(self, ahead_s: float, now: float) -> float | None:
        """Return the replicas' worth of work that is expected `ahead_s` from `now`, since 1970."""
        if now >= self._due:
            self._due = now + READ_EVERY_S
            self._forecast = self._read(self._lane)
        if self._forecast is None or now - self._forecast.made_at > OLD_S:
            return None
        # The slot before, too: a replica is to be there when its load is.
        peak = self._forecast.peak(now + ahead_s - STEP_S, now + ahead_s)
        return None if peak is None else peak / self._slots


def expected_of(
    pools: Iterable[Iterable[str]],
    read: Read,
    clock: Callable[[], float],
    wall: Callable[[], float],
) -> Callable[[str, float], float]:
    """Return what is expected of a lane at a time, in requests a second (`router.swap`).

    A lane without a forecast is not one that nobody will ask for: where a lane of its pool has
    none, nothing is expected of any, and lanes wake for requests alone.

    Args:
        pools: the lanes of each.
        read: returns the forecast of a lane, of requests a second.
        clock: that the pool's arbiter decides by.
        wall: seconds since 1970, at the same moment.

    """
    neighbours = {lane: tuple(pool) for pool in map(tuple, pools) for lane in pool}
    foretold = {lane: Foretold(lane, 1, read) for lane in neighbours}

    def expected(lane: str, at: float) -> float:
        ahead_s, now = at - clock(), wall()
        told = {x: foretold[x].worth(ahead_s, now) for x in neighbours[lane]}
        return 0.0 if None in told.values() else told[lane] or 0.0

    return expected
