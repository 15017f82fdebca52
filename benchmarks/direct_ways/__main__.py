"""Measures every way in turn and writes results/direct_ways.{json,md}."""

from __future__ import annotations

import argparse
import json
import statistics
from typing import Any

from benchmarks.direct_ways.behaviour import behaviour
from benchmarks.direct_ways.costs import costs, parts
from benchmarks.direct_ways.ways import WAYS, is_installed
from benchmarks.support import report

_NOTES = """Mock engine: 20 ms to the first token, then one step every 50 ms for all streams; two
lanes, of which one is asked. 64 connections with two answers of 100 tokens each; whole answers of
two tokens. Processor time from /proc of the processes before the lane (`path`, by process beside
it) and of both lanes; medians of {rounds} rounds in rotated order, engine, ways and client on the
same cores. No way decides more than which lane lives. `set_dst` asks its decider on a new
connection for each request, as HAProxy's Lua does; lanes behind `vllm-router` demand no secret, as
it sends none. `steps`: microseconds of single steps in a loop of their own. Command:
`python -m benchmarks.direct_ways`; [the decision](../../docs/adr/0024-direct-ways.md)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ways", default=",".join(WAYS), help="comma-separated")
    parser.add_argument("--rounds", type=int, default=3, help="of costs")
    parser.add_argument("--kills", type=int, default=5, help="of a lane with 32 streams")
    parser.add_argument("--dry", action="store_true", help="print; write no results")
    args = parser.parse_args()
    names = [name for name in args.ways.split(",") if is_installed(name)]
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(args.rounds):
        shift = number * len(names) // args.rounds
        for name in names[shift:] + names[:shift]:
            with WAYS[name]() as way:
                rounds[name].append(costs(way))
            print(name, rounds[name][-1], flush=True)
    events = {name: _behaviour(name, args.kills) for name in names if name != "direct"}
    dearness = [_row(name, runs) for name, runs in rounds.items() if runs]
    single = [{"part": name, "cpu_us": us} for name, us in parts().items()]
    _write(dearness, list(events.values()), single, args)


def _behaviour(name: str, kills: int) -> dict[str, Any]:
    if not kills:
        return {"way": name}
    row = behaviour(WAYS[name], kills)
    print(name, row, flush=True)
    return row


def _row(name: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians; counts that are to agree as the last round had them, errors as their sum."""
    row: dict[str, Any] = {"way": name}
    for key, value in runs[-1].items():
        is_figure = isinstance(value, float)
        row[key] = statistics.median(run[key] for run in runs) if is_figure else value
    return row | {"errors": sum(run["errors"] for run in runs)}


def _write(
    dearness: list[dict[str, Any]],
    events: list[dict[str, Any]],
    single: list[dict[str, Any]],
    args: argparse.Namespace,
) -> None:
    tables = "\n\n".join(
        f"## {title}\n\n{report.table(rows)}"
        for title, rows in (("Costs", dearness), ("Events", events), ("Single steps", single))
    )
    print(tables)
    if args.dry:
        return
    notes = _NOTES.format(rounds=args.rounds)
    by_way = {row["way"]: row for row in events}
    rows = [row | by_way.get(row["way"], {}) for row in dearness]
    data = {"name": "direct_ways", **report.provenance(), "notes": notes, "rows": rows}
    data["steps"] = single
    (report.RESULTS / "direct_ways.json").write_text(json.dumps(data, indent=1) + "\n")
    page = f"# Ways in that leave the ingress out of a token's way\n\n{notes}\n\n{tables}\n"
    (report.RESULTS / "direct_ways.md").write_text(page)


if __name__ == "__main__":
    main()
