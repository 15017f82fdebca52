"""Eight days of a lane, drawn: what a fleet's size is judged by."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from benchmarks.support.advice_fleet import EPOCH, LANE, SLOTS, subjects_of
from router.advice.table import Subject
from serve_app.advice.judging import FIVE_MINUTES, Judging, firing, merged
from serve_app.advice.signals import Values
from serve_app.config.advice import AdviceConfig

LENGTH_S = 8 * 86_400.0
HOUR = 3600.0
# A whole hour, as the history's are.
BEGIN = EPOCH // HOUR * HOUR
SECONDS_A_REQUEST = 8.0


@dataclass(frozen=True)
class Days:
    """A kind of week.

    `busy`: requests at once on average, by hour of the day, given a source of chance.
    `long`: share of prompts over 32,000 tokens; `history`: over 4,096.
    """

    name: str
    busy: Callable[[Random], Callable[[float], float]]
    replicas: int = 1
    long: float = 0.01
    history: float = 0.2
    wants: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()


def daily(low: float, high: float) -> Callable[[Random], Callable[[float], float]]:
    """A curve with its top at 15 h and its bottom at 3 h, 20 % up or down from run to run."""

    def draw(random: Random) -> Callable[[float], float]:
        factor = random.uniform(0.8, 1.2)
        middle, swing = (low + high) / 2, (high - low) / 2

        def busy(hour: float) -> float:
            return factor * (middle + swing * math.cos((hour - 15) / 24 * 2 * math.pi))

        return busy

    return draw


DAYS = (
    Days("four replicas, well used", daily(20, 80), replicas=4, may=frozenset({"headroom"})),
    Days("two replicas, well used", daily(8, 36), replicas=2, may=frozenset({"headroom"})),
    Days("a small lane that is used", daily(3, 14)),
    Days("a lane that is too big", daily(6, 30), replicas=4, wants=frozenset({"too_big"})),
    Days("a lane that nobody uses", daily(0.0, 0.3), wants=frozenset({"idle_lane"})),
    Days("no room to grow", daily(30, 130), replicas=4, wants=frozenset({"headroom"})),
    Days(
        "a swing of twenty",
        daily(1.5, 40),
        replicas=2,
        wants=frozenset({"daily_swing"}),
        may=frozenset({"headroom"}),
    ),
    Days("long prompts", daily(3, 14), long=0.3, wants=frozenset({"long_prompts"})),
    Days("long histories", daily(3, 14), history=0.7, wants=frozenset({"long_history"})),
)


def judged_days(days: Days, seed: int) -> dict[str, float]:
    """When each trigger fired first, in seconds from the first point."""
    random = Random(seed)
    judging = Judging(AdviceConfig(), [_known(x) for x in subjects_of(days.replicas)])
    busy, hour = days.busy(random), list[Values]()
    fired: dict[str, float] = {}
    for number in range(1, int(LENGTH_S / FIVE_MINUTES) + 1):
        at = BEGIN + number * FIVE_MINUTES
        point = _point(days, busy((at / HOUR) % 24), random)
        judging.add(FIVE_MINUTES, at, point)
        hour.append(point)
        if at % HOUR == 0:
            judging.add(HOUR, at, merged(hour))
            hour = []
            for name in firing(judging.rows()):
                fired.setdefault(name, at - BEGIN)
    return fired


def _known(subject: Subject) -> Subject:
    facts = {**subject.facts, "whole_tier": "free", "role": "routing.tools"}
    if subject.facts["replicas"] > 1:
        facts["role"] = ""
    return Subject(subject.name, subject.scopes, facts)


def _point(days: Days, mean: float, random: Random) -> Values:
    """Five minutes: 20 readings of what runs, and the requests that came."""
    readings = [_poisson(mean, random) for _ in range(20)]
    slots = SLOTS * days.replicas
    requests = _poisson(mean * FIVE_MINUTES / SECONDS_A_REQUEST, random)
    values: Values = {
        ("load", LANE): (sum(readings) / slots, 20.0),
        ("requests", LANE): (requests, FIVE_MINUTES),
        ("prompts_over_32k", LANE): (_binomial(requests, days.long, random), requests),
        ("prompts_over_4k", LANE): (_binomial(requests, days.history, random), requests),
    }
    if days.replicas > 1:
        values["load_with_one_less", LANE] = sum(readings) / (slots - SLOTS), 20.0
    return values


def _poisson(mean: float, random: Random) -> int:
    return max(0, round(random.gauss(mean, math.sqrt(mean)))) if mean > 0 else 0


def _binomial(count: int, share: float, random: Random) -> int:
    drawn = round(random.gauss(count * share, math.sqrt(count * share * (1 - share))))
    return min(count, max(0, drawn)) if count else 0
