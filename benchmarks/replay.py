"""What a replay costs paying traffic, and what a dtype costs the embedded model's answers.

    make bench-replay                            all parts
    python -m benchmarks.replay --part spare     paid p99 with and without a replay, virtual time
    python -m benchmarks.replay --part dtypes    a regression set on four ways to run one model
    python -m benchmarks.replay --part lanes     the same set, by the command, on served lanes

Each part replaces its own rows and leaves the others'.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.support import report
from benchmarks.support.replay_dtypes import dtype_rows
from benchmarks.support.replay_lanes import lane_rows
from benchmarks.support.replay_spare import spare_rows

NAMES = ("spare", "dtypes", "lanes")

TITLE = "Replay: spare capacity, dtypes, and lanes of one deployment"

NOTES = """\
**spare**: lane `chat` of the fleet `rtx4090` as shipped (Llama 3.1 8B), simulated, 15 minutes after
two that do not count, mean of two seeds. Paying requests come at the same times, whatever runs
beside them; all prompts have a system prompt of 1,400 tokens. `priority alone` has four requests of
the replay open at any time, marked as background, of a tier that comes last; `spare room` is
`pointsman replay`: `evals.replay.spare` says when one is begun. `over_none`: the paid p99 beside
that without a replay. `spread_ttft`: by how much the p99 differs between the seeds without any.

**dtypes**: configs/evals/regression.jsonl on SmolLM2-135M, vLLM on a CPU, greedy, against float32
with a float32 cache. A 135M model says nothing of how good a quantisation is for another one;
that the set tells dtypes apart, and what a gate says of it, is what is shown.

**lanes**: the same set and model on three lanes of one deployment
(benchmarks/support/replay_lanes_fleet.yaml), asked by `pointsman replay --compare` on spare room.
Which lanes a description means is found out from the fleet file that is served. How the engine
puts requests together is not the same twice here, so figures differ a little from run to run."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=[*NAMES, "all"], default="all")
    parser.add_argument("--out", type=Path, help="keep the runs of the part lanes, and their pages")
    args = parser.parse_args()
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "spare": spare_rows,
        "dtypes": dtype_rows,
        "lanes": partial(lane_rows, args.out),
    }
    rows = kept_rows()
    for name in NAMES if args.part == "all" else [args.part]:
        rows[name] = [{"part": name, **row} for row in parts[name]()]
    whole = [row for name in NAMES for row in rows.get(name, [])]
    report.write("replay", whole, title=TITLE, notes=NOTES)
    tables = [f"## {name}\n\n{report.table(rows[name])}" for name in NAMES if name in rows]
    text = f"# {TITLE}\n\n{NOTES}\n\n" + "\n\n".join(tables) + "\n"
    (report.RESULTS / "replay.md").write_text(text)


def kept_rows() -> dict[str, list[dict[str, Any]]]:
    """Return the rows of earlier runs by part."""
    path = report.RESULTS / "replay.json"
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in json.loads(path.read_text())["rows"] if path.exists() else ():
        rows.setdefault(row["part"], []).append(row)
    return rows


if __name__ == "__main__":
    main()
