"""How often experiments are wrong that are looked at every hour, and how long they take.

    python -m benchmarks.experiments

Experiments are simulated from a seed: ratings come one by one over two weeks, and somebody looks
at the end of each hour (or day) and stops at the first difference that a test calls
established. The e-processes are those of `evals.experiments`, the z-test is the textbook's.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from benchmarks.support import report
from evals.experiments.power import fixed_horizon, power_of, stopping
from evals.experiments.sequential import BETS, Differences, log_preference, mixture_size

EXPERIMENTS = 1_000
DAYS, HOURS = 14, 24
ALPHA = 0.05
PER_HOUR = 4.0
"""Ratings an hour on average: 1,344 in two weeks."""

PREFERENCE = 0.56
THUMBS_UP = 0.8
SMALLEST = 0.05
Z = 1.959964

Look = Callable[[int, int], bool]
"""From wins and ratings so far to whether the test calls the difference established."""


def by_e_process(wins: int, n: int) -> bool:
    return log_preference(wins, n, mixture_size(SMALLEST)) >= -math.log(ALPHA)


def by_z_test(wins: int, n: int) -> bool:
    return n > 0 and abs(wins - n / 2) >= Z * math.sqrt(n) / 2


def hours_of(random: Random) -> list[int]:
    """Ratings so far at the end of each hour of two weeks."""
    counts, at, total = [], random.expovariate(PER_HOUR), 0
    for hour in range(1, DAYS * HOURS + 1):
        while at < hour:
            total += 1
            at += random.expovariate(PER_HOUR)
        counts.append(total)
    return counts


def first_stop(
    wins: Sequence[int], looks: Sequence[int], is_established: Look
) -> tuple[int, int] | None:
    """Number of the first look that stops, from 0, and the ratings by then."""
    for number, n in enumerate(looks):
        if is_established(wins[n], n):
            return number, n
    return None


def simulated(preference: float, seed: int) -> dict[str, list[tuple[float, int] | None]]:
    """By method, the day and the ratings at which each experiment stopped; None: it did not."""
    random = Random(seed)
    found: dict[str, list[tuple[float, int] | None]] = {}
    for _ in range(EXPERIMENTS):
        hours = hours_of(random)
        wins = [0]
        for _ in range(hours[-1]):
            wins.append(wins[-1] + (random.random() < preference))
        days, end = hours[HOURS - 1 :: HOURS], hours[-1:]
        for name, test, looks, per_day in (
            ("e-process, every hour", by_e_process, hours, HOURS),
            ("z-test, every hour", by_z_test, hours, HOURS),
            ("z-test, every day", by_z_test, days, 1),
            ("z-test, once at the end", by_z_test, end, 1 / DAYS),
        ):
            stop = first_stop(wins, looks, test)
            at = None if stop is None else ((stop[0] + 1) / per_day, stop[1])
            found.setdefault(name, []).append(at)
    return found


def thumbs_alarms(share: float, seed: int) -> int:
    """Experiments of equal arms whose thumbs the e-process of means calls different, hourly."""
    random, alarms, limit = Random(seed), 0, -math.log(ALPHA)
    for _ in range(EXPERIMENTS):
        looks, scaled = set(hours_of(random)), Differences(share)
        logs = [0.0] * (2 * len(BETS))
        for n in range(1, max(looks) + 1):
            x = scaled.next(random.random() < share, float(random.random() < THUMBS_UP))
            for i, bet in enumerate(BETS):
                logs[2 * i] += math.log1p(bet * x)
                logs[2 * i + 1] += math.log1p(-bet * x)
            if n in looks and max(logs) >= limit:
                mean = sum(map(math.exp, logs)) / len(logs)
                if mean >= 1 / ALPHA:
                    alarms += 1
                    break
    return alarms


def rows_of(
    none: dict[str, list[tuple[float, int] | None]], real: dict[str, list[tuple[float, int] | None]]
) -> list[dict[str, Any]]:
    rows = []
    for name, stops in none.items():
        found = [x[1] for x in real[name] if x is not None]
        false = sum(x is not None for x in stops) / EXPERIMENTS
        rows.append(
            {
                "test": name,
                "aa_false_alarms_ratio": false,
                "aa_standard_error_ratio": math.sqrt(false * (1 - false) / EXPERIMENTS),
                "stated_error_ratio": ALPHA,
                "found_of_56_44_ratio": len(found) / EXPERIMENTS,
                "ratings_median": _quantile(real[name], 0.5),
                "ratings_80_percent": _quantile(real[name], 0.8),
            }
        )
    exact = power_of(PREFERENCE, alpha=ALPHA, smallest=SMALLEST)
    rows.append(
        {
            "test": "e-process, every rating: exact",
            "aa_false_alarms_ratio": float(stopping(0.5, int(PER_HOUR * HOURS * DAYS))[-1]),
            "stated_error_ratio": ALPHA,
            "found_of_56_44_ratio": float(stopping(PREFERENCE, 1344)[-1]),
            "ratings_median": exact.median,
            "ratings_80_percent": exact.enough,
        }
    )
    rows.append(
        {
            "test": "z-test of fixed size (80 % power)",
            "aa_false_alarms_ratio": ALPHA,
            "stated_error_ratio": ALPHA,
            "found_of_56_44_ratio": 0.8,
            "ratings_median": fixed_horizon(PREFERENCE, ALPHA),
            "ratings_80_percent": fixed_horizon(PREFERENCE, ALPHA),
        }
    )
    rows += [
        {
            "test": f"e-process of thumbs, every hour, share {share:g}",
            "aa_false_alarms_ratio": thumbs_alarms(share, 11) / EXPERIMENTS,
            "stated_error_ratio": ALPHA,
        }
        for share in (0.5, 0.1)
    ]
    return rows


def _quantile(stops: Sequence[tuple[float, int] | None], share: float) -> int | str:
    """Ratings by which so many experiments have stopped; empty: not so many did."""
    found = sorted(x[1] for x in stops if x is not None)
    index = math.ceil(share * len(stops)) - 1
    return found[index] if index < len(found) else ""


def plot(
    none: dict[str, list[tuple[float, int] | None]], real: dict[str, list[tuple[float, int] | None]]
) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    for name, stops in none.items():
        if name.endswith("end"):
            continue
        days = sorted(x[0] for x in stops if x is not None)
        share = [(i + 1) / EXPERIMENTS for i in range(len(days))]
        left.step(
            [0, *days, DAYS], [0, *share, share[-1] if share else 0], where="post", label=name
        )
    left.axhline(ALPHA, color="grey", linestyle=":", label="stated error")
    left.set(xlabel="day", ylabel="equal arms called different", ylim=(0, None))
    left.legend(fontsize=8)
    ratings = sorted(x[1] for x in real["e-process, every hour"] if x is not None)
    right.step(
        ratings,
        [(i + 1) / EXPERIMENTS for i in range(len(ratings))],
        where="post",
        label="e-process, every hour",
    )
    exact = stopping(PREFERENCE, 1500)
    right.plot(range(1501), exact, color="black", linewidth=0.8, label="every rating, exact")
    fixed = fixed_horizon(PREFERENCE, ALPHA)
    right.plot([fixed], [0.8], "s", color="tab:red", label=f"z-test of fixed size: {fixed}")
    right.axhline(0.8, color="grey", linestyle=":")
    right.set(xlabel="ratings", ylabel="56-44 found", ylim=(0, 1))
    right.legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(report.RESULTS / "experiments.png", dpi=110)


def main() -> None:
    none, real = simulated(0.5, 7), simulated(PREFERENCE, 8)
    rows = rows_of(none, real)
    mean = statistics.fmean(x[1] for x in real["e-process, every hour"] if x is not None)
    report.write(
        "experiments",
        rows,
        title="Experiments that are looked at every hour",
        notes=(
            f"{EXPERIMENTS:,} simulated experiments of two weeks, {PER_HOUR:g} ratings an hour, "
            f"stated error {ALPHA:g}. `aa_`: between equal arms, the share that was ever called "
            "different. `found_of_56_44_ratio`: the same where 56 % prefer one arm, and the "
            "ratings by which half and 80 % of all experiments had stopped (empty: not so many "
            f"did); the hourly e-process took {mean:.0f} on average where it stopped. The "
            "z-tests that are looked at often stop sooner because they are wrong more often."
        ),
    )
    plot(none, real)


if __name__ == "__main__":
    main()
