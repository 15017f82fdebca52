"""Agents: calls delivered, what judging them costs, agents a card, and what the cache keeps.

    make bench-agents
    python -m benchmarks.agents --only costs,card   # of calls, costs, card, cache
    python -m benchmarks.agents --answers 500       # a part of the requests

The engine is scripted and gets a tenth of its calls wrong; the requests are BFCL's
(`scripts/install-bfcl`; without it, calls and cache are left out, and that is said).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
from typing import Any

from benchmarks.support import (
    agent_cache,
    agent_card,
    agent_costs,
    agent_delivery,
    agent_load,
    report,
)
from benchmarks.support.agent_calls import Judge
from benchmarks.support.agent_delivery import Way, asks, deliver, sample
from benchmarks.support.agent_tally import Tally
from benchmarks.support.bfcl import read_bfcl
from benchmarks.support.ways import PEERS

PARTS = ("calls", "costs", "card", "cache")
LITELLM_ANSWERS = 600
SHOWN = 3

Data = dict[str, Any]


async def calls(talks: list[Data], answers: int) -> list[Data]:
    """The same requests through each way."""
    wanted = sample(
        list(asks([x for x in talks if "long_context" not in x["category"]], Judge())), answers
    )
    rows = []

    def row(way: Way, tally: Tally) -> Data:
        return tally.row(way.name, way.steps, way.repair_tokens)

    async def through(way: Way, *, stubborn: bool = False) -> tuple[Way, Tally]:
        some = sample(wanted, LITELLM_ANSWERS) if way.name == "LiteLLM" else wanted
        tally = await deliver(way, some, stubborn=stubborn)
        for line in tally.shown[:SHOWN]:
            print(f"  {way.name}: {line}")
        return way, tally

    rows.append(row(*await through(agent_delivery.bare())))
    for stubborn, name in ((False, "pointsman"), (True, "pointsman, grammars do not hold")):
        with agent_delivery.pointsman(name) as way:
            _, tally = await through(way, stubborn=stubborn)
        rows.append(row(way, tally))
    if (PEERS / "litellm").exists():
        async with agent_delivery.litellm() as way:
            rows.append(row(*await through(way)))
    else:
        print("LiteLLM is not installed (scripts/install-peers)")
    return rows


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--answers", type=int, default=8000)
    given = parser.parse_args()
    parts = given.only.split(",")
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    talks = read_bfcl("bfcl_conversations.py") if {"calls", "cache"} & set(parts) else []
    rows: list[Data] = []
    if "calls" in parts and talks:
        rows += [{"part": "calls", **x} for x in asyncio.run(calls(talks, given.answers))]
    if "costs" in parts:
        rows += [{"part": "costs", **x} for x in agent_costs.validation()]
        rows += [{"part": "costs", **x} for x in agent_costs.tokens()]
    if "card" in parts:
        tables = (agent_card.stages, agent_card.turns, agent_card.parallel, agent_load.sessions,
                  agent_load.assumptions, agent_load.workhorses, agent_load.statements)  # fmt: skip
        rows += [{"part": "card", **x} for table in tables for x in table()]
    if "cache" in parts and talks:
        long = [talk for talk in talks if "long_context" in talk["category"]]
        rows += [{"part": "cache", **x} for x in agent_cache.hits(long)]
    write(rows, has_bfcl=bool(talks))


def write(rows: list[Data], *, has_bfcl: bool) -> None:
    """Write the JSON of all rows, a table a part, and the plot."""
    said = "" if has_bfcl else " BFCL was not installed: calls and cache are missing."
    notes = (
        "Scripted and simulated engines. Calls: BFCL's prompts of one turn six ways each "
        "(three routes, streamed and whole), each step of several turns one of them; 10 % of "
        "calls go wrong. Costs: one core. Card: virtual time, beside the agent document. "
        f"Cache: BFCL's long_context conversations.{said}"
    )
    report.write("agents", rows, title="Agents", notes=notes)
    parts = [part for part in PARTS if any(x["part"] == part for x in rows)]
    tables = [
        f"## {part}\n\n"
        + "\n\n".join(
            report.table(group) for group in _alike([x for x in rows if x["part"] == part])
        )
        for part in parts
    ]
    text = f"# Agents\n\n{notes}\n\n" + "\n\n".join(tables) + "\n"
    (report.RESULTS / "agents.md").write_text(text)
    _plot(rows)


def _alike(rows: list[Data]) -> list[list[Data]]:
    """Rows that follow one another and tell the same: a table each."""
    groups: list[list[Data]] = []
    for one in rows:
        shown = {k: v for k, v in one.items() if k != "part"}
        if groups and [*groups[-1][0]][:3] == [*shown][:3]:
            groups[-1].append(shown)
        else:
            groups.append([shown])
    return groups


def _plot(rows: list[Data]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(15, 4))
    delivered = [x for x in rows if x["part"] == "calls"]
    turns = [x for x in rows if "turn p95 s" in x]
    cache = [x for x in rows if x["part"] == "cache"]
    for axis, chosen, label, value, title in (
        (axes[0], delivered, "way", "share %", "Answers with an invalid call, or none (%)"),
        (axes[1], turns, "what", "turn p95 s", "Turn p95 on the 14B card (s)"),
        (axes[2], cache, "what", "hit ratio", "Prefix-cache hit ratio"),
    ):
        names = [x[label] for x in chosen]
        bars = axis.barh(range(len(chosen)), [x[value] for x in chosen])
        axis.bar_label(bars, fmt="%.3g", fontsize=8)
        axis.set_yticks(range(len(chosen)), names, fontsize=8)
        axis.invert_yaxis()
        axis.set_title(title, fontsize=10)
    if turns:
        axes[1].axvline(agent_load.BAR_S, color="black", linewidth=0.8, linestyle="--")
    figure.tight_layout()
    figure.savefig(report.RESULTS / "agents.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
