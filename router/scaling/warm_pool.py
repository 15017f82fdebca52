"""How large the warm pool of a lane has to be.

A replica that is started when the load rises serves a start-up time later. Until then the rise
is the warm pool's: its size is the steepest ramp x the start-up time, in replicas.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import ceil


def steepest_rise(load: Iterable[tuple[float, float]], window_s: float) -> float:
    """Return the most that a load rises within `window_s`; 0 where it never does.

    `load`: (seconds, load) in order of time, in any unit. With the start-up time as window this
    is the steepest ramp times that time, measured and not from a slope.
    """
    lows: deque[tuple[float, float]] = deque()
    steepest = 0.0
    for at, value in load:
        while lows and lows[-1][1] >= value:
            lows.pop()
        lows.append((at, value))
        while lows[0][0] < at - window_s:
            lows.popleft()
        steepest = max(steepest, value - lows[0][1])
    return steepest


def pool_size(load: Iterable[tuple[float, float]], start_up_s: float, of_replica: float) -> int:
    """Return the replicas that take the steepest rise of `load` while others start.

    `of_replica`: the load that one replica takes, in the unit of `load`.
    """
    return ceil(steepest_rise(load, start_up_s) / of_replica)
