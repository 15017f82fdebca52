"""How well a lane's load is foretold a day ahead, beside what else could foretell it.

    python -m benchmarks.forecast              ours, and two that need no library
    python -m benchmarks.forecast --library    statsforecast's, where that is installed

The second run adds its rows to those of the first. The traces are made here, from a seed: what
people do over a week, with the chance of requests that come one by one, and what goes wrong.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from random import Random

from benchmarks.support import report
from router.scaling.forecast import DAY_S, SLOTS, STEP_S, foretell

DAYS = 21
JUDGED_DAYS = 4
ORIGIN_EVERY = 72
"""Slots between two forecasts that are judged: six hours."""

Trace = list[float]
Teller = Callable[[Trace], Sequence[float] | None]


def traces(seed: int) -> dict[str, Trace]:
    """Requests in progress of each slot of three weeks, Monday first."""
    random = Random(seed)
    slots = range(DAYS * SLOTS)

    def day(slot: int, low: float, high: float) -> float:
        # Quietest at four in the morning, busiest at four in the afternoon.
        turn = math.cos(2 * math.pi * ((slot % SLOTS) / SLOTS - 16 / 24))
        return low + (high - low) * math.pow(0.5 + 0.5 * turn, 1.5)

    def weekday(slot: int) -> int:
        return slot // SLOTS % 7

    shapes: dict[str, Callable[[int], float]] = {
        "consumer chat, 10 x a day": lambda slot: day(slot, 10, 100),
        "offices, weekends off": lambda slot: day(slot, 1, 40 if weekday(slot) < 5 else 4),
        "growing by 10 % a week": lambda slot: day(slot, 5, 40) * 1.1 ** (slot / SLOTS / 7),
        "a holiday on the judged Friday": lambda slot: day(
            slot, 1, 4 if slot // SLOTS == DAYS - 3 or weekday(slot) > 4 else 40
        ),
        "a campaign that doubles the last day": lambda slot: (
            day(slot, 4, 40) * (2 if slot // SLOTS == DAYS - 1 else 1)
        ),
    }
    found = {
        name: [max(0.0, random.gauss(shape(slot), math.sqrt(shape(slot)))) for slot in slots]
        for name, shape in shapes.items()
    }
    level, wander = 30.0, []
    for _ in slots:
        level = min(max(level * math.exp(random.gauss(0, 0.03)), 3.0), 100.0)
        wander.append(level)
    return {**found, "no season: a random walk": wander}


def ours(trace: Trace) -> Sequence[float] | None:
    forecast = foretell(
        [((slot + 1) * STEP_S + 4 * DAY_S, load) for slot, load in enumerate(trace)]
    )
    return None if forecast is None else forecast.values


def as_now(trace: Trace) -> Sequence[float]:
    return [statistics.fmean(trace[-3:])] * SLOTS


def as_yesterday(trace: Trace) -> Sequence[float]:
    return trace[-SLOTS:]


def library() -> dict[str, Teller]:
    """Models of statsforecast for two seasons: 584 MB with what it needs, in a venv of its own."""
    import numpy as np
    from statsforecast.models import MSTL, AutoETS, SeasonalNaive

    def teller(model: Callable[[], object], slots: int = 1) -> Teller:
        """Forecast means of so many slots, each for all of them."""

        def tell(trace: Trace) -> Sequence[float]:
            whole = trace[len(trace) % slots :]
            means = np.array(whole).reshape(-1, slots).mean(axis=1)
            told = model().forecast(means, h=SLOTS // slots)["mean"]  # type: ignore[attr-defined]
            return [float(x) for x in told for _ in range(slots)]

        return tell

    # Of slots of five minutes MSTL's decomposition takes 12 s a forecast, before any trend.
    return {
        "SeasonalNaive, a week": teller(lambda: SeasonalNaive(7 * SLOTS)),
        "MSTL of hours, day and week, AutoETS trend": teller(
            lambda: MSTL([24, 7 * 24], trend_forecaster=AutoETS(model="ZZN")), SLOTS // 24
        ),
    }


def judge(name: str, tell: Teller) -> list[dict[str, object]]:
    """Errors of a model on each trace, over all origins."""
    rows = []
    for trace_name, trace in traces(7).items():
        wrong: dict[int, list[float]] = {3: [], 12: [], SLOTS: []}
        told, origins, cpu_s = 0, 0, 0.0
        for origin in range((DAYS - JUDGED_DAYS) * SLOTS, (DAYS - 1) * SLOTS + 1, ORIGIN_EVERY):
            begun = time.process_time()
            values = tell(trace[:origin])
            cpu_s += time.process_time() - begun
            origins += 1
            if values is None:
                continue
            told += 1
            truth = trace[origin : origin + SLOTS]
            errors = [abs(a - b) for a, b in zip(values, truth, strict=True)]
            for ahead in wrong:
                wrong[ahead] += errors[:ahead]
        load = statistics.fmean(trace[(DAYS - JUDGED_DAYS) * SLOTS :])
        rows.append(
            {
                "trace": trace_name,
                "model": name,
                "told_ratio": told / origins,
                **{
                    f"error_ratio_{ahead * STEP_S // 60}_min": statistics.fmean(sums) / load
                    for ahead, sums in wrong.items()
                    if sums
                },
                "cpu_ms_a_forecast": 1000 * cpu_s / origins,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", action="store_true")
    wants_library = parser.parse_args().library
    models: dict[str, Teller] = (
        library()
        if wants_library
        else {"Pointsman": ours, "as now": as_now, "as yesterday": as_yesterday}
    )
    rows = [row for name, tell in models.items() for row in judge(name, tell)]
    if wants_library:
        kept = json.loads((report.RESULTS / "forecast.json").read_text())["rows"]
        rows = [row for row in kept if row["model"] not in models] + rows
    report.write(
        "forecast",
        sorted(rows, key=lambda row: str(row["trace"])),
        title="A lane's load, foretold a day ahead",
        notes=(
            f"Six traces of {DAYS} days that are made here from a seed, five minutes a slot, with "
            "the chance of requests that come one by one (a standard deviation of the root of "
            f"the mean); forecasts of 24 hours every six hours of the last {JUDGED_DAYS} days. "
            "Errors are mean absolute ones over the mean load, up to so many minutes ahead; "
            "`told_ratio` is how often a model answered at all. CPU time of one forecast."
        ),
    )


if __name__ == "__main__":
    main()
