"""Good and bad events of the last minutes, hours and days, in bounded memory.

Counts are kept in buckets: of a minute for the last six hours, of an hour for the last 31
days. A window is the bucket that is under way and as many whole ones before it as the window
is long, so it misses no event of its time and may hold some that are up to a bucket older.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from router.slo.objectives import DAY_S

MINUTE_S = 60.0
HOUR_S = 3_600.0

WINDOWS_S: Mapping[str, float] = {
    "5m": 5 * MINUTE_S,
    "30m": 30 * MINUTE_S,
    "1h": HOUR_S,
    "6h": 6 * HOUR_S,
    "3d": 3 * DAY_S,
}
"""The windows of burn rates, by the name that they have in metrics."""

PERIOD = "period"
"""Name of the window that is the error budget's period."""

MAX_PERIOD_S = 31 * DAY_S
MINUTES = 6 * 60 + 1
HOURS = 31 * 24 + 1


class Tally(NamedTuple):
    """Events of one window."""

    good: int
    bad: int

    @property
    def total(self) -> int:
        return self.good + self.bad

    def plus(self, other: Tally) -> Tally:
        return Tally(self.good + other.good, self.bad + other.bad)


NONE = Tally(0, 0)

Aged = tuple[int, int, int]
"""A bucket's age in buckets (0: the one that is under way), its good events and its bad ones."""


class Ring:
    """The latest `size` buckets of `width_s` seconds each, about 16 bytes a bucket.

    A clock that goes back goes on in the newest bucket until it is past it again.
    """

    __slots__ = ("_bad", "_good", "_newest", "_size", "_width_s")

    def __init__(self, width_s: float, size: int, *, now: float) -> None:
        self._width_s, self._size = width_s, size
        self._good, self._bad = array("Q", bytes(8 * size)), array("Q", bytes(8 * size))
        self._newest = int(now // width_s)

    def note(self, *, is_good: bool, now: float) -> None:
        """Count an event that happens now."""
        self._advance(now)
        counts = self._good if is_good else self._bad
        counts[self._newest % self._size] += 1

    def add(self, tally: Tally, at: float, *, now: float) -> None:
        """Count events of a moment in the past; those older than the ring are dropped."""
        self._advance(now)
        bucket = min(int(at // self._width_s), self._newest)
        if bucket > self._newest - self._size:
            self._good[bucket % self._size] += tally.good
            self._bad[bucket % self._size] += tally.bad

    def within(self, window_s: float, *, now: float) -> Tally:
        """Return the events of the last `window_s` seconds, and of up to a bucket more."""
        self._advance(now)
        count = min(self._size, int(window_s // self._width_s) + 1)
        last = self._newest % self._size + 1
        first = last - count
        return Tally(_sum(self._good, first, last), _sum(self._bad, first, last))

    def aged(self, *, now: float) -> list[Aged]:
        """Return the buckets that have events, newest first."""
        self._advance(now)
        first = self._newest % self._size + 1
        good, bad = (x[first:] + x[:first] for x in (self._good, self._bad))
        counts = enumerate(zip(reversed(good), reversed(bad), strict=True))
        return [(age, *both) for age, both in counts if any(both)]

    def _advance(self, now: float) -> None:
        bucket = int(now // self._width_s)
        if bucket <= self._newest:
            return
        for passed in range(max(self._newest + 1, bucket - self._size + 1), bucket + 1):
            self._good[passed % self._size] = self._bad[passed % self._size] = 0
        self._newest = bucket


def _sum(counts: array[int], first: int, last: int) -> int:
    """Sum a slice of a ring; a negative `first` begins before the ring's start."""
    if first >= 0:
        return sum(counts[first:last])
    return sum(counts[first:]) + sum(counts[:last])


class History:
    """The events of one objective, for one lane and tier: 18 KiB, whatever they are."""

    __slots__ = ("_hours", "_minutes", "latest")

    def __init__(self, *, now: float) -> None:
        self._minutes = Ring(MINUTE_S, MINUTES, now=now)
        self._hours = Ring(HOUR_S, HOURS, now=now)
        self.latest = now
        """When the latest event was noted."""

    def note(self, *, is_good: bool, now: float) -> None:
        """Count an event that happens now."""
        self._minutes.note(is_good=is_good, now=now)
        self._hours.note(is_good=is_good, now=now)
        self.latest = now

    def tallies(self, period_s: float, *, now: float) -> dict[str, Tally]:
        """Return the events of every window, and of the budget's period."""
        windows = {**WINDOWS_S, PERIOD: min(period_s, MAX_PERIOD_S)}
        return {name: self._within(window_s, now) for name, window_s in windows.items()}

    def _within(self, window_s: float, now: float) -> Tally:
        ring = self._minutes if window_s <= WINDOWS_S["6h"] else self._hours
        return ring.within(window_s, now=now)

    def aged(self, *, now: float) -> tuple[list[Aged], list[Aged]]:
        """Return the buckets of minutes and those of hours that have events."""
        return self._minutes.aged(now=now), self._hours.aged(now=now)

    def adopt(
        self, minutes: Iterable[Aged], hours: Iterable[Aged], passed_s: float, *, now: float
    ) -> None:
        """Add the buckets that another history had `passed_s` seconds ago."""
        for ring, width_s, buckets in (
            (self._minutes, MINUTE_S, minutes),
            (self._hours, HOUR_S, hours),
        ):
            for age, good, bad in buckets:
                ring.add(Tally(good, bad), now - passed_s - age * width_s, now=now)


def summed(parts: Iterable[Mapping[str, Tally]]) -> dict[str, Tally]:
    """Return the events of several ingress replicas together, window by window."""
    total: dict[str, Tally] = {}
    for part in parts:
        for window, tally in part.items():
            total[window] = total.get(window, NONE).plus(tally)
    return total
