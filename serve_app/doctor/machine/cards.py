"""The cards of this machine, as read now; behind a protocol so that tests bring recordings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

# Ray's own pattern for a kind of card; where it does not match, the name without its maker.
_MODEL = re.compile(r"\w+\s+((?:[A-Z]+\s+)*[A-Z0-9]*\d[A-Z0-9]*)")


@dataclass(frozen=True, slots=True)
class CardProcess:
    """A process that holds memory of a card; `memory_bytes` is None where it is not told."""

    pid: int
    name: str
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """One card; None: this card, or this driver, does not tell.

    Attributes:
        index: as nvidia-smi numbers it.
        throttled_by: reasons for lower clocks than the card could have, by name.

    """

    index: int
    name: str
    capability: tuple[int, int]
    memory_total_bytes: int
    memory_used_bytes: int
    power_watts: float | None = None
    power_limit_watts: float | None = None
    temperature_celsius: float | None = None
    throttled_by: tuple[str, ...] = ()
    processes: tuple[CardProcess, ...] = ()

    @property
    def kind(self) -> str:
        """The name that Ray gives cards like this one, without `accelerator_type:`."""
        match = _MODEL.match(self.name)
        if match and len(match[1]) > 1:
            return match[1].replace(" ", "-")
        return re.sub(r"^NVIDIA\s+", "", self.name).strip().replace(" ", "-")

    @property
    def memory_bytes(self) -> int:
        return self.memory_total_bytes


@dataclass(frozen=True, slots=True)
class Cards:
    """What a machine has.

    Attributes:
        driver: version of the NVIDIA driver, such as `580.95.05`.
        why_none: why there are no cards; empty where there are.

    """

    driver: str = ""
    cards: tuple[Card, ...] = ()
    why_none: str = ""

    def by_kind(self) -> dict[str, Card]:
        return {card.kind: card for card in self.cards}


class CardReader(Protocol):
    """Where readings come from: NVML, or what was recorded."""

    def read(self) -> Cards:
        """Return the cards as they are now; may take tens of milliseconds."""
