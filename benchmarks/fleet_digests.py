"""Whether a change of the simulator changes its results: a digest of each run's whole report.

    python -m benchmarks.fleet_digests > before.txt          # some minutes
    python -m benchmarks.fleet_digests saas one-engine-saas  # these only
    python -m benchmarks.fleet_digests --against before.txt  # exit status 1 where one differs

Runs are the scenarios of `benchmarks.fleet` by name, `cell-N` (the consumer chat's peak as one of
N cells), `one-engine-saas` and `one-engine-agents` (an hour of 30 sessions on one engine), and
`noon` (72 minutes of the day in a cell of 1,600: a twentieth of it). Two runs of one seed have the
same report on any machine; CPU times are the machine's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import fleet
from benchmarks.simulator import an_hour
from fleet.simulation import simulate
from fleet.traffic.scenarios import load_scenario

USUAL = (*fleet.SMALL, "cell-1600", "one-engine-saas", "one-engine-agents")
NOON_S = fleet.DAY_S / 20


def one_engine(kind: str) -> tuple[Any, float]:
    begun = time.process_time()
    result = an_hour(kind)
    took, engine = time.process_time() - begun, result.engine
    counts = engine.steps, engine.busy_s, engine.preemptions, engine.pool.evictions
    return [[asdict(turn) for turn in result.turns], result.user_turns_s, *counts], took


def cell(size: str) -> tuple[Any, float]:
    _, report, took = fleet.run_cell(float(size))
    return report.to_dict(), took


def scenario(name: str) -> tuple[Any, float]:
    report, took = fleet.run_scenario(name)
    return report.to_dict(), took


def noon() -> tuple[Any, float]:
    """A twentieth of the day, from half an hour before noon on."""
    chat = load_scenario(fleet.CONSUMER).model_copy(update={"cell": fleet.DAY_CELL})
    spec, since = fleet.consumer(), fleet.DAY_S / 2 - fleet.OVERLAP_S
    sources = [fleet.shifted(source, since) for source in chat.sources(1)]
    begun = time.process_time()
    report = simulate(
        fleet.begun_at(spec, chat, since, chat.cell),
        sources,
        duration_s=NOON_S,
        skip_s=fleet.OVERLAP_S,
    )
    return report.to_dict(), time.process_time() - begun


def found(name: str) -> tuple[Any, float]:
    """Run what is named. Returns its report as plain values, and its CPU seconds."""
    kinds: dict[str, Callable[[str], tuple[Any, float]]] = {
        "cell-": cell,
        "one-engine-": one_engine,
    }
    for begin, of in kinds.items():
        if name.startswith(begin):
            return of(name.removeprefix(begin))
    return noon() if name == "noon" else scenario(name)


def digest(report: Any) -> str:
    return hashlib.sha1(json.dumps(report, sort_keys=True).encode()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=USUAL)
    parser.add_argument("--against", type=Path, help="what an earlier run printed")
    asked = parser.parse_args()
    lines = asked.against.read_text().splitlines() if asked.against else []
    before = {name: known for name, known, *_ in map(str.split, lines)}
    differ = False
    for name in asked.names:
        report, took = found(name)
        now = digest(report)
        is_other = name in before and before[name] != now
        differ |= is_other
        print(f"{name:18} {now} {took:7.1f} s{'  differs' if is_other else ''}", flush=True)
    sys.exit(differ)


if __name__ == "__main__":
    main()
