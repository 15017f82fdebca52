"""The cards of this machine as the doctor judges them: read by NVML, once or again and again."""

from __future__ import annotations

import contextlib
from pathlib import Path

from serve_app.doctor.machine.cards import Card, CardProcess, Cards
from serve_app.engine.cards.nvml import NvmlCards
from serve_app.engine.cards.reading import CardFacts, CardReading


class MachineCards:
    """Reads all cards of the machine."""

    def __init__(self, nvml: NvmlCards | None = None) -> None:
        self._nvml = nvml or NvmlCards()

    def read(self) -> Cards:
        nvml = self._nvml
        if not nvml.is_there:
            return Cards(why_none=f"no NVIDIA driver answers ({nvml.fault})")
        readings = {reading.card: reading for reading in nvml.read()}
        cards = tuple(self._card(x, readings[x.card]) for x in nvml.facts() if x.card in readings)
        return Cards(nvml.driver(), cards, "" if cards else "the driver sees no card")

    def _card(self, facts: CardFacts, reading: CardReading) -> Card:
        return Card(
            index=facts.index,
            name=facts.name,
            capability=facts.compute_capability,
            memory_total_bytes=facts.memory_total_bytes,
            memory_used_bytes=int(reading.memory_used_bytes or 0),
            power_watts=reading.power_watts,
            power_limit_watts=reading.power_limit_watts,
            temperature_celsius=reading.temperature_celsius,
            throttled_by=tuple(reading.throttled_by),
            processes=tuple(
                CardProcess(pid, _name_of(pid), memory)
                for pid, memory in self._nvml.processes(facts.index)
            ),
        )


def _name_of(pid: int) -> str:
    """The name of a process of this machine; a container does not see those of its host."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return "a process that is not visible from here"
