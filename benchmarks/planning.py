"""Every planning table of the documents beside what `pointsman plan` reckons.

    make bench-planning

Speeds are the documents' own (their profiles), so that what differs is the planning. STATED
says how far a table's cells may be off; cells that contradict the document itself, arithmetic
or the card are listed with what they contradict. `tests/unit/fleet/plan` holds both.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.support import plan_agents, plan_chat, report
from benchmarks.support.plan_cells import Cell

STATED = {
    # What is in "VRAM" besides weights the guide does not say.
    "chat: models": 0.16,
    "chat: VRAM at load": 0.10,
    # 30 tokens/s at 30 sessions, where the FP8 guide has 36.
    "chat: sizing": 0.45,
    "chat: prefix cache": 0.30,
    "chat: triggers": 0.20,
    "FP8 guide": 0.15,
    "agents: models": 0.10,
    "agents: capacity": 0.20,
    "agents: cost": 0.01,
    "consumer": 0.05,
}
"""Largest error of any cell that contradicts nothing, by table."""


def cells() -> Iterator[Cell]:
    yield from plan_chat.menu()
    yield from plan_chat.vram()
    yield from plan_chat.users()
    yield from plan_chat.cache()
    yield from plan_chat.triggers()
    yield from plan_chat.fp8()
    yield from plan_agents.models()
    yield from plan_agents.capacity_table()
    yield from plan_agents.costs()
    yield from plan_agents.consumer()


def main() -> None:
    rows = [
        {
            "table": cell.table,
            "row": cell.row,
            "column": cell.column,
            "document": cell.document,
            "planned": cell.planned,
            "error %": 100 * cell.error,
            "stated error %": "" if cell.why else 100 * STATED[cell.table],
            "contradicts": cell.why,
        }
        for cell in cells()
    ]
    notes = "What the planner makes of the documents' figures. Command: `make bench-planning`."
    report.write("planning", rows, title="The documents' planning tables", notes=notes)


if __name__ == "__main__":
    main()
