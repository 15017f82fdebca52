"""Two views of a value over time: how fast it rises, and its peak."""

from __future__ import annotations

from collections import deque
from itertools import takewhile


class Trend:
    """Slope of a value over a window, by least squares."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, float]] = deque()

    def note(self, at: float, value: float, window_s: float) -> None:
        """Add a value, and forget those that are older than the window."""
        self._points.append((at, value))
        while self._points[0][0] < at - window_s:
            self._points.popleft()

    def mean(self, window_s: float) -> float:
        """Return the mean of the values that are no older than this."""
        since = self._points[-1][0] - window_s
        values = [x for _, x in takewhile(lambda point: point[0] >= since, reversed(self._points))]
        return sum(values) / len(values)

    def slope(self, window_s: float) -> float:
        """Return the rise a second; 0 before half of the window has been seen."""
        points = self._points
        if not points or points[-1][0] - points[0][0] < window_s / 2:
            return 0.0
        times, values = [at for at, _ in points], [value for _, value in points]
        mean_at, mean = sum(times) / len(times), sum(values) / len(values)
        passed = [at - mean_at for at in times]
        spread = sum([x * x for x in passed])
        return sum([x * (value - mean) for x, value in zip(passed, values, strict=True)]) / spread

    def clear(self) -> None:
        self._points.clear()


class Peak:
    """The highest value of the last `window_s` seconds, in constant time a value."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._since: float | None = None
        # Falling values: a later and higher one makes those before it needless.
        self._highest: deque[tuple[float, int]] = deque()

    def note(self, at: float, value: int) -> None:
        if self._since is None:
            self._since = at
        while self._highest and self._highest[-1][1] <= value:
            self._highest.pop()
        self._highest.append((at, value))
        while self._highest[0][0] < at - self._window_s:
            self._highest.popleft()

    def highest(self, at: float) -> int | None:
        """Return it; None before the window has been seen whole."""
        if self._since is None or at - self._since < self._window_s:
            return None
        return self._highest[0][1]

    def clear(self) -> None:
        self._since = None
        self._highest.clear()
