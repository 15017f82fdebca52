"""How often the drift test is wrong, and how soon it is right, on streams of hours.

    make bench-drift          # some minutes of one core; nothing is timed

Streams are drawn: events of an hour by Poisson around a daily curve, good by a chance that swings
over the day, and in some changes for good at noon of the tenth day. The product's test is asked
every three hours, with the two weeks before. Beside it, where `river` is installed (it is no
dependency), its ADWIN and Page-Hinkley detectors as they are by default, on what they are made for:
the single events, in the order of their hours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from benchmarks.support import report
from router.advice.drift import drift_of
from router.advice.series import Point
from router.advice.trigger import HOUR

STREAMS = 60
DAYS, CHANGED_AT_DAY = 15, 10.5
EVERY = 3
REMEMBERED = 14 * 24

Detector = Callable[[Sequence[Point]], Iterator[float]]
"""Gives the hours in which it is alarmed."""


@dataclass(frozen=True)
class Case:
    """A kind of stream: events an hour, the chance, its swing over the day, its later change."""

    name: str
    events: float
    chance: float
    swing: float
    change: float = 0.0

    def drawn(self, rng: np.random.Generator) -> list[Point]:
        points = []
        for hour in range(DAYS * 24):
            day = 2 * math.pi * hour / 24
            count = rng.poisson(self.events * (1 + 0.8 * math.sin(day)))
            chance = self.chance * (1 + self.swing * math.sin(day + 1))
            chance += self.change * (hour >= CHANGED_AT_DAY * 24)
            good = rng.binomial(count, min(1.0, max(0.0, chance)))
            points.append(Point((hour + 1) * HOUR, float(good), float(count)))
        return points


CASES = (
    Case("nothing changes, even days", 60, 0.1, 0.0),
    Case("nothing changes, days swing by 30 %", 60, 0.1, 0.3),
    Case("nothing changes, days swing by 60 %", 60, 0.1, 0.6),
    Case("nothing changes, rare events", 5, 0.9, 0.0),
    Case("tool calls: 97 % to 90 % valid", 40, 0.97, 0.0, -0.07),
    Case("share: 3 % to 6 %", 200, 0.03, 0.2, 0.03),
    Case("share: 10 % to 14 %", 60, 0.1, 0.3, 0.04),
    Case("thumbs: 85 % to 70 %, few", 5, 0.85, 0.0, -0.15),
)


def ours(points: Sequence[Point]) -> Iterator[float]:
    for end in range(EVERY, len(points) + 1, EVERY):
        found = drift_of(points[max(0, end - REMEMBERED) : end])
        if found is not None and found.strength >= 1:
            yield points[end - 1].at / HOUR


def detectors() -> dict[str, Detector]:
    found: dict[str, Detector] = {"page-hinkley (router/advice/drift)": ours}
    try:
        from river import drift
    except ImportError:
        return found
    return found | {
        "river: ADWIN": _of_river(drift.ADWIN),
        "river: PageHinkley": _of_river(drift.PageHinkley),
    }


def _of_river(kind: Callable[[], Any]) -> Detector:
    def hours(points: Sequence[Point]) -> Iterator[float]:
        detector, rng = kind(), np.random.default_rng(3)
        for point in points:
            events = np.arange(int(point.weight)) < point.total
            rng.shuffle(events)
            for event in events:
                detector.update(float(event))
                if detector.drift_detected:
                    yield point.at / HOUR

    return hours


def main() -> None:
    rows = [row for case in CASES for row in measured(case)]
    notes = (
        f"{STREAMS} streams of {DAYS} days each. `false`: streams with an alarm before anything "
        "had changed, of all. `found`: streams with an alarm after the change, `delay`: median "
        "hours until then, of streams without a false one. Command: `make bench-drift`; `river` "
        "is compared where it is installed."
    )
    report.write("drift", rows, title="Drift of streams", notes=notes)


def measured(case: Case) -> Iterator[dict[str, Any]]:
    for name, detector in detectors().items():
        # The same streams for each.
        rng = np.random.default_rng(2)
        changed_h = CHANGED_AT_DAY * 24 if case.change else math.inf
        first = [next(detector(case.drawn(rng)), math.inf) for _ in range(STREAMS)]
        right = [at - changed_h for at in first if changed_h < at < math.inf]
        yield {
            "stream": case.name,
            "events an hour": case.events,
            "detector": name,
            "false": f"{sum(at <= changed_h and at < math.inf for at in first)}/{STREAMS}",
            "found": f"{len(right)}/{STREAMS}" if case.change else "",
            "delay": round(median(right), 1) if right else "",
        }


if __name__ == "__main__":
    main()
