"""Precision and recall of the advice on staged faults, and how soon it fires.

    make bench-advice        # ten minutes of one core; nothing depends on the machine

Faults of minutes are staged on simulated engines in virtual time, ten minutes after the traffic
began; the sizes of fleets over eight days are drawn (requests at once, by Poisson around a daily
curve), because a week of requests would take hours. From the Prometheus text (or the points of
the days) on, everything is the product's own code. The reckoning behind `decode_slow`,
`tenant_flood` and `first_token` was settled on seeds below 100; the runs here have others.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from statistics import median
from typing import Any

from benchmarks.support import report
from benchmarks.support.advice_days import DAYS, Days, judged_days
from benchmarks.support.advice_fleet import Staged, judged
from router.advice.table import TRIGGERS
from simulator.model.profile import load_profile
from simulator.virtual_time.workload import load_workload

SEEDS = range(100, 108)
FAULT_S, LENGTH_S = 600.0, 2100.0
CHAT = ("llama-3.1-8b-fp8-rtx4090", "saas")
AGENTS = ("llama-3.1-8b-fp8-rtx4090", "agents")

CROWDED = frozenset(
    {
        "waiting",
        "first_token",
        "sessions_25",
        "sessions_30",
        "tenant_ceiling",
        "kv_cache",
        "preemptions",
    }
)
"""What follows where more is asked of a lane than it can do, whatever the cause."""


@dataclass(frozen=True)
class Case:
    """A kind of run.

    `wants`: triggers that have to fire. `may`: those that may, because what they say is then
    true. Anything else that fires is wrong.
    """

    name: str
    staged: Callable[[Random], Staged]
    wants: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()
    of: tuple[str, str] = CHAT


def steady(rate: float) -> Callable[[float], float]:
    return lambda _: rate


def rising(before: float, after: float) -> Callable[[float], float]:
    return lambda at: before if at < FAULT_S else after


def noisy(mean: float, random: Random) -> Callable[[float], float]:
    """Minutes that differ by half, and now and then half a minute at three times the rate."""
    minutes = [mean * random.uniform(0.5, 1.5) for _ in range(math.ceil(LENGTH_S / 60) + 1)]
    bursts = [random.uniform(0, LENGTH_S) for _ in range(4)]

    def rate(at: float) -> float:
        now = minutes[int(at // 60)]
        return 3 * now if any(x <= at < x + 30 for x in bursts) else now

    return rate


CASES = (
    Case("healthy hour", lambda r: Staged(steady(r.uniform(0.3, 0.6)))),
    Case("quiet night", lambda r: Staged(steady(r.uniform(0.005, 0.05)))),
    Case("noisy but fine", lambda r: Staged(noisy(0.35, r))),
    Case("busy and right", lambda r: Staged(steady(r.uniform(0.6, 0.9)), replicas=2)),
    Case(
        "saturated lane",
        lambda r: Staged(rising(0.4, r.uniform(1.3, 1.8))),
        wants=frozenset({"waiting", "first_token", "sessions_25"}),
        may=CROWDED,
    ),
    Case(
        "throttled card",
        lambda r: Staged(steady(0.35), at_s=FAULT_S, slowdown=r.uniform(1.35, 2.0)),
        wants=frozenset({"decode_slow"}),
        may=CROWDED | {"token_time"},
    ),
    Case(
        "flooding tenant",
        lambda r: Staged(steady(0.3), at_s=FAULT_S, flood=r.randint(40, 60)),
        wants=frozenset({"tenant_flood", "tenant_ceiling"}),
        may=CROWDED,
    ),
    Case(
        "cold cache",
        lambda r: Staged(steady(r.uniform(0.3, 0.5)), at_s=FAULT_S, is_cold=True),
        wants=frozenset({"cold_cache"}),
        may=CROWDED,
    ),
    Case(
        "agents, healthy",
        lambda r: Staged(steady(r.uniform(0.03, 0.06)), tools=True),
        of=AGENTS,
    ),
    Case(
        "agents, saturated",
        lambda r: Staged(rising(0.05, r.uniform(0.8, 1.1)), tools=True),
        wants=frozenset({"turn_time", "agents_12"}),
        may=CROWDED | {"agents_25"},
        of=AGENTS,
    ),
)


@dataclass
class Tally:
    """Of one trigger, over runs."""

    right: int = 0
    wrong: int = 0
    wanted: int = 0
    missed: int = 0
    delays_s: list[float] = field(default_factory=list)

    def row(self, name: str) -> dict[str, Any]:
        fired = self.right + self.wrong
        caught = self.wanted - self.missed
        return {
            "trigger": name,
            "runs_it_fired_in": fired,
            "of_them_wrong": self.wrong,
            "precision": self.right / fired if fired else "",
            "runs_it_had_to_fire_in": self.wanted,
            "recall": caught / self.wanted if self.wanted else "",
            "median_s_to_fire": median(self.delays_s) if self.delays_s else "",
        }


def count(
    tallies: dict[str, Tally], case: Case | Days, fired: dict[str, float], since: float
) -> None:
    """Add one run to the tallies; a trigger that fired before its fault was wrong."""
    for name, at in fired.items():
        is_right = name in case.wants | case.may and at >= since
        tallies[name].right += is_right
        tallies[name].wrong += not is_right
    for name in case.wants:
        tallies[name].wanted += 1
        when = fired.get(name, -math.inf)
        if when < since:
            tallies[name].missed += 1
        else:
            tallies[name].delays_s.append(when - since)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS))
    parser.add_argument("--case", help="those whose name has this in it")
    parser.add_argument("--dry", action="store_true", help="print, write nothing")
    args = parser.parse_args()
    tallies: dict[str, Tally] = defaultdict(Tally)
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for case in (x for x in CASES if (args.case or "") in x.name):
        profile, workload = load_profile(case.of[0]), load_workload(case.of[1])
        for seed in args.seeds:
            staged = case.staged(Random(seed))
            fired = judged(staged, profile, workload, seed, LENGTH_S)
            count(tallies, case, fired, FAULT_S if case.wants else 0.0)
            seen[case.name].update(fired.keys())
        print(f"{case.name}: {dict(seen[case.name])}", flush=True)
    for days in (x for x in DAYS if (args.case or "") in x.name):
        for seed in args.seeds:
            fired = judged_days(days, seed)
            count(tallies, days, fired, 0.0)
            seen[days.name].update(fired.keys())
        print(f"{days.name}: {dict(seen[days.name])}", flush=True)
    rows = [tallies[x.name].row(x.name) for x in TRIGGERS if x.name in tallies]
    cases = [
        {"case": name, "runs": len(args.seeds), "fired": _listed(x)} for name, x in seen.items()
    ]
    if args.dry:
        print(report.table(rows))
        return
    notes = (
        f"{len(args.seeds)} seeds of each of {len(CASES) + len(DAYS)} cases. A trigger is right "
        "where what it says is true of the fault that was staged, and wrong in a case where "
        "nothing is. Seconds count from the fault. Command: `make bench-advice`.\n\n"
        + report.table(cases)
    )
    report.write("advice", rows, title="Advice on staged faults", notes=notes)


def _listed(fired: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(fired.items())) or "nothing"


if __name__ == "__main__":
    main()
