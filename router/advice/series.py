"""A signal over time, as points that can be added up.

A point at `at` stands for the step that ended then. It is a pair of sums, whatever the signal:

* of a reading (requests that wait): the sum of the readings and their number;
* of a share (first tokens that took over a second): the bad events and all events.

The quotient of the sums is the signal's value over any stretch, so that points of a coarser
step are sums of finer ones and nothing is lost but the order within a step.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Point(NamedTuple):
    """What one step brought; `at`: its end, in seconds since 1970."""

    at: float
    total: float
    weight: float

    @property
    def value(self) -> float:
        """Not a number for a step without readings or events."""
        return self.total / self.weight if self.weight else math.nan


class Series:
    """Points of one signal, oldest first, each `step_s` wide."""

    def __init__(self, step_s: float, points: Iterable[Point] = ()) -> None:
        self.step_s = step_s
        self._points = list(points)
        self._ends = [point.at for point in self._points]

    def __len__(self) -> int:
        return len(self._points)

    def add(self, point: Point) -> None:
        """Append a point; one that is no later than the last is left out."""
        if not self._ends or point.at > self._ends[-1]:
            self._points.append(point)
            self._ends.append(point.at)

    def forget(self, before: float) -> None:
        """Drop the points that ended at or before a time."""
        gone = bisect_right(self._ends, before)
        del self._points[:gone], self._ends[:gone]

    @property
    def ends(self) -> Sequence[float]:
        """When each point's step ended."""
        return self._ends

    def window(self, after: float, until: float) -> list[Point]:
        """Return the points whose step ended after `after`, and not after `until`."""
        return self._points[bisect_right(self._ends, after) : bisect_right(self._ends, until)]


def pooled(points: Iterable[Point]) -> Point:
    """Add points up to one; its time is that of the last."""
    at, total, weight = 0.0, 0.0, 0.0
    for point in points:
        at, total, weight = point.at, total + point.total, weight + point.weight
    return Point(at, total, weight)
