"""The memory table at the head of a fleet file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fleet.memory.budget import GIB, EngineMemory, memory_of
from fleet.memory.shape import ModelShape

HEAD = (
    "#   per card                weights  KV/token   window  one window    pool  sessions of",
    "#                               GiB       KiB   tokens         GiB     GiB   one window",
)


@dataclass(frozen=True, slots=True)
class Row:
    """A lane: its model, its engine's settings, its longest prompt, and its card's memory."""

    name: str
    shape: ModelShape
    engine: EngineMemory
    window: int
    card_bytes: int


def table_of(rows: Iterable[Row]) -> list[str]:
    """Return comment lines: a head of two, and a line for each lane.

    Raises:
        NotReckoned: as `memory_of`.

    """
    return [*HEAD, *(_line(row) for row in rows)]


def _line(row: Row) -> str:
    memory = memory_of(row.shape, row.engine, row.card_bytes)
    cards = f" ({row.engine.cards} cards)" if row.engine.cards > 1 else ""
    return (
        f"#   {row.name + cards:<24}{memory.weights / GIB:>7.2f}{memory.kv_per_token / 1024:>10.1f}"
        f"{row.window:>9,}{memory.session_bytes(row.window) / GIB:>12.2f}"
        f"{memory.pool / GIB:>8.1f}{memory.sessions(row.window):>13.1f}"
    )
