"""What following the load costs and whom it makes wait, beside a schedule that knows it all.

    make bench-autoscaling   # a minute of one core; nothing depends on the machine

A lane of up to 16 replicas (32 sequences each, 10 s and 1,000 tokens a request) under five
kinds of traffic, second by second in virtual time. The oracle pays for replicas that start as
the others do, lets nobody wait, and knows every request beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

from benchmarks.support import report
from benchmarks.support.scaling_lane import (
    FULL_TOKENS_PER_S,
    HOUR_S,
    MOST,
    SERVICE_S,
    SLOTS,
    Outcome,
    Policy,
    Rate,
    arrivals,
    oracle,
    run,
)
from benchmarks.support.scaling_policies import RayDefault, Shipped, keda_queue, keda_requests
from router.scaling.forecast import STEP_S, Forecast, foretell
from router.scaling.policy import ExpectedLoad
from router.scaling.warm_pool import pool_size

START_UPS_S = (60, 180)
SEED = 7
AHEAD_S = 15 * 60
"""How far the policy looks ahead at most: its calm and a start-up."""

BIN_S = 30
"""Length of the bins in which a warm pool is sized: what is shorter is Poisson's noise."""


def day(at: float) -> float:
    """Ten times as much at the busiest hour as at the quietest."""
    return 3 + 27 * (1 - math.cos(2 * math.pi * at / (24 * HOUR_S))) / 2


def morning(at: float) -> float:
    """A night, a rise within ten minutes, a day, and back within ten."""
    hour = at / HOUR_S
    return 2 + 28 * min(1.0, max(0.0, 6 * (hour - 8))) - 28 * min(1.0, max(0.0, 6 * (hour - 20)))


def two_peaks(at: float) -> float:
    """Lunch and evening, a quiet afternoon, a dead night: not among what the marks were set by."""
    hour = at / HOUR_S
    lunch, evening = (math.exp(-(((hour - x) / 1.2) ** 2)) for x in (12.5, 20.0))
    return 1 + 18 * lunch + 26 * evening


def flash(at: float) -> float:
    """Five times as much from one minute to the next, for a quarter of an hour, every three."""
    return 30.0 if 5_400 <= at % (3 * HOUR_S) < 6_300 else 6.0


def bursts(random: Random) -> Rate:
    """Minutes by a gamma distribution with a coefficient of variation of 0.5."""
    minutes = [10 * random.gammavariate(4, 0.25) for _ in range(24 * 60 + 1)]
    return lambda at: minutes[int(at // 60)]


def traces() -> dict[str, tuple[list[int], list[int]]]:
    """Return of each kind a day, and the week before it, in requests of each second."""
    random = Random(SEED)
    rates: dict[str, Rate] = {
        "day": day,
        "morning": morning,
        "two peaks": two_peaks,
        "flash": flash,
        "bursts": bursts(random),
    }
    days = {name: arrivals(rate, 24 * HOUR_S, random) for name, rate in rates.items()}
    found = {}
    for name, came in days.items():
        week: list[int] = []
        for _ in range(7):
            rate = bursts(random) if name == "bursts" else rates[name]
            week += arrivals(rate, 24 * HOUR_S, random)
        found[name] = came, week
    return found


def pool_for(came: list[int], start_up_s: int) -> int:
    """Return the warm pool that the trace's steepest rise asks for, of requests a second."""
    bins = [(float(at), sum(came[at : at + BIN_S]) / BIN_S) for at in range(0, len(came), BIN_S)]
    return pool_size(bins, start_up_s, SLOTS / SERVICE_S)


def in_progress(came: list[int]) -> list[float]:
    """Return the requests in progress, mean of each five minutes, as the history keeps them."""
    return [sum(came[at : at + STEP_S]) / STEP_S * SERVICE_S for at in range(0, len(came), STEP_S)]


def learned(week: list[int], came: list[int]) -> ExpectedLoad:
    """Return the shipped forecast: of a week before and the day so far, made anew each hour."""
    loads = [*in_progress(week), *in_progress(came)]
    begun = len(in_progress(week))

    @cache
    def made(hour: int) -> Forecast | None:
        known = loads[: begun + hour * HOUR_S // STEP_S]
        return foretell([((slot + 1) * STEP_S, load) for slot, load in enumerate(known)])

    def expected(at: float) -> float | None:
        # The policy asks for a moment at most a start-up and its calm ahead of now.
        forecast = made(max(0, int(at - AHEAD_S)) // HOUR_S)
        then = begun * STEP_S + at
        peak = None if forecast is None else forecast.peak(then - STEP_S, then)
        return None if peak is None else peak / SLOTS

    return expected


def policies(came: list[int], week: list[int], start_up_s: int) -> dict[str, Callable[[], Policy]]:
    def yesterday(at: float) -> float:
        """The same day's load as it was in mean of ten minutes: a forecast that comes true."""
        middle = min(len(came), max(0, int(at)))
        part = came[max(0, middle - 300) : middle + 300] or [0]
        return sum(part) / len(part) * SERVICE_S / SLOTS

    foretold = learned(week, came)

    pool = pool_for(came, start_up_s)
    return {
        "pointsman": lambda: Shipped(start_up_s),
        f"pointsman, standby {pool}": lambda: Shipped(start_up_s, standby=pool),
        "pointsman, true forecast": lambda: Shipped(start_up_s, forecast=yesterday),
        "pointsman, its own forecast": lambda: Shipped(start_up_s, forecast=foretold),
        "Ray Serve's default": RayDefault,
        "KEDA, 5 waiting": keda_queue,
        "KEDA, 80 % of slots": keda_requests,
    }


def row(trace: str, start_up_s: int, policy: str, found: Outcome, best: Outcome) -> dict[str, Any]:
    return {
        "trace": trace,
        "start_up_s": start_up_s,
        "policy": policy,
        "replica_hours": round(found.replica_s / HOUR_S, 1),
        "over_oracle_ratio": round(found.replica_s / best.replica_s - 1, 3),
        "late_ratio": round(found.late / found.requests, 5),
        "worst_wait_s": found.worst_s,
        "turns": found.turns,
    }


def main() -> None:
    rows = []
    for trace, (came, week) in traces().items():
        for start_up_s in START_UPS_S:
            best = oracle(came, start_up_s)
            rows.append(row(trace, start_up_s, "oracle", best, best))
            for name, made in policies(came, week, start_up_s).items():
                found = run(made(), came, start_up_s, first=best.replicas[0] + 1)
                rows.append(row(trace, start_up_s, name, found, best))
    report.write(
        "autoscaling",
        rows,
        title="Autoscaling: replicas that follow the load",
        notes=__doc__.split("\n\n", 2)[2].strip() + " `over_oracle_ratio` is the regret in "
        "replica-hours; `late_ratio` the share of requests that began later than 0.8 s; "
        "`turns` how often less followed more, or more less; a peak "
        f"fleet is {MOST * 24} replica-hours. A full replica does {FULL_TOKENS_PER_S:,.0f} "
        "tokens/s.",
    )
    plot(rows)


def plot(rows: list[dict[str, Any]]) -> None:
    """Draw what each costs over the oracle against whom it makes wait."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(14, 7))
    names = list(dict.fromkeys(x["trace"] for x in rows))
    for trace, axis in zip(names, axes.flat, strict=False):
        shown = [x for x in rows if x["trace"] == trace and x["start_up_s"] == START_UPS_S[0]]
        for x, mark in zip(shown, "*osP^vDX", strict=True):
            label = "pointsman, standby" if "standby" in x["policy"] else x["policy"]
            at = 100 * x["over_oracle_ratio"], 100 * x["late_ratio"]
            axis.plot(*at, mark, markersize=9, label=label)
        axis.set_yscale("symlog", linthresh=0.01)
        axis.set_ylim(-0.003, 100)
        axis.set_title(trace)
        axis.set_xlabel("replica-hours over the oracle, %")
        axis.set_ylabel("requests that began late, %")
    axes[0, 0].legend(fontsize=8)
    axes[1, 2].set_axis_off()
    figure.tight_layout()
    figure.savefig(report.RESULTS / "autoscaling.png", dpi=90)


if __name__ == "__main__":
    main()
