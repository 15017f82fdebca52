"""Whether a stream of readings has come to another level: the Page-Hinkley test, both ways.

Theory of operation. A stream is points of hours (`router.advice.series`): a score's sum and number,
thumbs up of all thumbs. Three things are taken out of it before it is tested:

- **the day**: each hour of the day is compared with its own median over the days, of which there
  have to be `LEAST_DAYS`; traffic of the night is other traffic;
- **the noise**: the mean of n events has a variance in proportion to 1/n. The factor is measured on
  the differences of neighbouring hours, by their median: a change of level is in one of them only;
- **rare bursts**: a reading counts for at most `MOST` deviations, so that one bad hour is no drift.

Page's test (Biometrika 1954; Hinkley 1971 with an estimated mean) then sums what readings are over
their running mean by, less `SLACK` each, and alarms when the sum is `ALARM` over its least. Slack
and alarm are in standard deviations: a change by m of them is seen after about
`ALARM / (m - SLACK)` hours. How often there is a false alarm is measured (`make bench-drift`): the
noise, the mean and the day are estimates themselves, so no formula for known ones holds.

The whole is a function of the points that are given: a process that begins anew comes to the same
answer from the history, and what was forgotten there is the new normal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from statistics import median

from router.advice.series import Point
from router.advice.trigger import DAY, HOUR

SLACK = 0.5
ALARM = 16.0
MOST = 4.0

LEAST_EVENTS = 10.0
"""An hour with fewer is added to the next."""

LEAST_POINTS = 48
LEAST_DAYS = 4

NORMAL_MEDIAN_SQUARE = 0.4549
"""Median of the square of a standard normal variable."""


@dataclass(frozen=True, slots=True)
class Drift:
    """How far a stream has drifted.

    Attributes:
        strength: of the evidence; 1 is an alarm.
        since: when it began, if it did: seconds since 1970.
        before: the mean up to then; `after`: since then.

    """

    strength: float
    since: float
    before: float
    after: float


def drift_of(points: Iterable[Point]) -> Drift | None:
    """Judge a stream of hours, oldest first; None: there is too little of it."""
    kept = _gathered(points)
    if len(kept) < LEAST_POINTS or kept[-1].at - kept[0].at < LEAST_DAYS * DAY:
        return None
    readings = _without_days(kept)
    deviations = _standardised(readings, kept)
    if deviations is None:
        return None
    strength, begun = max(_excursion(deviations), _excursion([-x for x in deviations]))
    before, after = kept[:begun], kept[begun:]
    return Drift(strength / ALARM, before[-1].at, _mean(before), _mean(after))


def _gathered(points: Iterable[Point]) -> list[Point]:
    """Add hours with few events to the next one that has enough together with them."""
    kept, total, weight = [], 0.0, 0.0
    for point in points:
        total, weight = total + point.total, weight + point.weight
        if weight >= LEAST_EVENTS:
            kept.append(Point(point.at, total, weight))
            total = weight = 0.0
    return kept


def _without_days(points: Sequence[Point]) -> list[float]:
    """Return values less what is usual at their hour of the day."""
    hours: dict[int, list[float]] = defaultdict(list)
    for point in points:
        hours[_hour(point)].append(point.value)
    usual = {hour: median(values) for hour, values in hours.items()}
    return [point.value - usual[_hour(point)] for point in points]


def _hour(point: Point) -> int:
    return int(point.at % DAY // HOUR)


def _standardised(readings: Sequence[float], points: Sequence[Point]) -> list[float] | None:
    """Return readings in standard deviations; None: they do not differ."""
    steps = [
        (b - a) ** 2 / (1 / p.weight + 1 / q.weight)
        for (a, b), (p, q) in zip(pairwise(readings), pairwise(points), strict=True)
    ]
    factor = median(steps) / NORMAL_MEDIAN_SQUARE
    if factor <= 0:
        return None
    # Beyond the usual number of events it is not chance that makes hours differ.
    usual = median(point.weight for point in points)
    center = median(readings)
    found = []
    for reading, point in zip(readings, points, strict=True):
        deviation = (reading - center) / sqrt(factor / min(point.weight, usual))
        found.append(max(-MOST, min(MOST, deviation)))
    return found


def _excursion(values: Sequence[float]) -> tuple[float, int]:
    """Return how far the sum is over its least at the end, and the first place after that."""
    mean = total = least = 0.0
    begun = 1
    for count, value in enumerate(values, 1):
        mean += (value - mean) / count
        total += value - mean - SLACK
        # The first reading is its own mean: nothing can have begun before it.
        if total <= least and count < len(values):
            least, begun = total, count
    return total - least, begun


def _mean(points: Sequence[Point]) -> float:
    return sum(point.total for point in points) / sum(point.weight for point in points)
